"""``mnist-exp sync``: what waits in journals is sent, what vanished is closed."""

import argparse
from collections.abc import Sequence
from contextlib import suppress

from mnist_exp.base.errors import StoreError, first_line
from mnist_exp.sweeps import recover
from mnist_exp.sweeps.recover import State
from mnist_exp.terminal import messages, tables
from mnist_exp.tracking.mlflow import store
from mnist_exp.tracking.protocols import Tracker
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool.journal import Reading


def run(arguments: argparse.Namespace) -> int:
    """Send, or only tell; the exit code: 0 where nothing waits any more, 1 where something still does."""
    if arguments.drop:
        return _drop(arguments.drop)
    if arguments.status:
        tables.journals(recover.status(journal.root()))
        return 0
    uri = store.named(arguments.uri) if arguments.uri else None
    found = []
    gone = tuple(arguments.gone or ())
    for each in recover.sync(journal.root(), _close_sweep, uri, gone):
        messages.journal(each)
        found.append(each)
    closed = 0
    try:
        closed = _close_orphans(store.named(arguments.uri), gone)
    except StoreError as error:
        messages.warning(f"runs without a journal were not looked for: {error}")
    if not found and not closed:
        messages.out.print("Nothing waits.")
    return int(any(each.state in (State.WAITING, State.UNREADABLE) for each in found))


def _drop(key: str) -> int:
    where = journal.root() / key
    if where not in journal.folders(journal.root()):
        raise StoreError(f"there is no journal {key!r}: mnist-exp sync --status names them")
    journal.Journal(where).remove()
    messages.out.print(f"dropped: {where}", markup=False, soft_wrap=True)
    return 0


def tidy(uri: str) -> None:
    """What every command does first: close what vanished and send what waits for a store, and tell of it."""
    waiting = []
    for each in recover.sync(journal.root(), _close_sweep, only=uri):
        if each.state is State.WAITING:
            waiting.append(each)
        elif each.vanished or each.state in (State.SENT, State.RANKED, State.UNREADABLE):
            messages.journal(each)
    if waiting:
        messages.journals_wait(len(waiting), waiting[0].remark)
    if any(each.is_away for each in waiting):
        return
    with suppress(StoreError):  # the command itself says what it misses
        _close_orphans(uri)


def _close_orphans(uri: str, gone: Sequence[str] = ()) -> int:
    """How many runs were closed of which there is no journal here."""
    database = store.sqlite_file(uri)
    if database is not None and not database.exists():
        return 0
    from mnist_exp.sweeps import recover

    closed = 0
    for record in recover.close_orphans(uri, gone):
        messages.orphan(record)
        closed += 1
    return closed


def _close_sweep(reading: Reading, uri: str, parent: Tracker) -> None:
    from mnist_exp.sweeps import finalize

    if (problem := finalize.close_vanished(reading, uri, parent)) is not None:
        messages.warning(f"there is no report of a sweep: {type(problem).__name__}: {first_line(problem)}")
