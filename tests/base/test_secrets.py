"""Nothing that was given in confidence is found in what a run or sweep leaves behind, or in what the screen shows."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Program

from mnist_exp.runs import provenance
from mnist_exp.terminal import messages
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Status

SECRETS = {"MLFLOW_TRACKING_PASSWORD": "envsecret7", "AWS_SECRET_ACCESS_KEY": "aws/secret+9"}


@pytest.mark.slow
def test_a_sweep_leaves_no_secret_behind(
    program: Program, new_store: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given in every way there is: in the environment, in a URI, in an override, in a param."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path / "mlruns"))
    said = program(
        "-m",
        "seed=1,2",
        "data=digits",
        "training.epochs=1",
        "data.limit=300",
        "+hydra.job.env_set.MY_API_KEY=overridden8",
        "tracking.uri=postgresql://me:urisecret6@nowhere/db",
        "+hydra.job.env_set.OTHER='has aws/secret+9 in it'",
    )
    assert said.code == 0, said.err
    given = [*SECRETS.values(), "overridden8", "urisecret6", "aws%2Fsecret%2B9"]
    left = [file for folder in ("mlruns", "multirun") for file in (tmp_path / folder).rglob("*") if file.is_file()]
    names = {file.name for file in left}
    assert {
        "mlflow.db",
        "overrides.yaml",
        "hydra.yaml",
        "rerun.sh",
        "multirun.yaml",
        "manifest.json",
        "report.html",
    } <= names
    found = {(file.name, secret) for file in left for secret in given if secret.encode() in file.read_bytes()}
    assert not found
    assert not [secret for secret in given if secret in said.out + said.err]


class TestMlflow:
    @pytest.fixture
    def tracker(self, uri: str) -> MlflowTracker:
        client = connect(uri)
        return MlflowTracker.open(client, uri, open_backend(uri).experiment("kept"), "a run")

    def test_params_and_tags_are_kept_without_secrets(
        self, tracker: MlflowTracker, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2")
        tracker.log_params({"data.path": "/data/hunter2.npz"})
        tracker.set_tags({"rerun": "python -m mnist_exp tracking.uri=http://me:pass1@host"})
        data = connect(uri).get_run(tracker.run_id).data
        assert data.params["data.path"] == "/data/***.npz"
        assert data.tags["rerun"] == "python -m mnist_exp tracking.uri=http://***@host"

    def test_what_is_too_long_says_so_and_is_whole_in_a_file(
        self, tracker: MlflowTracker, uri: str, tmp_path: Path
    ) -> None:
        long = "x" * 10_000
        tracker.log_params({"data.path": long})
        tracker.set_tags({"rerun": long, "group": f"{long}y", "short": "kept as it is"})
        client = connect(uri)
        data = client.get_run(tracker.run_id).data
        assert len(data.params["data.path"]) == 6000
        assert len(data.tags["rerun"]) == 8000
        assert data.tags["rerun"].startswith("xxxxx")
        assert data.tags["rerun"].endswith("x… (10,000 characters, sha256 e4ee97ec, all in whole/tags/rerun.txt)")
        assert data.tags["short"] == "kept as it is"
        files = Path(client.download_artifacts(tracker.run_id, "whole", str(tmp_path)))
        assert (files / "params" / "data.path.txt").read_text() == long
        assert (files / "tags" / "group.txt").read_text() == f"{long}y"

    def test_long_values_with_the_same_beginning_stay_apart(self, tracker: MlflowTracker, uri: str) -> None:
        tracker.log_params({"one": "x" * 9_999 + "1", "two": "x" * 9_999 + "2"})
        params = connect(uri).get_run(tracker.run_id).data.params
        assert params["one"].replace("one.txt", "two.txt") != params["two"]

    @pytest.mark.parametrize("value", ["a\0b", "\udcff", "<b>\n\"'=🎲", "\x1b[31m"], ids=range(4))
    def test_any_text_can_be_kept(self, tracker: MlflowTracker, uri: str, value: str) -> None:
        tracker.set_tags({"any": value})
        tracker.log_params({"any": value})
        tracker.close(Status.FINISHED)
        kept = connect(uri).get_run(tracker.run_id).data
        expected = value.replace("\0", "\\0").replace("\udcff", "\\udcff")
        assert (kept.tags["any"], kept.params["any"]) == (expected, expected)


class TestScreen:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
            ("one\ntwo\r\u202e", "one\\ntwo\\r\\u202e"),
            ("[bold]no markup[/]", "[bold]no markup[/]"),
            ("http://me:pass1@host", "http://***@host"),
            ("\udcff", "\\udcff"),
        ],
        ids=range(5),
    )
    def test_text_is_shown_and_never_obeyed(self, text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
        messages.error(text)
        assert capsys.readouterr().err == f"error: {shown}\n"

    def test_of_a_long_text_the_beginning_and_the_end_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        messages.warning(f"begins {'x' * 10_000} ends")
        said = capsys.readouterr().err
        assert said.startswith("warning: begins xxx")
        assert said.endswith("xxx ends\n")
        assert "(10,012 characters)" in said
        assert len(said) < 1100

    def test_a_traceback_has_no_secret_in_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        messages.traceback(ValueError("http://me:pass1@host"))
        assert capsys.readouterr().err.strip() == "ValueError: http://***@host"


def test_the_command_is_kept_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mnist_exp", "tracking.uri=http://me:pass1@host", "data.path=a b"])
    assert shlex.split(provenance.command_line(["tracking.uri=http://me:pass1@host", "data.path=a b"]))[3:] == [
        "tracking.uri=http://***@host",
        "data.path=a b",
    ]
