"""How a run that is written to a journal ends: what cannot be made, what becomes of the journal."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recording import DATASET, LONG_S, OPENING, Begin, Recording, say_everything

from mnist_exp.base.errors import StoreAway, StoreError
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.tracker import begin_run, settle_runs


class Unmakeable(Exception):
    pass


def fail(*_: object) -> bytes:
    raise Unmakeable("the figure\ncannot be drawn")


def fail_to_save(_: Path) -> None:
    fail()


class TestEnding:
    @pytest.mark.parametrize("kind", ["artifact", "model"])
    def test_what_cannot_be_made_turns_finished_into_failed(self, begin: Begin, kind: str) -> None:
        memory = MemoryTracker()
        tracker = begin(memory)
        if kind == "artifact":
            tracker.log_artifact("loss.png", fail)
        else:
            tracker.log_model(fail_to_save)
        tracker.log_artifact("lr.png", lambda: b"the others are made")
        tracker.close(Status.FINISHED)
        with pytest.raises(Unmakeable):
            tracker.settle(0)
        assert memory.status == Status.FAILED
        assert (memory.tags["failure"], memory.tags["failure.message"]) == ("Unmakeable", "the figure")
        assert b"Unmakeable: the figure" in memory.artifacts["log/traceback.txt"]
        assert memory.artifacts["lr.png"] == b"the others are made"
        assert memory.model is None

    @pytest.mark.parametrize("status", [Status.FAILED, Status.KILLED])
    def test_but_a_run_that_ended_otherwise_keeps_its_reason(self, begin: Begin, status: Status) -> None:
        memory = MemoryTracker()
        tracker = begin(memory)
        tracker.log_artifact("loss.png", fail)
        tracker.set_tags({"failure": "its own"})
        tracker.close(status)
        with pytest.raises(Unmakeable):
            tracker.settle(0)
        assert (memory.status, memory.tags["failure"]) == (status, "its own")

    @pytest.mark.parametrize(
        "call",
        [
            lambda tracker: tracker.log_params({"too": "late"}),
            lambda tracker: tracker.log_metrics(Measurement({"too": 0.0})),
            lambda tracker: tracker.set_tags({"too": "late"}),
            lambda tracker: tracker.log_artifact("too.late", b""),
            lambda tracker: tracker.log_artifact("too.late", lambda: b""),
            lambda tracker: tracker.log_dataset(DATASET, "too late"),
            lambda tracker: tracker.log_model(lambda _: None),
            lambda tracker: tracker.close(Status.KILLED),
        ],
        ids=["params", "metrics", "tags", "artifact", "lazy artifact", "dataset", "model", "close"],
    )
    def test_nothing_can_be_said_after_close(self, begin: Begin, call: Callable[[Tracker], None]) -> None:
        memory = MemoryTracker()
        tracker = begin(memory)
        tracker.close(Status.FINISHED)
        with pytest.raises(StoreError, match="run KEY is closed"):
            call(tracker)
        assert tracker.settle(0) is None
        assert memory == MemoryTracker(status=Status.FINISHED, ended_ms=memory.ended_ms)
        assert journals.folders(tracker.journal.folder.parent) == []

    @pytest.mark.parametrize("status", list(Status))
    def test_the_journal_of_a_run_that_was_sent_whole_is_deleted(self, begin: Begin, status: Status) -> None:
        tracker = begin(MemoryTracker())
        say_everything(tracker)
        tracker.close(status)
        assert tracker.settle(0) is None
        assert not tracker.journal.folder.exists()

    def test_a_killed_run_keeps_it_where_there_is_a_checkpoint(self, begin: Begin) -> None:
        tracker = begin(MemoryTracker())
        (tracker.journal.folder / "checkpoint.npz").write_bytes(b"weights")
        tracker.close(Status.KILLED)
        assert tracker.settle(0) is None
        assert journals.read(tracker.journal.folder).resumable
        assert not journals.in_use(tracker.journal.folder)

    def test_from_there_it_goes_on_and_ends_another_time(self, begin: Begin) -> None:
        store = Recording()
        tracker = begin(store)
        (tracker.journal.folder / "checkpoint.npz").write_bytes(b"weights")
        tracker.log_params({"seed": 17})
        tracker.close(Status.KILLED, 1000)
        tracker.settle(0)
        again = begin(store)
        again.resume()
        again.close(Status.FINISHED, 2000)
        assert again.settle(0) is None
        assert store.told == [
            ("params", {"seed": 17}),
            ("close", (Status.KILLED, 1000)),
            ("resume", None),
            ("close", (Status.FINISHED, 2000)),
        ]
        assert not again.journal.folder.exists()

    def test_a_run_that_nobody_closed_keeps_it_too(self, begin: Begin) -> None:
        tracker = begin(MemoryTracker())
        tracker.log_params({"seed": 17})
        assert tracker.settle(0) is None
        assert journals.read(tracker.journal.folder).ended is None

    def test_so_does_one_whose_end_could_not_be_written(self, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
        """The store still takes it for a running one; whoever finds the journal will close it."""

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        tracker = begin(memory := MemoryTracker())
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            tracker.close(Status.FINISHED)
            with pytest.raises(StoreError, match="No space left on device"):
                tracker.settle(0)
        assert memory.status is None
        assert tracker.journal.folder.exists()

    def test_a_run_that_ended_and_was_sent_whole_holds_nothing(self, begin: Begin) -> None:
        """A sweep of a thousand runs has no thousand threads, locks and open files."""
        store = Recording()
        tracker = begin(store)
        tracker.close(Status.FINISHED)
        store.wait_for("close")
        for thread in threading.enumerate():
            if thread.name == "sender of KEY":
                thread.join(LONG_S)
                assert not thread.is_alive()
        assert tracker.settle(0) is None


def test_many_runs_go_on_at_once(uri: str, journals_root: Path) -> None:
    """The store is away: none is let go while it has more to say."""
    backend = Gone()
    openings = [replace(OPENING, key=f"run {number}", uri=uri, parent=None) for number in range(20)]
    runs = [begin_run(opening, backend) for opening in openings]  # type: ignore[arg-type]
    for run in runs:
        run.log_metrics(Measurement({"loss": 0.5}, 1))
        run.close(Status.FINISHED)
    delivery = settle_runs(0)
    assert sorted((name, each.entries) for name, each in delivery.unsent) == [("a run", 2)] * 20
    assert len(journals.folders(journals_root)) == 20


class Gone:
    """A store that does not answer."""

    def open_run(self, _: Opening) -> Tracker:
        raise StoreAway("no answer")


FORK = """
import os, sys
from mnist_exp.tracking.spool.tracker import _worker
_worker().submit(int).result()
child = os.fork()
if not child:
    os._exit(_worker().submit(int).result(timeout=60))
sys.exit(os.waitpid(child, 0)[1] != 0)
"""


def test_a_forked_process_makes_files_in_a_thread_of_its_own() -> None:
    """Some launchers fork: a thread of the process before would be waited for in vain."""
    assert subprocess.run([sys.executable, "-c", FORK], check=False, timeout=300).returncode == 0
