"""Sending that was interrupted, refused in part or meant for another store is completed, and nothing is sent twice."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prepared import prepared

from mnist_exp.commands import cli
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.metrics import Epoch
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import Progress, run
from mnist_exp.tracking import queries
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Measurement, Opening, Status
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker
from mnist_exp.training.checkpoint import Checkpoint


@pytest.fixture(autouse=True)
def root(journals_root: Path) -> Path:
    """Where the journals lie."""
    return journals_root


def opening(key: str, uri: str) -> Opening:
    return Opening(key, key, uri, "mnist", None, {"kind": "run"}, 1000, journals.host())


def sync(*arguments: str) -> int:
    return cli.main(["sync", *arguments])


def metrics(uri: str, key: str) -> dict[int, int]:
    """How often the store has each epoch of the run with that key."""
    client = connect(uri)
    record = open_backend(uri).find_key(key)
    assert record is not None
    steps = [point.step for point in client.get_metric_history(record.run_id, "loss")]
    return {step: steps.count(step) for step in steps}


class TestRun:
    def test_one_that_is_taken_up_before_its_end_was_sent_keeps_its_journal(self, root: Path) -> None:
        journal = Journal(root / "KEY", new=True)
        journal.open(opening("KEY", "x"))
        journal.append("metrics", {"metrics": {"loss": 1.0}, "step": 1})
        journal.append("close", {"status": "KILLED"})
        journal.release()
        memory = MemoryTracker()
        tracker = JournalTracker(Journal(root / "KEY"), opening("KEY", "x"), lambda _: memory, gather_s=0)
        tracker.resume()
        for step in range(2, 200):
            tracker.log_metrics(Measurement({"loss": 1.0}, step))
        tracker.close(Status.FINISHED)
        assert tracker.settle(60) is None
        assert (memory.status, list(memory.metrics["loss"])) == (Status.FINISHED, list(range(1, 200)))

    def test_what_follows_a_refused_entry_is_sent_however_late(self, root: Path, uri: str) -> None:
        connect(uri)
        journal = Journal(root / "refused", new=True)
        journal.open(opening("refused", uri))
        journal.append("hologram", {})
        journal.refuse("an unknown kind")
        journal.mark_sent(2, "")
        journal.append("metrics", {"metrics": {"loss": 1.0}, "step": 1})
        journal.append("close", {"status": "FINISHED"})
        journal.release()
        assert sync() == 0
        assert metrics(uri, "refused") == {1: 1}
        assert [each.status for each in queries.everything(open_backend(uri)) if each.name == "refused"] == ["FINISHED"]

    def test_one_that_waits_for_its_own_reason_keeps_no_other_waiting(self, root: Path, uri: str) -> None:
        client = connect(uri)
        client.delete_experiment(client.create_experiment("deleted"))
        for key, experiment in (("1", "deleted"), ("2", "mnist")):
            journal = Journal(root / key, new=True)
            journal.open(replace(opening(key, uri), experiment=experiment))
            journal.append("close", {"status": "FINISHED"})
            journal.release()
        assert sync() == 1
        assert [folder.name for folder in journals.folders(root)] == ["1"]

    def test_another_store_gets_the_whole_of_it(self, root: Path, uri: str) -> None:
        journal = Journal(root / "moved", new=True)
        journal.open(opening("moved", "sqlite:////gone/mlflow.db"))
        journal.append("metrics", {"metrics": {"loss": 1.0}, "step": 1})
        journal.mark_sent(2, "")
        journal.append("metrics", {"metrics": {"loss": 0.5}, "step": 2})
        journal.append("close", {"status": "FINISHED"})
        journal.release()
        assert sync() == 1, "its own is gone"
        assert sync("--uri", uri) == 0
        assert metrics(uri, "moved") == {1: 1, 2: 1}

    def test_epochs_that_the_checkpoint_knows_and_the_journal_lost_are_told(
        self, composed: Callable[..., RunConfig], tmp_path: Path
    ) -> None:
        """A power cut may take the last lines of a file and leave another file whole."""
        config, data = composed("data.limit=300", "training.epochs=4"), datasets.load(composed().data)
        whole, file = MemoryTracker(), tmp_path / "checkpoint.npz"
        run(prepared(config, Job("a", "a", (), tmp_path), data), whole, lambda _: None, Progress(file))
        tracker = MemoryTracker()
        run(prepared(config, Job("a", "a", (), tmp_path), data), tracker, lambda _: None, Progress(file, logged=1))
        told = {step: loss for step, loss in whole.metrics["loss"].items() if step > 1}
        assert tracker.metrics["loss"] == told

    def test_a_journal_without_a_line_is_done_with(self, root: Path) -> None:
        Journal(root / "KEY", new=True).release()
        assert sync() == 0
        assert not (root / "KEY").exists()

    def test_one_that_nobody_wants_can_be_dropped(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        journal = Journal(root / "KEY", new=True)
        journal.open(opening("KEY", "sqlite:////gone/mlflow.db"))
        journal.release()
        assert sync("--drop", "NO-SUCH") == 2
        assert "there is no journal 'NO-SUCH'" in capsys.readouterr().err
        assert sync("--drop", "KEY") == 0
        assert journals.folders(root) == []


def test_a_checkpoint_says_nothing_of_a_journal(tmp_path: Path) -> None:
    """It holds epochs, arrays and what early stopping remembers: no path, no address, no secret."""
    Checkpoint([Epoch(1, 0.1, 0.5, {"loss": 0.25})], [], [], {}, False).save(tmp_path / "c.npz")
    import numpy as np

    with np.load(tmp_path / "c.npz") as arrays:
        assert set(json.loads(str(arrays["state"]))) == {"epochs", "stopper", "stopped"}
    assert os.listdir(tmp_path) == ["c.npz"]  # noqa: PTH208
