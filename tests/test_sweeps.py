"""A sweep's parent run ends as its jobs did, whatever becomes of the report."""

import json
from pathlib import Path

import pytest

from mnist_exp.errors import StoreError
from mnist_exp.reports import sweep as report
from mnist_exp.sweeps import sweep
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking import store
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Content, Measurement, Status


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def begun(uri: str, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep of two jobs; the variable that it sets goes with the test."""
    monkeypatch.delenv("MNIST_EXP_SWEEP", raising=False)
    begun = sweep.begin(uri, "mnist", ["model.units"], [["model.units=4"], ["model.units=10"]])
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    return begun


def ran(begun: Sweep, units: int, status: Status, accuracy: float, seed: int = 17) -> None:
    """A job of the sweep that ended."""
    client = store.connect(begun.uri)
    run = MlflowTracker.open(client, begun.uri, begun.experiment_id, f"model.units={units}", parent=begun.run_id)
    run.log_params({"model.units": units, "seed": seed})
    run.set_tags({"dataset": "mnist", "dataset.digest": "d"})
    run.log_metrics(Measurement({"val_accuracy": accuracy}, 1), Measurement({"best/val_accuracy": accuracy}))
    run.close(status)


@pytest.mark.parametrize(
    ("second", "interrupted", "expected"),
    [
        (Status.FINISHED, False, "FINISHED"),
        (Status.FAILED, False, "FAILED"),
        (Status.KILLED, True, "KILLED"),
        (None, True, "KILLED"),
        (None, False, "FAILED"),
    ],
    ids=["all well", "one failed", "interrupted", "interrupted between jobs", "one never began"],
)
def test_the_parent_ends_as_its_jobs_did(begun: Sweep, second: Status | None, interrupted: bool, expected: str) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    if second is not None:
        ran(begun, 10, second, 0.9)
    sweep.finish(begun, interrupted=interrupted)
    parent = store.connect(begun.uri).get_run(begun.run_id)
    assert parent.info.status == expected
    done = 2 if second is Status.FINISHED else 1
    assert (parent.data.metrics["jobs/finished"], parent.data.metrics["jobs/failed"]) == (done, 2 - done)


def test_winner_and_conclusion_stand_in_the_notes_of_the_parent(begun: Sweep, tmp_path: Path) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    ending = sweep.finish(begun)
    client = store.connect(begun.uri)
    parent = client.get_run(begun.run_id)
    assert ending.comparison is not None
    assert parent.data.tags["winner"] == "model.units=10"
    assert parent.data.tags["mlflow.note.content"].startswith(ending.comparison.conclusion())
    assert {file.path for file in client.list_artifacts(begun.run_id, "sweep")} == {
        *("sweep/manifest.json", "sweep/leaderboard.csv", "sweep/report.html")
    }
    manifest = Path(client.download_artifacts(begun.run_id, "sweep/manifest.json", str(tmp_path)))
    assert json.loads(manifest.read_text())["jobs"] == [["model.units=4"], ["model.units=10"]]


def test_a_sweep_of_which_no_job_began_is_closed_too(begun: Sweep) -> None:
    assert sweep.finish(begun, interrupted=True).comparison is None
    assert store.connect(begun.uri).get_run(begun.run_id).info.status == "KILLED"


@pytest.mark.parametrize("failing", ["sweep/leaderboard.csv", "sweep/report.html"])
def test_files_that_cannot_be_kept_leave_no_parent_open(
    begun: Sweep, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    keep = MlflowTracker.log_artifact

    def log_artifact(self: MlflowTracker, path: str, content: Content) -> None:
        if path == failing:
            raise StoreError("disk full")
        keep(self, path, content)

    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    monkeypatch.setattr(MlflowTracker, "log_artifact", log_artifact)
    try:
        problem: Exception | None = sweep.finish(begun).problem
    except StoreError as error:
        problem = error
    assert str(problem) == "disk full"
    assert store.connect(begun.uri).get_run(begun.run_id).info.status == "FINISHED"


def test_a_sweep_that_cannot_begin_leaves_no_parent_open(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(MlflowTracker, "log_artifact", full)
    with pytest.raises(StoreError, match="disk full"):
        sweep.begin(uri, "mnist", ["never.began"], [])
    client = store.connect(uri)
    (parent,) = client.search_runs(["1"], "attributes.run_name = 'never.began'")
    assert parent.info.status == "FAILED"


def test_what_has_no_result_is_named_in_the_note_of_a_sweep_over_seeds(begun: Sweep) -> None:
    ran(begun, 4, Status.FINISHED, 0.8, seed=1)
    ran(begun, 4, Status.FINISHED, 0.82, seed=2)
    ran(begun, 10, Status.KILLED, 0.9)
    sweep.finish(begun)
    note = store.connect(begun.uri).get_run(begun.run_id).data.tags["mlflow.note.content"]
    head, *rows = [line for line in note.splitlines() if line.startswith("|") and "---" not in line]
    assert all(row.count("|") == head.count("|") for row in rows)
    assert rows[1] == "| - | 10 | 0 |  |  |  | 1 KILLED |"


def test_a_report_that_cannot_be_made_changes_nothing_about_how_it_ended(
    begun: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(report, "html", broken)
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    ending = sweep.finish(begun)
    assert str(ending.problem) == "a mistake of ours"
    assert len(ending.board.ranked) == 2
    client = store.connect(begun.uri)
    assert client.get_run(begun.run_id).info.status == "FINISHED"
    assert "sweep/leaderboard.csv" in {file.path for file in client.list_artifacts(begun.run_id, "sweep")}
