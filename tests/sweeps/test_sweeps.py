"""A sweep's parent run ends as its jobs did, whatever becomes of the report."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import parent_id
from prepared import sweep_plan

from mnist_exp.base.errors import StoreError
from mnist_exp.commands import cli
from mnist_exp.config.replicate import seeds
from mnist_exp.reports import sweep_report as report
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import finalize, sweep
from mnist_exp.sweeps.sweep import Postponed, Sweep
from mnist_exp.tracking.mlflow import backend
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Content, Grid, Measurement, Opening, Status
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker

pytestmark = pytest.mark.usefixtures("journals_root")

IDENTITY = Fingerprint("config", "data", "code", "libraries")
COMMAND = ("model.units=4,10",)


@pytest.fixture
def begun(uri: str, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep of two jobs; the variable that it sets goes with the test."""
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    return sweep.begin(
        sweep_plan(uri, "mnist", ["model.units"], [["model.units=4"], ["model.units=10"]], IDENTITY, COMMAND)
    )


def parent_tracker(begun: Sweep) -> MlflowTracker:
    return MlflowTracker(connect(begun.uri), begun.uri, parent_id(begun))


def ran(
    begun: Sweep, units: int, status: Status, accuracy: float, replicate: int = 0, ended_ms: int | None = None
) -> None:
    """A job of the sweep that ended."""
    client = connect(begun.uri)
    experiment = open_backend(begun.uri).experiment("mnist")
    run = MlflowTracker.open(client, begun.uri, experiment, f"model.units={units}", parent=parent_id(begun))
    run.log_params({"model.units": units, "replicate": replicate, **seeds(replicate)})
    run.set_tags({"dataset": "mnist", "dataset.digest": "d"})
    run.log_metrics(Measurement({"val_accuracy": accuracy}, 1), Measurement({"kept/val_accuracy": accuracy}))
    run.close(status, ended_ms)


@pytest.mark.parametrize(
    ("second", "interrupted", "expected", "counted"),
    [
        (Status.FINISHED, False, "FINISHED", (2, 0, 0, 0)),
        (Status.FAILED, False, "FAILED", (1, 1, 0, 0)),
        (Status.KILLED, True, "KILLED", (1, 0, 1, 0)),
        (None, True, "KILLED", (1, 0, 0, 1)),
        (None, False, "FAILED", (1, 0, 0, 1)),
    ],
    ids=["all well", "one failed", "interrupted", "interrupted between jobs", "one never began"],
)
def test_the_parent_ends_as_its_jobs_did(
    begun: Sweep, second: Status | None, interrupted: bool, expected: str, counted: tuple[int, ...]
) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    if second is not None:
        ran(begun, 10, second, 0.9)
    finalize.finalize(begun, interrupted=interrupted)
    parent = connect(begun.uri).get_run(parent_id(begun))
    assert parent.info.status == expected
    names = ("finished", "failed", "killed", "never_begun")
    assert tuple(parent.data.metrics[f"jobs/{name}"] for name in names) == counted


def test_first_and_conclusion_stand_in_the_notes_of_the_parent(begun: Sweep, tmp_path: Path) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    ended = finalize.finalize(begun)
    client = connect(begun.uri)
    parent = client.get_run(parent_id(begun))
    assert ended.comparison is not None
    assert parent.data.tags["first"] == "model.units=10"
    assert "best_set" not in parent.data.tags, "one replicate rules nothing out"
    assert parent.data.tags["conclusion"] == ended.comparison.conclusion()
    note = parent.data.tags["mlflow.note.content"]
    assert (
        f"Not reviewed. mnist-exp review {parent.info.run_id[:8]}" in note.partition(ended.comparison.conclusion())[0]
    )
    assert {file.path for file in client.list_artifacts(parent_id(begun), "sweep")} == {
        *("sweep/manifest.json", "sweep/leaderboard.csv", "sweep/report.html")
    }
    manifest = Path(client.download_artifacts(parent_id(begun), "sweep/manifest.json", str(tmp_path)))
    assert json.loads(manifest.read_text())["jobs"] == [["model.units=4"], ["model.units=10"]]


def test_the_verdict_stands_in_tags_and_metrics_of_the_parent(begun: Sweep) -> None:
    for replicate in range(8):
        ran(begun, 4, Status.FINISHED, 0.8 + replicate / 1000, replicate)
        ran(begun, 10, Status.FINISHED, 0.9 + replicate / 500, replicate)
    ended = finalize.finalize(begun)
    assert ended.next_step is None, "it is decided"
    parent = connect(begun.uri).get_run(parent_id(begun)).data
    assert (parent.tags["first"], parent.tags["best_set"]) == ("model.units=10", "model.units=10")
    assert parent.tags["verdict.level"] == "0.05"
    assert parent.tags["conclusion"].startswith("model.units=10 is best: the other is ruled out.")
    assert parent.metrics["kept/val_accuracy"] == pytest.approx(0.907), "the mean of the first"
    assert (parent.metrics["first/replicates"], parent.metrics["best_set/size"]) == (8, 1)
    assert parent.metrics["first/val_accuracy_low"] < 0.907 < parent.metrics["first/val_accuracy_high"]
    assert "| 1 | 10 | 8 | 0.9070 |" in parent.tags["mlflow.note.content"]


def full_for(failing: str, keep: Callable[[Any, str, Content], None]) -> Callable[[Any, str, Content], None]:
    """A tracker's ``log_artifact``, which ``keep`` is, but that there is no room for one file."""

    def log_artifact(self: Any, path: str, content: Content) -> None:
        if path == failing:
            raise StoreError("disk full")
        keep(self, path, content)

    return log_artifact


@pytest.mark.parametrize("failing", ["sweep/leaderboard.csv", "sweep/report.html"])
def test_what_cannot_be_sent_of_its_end_waits(
    begun: Sweep, monkeypatch: pytest.MonkeyPatch, journals_root: Path, failing: str
) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    run_id = parent_id(begun)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowTracker, "log_artifact", full_for(failing, MlflowTracker.log_artifact))
        patch.setattr(finalize, "PATIENCE_S", 0.0)
        unsent = finalize.finalize(begun).unsent
    assert unsent is not None
    assert unsent.reason == "disk full"
    assert connect(begun.uri).get_run(run_id).info.status == "RUNNING"
    Journal(journals_root / begun.key, patience_s=60).release()  # once its sender has let go of it
    assert cli.main(["sync"]) == 0
    assert connect(begun.uri).get_run(run_id).info.status == "FINISHED"
    assert failing in {file.path for file in connect(begun.uri).list_artifacts(run_id, "sweep")}
    assert journals.folders(journals_root) == []


@pytest.mark.parametrize("failing", ["sweep/leaderboard.csv", "sweep/report.html"])
def test_files_that_the_journal_does_not_take_leave_no_parent_open(
    begun: Sweep, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    monkeypatch.setattr(JournalTracker, "log_artifact", full_for(failing, JournalTracker.log_artifact))
    assert str(finalize.finalize(begun).journal_error) == "disk full"
    assert connect(begun.uri).get_run(parent_id(begun)).info.status == "FINISHED"


def test_a_sweep_that_cannot_begin_leaves_no_parent_open(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(JournalTracker, "log_artifact", full)
    with pytest.raises(StoreError, match="disk full"):
        sweep.begin(sweep_plan(uri, "mnist", ["never.began"], [], IDENTITY, COMMAND))
    client = connect(uri)
    (parent,) = client.search_runs(["1"], "attributes.run_name = 'never.began'")
    assert parent.info.status == "FAILED"
    assert Sweep.current() is None


def test_what_has_no_result_is_named_in_the_note_of_a_sweep_over_replicates(begun: Sweep) -> None:
    ran(begun, 4, Status.FINISHED, 0.8, replicate=1)
    ran(begun, 4, Status.FINISHED, 0.82, replicate=2)
    ran(begun, 10, Status.KILLED, 0.9)
    finalize.finalize(begun)
    note = connect(begun.uri).get_run(parent_id(begun)).data.tags["mlflow.note.content"]
    head, *rows = [line for line in note.splitlines() if line.startswith("|") and "---" not in line]
    assert all(row.count("|") == head.count("|") for row in rows)
    assert rows[1] == "| - | 10 | 0 |  |  |  |  |  | 1 KILLED |"


def test_a_report_that_cannot_be_made_changes_nothing_about_how_it_ended(
    begun: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(report, "html", broken)
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FINISHED, 0.9)
    ended = finalize.finalize(begun)
    assert str(ended.problem) == "a mistake of ours"
    assert len(ended.board.ranked) == 2
    client = connect(begun.uri)
    assert client.get_run(parent_id(begun)).info.status == "FINISHED"
    assert "sweep/leaderboard.csv" in {file.path for file in client.list_artifacts(parent_id(begun), "sweep")}


def test_its_journal_is_held_while_it_goes_on_and_gone_when_it_ended(begun: Sweep, journals_root: Path) -> None:
    (folder,) = journals.folders(journals_root)
    assert journals.in_use(folder)
    reading = journals.read(folder)
    assert reading.opening is not None
    assert (reading.opening.key, reading.jobs) == (begun.key, Grid(["model.units"], 2))
    assert finalize.finalize(begun, interrupted=True).comparison is None
    assert journals.folders(journals_root) == []
    assert connect(begun.uri).get_run(parent_id(begun)).info.status == "KILLED", "no job began"


def test_no_password_lies_in_it(journals_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    begun = sweep.begin(sweep_plan("http://me:secret@127.0.0.1:9", "mnist", [], [], IDENTITY, COMMAND))
    (folder,) = journals.folders(journals_root)
    assert b"127.0.0.1:9" in (folder / "journal.jsonl").read_bytes()
    assert not [file for file in folder.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]
    parent = sweep.lead_no_more(begun)
    assert parent is not None
    parent.drop()


def waiting_run(begun: Sweep, where: Path) -> Journal:
    """The journal of a job of the sweep, of which the store does not have everything."""
    journal = Journal(where / "RUN", new=True)
    journal.open(Opening("RUN", "model.units=10", begun.uri, "mnist", begun.key, {}, 1_000, journals.host()))
    journal.append("close", {"status": "FINISHED"})
    journal.release()
    return journal


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_sweep_whose_runs_wait_is_ranked_later_as_if_it_were_now(
    begun: Sweep, journals_root: Path, interrupted: bool
) -> None:
    ran(begun, 4, Status.FINISHED, 0.8, ended_ms=1_000)
    run = waiting_run(begun, journals_root)
    with pytest.raises(Postponed, match="1 of its runs are not in the store yet"):
        finalize.finalize(begun, interrupted=interrupted)
    assert connect(begun.uri).get_run(parent_id(begun)).info.status == "RUNNING"
    assert not journals.in_use(journals_root / begun.key)
    os.utime(journals_root / begun.key / "journal.jsonl", (9_000_000_000, 9_000_000_000))
    reading = journals.read(journals_root / begun.key)
    assert reading.ended is not None

    ran(begun, 10, Status.FINISHED, 0.9, ended_ms=1_000)
    (run.folder / "sent").write_text("2")
    finalize.close_vanished(reading, begun.uri, parent_tracker(begun))
    parent = connect(begun.uri).get_run(parent_id(begun))
    assert (parent.info.status, parent.info.end_time) == (
        "KILLED" if interrupted else "FINISHED",
        reading.ended.time_ms,
    )
    assert parent.data.metrics["jobs/finished"] == 2


def test_one_that_was_taken_up_again_is_open_again(begun: Sweep, journals_root: Path) -> None:
    """What it waited for when it ended the first time says nothing of how it ends the next time."""
    waiting_run(begun, journals_root)
    with pytest.raises(Postponed):
        finalize.finalize(begun)
    assert sweep.resume(sweep_plan(begun.uri, "mnist", begun.keys, [[]] * begun.total, IDENTITY, COMMAND)) is None
    assert journals.read(journals_root / begun.key).ended is None
    sweep._led.pop(begun.key).settle(60)


def test_a_store_that_is_away_at_the_end_postpones_it(begun: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> None:
        raise StoreError("no server answers there")

    monkeypatch.setattr(backend, "connect", away)
    with pytest.raises(Postponed, match="no server answers there"):
        finalize.finalize(begun)
    assert journals.read(journals.root() / begun.key).ended is not None


def test_closing_a_sweep_again_with_the_same_time_changes_nothing(begun: Sweep) -> None:
    ran(begun, 4, Status.FINISHED, 0.8)
    ran(begun, 10, Status.FAILED, 0.9)
    client = connect(begun.uri)

    def state() -> dict[str, Any]:
        run = client.get_run(parent_id(begun))
        points = {name: len(client.get_metric_history(parent_id(begun), name)) for name in run.data.metrics}
        files = sorted(file.path for file in client.list_artifacts(parent_id(begun), "sweep"))
        return {"run": run.to_dictionary(), "points": points, "files": files}

    finalize.close(begun, parent_tracker(begun), interrupted=False, time_ms=2_000_000_000_000)
    before = state()
    finalize.close(begun, parent_tracker(begun), interrupted=False, time_ms=2_000_000_000_000)
    assert state() == before
    assert set(before["points"].values()) == {1}
    finalize.finalize(begun)
