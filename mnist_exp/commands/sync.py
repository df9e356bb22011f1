"""``mnist-exp sync``: what waits in journals is sent, what vanished is closed."""

import argparse

from mnist_exp import tables, terminal
from mnist_exp.errors import StoreError
from mnist_exp.tracking import journal, store, sync
from mnist_exp.tracking.journal import Reading
from mnist_exp.tracking.sync import State


def run(arguments: argparse.Namespace) -> int:
    """Send, or only tell; the exit code: 0 where nothing waits any more, 1 where something still does."""
    if arguments.drop:
        return _drop(arguments.drop)
    if arguments.status:
        tables.journals(sync.status(journal.root()))
        return 0
    uri = store.named(arguments.uri) if arguments.uri else None
    found = []
    for each in sync.sync(journal.root(), _close_sweep, uri, tuple(arguments.gone or ())):
        terminal.journal(each)
        found.append(each)
    if not found:
        terminal.out.print("Nothing waits.")
    return int(any(each.state in (State.WAITING, State.UNREADABLE) for each in found))


def _drop(key: str) -> int:
    where = journal.root() / key
    if where not in journal.folders(journal.root()):
        raise StoreError(f"there is no journal {key!r}: mnist-exp sync --status names them")
    journal.Journal(where).remove()
    terminal.out.print(f"dropped: {where}", markup=False, soft_wrap=True)
    return 0


def tidy(uri: str) -> None:
    """What every command does first: close what vanished and send what waits for a store, and tell of it."""
    waiting = []
    for each in sync.sync(journal.root(), _close_sweep, only=uri):
        if each.state is State.WAITING:
            waiting.append(each)
        elif each.vanished or each.state in (State.SENT, State.UNREADABLE):
            terminal.journal(each)
    if waiting:
        terminal.journals_wait(len(waiting), waiting[0].remark)


def _close_sweep(reading: Reading, uri: str) -> None:
    from mnist_exp.sweeps import sweep

    sweep.close_vanished(reading, uri)
