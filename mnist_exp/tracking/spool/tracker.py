"""Runs that are written to a journal, and sent from there: one run's tracker, and all runs that this process has open.

Training never waits for a store: a thread for each run sends the entries, and retries while the store does not answer.
What was not sent when the program ends stays in the journal, and ``mnist-exp sync`` sends it later::

    tracker = begin_run(new_opening(...), backend)  # or resume_run(folder, backend); then the calls of Tracker
    tracker.close(Status.FINISHED)
    delivery = settle_runs()                        # at the end of the command
"""

import logging
import os
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from mnist_exp.base.errors import StoreError, first_line
from mnist_exp.base.text import redact
from mnist_exp.tracking.mlflow.client import without_credentials
from mnist_exp.tracking.protocols import (
    Backend,
    Content,
    DatasetInput,
    Grid,
    Measurement,
    ModelFolder,
    Opening,
    ParamValue,
    Status,
    Tracker,
)
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.sender import GATHER_S, Sender, Unsent

log = logging.getLogger(__name__)

# How long the end of a command waits for a store that does not answer, before it leaves the rest to `mnist-exp sync`.
PATIENCE_S = 10.0

# How long to wait for the lock of a journal that is to be resumed: `mnist-exp sync` may be sending from it.
_LOCK_PATIENCE_S = 60.0

# Number of ended runs of a long sweep that keep retrying while the store is away; older ones leave it to
# `mnist-exp sync`, as each holds files that are open. A run that goes on is never one of them.
_MAX_RETRYING = 16

# The runs that this process opened and has not settled, oldest first; `_gave_up` holds those that no longer retry.
_open_runs: list["JournalTracker"] = []
_gave_up: list["JournalTracker"] = []


class JournalTracker:
    """An open run whose calls become entries of a journal, which a thread sends to the store.

    Implements :class:`~mnist_exp.tracking.protocols.Tracker`. Calls never wait for the store, and raise StoreError if
    the journal cannot be written or the run is closed. Figures and models are made in one worker thread per process, in
    the order they were given; the entry that closes the run follows them. :meth:`settle` waits for all of it.
    """

    def __init__(
        self, journal: Journal, opening: Opening, open_run: Callable[[Opening], Tracker], gather_s: float = GATHER_S
    ) -> None:
        """Begin a run in a new journal, or continue the run of an existing one; arguments as for :class:`Sender`."""
        self.journal = journal
        self.opening = opening
        self._closed = False
        self._pending: list[Future[None]] = []
        self._error: Exception | None = None
        if journals.read(journal.folder).opening is None:
            journal.open(opening)
        self._sender = Sender(journal, opening, open_run, gather_s)

    @property
    def run_id(self) -> str:
        """The run's key, which is its tag ``journal`` in the store."""
        return self.opening.key

    @property
    def is_settled(self) -> bool:
        """Whether the store has every entry and nothing failed, so that :meth:`settle` would return None at once."""
        return self._sender.has_ended and self._error is None

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Write params."""
        self._write(
            "params", {key: redact(value) if isinstance(value, str) else value for key, value in params.items()}
        )

    def log_metrics(self, *measurements: Measurement) -> None:
        """Write metrics."""
        for each in measurements:
            self._write("metrics", {"metrics": dict(each.metrics), "step": each.step}, each.time_ms)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags."""
        self._write("tags", {key: redact(value) for key, value in tags.items()})

    def log_artifact(self, path: str, content: Content) -> None:
        """Write a file: bytes at once, a function's result once the worker thread has called it."""
        if isinstance(content, bytes):
            self._write("artifact", {"path": path, "file": self.journal.keep(content)})
        else:
            self._submit(lambda: self._sender.append("artifact", {"path": path, "file": self.journal.keep(content())}))

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Write that ``dataset`` was used."""
        self._write("dataset", {"dataset": asdict(dataset), "context": context})

    def log_model(self, model: ModelFolder) -> None:
        """Save the model in the worker thread, or copy its folder; it must not change from now on."""
        save = model if callable(model) else partial(shutil.copytree, model, dirs_exist_ok=True)
        self._submit(lambda: self._save(save))

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run after the worker thread has made its files; FAILED instead of FINISHED if one raised."""
        self._must_be_open()
        self._closed = True
        self._sender.stop_after_close()
        self._pending.append(_worker().submit(self._end, status, time_ms))

    def resume(self) -> None:
        """Make a run that was closed, or whose process vanished, a running one again, on this machine."""
        self._write("resume", {"host": journals.host()})

    def postpone(self, time_ms: int, *, interrupted: bool) -> None:
        """Write that this parent run's sweep ended unranked at ``time_ms``: another process must rank and close it."""
        self._write("left", {"interrupted": interrupted}, time_ms)

    def give_up(self) -> None:
        """Stop retrying once all files are made; entries that the store does not have stay in the journal."""
        wait(self._pending)
        self._sender.give_up()

    def drop(self) -> None:
        """Delete the journal with what was not sent: the run was deleted from the store."""
        self.give_up()
        self._sender.join()
        self.journal.remove()

    def settle(self, patience_s: float) -> Unsent | None:
        """Wait until the store has every entry; the journal is then deleted, or released if it is still needed.

        Args:
            patience_s: how long to wait for a store that does not answer.

        Returns:
            The entries that the store does not have; None if it has all.

        Raises:
            Exception: the first that making a file raised. The run has ended as FAILED.
        """
        wait(self._pending)
        unsent = self._sender.settle(patience_s)
        if self._error is not None:
            raise self._error
        return unsent

    def _write(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> None:
        self._must_be_open()
        self._sender.append(kind, content, time_ms)

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreError(f"run {self.run_id} is closed")

    def _submit(self, call: Callable[[], None]) -> None:
        self._must_be_open()
        self._pending.append(_worker().submit(self._attempt, call))

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  raised again by settle()
            self._error = self._error or error

    def _save(self, model: Callable[[Path], object]) -> None:
        name = self.journal.new_folder()
        model(self.journal.folder / name)
        self._sender.append("model", {"file": name, "files": delivery.digests(self.journal.folder / name)})

    def _end(self, status: Status, time_ms: int | None) -> None:
        error = self._error
        if error is not None and status is Status.FINISHED:
            status = Status.FAILED
            trace = redact("".join(traceback.format_exception(error))).encode(errors="backslashreplace")
            log.error("run %s failed as it ended", self.run_id, exc_info=error)
            reason = {"failure": type(error).__name__, "failure.message": redact(first_line(error))}
            self._attempt(lambda: self._sender.append("tags", reason))
            path = {"path": "log/traceback.txt"}
            self._attempt(lambda: self._sender.append("artifact", {**path, "file": self.journal.keep(trace)}))
        self._attempt(lambda: self._sender.append("close", {"status": status.value}, time_ms))


@dataclass
class Delivery:
    """By the name of the run: entries that the store does not have, and what making a run's files raised."""

    unsent: list[tuple[str, Unsent]] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)


def new_opening(
    name: str,
    uri: str,
    experiment: str,
    parent: str | None,
    tags: Mapping[str, str],
    jobs: Grid | None = None,
    key: str | None = None,
) -> Opening:
    """Return what a run is created from, beginning now on this machine; of an existing run, with its ``key``."""
    return Opening(
        key=key or journals.new_key(),
        name=name,
        uri=without_credentials(uri),
        experiment=experiment,
        parent=parent,
        tags=tags,
        began_ms=int(time.time() * 1000),
        host=journals.host(),
        jobs=jobs,
    )


def begin_run(opening: Opening, backend: Backend) -> JournalTracker:
    """Begin a run with a new journal; :func:`settle_runs` waits until it is sent.

    Raises:
        StoreError: its journal cannot be written.
    """
    journal = Journal(journals.root() / opening.key, new=True)
    return _add(JournalTracker(journal, opening, backend.open_run))


def resume_run(folder: Path, backend: Backend) -> tuple[JournalTracker, int]:
    """Resume the run whose journal is in ``folder``; :func:`settle_runs` waits until it is sent.

    Returns:
        Its tracker, and the number of epochs that it has logged.

    Raises:
        StoreError: the journal is in use, gone, or cannot be written.
    """
    journal = Journal(folder, patience_s=_LOCK_PATIENCE_S)
    found = journals.read(folder)
    assert found.opening is not None, "a run is resumed only if its opening can be read"
    tracker = _add(JournalTracker(journal, found.opening, backend.open_run))
    tracker.resume()
    steps = [
        each.content["step"] for each in found.entries if each.kind == "metrics" and "loss" in each.content["metrics"]
    ]
    return tracker, max(steps, default=0)


def settle_runs(patience_s: float = PATIENCE_S) -> Delivery:
    """Wait until the store has every entry of this process's runs; at most ``patience_s`` if it does not answer."""
    delivery = Delivery()
    until = time.monotonic() + patience_s
    _open_runs[:0] = _gave_up
    _gave_up.clear()
    while _open_runs:
        tracker = _open_runs.pop(0)
        try:
            unsent = tracker.settle(max(0.0, until - time.monotonic()))
        except Exception as error:  # noqa: BLE001  a run that failed must not keep the next from being settled
            delivery.errors.append((tracker.opening.name, error))
        else:
            if unsent is not None:
                delivery.unsent.append((tracker.opening.name, unsent))
    return delivery


def _add(tracker: JournalTracker) -> JournalTracker:
    """Add a run to those that :func:`settle_runs` waits for; the oldest gives up if too many keep retrying."""
    _open_runs[:] = [each for each in _open_runs if not each.is_settled]  # frees the memory of a long sweep's runs
    ended = [each for each in _open_runs if each._closed]
    if len(ended) >= _MAX_RETRYING:
        ended[0].give_up()
        _open_runs.remove(ended[0])
        _gave_up.append(ended[0])
    _open_runs.append(tracker)
    return tracker


@cache
def _worker() -> ThreadPoolExecutor:
    """Return the one worker thread of this process: Matplotlib cannot draw in two threads at once."""
    return ThreadPoolExecutor(1, thread_name_prefix="worker")


os.register_at_fork(after_in_child=_worker.cache_clear)  # a forked process has no threads
