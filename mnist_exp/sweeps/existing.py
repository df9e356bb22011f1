"""What exists of a run already: finished, interrupted, replaced, or run by another process; and what changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_exp.base.errors import StoreError
from mnist_exp.base.text import received
from mnist_exp.config.overrides import as_text
from mnist_exp.config.schema import RunConfig
from mnist_exp.runs.job import PreparedJob
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Record, Status
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


def failed_since(parent: str, time_ms: int) -> bool:
    """Return whether a run of the sweep that waits on disk failed after that time, in milliseconds since 1970."""
    ends = (each.ended for each in journals.of_sweep(parent) if each.ended is not None)
    return any(end.content.get("status") == Status.FAILED and end.time_ms > time_ms for end in ends)


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
