"""Runs that the store takes for running, of which there is no journal here and no sign of life any more."""

from collections.abc import Iterator, Sequence

from mnist_exp.analysis import records
from mnist_exp.analysis.records import Record
from mnist_exp.sweeps import ending
from mnist_exp.sweeps.ending import Postponed
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking import store
from mnist_exp.tracking.entries import LINES, VANISHED
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Status


def close(uri: str, gone: Sequence[str] = ()) -> Iterator[Record]:
    """Close them as KILLED, as of their last sign of life, runs before sweeps; those of ``gone`` hosts at once.

    One that was only cut off takes that back as soon as it reaches the store again (``MlflowTracker.alive``).

    Raises:
        StoreError: the store is away.
    """
    client = store.connect(uri)
    for found in sorted(records.running(client), key=_is_sweep):
        record = records.find(client, found.run_id)  # what came before may have taken a while
        last_s = record.last_sign_s
        if record.status != "RUNNING" or last_s is None or "journal" not in record.tags:
            continue
        if (journals.root() / record.tags["journal"] / LINES).exists():
            continue
        if record.goes_on and record.tags.get("host") not in gone:
            continue
        tracker = MlflowTracker(client, uri, record.run_id)
        if _is_sweep(record):
            try:
                ending.close(_sweep(record, uri), tracker, interrupted=True, time_ms=last_s * 1000, reason=VANISHED)
            except Postponed:
                continue
        else:
            if "failure" not in record.tags:  # it may have said why, and not that
                tracker.set_tags({"failure": VANISHED})
            tracker.close(Status.KILLED, last_s * 1000)
        yield record


def _is_sweep(record: Record) -> bool:
    return record.tags.get("kind") == "sweep"


def _sweep(record: Record, uri: str) -> Sweep:
    keys = tuple(filter(None, record.tags.get("sweep.keys", "").split(", ")))
    return Sweep(record.tags["journal"], uri, keys, int(record.tags.get("sweep.jobs", "0")))
