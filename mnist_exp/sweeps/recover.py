"""What waits in journals: sent to its store, and closed where the process that wrote it vanished."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_exp.base.errors import Refused, StoreAway, StoreError, first_line
from mnist_exp.sweeps import finalize
from mnist_exp.sweeps.finalize import Postponed
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking.mlflow import records, store
from mnist_exp.tracking.mlflow.records import Record
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Status, Tracker
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.entries import LINES, VANISHED
from mnist_exp.tracking.spool.journal import Busy, Gone, Journal, Reading

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


class State(StrEnum):
    """What became of a journal, or what it waits for."""

    RUNNING = "running"
    ELSEWHERE = "on another host"
    WAITING = "waiting"
    SENT = "sent"
    RANKED = "ranked"
    RESUMABLE = "resumable"
    UNREADABLE = "unreadable"
    REFUSED = "refused"


@dataclass(frozen=True)
class Found:
    """One journal.

    Attributes:
        name: what its run or sweep is called.
        entries: how many entries the store does not have, or how many were sent.
        vanished: whether its process ended without closing it.
        remark: what is to be known besides: why it waits, what was damaged or refused.
        is_away: whether it waits because its store does not answer.
    """

    folder: Path
    name: str
    state: State
    entries: int
    vanished: bool = False
    remark: str = ""
    is_away: bool = False


CloseSweep = Callable[[Reading, str, Tracker], None]
"""Closes the parent run of a sweep whose process did not, in the store at a URI; may raise StoreError."""


def sync(
    where: Path,
    close_sweep: CloseSweep,
    uri: str | None = None,
    hosts: tuple[str, ...] = (),
    only: str | None = None,
) -> Iterator[Found]:
    """Close what vanished, send what waits, runs before sweeps; to ``uri`` where given, else to its own store.

    A run of another host is left alone, for its process cannot be looked for from here; unless that host is among
    ``hosts``, which somebody says are gone. With ``only``, what is for other stores than that one is left for later.
    """
    away: dict[str, str] = {}  # a store that does not answer once is not asked for every run
    found = sorted(
        (journals.read(folder) for folder in journals.folders(where)), key=lambda each: each.jobs is not None
    )
    for earlier in found:
        reading = journals.read(earlier.folder)  # what happened before may have taken a while
        if only is not None and reading.uri != store.without_credentials(only):
            continue
        if (elsewhere := _elsewhere(reading, hosts)) is not None:
            yield elsewhere
            continue
        if (at_rest := _at_rest(reading)) is not None:
            yield at_rest
            continue
        if (remark := away.get(reading.uri)) is not None:
            yield _found(reading, State.WAITING, vanished=reading.ended is None, remark=remark)
            continue
        try:
            journal = Journal(reading.folder)
        except Busy:
            yield _found(reading, State.RUNNING)
            continue
        except Gone:
            continue
        except StoreError as error:
            yield _found(reading, State.WAITING, remark=str(error))
            continue
        # Read again, now that nobody else writes; but the last sign of life was another's.
        now = replace(journals.read(reading.folder), last_sign_ms=reading.last_sign_ms)
        settled = _settled(journal, now, close_sweep, uri, only)
        if settled is None:
            continue
        if settled.is_away:
            away[reading.uri] = settled.remark
        yield settled


def status(where: Path) -> list[Found]:
    """What lies in the journals, without changing or sending anything."""
    found = []
    for folder in journals.folders(where):
        reading = journals.read(folder)
        elsewhere = _elsewhere(reading, ())
        if elsewhere is not None:
            found.append(elsewhere)
        elif journals.in_use(folder):
            found.append(_found(reading, State.RUNNING))
        elif (at_rest := _at_rest(reading)) is not None:
            found.append(at_rest)
        else:
            found.append(_found(reading, State.WAITING, vanished=reading.ended is None))
    return found


def _settled(
    journal: Journal, reading: Reading, close_sweep: CloseSweep, uri: str | None, only: str | None
) -> Found | None:
    vanished, waiting = reading.ended is None, reading.unsent
    if not reading.entries and reading.opening is None and not reading.damaged:
        journal.remove()  # its process ended before it had written a line
        return None
    try:
        if reading.opening is None:
            return _found(reading, State.UNREADABLE, remark="its first line is damaged: nothing says whose it was")
        is_open_sweep = reading.jobs is not None and (vanished or reading.left)
        if vanished and not is_open_sweep:
            journal.append("tags", {"failure": VANISHED}, reading.last_sign_ms)
            journal.append("close", {"status": Status.KILLED.value}, reading.last_sign_ms)
        told = any("journal.damaged" in entry.content for entry in reading.entries if entry.kind == "tags")
        if reading.damaged and not told:
            lines = ", ".join(map(str, reading.damaged))
            journal.append("tags", {"journal.damaged": f"lines {lines}"})
        from mnist_exp.tracking.mlflow import keyed

        if uri is not None:  # another store, which has nothing of what was sent before
            journal.sent = 0
        target = uri or _uri(reading.uri)
        if uri is None and only is not None:
            target = only  # the same store, with the credentials that were given
        deliver = keyed.deliver(target)
        if is_open_sweep:
            parent = deliver(reading.opening)
            refused = delivery.send(journal, reading.opening, deliver)
            close_sweep(reading, target, parent)
            journal.remove()
            return _found(reading, State.RANKED, waiting, vanished, "; ".join(refused))
        refused = delivery.send(journal, reading.opening, deliver)
        remark = f"damaged lines: {len(reading.damaged)}" if reading.damaged else ""
        if refused:
            return _found(reading, State.REFUSED, waiting, vanished, refused[0])
        after = journals.read(journal.folder)
        if after.resumable:
            return _found(reading, State.RESUMABLE, waiting, vanished, remark)
        journal.remove()
        return _found(reading, State.SENT, waiting, vanished, remark)
    except Refused as error:  # the parent run of a sweep was deleted: there is nothing left to close
        journal.remove()
        return _found(reading, State.REFUSED, vanished=vanished, remark=str(error))
    except StoreError as error:
        found = _found(journals.read(journal.folder), State.WAITING, remark=str(error))
        return replace(found, is_away=isinstance(error, StoreAway))
    except Exception as error:
        log.exception("the journal %s could not be sent", reading.folder)
        return _found(reading, State.WAITING, vanished=vanished, remark=f"{type(error).__name__}: {first_line(error)}")
    finally:
        journal.release()


def _found(
    reading: Reading, state: State, entries: int | None = None, vanished: bool = False, remark: str = ""
) -> Found:
    name = reading.opening.name if reading.opening else reading.folder.name
    return Found(reading.folder, name, state, reading.unsent if entries is None else entries, vanished, remark)


def _elsewhere(reading: Reading, hosts: tuple[str, ...]) -> Found | None:
    if reading.ended is not None or reading.host in (None, journals.host(), *hosts):
        return None
    return _found(reading, State.ELSEWHERE, remark=f"on {reading.host}")


def _at_rest(reading: Reading) -> Found | None:
    """A journal of which the store has all that it will take, and which is kept all the same."""
    if reading.unsent:
        return None
    if reading.refused and reading.ended is not None and not reading.left:
        return _found(reading, State.REFUSED, remark=reading.refused)
    return _found(reading, State.RESUMABLE) if reading.resumable else None


def _uri(redacted: str) -> str:
    """The URI of a journal's store, with the credentials that the environment has for it.

    Raises:
        StoreError: its database is gone.
    """
    database = store.sqlite_file(redacted)
    if database is not None and not database.exists():
        raise StoreError(f"{database} is gone: give the store's new place with --uri sqlite:///FILE")
    now = store.resolve(None)
    return now if store.without_credentials(now) == redacted else redacted


def close_orphans(uri: str, gone: Sequence[str] = ()) -> Iterator[Record]:
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
        finalize.close(_sweep(record, uri), tracker, interrupted=True, time_ms=last_s * 1000, reason=VANISHED)
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
