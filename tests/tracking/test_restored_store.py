"""A store that was restored from an old backup, and files on disk that were damaged: nothing is lost without a word."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from recording import LONG_S, OPENING, Away, Recording, left, save_model

from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.mlflow import sqlite
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Backend, Measurement, Opening, Record, Status, Tracker
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker

EPOCHS = {1: 0.5, 2: 0.25}


class TestRestored:
    """The backup is from before the run began."""

    @pytest.fixture
    def uri(self, new_store: Callable[[Path], str], tmp_path: Path) -> str:
        """A store that nobody else writes to."""
        return new_store(tmp_path / "store")

    @pytest.fixture
    def backend(self, uri: str) -> Backend:
        return open_backend(uri)

    @pytest.fixture
    def restore(self, uri: str, backend: Backend, tmp_path: Path) -> Callable[[], None]:
        """Restore the store as it is now, with an experiment and no run."""
        backend.experiment(OPENING.experiment)
        database = sqlite.database_file(uri)
        assert database is not None

        def copy(source: Path, target: Path) -> None:
            with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
                old.backup(new)

        copy(database, tmp_path / "backup.db")
        return lambda: copy(tmp_path / "backup.db", database)

    def kept(self, backend: Backend) -> tuple[Record, dict[int, float]]:
        """The one run that the store has, and its epochs."""
        (record,) = backend.search()
        epochs = backend.history([record.run_id], ["loss"])
        return record, dict(zip(epochs["epoch"], epochs["loss"], strict=True))

    def test_a_run_under_way_is_sent_again_from_its_first_entry(
        self, folder: Path, backend: Backend, restore: Callable[[], None]
    ) -> None:
        tracker = JournalTracker(Journal(folder, new=True), OPENING, backend.open_run, gather_s=0)
        tracker.log_params({"model.units": 4})
        tracker.log_metrics(Measurement({"loss": 0.5}, 1))
        wait_until_sent(folder)
        restore()
        assert backend.search() == []
        tracker.log_metrics(Measurement({"loss": 0.25}, 2))
        tracker.close(Status.FINISHED)
        assert tracker.settle(30) is None
        record, epochs = self.kept(backend)
        assert (record.status, record.params["model.units"], epochs) == ("FINISHED", "4", EPOCHS)

    def test_what_waits_on_disk_is_sent_with_what_the_store_lost(
        self, folder: Path, backend: Backend, restore: Callable[[], None]
    ) -> None:
        journal = Journal(folder, new=True)
        journal.open(OPENING)
        journal.append("metrics", {"metrics": {"loss": 0.5}, "step": 1})
        assert delivery.send(journal, OPENING, backend.open_run) == []
        restore()
        journal.append("metrics", {"metrics": {"loss": 0.25}, "step": 2})
        journal.append("close", {"status": "FINISHED"})
        assert delivery.send(journal, OPENING, backend.open_run) == []
        journal.release()
        assert self.kept(backend)[1] == EPOCHS
        assert journals.read(folder).unsent == 0

    def test_a_run_that_a_user_deleted_stays_deleted(self, folder: Path, uri: str, backend: Backend) -> None:
        journal = Journal(folder, new=True)
        journal.open(OPENING)
        journal.append("metrics", {"metrics": {"loss": 0.5}, "step": 1})
        assert delivery.send(journal, OPENING, backend.open_run) == []
        (record,) = backend.search()
        connect(uri).delete_run(record.run_id)
        journal.append("close", {"status": "FINISHED"})
        (refusal,) = delivery.send(journal, OPENING, backend.open_run)
        journal.release()
        assert "was deleted" in refusal
        assert backend.search() == []

    def test_nor_does_one_come_back_that_is_deleted_while_it_is_sent(
        self, folder: Path, uri: str, backend: Backend
    ) -> None:
        journal = Journal(folder, new=True)
        journal.open(OPENING)
        journal.append("metrics", {"metrics": {"loss": 0.5}, "step": 1})

        def open_and_delete(opening: Opening) -> Tracker:
            tracker = backend.open_run(opening)
            connect(uri).delete_run(tracker.run_id)
            return tracker

        (refusal,) = delivery.send(journal, OPENING, open_and_delete)
        journal.release()
        assert "must be in the 'active' state" in refusal
        assert journals.read(folder).refused


def wait_until_sent(folder: Path) -> None:
    """Wait for the thread that sends a journal's entries."""
    until_s = time.monotonic() + LONG_S
    while journals.read(folder).unsent:
        assert time.monotonic() < until_s


class TestDamaged:
    """One bit of a file is another than was written."""

    def test_an_artifact_is_refused_and_holds_up_nothing_behind_it(self, folder: Path) -> None:
        memory = MemoryTracker()
        journal = Journal(folder, new=True)
        journal.open(OPENING)
        for path, content in (("damaged.csv", b"1,2,3"), ("sound.csv", b"4,5,6")):
            journal.append("artifact", {"path": path, "file": journal.keep(content)})
        journal.append("close", {"status": "FINISHED"})
        flip_a_bit(folder / journal.keep(b"1,2,3"), at=2)
        (refusal,) = delivery.send(journal, OPENING, lambda _: memory)
        journal.release()
        assert "was damaged: it does not have the digest that is its name" in refusal
        assert memory.artifacts == {"sound.csv": b"4,5,6"}
        assert memory.status == Status.FINISHED

    def test_a_model_is_refused(self, folder: Path) -> None:
        away = Away()
        tracker = JournalTracker(Journal(folder, new=True), OPENING, lambda _: Recording(away))
        tracker.log_model(save_model)
        tracker.close(Status.FINISHED)
        assert tracker.settle(0) is not None
        left(tracker)
        (weights,) = (folder / "files").rglob("weights")
        flip_a_bit(weights, at=3)
        journal = Journal(folder)
        (refusal,) = delivery.send(journal, OPENING, lambda _: Recording())
        journal.release()
        assert "the model of a journal, was damaged" in refusal

    @pytest.mark.parametrize("at", range(0, 20, 3))
    def test_the_count_of_what_was_sent_makes_no_entry_be_left_out(self, folder: Path, at: int) -> None:
        store = Recording()
        journal = Journal(folder, new=True)
        journal.open(OPENING)
        for epoch, loss in EPOCHS.items():
            journal.append("metrics", {"metrics": {"loss": loss}, "step": epoch})
        journal.mark_sent(2, store.run_id)
        flip_a_bit(folder / "sent", at)
        journal.append("close", {"status": "FINISHED"})
        delivery.send(journal, OPENING, lambda _: store)
        journal.release()
        assert [step for steps in store.steps for step in steps] == [1, 2]


def flip_a_bit(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x04
    file.write_bytes(data)
