"""The store that a command reads: its option ``--uri``, what is recovered before it is read, its last sweep."""

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple

from mnist_exp.base.errors import StoreError
from mnist_exp.base.text import received, time_span

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
    return f"{sweep.name} ({sweep.run_id[:8]}, ended {time_span(time.time() - sweep.ended_ms / 1000)} ago)"


def find_sweep(backend: "Backend", given: str | None) -> "Record":
    """Return the parent run of the sweep that a command was given, by the first letters of its id; None for the last.

    Raises:
        StoreError: there is no such sweep, there are several, or it is a run of another kind.
    """
    from mnist_exp.tracking import queries

    if given is None:
        if (last := last_sweep(backend)) is None:
            raise StoreError("there is no sweep yet: run python -m mnist_exp -m model.units=4,10")
        return last.parent
    found = queries.sweeps_with_id(backend, given.lower())
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(each.run_id[: len(given) + 4] for each in found[:5])
        raise StoreError(
            f"{len(found)} sweeps have an id that begins with {received(given)}: {listed}. Give more of it"
        )
    raise StoreError(f"no sweep has an id that begins with {received(given)}: {_what_it_is(backend, given.lower())}")


def _what_it_is(backend: "Backend", run_id: str) -> str:
    """Say what an id is that is not one of a sweep."""
    try:
        run = backend.find(run_id)
    except StoreError:
        return "mnist-exp sweeps lists them"
    return "that sweep was deleted" if run.is_sweep else f"that is the id of the run {received(run.name)}"


def _is_shared(uri: str) -> bool:
    """Return whether several people may keep runs in a store: not in a SQLite file, which belongs to a project."""
    from mnist_exp.tracking.mlflow import sqlite

    return sqlite.database_file(uri) is None
