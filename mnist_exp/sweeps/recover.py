"""Recovers what earlier commands left: sends waiting journals to their stores, and closes runs that vanished.

A run has vanished if its process ended without closing it: nobody holds the lock of its journal. Whether a run of
another host has vanished cannot be known from here: it is closed if a user says that the host is gone.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mnist_exp.base.errors import Refused, StoreAway, StoreError, first_line
from mnist_exp.sweeps.sweep import Postponed, Sweep
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow import sqlite
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import uri_from_config, without_credentials
from mnist_exp.tracking.protocols import Backend, Record, Status, Tracker
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.entries import LINES, VANISHED
from mnist_exp.tracking.spool.journal import Busy, Gone, Journal, Reading

log = logging.getLogger(__name__)


class State(StrEnum):
    """What became of a journal, or what it waits for; the values are shown to users."""

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
    """A journal, and what became of it or what it waits for.

    Attributes:
        folder: the journal's folder.
        name: the name of its run or sweep.
        entries: number of entries that were sent now; or that wait, if the state is one of waiting.
        vanished: whether its process ended without closing it.
        remark: why it waits, or what was damaged or rejected; empty if nothing.
        is_away: whether it waits because its store does not answer.
    """

    folder: Path
    name: str
    state: State
    entries: int
    vanished: bool = False
    remark: str = ""
    is_away: bool = False


def recover(backend: Backend) -> list[Found]:
    """Send the journals that wait for a store; every command begins with it.

    If the store does not answer, nothing is raised: the command itself reports what it cannot read.
    """
    return list(sync(journals.root(), only=backend.uri))


def sync(
    folder: Path, uri: str | None = None, gone_hosts: Sequence[str] = (), only: str | None = None
) -> Iterator[Found]:
    """Send every waiting journal; close the runs and rank the sweeps that vanished; yield each journal, runs first.

    Args:
        folder: the folder of the journals.
        uri: the store to send to; None for the one that each journal is for.
        gone_hosts: hosts that a user declared gone. An open journal of any other host is skipped: whether its process
            still runs cannot be checked from here.
        only: skip journals for other stores than this one.
    """
    away: dict[str, str] = {}  # why a store does not answer, by its URI: it is asked once, not for every run
    found = sorted((journals.read(each) for each in journals.folders(folder)), key=lambda each: each.jobs is not None)
    for earlier in found:
        reading = journals.read(earlier.folder)  # again: sending the journals before it may have taken a while
        if only is not None and reading.uri != without_credentials(only):
            continue
        if (elsewhere := _on_another_host(reading, gone_hosts)) is not None:
            yield elsewhere
            continue
        if (kept := _kept(reading)) is not None:
            yield kept
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
        # Read again, now that no other process can write; the heartbeat is the one from before this process opened it.
        now = replace(journals.read(reading.folder), last_heartbeat_ms=reading.last_heartbeat_ms)
        sent = _send(journal, now, uri, only)
        if sent is None:
            continue
        if sent.is_away:
            away[reading.uri] = sent.remark
        yield sent


def status(where: Path) -> list[Found]:
    """Return every journal below ``where`` and what it waits for, without changing or sending anything."""
    found = []
    for folder in journals.folders(where):
        reading = journals.read(folder)
        elsewhere = _on_another_host(reading, ())
        if elsewhere is not None:
            found.append(elsewhere)
        elif journals.in_use(folder):
            found.append(_found(reading, State.RUNNING))
        elif (kept := _kept(reading)) is not None:
            found.append(kept)
        else:
            found.append(_found(reading, State.WAITING, vanished=reading.ended is None))
    return found


def _send(journal: Journal, reading: Reading, uri: str | None, only: str | None) -> Found | None:
    """Close a journal's run or sweep if it vanished, and send the journal; it is released or deleted.

    Returns None if it had no entries.
    """
    vanished, waiting = reading.ended is None, reading.unsent
    if not reading.entries and reading.opening is None and not reading.damaged:
        journal.remove()  # its process ended before it wrote the first line
        return None
    try:
        if reading.opening is None:
            return _found(reading, State.UNREADABLE, remark="its first line is damaged: its run is not known")
        is_open_sweep = reading.jobs is not None and (vanished or reading.is_unranked)
        if vanished and not is_open_sweep:
            journal.append("tags", {"failure": VANISHED}, reading.last_heartbeat_ms)
            journal.append("close", {"status": Status.KILLED.value}, reading.last_heartbeat_ms)
        tagged = any("journal.damaged" in entry.content for entry in reading.entries if entry.kind == "tags")
        if reading.damaged and not tagged:
            lines = ", ".join(map(str, reading.damaged))
            journal.append("tags", {"journal.damaged": f"lines {lines}"})
        if uri is not None:  # another store, which has none of the entries that were sent before
            journal.mark_sent(0, "")
        target = uri or _uri(reading.uri)
        if uri is None and only is not None:
            target = only  # the same store, with the credentials that were given
        backend = open_backend(target)
        if is_open_sweep:
            parent = backend.open_run(reading.opening)
            refused = delivery.send(journal, reading.opening, backend.open_run)
            problem = _finalize(reading, target, parent)
            journal.remove()
            return _found(reading, State.RANKED, waiting, vanished, "; ".join([*refused, *problem]))
        refused = delivery.send(journal, reading.opening, backend.open_run)
        remark = f"damaged lines: {len(reading.damaged)}" if reading.damaged else ""
        if refused:
            return _found(reading, State.REFUSED, waiting, vanished, refused[0])
        after = journals.read(journal.folder)
        if after.resumable:
            return _found(reading, State.RESUMABLE, waiting, vanished, remark)
        journal.remove()
        return _found(reading, State.SENT, waiting, vanished, remark)
    except Refused as error:  # the sweep's parent run was deleted, so it cannot be closed
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


def _on_another_host(reading: Reading, gone_hosts: Sequence[str]) -> Found | None:
    """Return an open journal that a process on another host may be writing to; None if it is not one."""
    if reading.ended is not None or reading.host in (None, journals.host(), *gone_hosts):
        return None
    return _found(reading, State.ELSEWHERE, remark=f"on {reading.host}")


def _kept(reading: Reading) -> Found | None:
    """Return a journal that was sent and is kept, as entries were rejected or it can be resumed; None if not one."""
    if reading.unsent:
        return None
    if reading.refused and reading.ended is not None and not reading.is_unranked:
        return _found(reading, State.REFUSED, remark=reading.refused)
    return _found(reading, State.RESUMABLE) if reading.resumable else None


def _finalize(reading: Reading, uri: str, parent: Tracker) -> list[str]:
    """Rank and close a sweep whose process did not; return why there is no report: [] if there is one."""
    from mnist_exp.sweeps import finalize

    problem = finalize.close_vanished(reading, uri, parent)
    return [f"there is no report: {type(problem).__name__}: {first_line(problem)}"] if problem else []


def _uri(redacted: str) -> str:
    """Return the URI of a journal's store, with the credentials that the environment has for it.

    Raises:
        StoreError: its database does not exist.
    """
    if sqlite.is_missing(redacted):
        raise StoreError(
            f"{sqlite.database_file(redacted)} is gone: give the store's new place with --uri sqlite:///FILE"
        )
    now = uri_from_config(None)
    return now if without_credentials(now) == redacted else redacted


def close_gone(backend: Backend, hosts: Sequence[str]) -> Iterator[Record]:
    """Close the runs of hosts that a user declared gone, as KILLED; yield each, runs before their sweeps.

    Those whose journal is here are closed from it, by :func:`sync`. A run of a host that was only offline becomes what
    it is when its end arrives (``MlflowTracker.close``).

    Raises:
        StoreError: the store is away.
    """
    if not hosts or sqlite.is_missing(backend.uri):
        return  # looking for runs would create a store
    for found in sorted(queries.running(backend), key=lambda each: each.is_sweep):
        key = found.tags.get("journal")
        if key is None or found.tags.get("host") not in hosts or (journals.root() / key / LINES).exists():
            continue
        try:
            _close(backend, found)
        except (Postponed, Refused):  # a sweep with runs of a host that is not gone, or a run that was deleted
            continue
        yield found


def _close(backend: Backend, record: Record) -> None:
    tracker = backend.tracker(record.run_id)
    if record.is_sweep:
        from mnist_exp.sweeps import finalize

        now_ms = int(time.time() * 1000)
        finalize.close(_sweep(record, backend.uri), tracker, interrupted=True, time_ms=now_ms, reason=VANISHED)
    else:
        if "failure" not in record.tags:  # it may have vanished after it wrote why it ended
            tracker.set_tags({"failure": VANISHED})
        tracker.close(Status.KILLED)


def _sweep(record: Record, uri: str) -> Sweep:
    keys = tuple(filter(None, record.tags.get("sweep.keys", "").split(", ")))
    total = record.tags.get("sweep.jobs", "")
    return Sweep(record.tags["journal"], uri, keys, int(total) if total.isdecimal() else 0)
