"""Runs that the store takes for running, of which there is no journal here and no sign of life any more."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mnist_exp.analysis import records
from mnist_exp.analysis.records import Record
from mnist_exp.errors import Refused
from mnist_exp.sweeps import ending
from mnist_exp.sweeps.ending import Postponed
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking import store
from mnist_exp.tracking.entries import LINES, VANISHED
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient


def close(uri: str, gone: Sequence[str] = ()) -> Iterator[Record]:
    """Close them as KILLED, as of their last sign of life, runs before sweeps; those of ``gone`` hosts at once.

    One that was only cut off takes that back as soon as it reaches the store again (``MlflowTracker.alive``).

    Raises:
        StoreError: the store is away.
    """
    client = store.connect(uri)
    for found in sorted(records.running(client), key=_is_sweep):
        try:
            if _closed(client, uri, found.run_id, gone):
                yield found
        except (Postponed, Refused):  # it waits for its runs, or was deleted
            continue


def _closed(client: "MlflowClient", uri: str, run_id: str, gone: Sequence[str]) -> bool:
    """Close a run if it is one of them still: what came before may have taken a while."""
    record = records.find(client, run_id)
    last_s, key = record.last_sign_s, record.tags.get("journal")
    if record.status != "RUNNING" or last_s is None or key is None or (journals.root() / key / LINES).exists():
        return False
    if record.goes_on and record.tags.get("host") not in gone:
        return False
    tracker = MlflowTracker(client, uri, run_id)
    if _is_sweep(record):
        ending.close(_sweep(record, uri), tracker, interrupted=True, time_ms=last_s * 1000, reason=VANISHED)
    else:
        if "failure" not in record.tags:  # it may have said why, and not that
            tracker.set_tags({"failure": VANISHED})
        tracker.close(Status.KILLED, last_s * 1000)
    return True


def _is_sweep(record: Record) -> bool:
    return record.tags.get("kind") == "sweep"


def _sweep(record: Record, uri: str) -> Sweep:
    keys = tuple(filter(None, record.tags.get("sweep.keys", "").split(", ")))
    total = record.tags.get("sweep.jobs", "")
    return Sweep(record.tags["journal"], uri, keys, int(total) if total.isdecimal() else 0)
