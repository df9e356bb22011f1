"""A run around a script: closed as the script ended, and delivered."""

import runpy
from pathlib import Path

import pytest
from conftest import PROJECT

import mnist_exp
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Measurement, Record
from mnist_exp.tracking.spool import tracker as spool
from mnist_exp.tracking.spool.sender import Unsent
from mnist_exp.tracking.spool.tracker import Delivery

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


def test_what_the_store_does_not_have_is_said(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settle = spool.settle_runs

    def settled_in_part() -> Delivery:
        settle()
        return Delivery([("a run", Unsent(3, "no server answers"))], [("a run", ValueError("broken\nimage"))])

    monkeypatch.setattr(spool, "settle_runs", settled_in_part)
    with mnist_exp.track("a run", uri=uri):
        pass
    assert caplog.messages[-2:] == [
        "a run: 3 entries are not in the store: no server answers",
        "a run failed as it ended: broken",
    ]


def test_the_example_runs_and_leaves_its_epochs(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    runpy.run_path(str(PROJECT / "examples" / "keras_script.py"))
    run = the_run(uri, "32 units")
    assert (run.status, run.params) == ("FINISHED", {"units": "32"})
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "epoch_seconds"} <= set(run.metrics)
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "5", "the table of its epochs"
