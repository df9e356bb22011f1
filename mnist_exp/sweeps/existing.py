"""What exists of a run already: finished, interrupted, replaced, or run by another process; and what changed since."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mnist_exp.base.errors import RunFailed, StoreError
from mnist_exp.base.text import received
from mnist_exp.config.overrides import as_text
from mnist_exp.config.schema import RunConfig
from mnist_exp.runs.job import PreparedJob
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Record
from mnist_exp.tracking.spool import journal as journals

# Params that are ignored when runs are compared: they say how the data were asked for, not which data they are.
_IGNORED = {"data", "data.path"}

# What the store had of a sweep when it was last asked, by the key of its parent run.
_remembered: dict[str | None, Sequence[Record]] = {}


@dataclass(frozen=True)
class Existing:
    """What exists of a run already.

    Attributes:
        finished: the run, if it is done.
        journal: the journal of one that was interrupted after its first epoch, and can be resumed.
        replaced: the ids of the runs that a new one replaces.
        elsewhere: whether another process runs it.
    """

    finished: Record | None = None
    journal: Path | None = None
    replaced: tuple[str, ...] = ()
    elsewhere: bool = False


@dataclass(frozen=True)
class Claim:
    """A job of a sweep that this process asked for.

    Attributes:
        is_ours: True if this process got it, False if another has it.
        is_new: whether no process had it before.
        failed_ms: when it last failed, in milliseconds since 1970; 0 if it did not.
    """

    is_ours: bool
    is_new: bool
    failed_ms: int = 0


@contextmanager
def claimed(parent: str, fingerprint: Fingerprint) -> Iterator[Claim]:
    """Claim a job of the sweep with the key ``parent``; a failure within is noted for other processes."""
    file = _claims(parent) / fingerprint.digest
    is_new, lock = not file.exists(), FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield Claim(is_ours=False, is_new=False)
        return
    note = file.with_suffix(".failed")
    try:
        yield Claim(True, is_new, _written_ms(note))
    except (RunFailed, StoreError):
        note.touch()
        raise
    finally:
        lock.release()


def others_at_work(parent: str) -> bool:
    """Return whether a process, such as a launcher's worker, is running a job of the sweep."""
    folder = journals.root() / parent / "claims"
    return any(journals.is_locked(file) for file in folder.glob("*") if file.suffix != ".failed")


def failed_since(parent: str, time_ms: int) -> bool:
    """Return whether a job of the sweep failed after that time, in milliseconds since 1970, in any process."""
    notes = (journals.root() / parent / "claims").glob("*.failed")
    return any(_written_ms(note) > time_ms for note in notes)


def _written_ms(file: Path) -> int:
    """Return when a file was written, in milliseconds since 1970; 0 if it does not exist."""
    try:
        return file.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def _claims(parent: str) -> Path:
    folder = journals.root() / parent / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def existing(job: PreparedJob, parent: str | None) -> Existing:
    """Find what exists of a job's run already, by its fingerprint.

    While the store is away, what it had when it was last asked (:func:`remember`) is used.

    Args:
        job: the job.
        parent: the key of its sweep's parent run; None for a single run.

    Raises:
        StoreError: the store cannot be asked, and was not asked before.
    """
    digest = job.fingerprint.digest
    try:
        same = _same(job, parent)
    except StoreError:
        if parent not in _remembered:
            raise
        same = [each for each in _remembered[parent] if each.tags.get("fingerprint") == digest]
    if finished := [record for record in same if record.status == "FINISHED"]:
        return Existing(finished=finished[-1])
    for reading in map(journals.read, journals.folders(journals.root())):  # the store may not have heard of it yet
        opening = reading.opening
        if opening and (opening.parent, opening.tags.get("fingerprint")) == (parent, digest):
            if reading.resumable and not (parent is None and journals.in_use(reading.folder)):
                return Existing(journal=reading.folder)
            if reading.ended is None or reading.ended.content["status"] == "FINISHED":
                return Existing(elsewhere=True)
    for record in reversed(same):
        folder = journals.root() / record.tags.get("journal", "-")
        if record.status == "RUNNING" and not folder.is_dir():  # on another host
            return Existing(elsewhere=True)
    return Existing(replaced=tuple(record.run_id for record in same))


def _same(job: PreparedJob, parent: str | None) -> list[Record]:
    """Return the runs with the job's fingerprint that belong to the same sweep, or are single as it is."""
    there = queries.with_fingerprint(job.backend, job.fingerprint.digest)
    if parent is None:
        own = job.backend.experiment(job.experiment)
        return [each for each in there if "mlflow.parentRunId" not in each.tags and each.experiment_id == own]
    record = job.backend.find_key(parent) if there else None
    if record is None:
        return []
    return [each for each in there if each.tags.get("mlflow.parentRunId") == record.run_id]


def why_afresh(job: PreparedJob) -> str:
    """Say why a single run that was to be resumed begins anew."""
    own = job.backend.experiment(job.experiment)
    with_name = [
        each for each in queries.everything(job.backend) if (each.experiment_id, each.name) == (own, job.job.name)
    ]
    if not with_name:
        return "there is no run of this command yet"
    changed = changes(job.fingerprint, with_name[-1], with_name[-1:], [job.config])
    return changed or "nothing of it is left to go on from"


def changes(fingerprint: Fingerprint, last: Record, runs: Sequence[Record], configs: Sequence[RunConfig]) -> str:
    """Say what keeps a run or sweep from being resumed; empty if nothing does.

    Args:
        fingerprint: that of what would run now.
        last: the run or sweep.
        runs: its runs.
        configs: what would run now. A param that has one value in all of ``runs`` and another in all of these is named.
    """
    differing = fingerprint.differing(last.tags)
    before = _shared([each.params for each in runs])
    now = _shared([as_text(each.params()) for each in configs])
    params = [
        f"{key} was {received(before[key])}, is {received(now[key])}"
        for key in sorted((before.keys() & now.keys()) - _IGNORED)
        if before[key] != now[key]
    ]
    words = [f"config ({', '.join(params)})" if each == "config" and params else each for each in differing]
    return f"since then {' and '.join(words)} changed" if words else ""


def _shared(many: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the entries that are the same in all of them."""
    first = many[0] if many else {}
    return {key: text for key, text in first.items() if all(each.get(key) == text for each in many)}


def remember(parent: str, runs: Sequence[Record]) -> None:
    """Keep what the store has of a sweep, for when it is away."""
    _remembered[parent] = runs
