"""Taking up a sweep or a run again: what is kept, what goes on, what is run (again), and that nobody does it twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mnist_exp.analysis import records
from mnist_exp.analysis.records import Record
from mnist_exp.identity import Identity
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking import store


@dataclass(frozen=True)
class Standing:
    """What there is of a run already.

    Attributes:
        finished: the run itself, where it is done.
        journal: the journal of one that was interrupted after an epoch or more, and can go on.
        superseded: runs that a new one takes the place of.
        elsewhere: whether another process is at it.
    """

    finished: Record | None = None
    journal: Path | None = None
    superseded: tuple[Record, ...] = ()
    elsewhere: bool = False


@contextmanager
def claimed(parent: str, identity: Identity) -> Iterator[bool]:
    """Claim a job of the sweep whose parent run is ``parent``; False where another process has it."""
    folder = journals.root() / parent / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / identity.fingerprint, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def claims(parent: str) -> int:
    """How many jobs of a sweep are being run at the moment, by any process."""
    held = 0
    for file in (journals.root() / parent / "claims").glob("*"):
        lock = FileLock(file, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            held += 1
        else:
            lock.release()
    return held


def standing(uri: str, experiment: str, identity: Identity, parent: str | None) -> Standing:
    """What there is of the run with that identity: of the sweep with that parent run, or single.

    Raises:
        StoreError: the store cannot be asked.
    """
    client = store.connect(uri)
    there = records.twins(client, identity.fingerprint)
    if parent is not None:
        same = [record for record in there if record.tags.get("mlflow.parentRunId") == parent]
    else:
        own = store.experiment_id(client, uri, experiment)
        same = [each for each in there if "mlflow.parentRunId" not in each.tags and each.experiment_id == own]
    for record in reversed(same):
        if record.status == "FINISHED":
            return Standing(finished=record)
        folder = journals.root() / record.tags.get("journal", "-")
        if folder.is_dir() and journals.in_use(folder):
            return Standing(elsewhere=True)
        if folder.is_dir() and journals.read(folder).resumable:
            return Standing(journal=folder, superseded=tuple(each for each in same if each is not record))
        if record.status == "RUNNING":  # and its journal is not here: it is another host's
            return Standing(elsewhere=True)
    return Standing(superseded=tuple(same))


def supersede(uri: str, runs: tuple[Record, ...], by: str) -> None:
    """Mark runs whose place another has taken: they count no more."""
    with store.storing(uri):
        for record in runs:
            store.connect(uri).set_tag(record.run_id, "superseded", by)
