"""Taking up a sweep or a run again: what is kept, what goes on, what is run (again), and that nobody does it twice."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mnist_exp.analysis import records
from mnist_exp.analysis.records import Record
from mnist_exp.config import RunConfig
from mnist_exp.errors import RunFailed, StoreError
from mnist_exp.identity import Identity
from mnist_exp.redaction import redact
from mnist_exp.text import received
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking import keyed, store
from mnist_exp.tracking.tracker import as_override

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
def claimed(parent: str, identity: Identity) -> Iterator[Claim]:
    """Claim a job of the sweep with the key ``parent``; a failure within is noted for other processes."""
    file = _claims(parent) / identity.fingerprint
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


def standing(uri: str, experiment: str, identity: Identity, parent: str | None) -> Standing:
    """What there is of the run with that identity: of the sweep whose parent run has that key, or single.

    While the store is away, what it said last (:func:`remember`) has to do.

    Raises:
        StoreError: the store cannot be asked, and was not before.
    """
    try:
        same = _same(uri, experiment, identity, parent)
    except StoreError:
        if parent not in _remembered:
            raise
        same = [each for each in _remembered[parent] if each.tags.get("fingerprint") == identity.fingerprint]
    if finished := [record for record in same if record.status == "FINISHED"]:
        return Standing(finished=finished[-1])
    for reading in map(journals.read, journals.folders(journals.root())):  # also what the store has not heard of yet
        opening = reading.opening
        if opening and (opening.parent, opening.tags.get("fingerprint")) == (parent, identity.fingerprint):
            if reading.resumable and not (parent is None and journals.in_use(reading.folder)):
                return Standing(journal=reading.folder)
            if reading.ended is None or reading.ended.content["status"] == "FINISHED":
                return Standing(elsewhere=True)
    for record in reversed(same):
        folder = journals.root() / record.tags.get("journal", "-")
        if record.status == "RUNNING" and not folder.is_dir():  # it is another host's
            return Standing(elsewhere=True)
    return Standing(superseded=tuple(record.run_id for record in same))


def _same(uri: str, experiment: str, identity: Identity, parent: str | None) -> list[Record]:
    client = store.connect(uri)
    there = records.twins(client, identity.fingerprint)
    if parent is None:
        own = store.experiment_id(client, uri, experiment)
        return [each for each in there if "mlflow.parentRunId" not in each.tags and each.experiment_id == own]
    with store.storing(uri):
        run_id = keyed.find(client, parent) if there else None
    if run_id is None:
        return []
    return [each for each in there if each.tags.get("mlflow.parentRunId") == run_id]


def why_afresh(uri: str, experiment: str, identity: Identity, name: str, config: RunConfig) -> str:
    """Why there is nothing of a single run called ``name`` to go on with."""
    client = store.connect(uri)
    own = store.experiment_id(client, uri, experiment)
    called_so = [each for each in records.everything(client) if (each.experiment_id, each.name) == (own, name)]
    if not called_so:
        return "there is no run of this command yet"
    return changes(identity, called_so[-1], called_so[-1:], [config]) or "nothing of it is left to go on from"


def changes(identity: Identity, last: Record, runs: Sequence[Record], configs: Sequence[RunConfig]) -> str:
    """What keeps the run or sweep ``last`` from being taken up under that identity; empty where nothing does.

    ``runs`` are its runs, ``configs`` what would be run now: a param that each has one value of is named.
    """
    differing = identity.differing(last.tags)
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
