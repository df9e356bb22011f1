"""``mnist-exp sync``: send what waits in journals, close what vanished."""

import argparse

from mnist_exp.base.errors import StoreError

HELP = "send what the store does not have yet, close what vanished"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="show what waits, change nothing")
    parser.add_argument("--uri", help="the store to send it to (default: the one it was meant for)")
    parser.add_argument(
        "--gone",
        action="append",
        default=[],
        metavar="HOST",
        help="a host that is gone: its open runs are closed",
    )
    instead.add_argument("--drop", metavar="KEY", help="delete a journal: what it holds and was not sent is lost")


def run(arguments: argparse.Namespace) -> int:
    """Send what waits and close what vanished; or show what waits, or drop a journal.

    Returns:
        0, or 1 if something still waits.

    Raises:
        StoreError: no store of that kind, or no journal with that key.
    """
    from mnist_exp.sweeps import recover
    from mnist_exp.terminal import messages, tables
    from mnist_exp.tracking.mlflow.backend import open_backend
    from mnist_exp.tracking.mlflow.client import uri_from_cli
    from mnist_exp.tracking.spool import journal as journals

    if arguments.drop:
        return _drop(arguments.drop)
    if arguments.status:
        tables.journals(recover.status(journals.root()))
        return 0
    target = uri_from_cli(arguments.uri) if arguments.uri else None
    found, closed = [], []
    try:
        for record in recover.close_gone(open_backend(uri_from_cli(arguments.uri)), arguments.gone):
            messages.closed_run(record)
            closed.append(record)
    except StoreError as error:
        messages.warning(f"runs of {', '.join(arguments.gone)} were not closed: {error}")
    for each in recover.sync(journals.root(), target, arguments.gone):  # after the runs that a sweep here may wait for
        messages.journal(each)
        found.append(each)
    if not found and not closed:
        messages.out.print("Nothing waits.")
    return int(any(each.state in (recover.State.WAITING, recover.State.UNREADABLE) for each in found))


def _drop(key: str) -> int:
    """Delete the journal called ``key``."""
    from mnist_exp.terminal import messages
    from mnist_exp.tracking.spool import journal as journals

    folder = journals.root() / key
    if folder not in journals.folders(journals.root()):
        raise StoreError(f"there is no journal {key!r}: mnist-exp sync --status names them")
    journals.Journal(folder).remove()
    messages.out.print(f"dropped: {folder}", markup=False, soft_wrap=True)
    return 0
