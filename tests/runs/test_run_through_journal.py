"""A run that is written to a journal, which is sent to a store or waits for it."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prepared import prepared

from mnist_exp.base.errors import RunFailed
from mnist_exp.config.schema import RunConfig
from mnist_exp.metrics import Epoch
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import run
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker
from runs.conftest import Broken

pytestmark = pytest.mark.usefixtures("unchanged_checkout")

Composed = Callable[..., RunConfig]


Journalled = Callable[[Tracker], JournalTracker]


@pytest.fixture
def journalled(tmp_path: Path) -> Journalled:
    """Puts a journal in front of a store."""
    opening = Opening("KEY", "a run", "memory", "digits", None, {}, 1_000, journals.host())
    return lambda store: JournalTracker(Journal(tmp_path / "journal" / "KEY", new=True), opening, lambda _: store)


def test_through_a_journal_the_store_gets_all_that_it_gets_without_one(
    composed: Composed, job: Job, journalled: Journalled, whole_run: MemoryTracker
) -> None:
    config = composed("model.units=6", "optimizer.lr=0.01", "training.epochs=3")
    behind = journalled(store := MemoryTracker())
    run(prepared(config, job), behind, lambda _: None)
    assert behind.settle(0) is None
    assert (store.params, store.datasets, store.status) == (whole_run.params, whole_run.datasets, whole_run.status)
    assert store.artifacts.keys() == whole_run.artifacts.keys()
    assert store.tags.keys() == whole_run.tags.keys()
    assert {name: list(steps) for name, steps in store.metrics.items()} == {
        name: list(steps) for name, steps in whole_run.metrics.items()
    }
    assert store.metrics["val_loss"] == whole_run.metrics["val_loss"]


def test_a_run_finishes_while_its_store_is_away(
    composed: Composed, job: Job, journalled: Journalled, caplog: pytest.LogCaptureFixture
) -> None:
    config, behind = composed("training.epochs=1", "data.limit=100"), journalled(Broken())
    with caplog.at_level(logging.CRITICAL):
        run(prepared(config, job), behind, lambda _: None)
        unsent = behind.settle(0)
    assert unsent is not None
    assert unsent.reason == "disk full"
    ended = journals.read(behind.journal.folder).ended
    assert ended is not None
    assert ended.content == {"status": "FINISHED"}


def test_a_disk_that_fills_up_ends_a_run_failed_with_its_reason(
    composed: Composed,
    job: Job,
    journalled: Journalled,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The journal holds some room back for the last words."""
    config, behind, write = (
        composed("training.epochs=3", "data.limit=100"),
        journalled(store := MemoryTracker()),
        os.pwrite,
    )
    reserve = behind.journal.folder / "reserve"

    def full(file: int, data: bytes, place: int) -> int:
        if reserve.exists() and b'"val_loss"' in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed, match="No space left on device"):
        run(prepared(config, job), behind, lambda _: None)
    assert behind.settle(0) is None
    assert (store.status, store.tags["failure"]) == (Status.FAILED, "StoreError")
    assert "No space left on device" in store.artifacts["log/traceback.txt"].decode()


def test_ctrl_c_is_no_failure_of_the_store_even_when_there_is_one(
    composed: Composed, job: Job, journalled: Journalled, caplog: pytest.LogCaptureFixture
) -> None:
    behind = journalled(Broken())

    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    with caplog.at_level(logging.CRITICAL), pytest.raises(KeyboardInterrupt):
        run(prepared(composed("data.limit=100"), job), behind, interrupt)
    behind.settle(0)
    found = journals.read(behind.journal.folder)
    assert found.ended is not None
    assert found.ended.content == {"status": "KILLED"}
    assert {"failure": "interrupted"} in [entry.content for entry in found.entries if entry.kind == "tags"]
