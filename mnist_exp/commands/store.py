"""The store that a command reads: its option ``--uri``, what is recovered before it is read, its last sweep."""

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mnist_exp.tracking.protocols import Backend, Record


class LastSweep(NamedTuple):
    """The sweep that a command takes if it is given none.

    Attributes:
        parent: its parent run.
        title: whose it is: ``your last sweep`` or ``ana's last sweep`` on a server, else ``the last sweep``.
    """

    parent: "Record"
    title: str


def add_uri(parser: argparse.ArgumentParser) -> None:
    """Declare ``--uri``."""
    parser.add_argument("--uri", help="a store other than MLFLOW_TRACKING_URI or the project's mlruns/")


def open_store(uri: str | None) -> "Backend":
    """Open the store that ``--uri`` names, send what waits for it, close what vanished there, and show that.

    Raises:
        StoreError: there is no store yet, or none of that kind.
    """
    from mnist_exp.sweeps import recover
    from mnist_exp.terminal import messages
    from mnist_exp.tracking.mlflow.backend import open_existing
    from mnist_exp.tracking.mlflow.client import uri_from_cli

    backend = open_existing(uri_from_cli(uri))
    messages.recovered(recover.recover(backend))
    return backend


def last_sweep(backend: "Backend") -> LastSweep | None:
    """Find the last sweep: on a server, this user's last one.

    If this user has none there, it is the last one of all, and a line on standard error says whose that is.

    Returns:
        None if the store has no sweep.
    """
    from mnist_exp.terminal import messages
    from mnist_exp.tracking import queries
    from mnist_exp.tracking.mlflow.tracker import current_user

    if not _is_shared(backend.uri):
        found = queries.latest_sweep(backend)
        return None if found is None else LastSweep(found, "the last sweep")
    own = queries.latest_sweep(backend, user=current_user())
    if own is not None:
        return LastSweep(own, "your last sweep")
    found = queries.latest_sweep(backend)
    if found is None:
        return None
    owner, host = found.tags.get("mlflow.user", "unknown"), found.tags.get("host", "unknown")
    messages.warning(f"the last sweep is {owner}'s (host {host}): {current_user()} has none in this store")
    return LastSweep(found, f"{owner}'s last sweep")


def described(sweep: "Record") -> str:
    """Return the name of a sweep, the first letters of its id, and how long ago it ended: ``NAME (1f2e3d4c, ...)``."""
    if sweep.ended_ms is None:
        return f"{sweep.name} ({sweep.run_id[:8]}, not ended)"
    return f"{sweep.name} ({sweep.run_id[:8]}, ended {_ago(time.time() - sweep.ended_ms / 1000)} ago)"


def _ago(seconds: float) -> str:
    """Return a time span in its largest unit: ``3 min``."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _is_shared(uri: str) -> bool:
    """Return whether several people may keep runs in a store: not in a SQLite file, which belongs to a project."""
    from mnist_exp.tracking.mlflow import sqlite

    return sqlite.database_file(uri) is None
