"""One job of a command: run, taken up again, or kept as it is, by one process alone."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from mnist_exp.base.errors import RunFailed, StoreError
from mnist_exp.base.text import received, redact
from mnist_exp.config.schema import RunConfig
from mnist_exp.data.datasets import Dataset
from mnist_exp.metrics import Epoch
from mnist_exp.runs import provenance
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.runs.run import Job, Progress, Result, run

if TYPE_CHECKING:
    from mnist_exp.sweeps.sweep import Sweep

from mnist_exp.tracking.mlflow import keyed, records, store
from mnist_exp.tracking.mlflow.records import Record
from mnist_exp.tracking.protocols import as_override
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.tracker import begin_run, new_opening, take_up_run
from mnist_exp.tracking.system_metrics import Watch
from mnist_exp.training import checkpoint

# A job that failed in another process since this one began was run again already.
_BEGAN_MS = int(time.time() * 1000)


@dataclass(frozen=True)
class Kept:
    """A run that an earlier command finished."""

    record: Record


@dataclass(frozen=True)
class Elsewhere:
    """A run that another process is at."""


Shown = Callable[[int], AbstractContextManager[Callable[[Epoch], None]]]
"""Shows a run's epochs, given how many are done; within it, what is to be called with each further one."""


def do(
    config: RunConfig,
    job: Job,
    dataset: Dataset,
    uri: str,
    sweep: "Sweep | None",
    show: Shown,
    warn: Callable[[str], None],
    *,
    watched: bool,
) -> Result | Kept | Elsewhere:
    """Do a job, unless it is done or another process does it.

    ``warn`` is told why a single run that was to be resumed is not. With ``watched``, the machine's load is measured
    meanwhile.

    Raises:
        RunFailed: it could not finish.
        StoreError: its journal cannot be written, or the store be asked what there is of it.
    """
    own = provenance.fingerprint_of(config, dataset)
    with claimed(sweep.key, own) if sweep else nullcontext(Claim(True, True)) as claim:
        if not claim.is_ours or (config.resume and claim.failed_ms > _BEGAN_MS):
            return Elsewhere()
        experiment = store.experiment_name(config.tracking, dataset.name)
        parent = sweep.key if sweep else None
        before = standing(uri, experiment, own, parent) if config.resume or not claim.is_new else Standing()
        if before.finished is not None:
            return Kept(before.finished)
        if before.elsewhere:
            return Elsewhere()
        if config.resume and sweep is None and before == Standing():
            warn(f"not resumed: {why_afresh(uri, experiment, own, job.name, config)}; the run starts afresh")
        told = done = 0
        if before.journal is not None:
            tracker, told = take_up_run(before.journal, uri)
            reached = checkpoint.load(before.journal / journal.CHECKPOINT)
            done = len(reached.epochs) if reached else 0
            job = replace(job, resumed=f"from-epoch-{done + 1}")
        else:
            tags = {"kind": "run", **own.tags()}
            if before.superseded:
                tags["supersedes"] = " ".join(before.superseded)
            tracker = begin_run(new_opening(job.name, uri, experiment, parent, tags), uri)
        watch = Watch(tracker) if watched else None
        try:
            with show(done) as on_epoch:
                progress = Progress(tracker.journal.folder / journal.CHECKPOINT, told)
                return run(config, job, dataset, tracker, on_epoch, progress)
        finally:
            if watch is not None:
                watch.stop()


# Params of a run by which it is not told from others: how its data were asked for.
_NO_CONFIG = {"data", "data.path"}

_remembered: dict[str | None, Sequence[Record]] = {}


@dataclass(frozen=True)
class Standing:
    """What there is of a run already.

    Attributes:
        finished: the run itself, where it is done.
        journal: the journal of one that was interrupted after an epoch or more, and can go on.
        superseded: the ids of the runs whose place a new one takes.
        elsewhere: whether another process is at it.
    """

    finished: Record | None = None
    journal: Path | None = None
    superseded: tuple[str, ...] = ()
    elsewhere: bool = False


@dataclass(frozen=True)
class Claim:
    """A job of a sweep, asked for by this process.

    Attributes:
        is_ours: whether it got it; another process has it else.
        is_new: whether nobody had it before.
        failed_ms: when it last failed, in milliseconds since 1970; 0 where it did not.
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
    """Whether a process, such as a launcher's worker, is running a job of the sweep."""
    folder = journals.root() / parent / "claims"
    return any(journals.is_locked(file) for file in folder.glob("*") if file.suffix != ".failed")


def failed_since(parent: str, time_ms: int) -> bool:
    """Whether a job of the sweep failed after that time, in milliseconds since 1970, in whichever process."""
    notes = (journals.root() / parent / "claims").glob("*.failed")
    return any(_written_ms(note) > time_ms for note in notes)


def _written_ms(file: Path) -> int:
    """When a file was written, in milliseconds since 1970; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def _claims(parent: str) -> Path:
    folder = journals.root() / parent / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def standing(uri: str, experiment: str, fingerprint: Fingerprint, parent: str | None) -> Standing:
    """What there is of the run with that fingerprint: of the sweep whose parent run has that key, or single.

    While the store is away, what it said last (:func:`remember`) has to do.

    Raises:
        StoreError: the store cannot be asked, and was not before.
    """
    try:
        same = _same(uri, experiment, fingerprint, parent)
    except StoreError:
        if parent not in _remembered:
            raise
        same = [each for each in _remembered[parent] if each.tags.get("fingerprint") == fingerprint.digest]
    if finished := [record for record in same if record.status == "FINISHED"]:
        return Standing(finished=finished[-1])
    for reading in map(journals.read, journals.folders(journals.root())):  # also what the store has not heard of yet
        opening = reading.opening
        if opening and (opening.parent, opening.tags.get("fingerprint")) == (parent, fingerprint.digest):
            if reading.resumable and not (parent is None and journals.in_use(reading.folder)):
                return Standing(journal=reading.folder)
            if reading.ended is None or reading.ended.content["status"] == "FINISHED":
                return Standing(elsewhere=True)
    for record in reversed(same):
        folder = journals.root() / record.tags.get("journal", "-")
        if record.status == "RUNNING" and not folder.is_dir():  # it is another host's
            return Standing(elsewhere=True)
    return Standing(superseded=tuple(record.run_id for record in same))


def _same(uri: str, experiment: str, fingerprint: Fingerprint, parent: str | None) -> list[Record]:
    client = store.connect(uri)
    there = records.twins(client, fingerprint.digest)
    if parent is None:
        own = store.experiment_id(client, uri, experiment)
        return [each for each in there if "mlflow.parentRunId" not in each.tags and each.experiment_id == own]
    with store.storing(uri):
        run_id = keyed.find(client, parent) if there else None
    if run_id is None:
        return []
    return [each for each in there if each.tags.get("mlflow.parentRunId") == run_id]


def why_afresh(uri: str, experiment: str, fingerprint: Fingerprint, name: str, config: RunConfig) -> str:
    """Why there is nothing of a single run called ``name`` to go on with."""
    client = store.connect(uri)
    own = store.experiment_id(client, uri, experiment)
    called_so = [each for each in records.everything(client) if (each.experiment_id, each.name) == (own, name)]
    if not called_so:
        return "there is no run of this command yet"
    return changes(fingerprint, called_so[-1], called_so[-1:], [config]) or "nothing of it is left to go on from"


def changes(fingerprint: Fingerprint, last: Record, runs: Sequence[Record], configs: Sequence[RunConfig]) -> str:
    """What keeps the run or sweep ``last`` from being taken up under that fingerprint; empty where nothing does.

    ``runs`` are its runs, ``configs`` what would be run now: a param that each has one value of is named.
    """
    differing = fingerprint.differing(last.tags)
    before = _shared([each.params for each in runs])
    now = _shared([{key: redact(as_override(value)) for key, value in each.params().items()} for each in configs])
    params = [
        f"{key} was {received(before[key])}, is {received(now[key])}"
        for key in sorted((before.keys() & now.keys()) - _NO_CONFIG)
        if before[key] != now[key]
    ]
    words = [f"config ({', '.join(params)})" if each == "config" and params else each for each in differing]
    return f"since then {' and '.join(words)} changed" if words else ""


def _shared(many: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What is the same in all of them."""
    first = many[0] if many else {}
    return {key: text for key, text in first.items() if all(each.get(key) == text for each in many)}


def remember(parent: str, runs: Sequence[Record]) -> None:
    """Keep what the store has of a sweep, in case that it is away when it is asked."""
    _remembered[parent] = runs
