"""Values that nobody would type, or somebody would on purpose: a checked config, or one line saying what is wrong."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Program
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnist_exp.app.compose import compose, explain, to_run_config
from mnist_exp.base.errors import MnistExpError, StoreError
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.tracking.mlflow import sqlite
from mnist_exp.tracking.mlflow.client import connect, uri_from_cli

TEXT_KEYS = (
    "data.path",
    "tracking.experiment",
    "tracking.uri",
    "experiment",
    "model.activation",
    "data",
    "hydra.job.name",
)
KEYS = (*TEXT_KEYS, "model.units", "optimizer.lr", "seed", "training", "+new", "~model", "hydra.run.dir", "")
HOSTILE = (
    "line one\nline two",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202eright to left",
    "<script>alert(1)</script>",
    "[bold red]markup[/]",
    "a=b=c",
    "'\"\\",
    "${oc.env:HOME}",
    "${nothing}",
    "${",
    "$2^_{",
    "{a: {b: [1, 2",
    "x" * 10_000,
    "[" * 3_000,
    "{a:" * 500 + "}" * 500,
    "emoji 🎲 Привет 数字",
    "glob(*)",
    "range(1,10)",
    "int('1')",
    "null",
    "\r\n\t",
    "@",
    "file://etc/passwd",
    "\0",
)


def outcome(overrides: Sequence[str]) -> RunConfig | MnistExpError:
    """What comes of an override: a config, or the error that a user sees."""
    try:
        return to_run_config(compose(["data=digits", *overrides]))
    except Exception as error:
        if (explained := explain(error)) is None:
            raise
        return explained


def check(overrides: Sequence[str]) -> None:
    found = outcome(overrides)
    if isinstance(found, RunConfig):
        hash(found)
        assert all(isinstance(value, str | int | float | bool | None) for value in found.params().values())
        return
    assert str(found).isprintable()
    assert 10 < len(str(found)) <= 1000


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("key", ["data.path", "tracking.uri", "experiment"])
def test_a_hostile_value(key: str, value: str) -> None:
    check([f"{key}={value}", f"+other='{value}'"])
    check([f"{key}='{value}'"])


@given(st.sampled_from(KEYS), st.text(max_size=60))
@settings(max_examples=150)
@example("data.path", "a\x85b\u2028c")
def test_any_value_of_any_key(key: str, value: str) -> None:
    check([f"{key}={value}"])


@given(st.text(min_size=1, max_size=60).filter(lambda text: not set(text) & set("\0'\\$")))
@settings(max_examples=30)
def test_a_quoted_value_arrives_as_it_was_given(value: str) -> None:
    found = outcome([f"tracking.experiment='{value}'"])
    assert isinstance(found, RunConfig)
    assert found.tracking.experiment == value


@given(st.lists(st.text(max_size=30), max_size=4))
@settings(max_examples=100)
def test_any_list_of_overrides(overrides: list[str]) -> None:
    check(overrides)


def test_a_very_long_list_of_overrides() -> None:
    assert isinstance(outcome([f"seed={seed}" for seed in range(300)]), RunConfig)


def test_a_name_longer_than_mlflow_takes_is_refused_before_anything_starts() -> None:
    said = str(outcome([f"tracking.experiment={'x' * 501}"]))
    assert said.startswith("tracking.experiment must have at most 500 characters. Received: 'xxx")
    assert said.endswith("… (503 characters)")


def test_of_a_long_value_enough_is_told_to_know_it_by() -> None:
    said = str(outcome([f"model.activation={'x' * 10_000}"]))
    assert said.startswith("model.activation must be one of relu,")
    assert said.endswith("… (10,002 characters)")
    assert len(said) < 400


@pytest.mark.slow
def test_a_run_with_hostile_values_is_kept_whole_and_shown_short(
    program: Program, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a param, a tag, a name or a line of a screen holds."""
    path = tmp_path / "a = 'b' <script> $x_{ [red].npz"
    np.savez(path, **datasets.embedded_digits())  # type: ignore[arg-type]
    escaped = str(path).replace("'", "\\'")
    long = f"tracking.uri='{'x' * 10_000}\x1b[31m\n=\"<b>\"'"
    given = [long, f"data.path='{escaped}'", "data.limit=100", "training.epochs=1", "tracking.experiment='ü / ..'"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said = program(*given)
    assert said.code == 0, said.err
    assert "\x1b" not in said.out + said.err
    assert max(map(len, said.out.splitlines())) <= 1100
    client = connect(uri)
    experiment = client.get_experiment_by_name("ü / ..")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["data.path"] == str(path)
    assert run.info.run_name.endswith("characters)")
    assert len(run.info.run_name) == 250
    for tag in ("command", "rerun", "group", "mlflow.note.content"):
        assert len(run.data.tags[tag]) == 8000
        whole = Path(client.download_artifacts(run.info.run_id, f"whole/tags/{tag}.txt")).read_text()
        assert "x" * 10_000 in whole
        assert f"… ({len(whole):,} characters, sha256 " in run.data.tags[tag]
    kept = Path(client.download_artifacts(run.info.run_id, "config/overrides.yaml")).read_text()
    assert yaml.safe_load(kept)[0] == long


class TestStoreUris:
    @given(st.one_of(st.text(), st.from_regex(r"(https?|sqlite|postgresql)://?[\[\]:@/?#%a-z0-9 ]*", fullmatch=True)))
    def test_any_uri_is_resolved_or_refused(self, uri: str) -> None:
        try:
            found = uri_from_cli(uri)
        except StoreError as error:
            said = str(error)
            found = "refused"
        else:
            said = ""
        assert found
        assert said.isprintable()

    @pytest.mark.parametrize(
        "uri", ["http://[", "http://a b:x", "postgresql://", "mysql://[::1", "sqlite:////dev/null/x.db"]
    )
    def test_what_cannot_be_connected_to_is_one_line(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(StoreError) as caught:
            connect(uri_from_cli(uri))
        assert str(caught.value).isprintable()
        assert re.search("cannot be used: |must name a server", str(caught.value))


class TestArtifactFolders:
    @given(st.text(min_size=1, max_size=500))
    @example("..")
    @example(".")
    @example("x" * 500)
    @example("ü" * 300)
    def test_any_experiment_has_one_that_is_safe_and_its_own(self, name: str) -> None:
        folder = sqlite.artifact_folder(Path("/store"), name)
        assert folder.parent == Path("/store/artifacts")
        assert folder.name not in ("", ".", "..")
        assert len(folder.name.encode()) <= 255
        assert folder != sqlite.artifact_folder(Path("/store"), f"{name}.")
