"""A run around a script: closed as the script ended, and delivered."""

import runpy
from pathlib import Path

import pytest
from conftest import PROJECT
from mlflow.models import Model

import mnist_exp
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Measurement, Record, Status
from mnist_exp.tracking.spool.sender import Unsent
from mnist_exp.tracking.spool.tracker import JournalTracker

pytestmark = pytest.mark.usefixtures("journals_root")


def the_run(uri: str, name: str) -> Record:
    (record,) = queries.select(open_backend(uri), [name])
    return record


def test_a_script_that_ends_leaves_a_finished_run(uri: str, journals_root: Path) -> None:
    with mnist_exp.track("fine", experiment="scripts", params={"units": 32}, uri=uri) as tracker:
        tracker.log_metrics(Measurement({"loss": 0.5}, 1))
    run = the_run(uri, "fine")
    assert (run.status, run.params, run.metrics) == ("FINISHED", {"units": "32"}, {"loss": 0.5})
    assert not list(journals_root.iterdir()), "nothing waits to be sent"


@pytest.mark.parametrize(
    ("error", "status", "failure"),
    [
        (ValueError("no such file\nin two lines"), "FAILED", "ValueError"),
        (KeyboardInterrupt(), "KILLED", "interrupted"),
        (SystemExit(3), "FAILED", "SystemExit"),
    ],
    ids=["an error", "Ctrl-C", "an exit"],
)
def test_a_script_that_breaks_off_leaves_a_run_that_says_why(
    uri: str, error: BaseException, status: str, failure: str
) -> None:
    with pytest.raises(type(error)), mnist_exp.track(failure, uri=uri):
        raise error
    run = the_run(uri, failure)
    assert (run.status, run.tags["failure"]) == (status, failure)
    assert "\n" not in run.tags["failure.message"]


def test_a_run_within_a_run_ends_alone(uri: str) -> None:
    """Such as the folds of a cross-validation within a run of the whole."""
    with mnist_exp.track("outer", uri=uri) as outer:
        with mnist_exp.track("inner", uri=uri) as inner:
            inner.log_metrics(Measurement({"loss": 0.5}, 1))
        outer.log_metrics(Measurement({"mean_loss": 0.5}))
    assert [the_run(uri, name).status for name in ("outer", "inner")] == ["FINISHED"] * 2
    assert the_run(uri, "outer").metrics == {"mean_loss": 0.5}


def test_a_run_that_cannot_be_closed_does_not_hide_what_ended_the_script(uri: str) -> None:
    with pytest.raises(ValueError, match="script"), mnist_exp.track("closed", uri=uri) as tracker:  # noqa: PT012
        tracker.close(Status.FINISHED)
        raise ValueError("of the script")


def test_entries_that_the_store_does_not_have_are_logged(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settle = JournalTracker.settle

    def settled_in_part(self: JournalTracker, patience_s: float) -> Unsent:
        settle(self, patience_s)
        return Unsent(3, "no server answers")

    monkeypatch.setattr(JournalTracker, "settle", settled_in_part)
    with mnist_exp.track("a run", uri=uri):
        pass
    assert caplog.messages[-1] == "a run: 3 entries are not in the store: no server answers"


def test_a_file_that_cannot_be_made_is_logged(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise ValueError("broken\nimage")

    with mnist_exp.track("broken file", uri=uri) as tracker:
        tracker.log_artifact("image.png", broken)
    assert caplog.messages[-1] == "broken file failed as it ended: broken"
    assert the_run(uri, "broken file").status == "FAILED"


def test_a_model_in_a_folder_is_kept(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    Model().save(str(folder / "MLmodel"))
    with mnist_exp.track("a model", uri=uri) as tracker:
        tracker.log_model(folder)
    outputs = connect(uri).get_run(the_run(uri, "a model").run_id).outputs
    assert outputs is not None
    assert len(outputs.model_outputs) == 1


def test_the_example_runs_and_leaves_its_epochs(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    runpy.run_path(str(PROJECT / "examples" / "keras_script.py"))
    run = the_run(uri, "32 units")
    assert (run.status, run.params) == ("FINISHED", {"units": "32"})
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "epoch_seconds"} <= set(run.metrics)
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "5", "the table of its epochs"
