"""Store and forward: a tracker that writes to a journal, and a thread that sends the journal's entries on.

Training waits for no store. While the store is away the thread tries again, ever less often; what it could not send
when the program ends lies in the journal, and ``mnist-exp sync`` sends it later, from there.
"""

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mnist_exp.base.errors import StoreError, first_line
from mnist_exp.base.text import redact
from mnist_exp.tracking.mlflow import keyed, store
from mnist_exp.tracking.protocols import Content, DatasetInput, Measurement, ModelFolder, ParamValue, Status, Tracker
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Jobs, Journal, Opening
from mnist_exp.tracking.spool.sender import GATHER_S, Sender, Unsent

log = logging.getLogger(__name__)


class JournalTracker:
    """An open run that is written to a journal, and from there to the tracker that ``deliver`` opens.

    Implements :class:`~mnist_exp.tracking.protocols.Tracker`. Its calls raise StoreError where the journal cannot be
    written, and never wait for the other tracker. Files that are still to be made are made in a thread, one after
    another for the whole process, and so is the end of a run, which comes after them: :meth:`settle` waits for both.
    """

    def __init__(
        self, journal: Journal, opening: Opening, deliver: Callable[[Opening], Tracker], gather_s: float = GATHER_S
    ) -> None:
        """Begin a run, or take up the one whose journal it is."""
        self.journal = journal
        self.opening = opening
        self._closed = False
        self._made: list[Future[None]] = []
        self._mistake: Exception | None = None
        if journals.read(journal.folder).opening is None:
            journal.open(opening)
        self._sender = Sender(journal, opening, deliver, gather_s)

    @property
    def run_id(self) -> str:
        """The run's key, which the store has as its tag ``journal``."""
        return self.opening.key

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for or to tell of any more."""
        return self._sender.has_ended and self._mistake is None

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Write params."""
        self._write("params", {key: _redacted(value) for key, value in params.items()})

    def log_metrics(self, *measurements: Measurement) -> None:
        """Write measurements."""
        for each in measurements:
            self._write("metrics", {"metrics": dict(each.metrics), "step": each.step}, each.time_ms)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags."""
        self._write("tags", {key: redact(value) for key, value in tags.items()})

    def log_artifact(self, path: str, content: Content) -> None:
        """Write a file, or have it made in the other thread."""
        if isinstance(content, bytes):
            self._write("artifact", {"path": path, "file": self.journal.keep(content)})
        else:
            self._make(lambda: self._sender.append("artifact", {"path": path, "file": self.journal.keep(content())}))

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Write what is known of a data set."""
        self._write("dataset", {"dataset": asdict(dataset), "context": context})

    def log_model(self, model: ModelFolder) -> None:
        """Have a model saved in the other thread; nobody may change it from now on."""
        assert callable(model), "a model that is in a folder already has no need of a journal"
        self._make(lambda: self._save(model))

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run, once everything is made. A run of which something could not be made has failed."""
        self._must_be_open()
        self._closed = True
        self._sender.nothing_follows()
        self._made.append(_maker().submit(self._end, status, time_ms))

    def resume(self) -> None:
        """Take up again a run that was closed, or whose process vanished."""
        self._write("resume", {"host": journals.host()})

    def leave(self, time_ms: int, **why: bool) -> None:
        """Note that whoever comes next is to close the run."""
        self._write("left", why, time_ms)

    def alive(self) -> None:
        """The other thread gives signs of life."""

    def give_up(self) -> None:
        """Try no more once the store is away: what it does not have stays in the journal."""
        wait(self._made)
        self._sender.give_up()

    def drop(self) -> None:
        """Forget what was said, and delete the journal: nobody wants the run any more."""
        self.give_up()
        self._sender.join()
        self.journal.remove()

    def settle(self, patience_s: float) -> Unsent | None:
        """Wait until the store has everything; give up when it is away and ``patience_s`` seconds are over.

        The journal is then left to others; it is deleted where nothing in it is needed any more.

        Raises:
            Exception: what went wrong in making a file. The run has ended as failed.
        """
        wait(self._made)
        unsent = self._sender.settle(patience_s)
        if self._mistake is not None:
            raise self._mistake
        return unsent

    def _write(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> None:
        self._must_be_open()
        self._sender.append(kind, content, time_ms)

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreError(f"run {self.run_id} is closed")

    def _make(self, call: Callable[[], None]) -> None:
        self._must_be_open()
        self._made.append(_maker().submit(self._attempt, call))

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  whatever it is, it is told when the run ends
            self._mistake = self._mistake or error

    def _save(self, model: Callable[[Path], None]) -> None:
        name = self.journal.new_folder()
        model(self.journal.folder / name)
        self._sender.append("model", {"file": name})

    def _end(self, status: Status, time_ms: int | None) -> None:
        mistake = self._mistake
        if mistake is not None and status is Status.FINISHED:
            status = Status.FAILED
            told = redact("".join(traceback.format_exception(mistake))).encode(errors="backslashreplace")
            log.error("run %s failed as it ended", self.run_id, exc_info=mistake)
            reason = {"failure": type(mistake).__name__, "failure.message": redact(first_line(mistake))}
            self._attempt(lambda: self._sender.append("tags", reason))
            keep = {"path": "log/traceback.txt"}
            self._attempt(lambda: self._sender.append("artifact", {**keep, "file": self.journal.keep(told)}))
        self._attempt(lambda: self._sender.append("close", {"status": status.value}, time_ms))


def _redacted(value: ParamValue) -> ParamValue:
    return redact(value) if isinstance(value, str) else value


@cache
def _maker() -> ThreadPoolExecutor:
    """One thread for the whole process: drawing is not safe in two."""
    return ThreadPoolExecutor(1, thread_name_prefix="maker")


# How long a store may be away before what waits for it is left to `mnist-exp sync`.
PATIENCE_S = 10.0

# While a store is away, so many runs keep trying; what the others said is left to `mnist-exp sync` at once.
_MOST_OPEN = 16

# A journal that is to be taken up may be another command's for a moment, which sends it.
_SYNC_S = 60.0

_open: list[JournalTracker] = []
_given_up: list[JournalTracker] = []


@dataclass
class Settlement:
    """What came of waiting for the store.

    Attributes:
        unsent: what it does not have, by the run's name.
        mistakes: what went wrong in making a run's files, by its name; such a run has failed.
    """

    unsent: list[tuple[str, Unsent]] = field(default_factory=list)
    mistakes: list[tuple[str, Exception]] = field(default_factory=list)


def new_opening(
    name: str,
    uri: str,
    experiment: str,
    parent: str | None,
    tags: Mapping[str, str],
    jobs: Jobs | None = None,
    key: str | None = None,
) -> Opening:
    """The first entry of a run's journal: of a new one, unless it has a ``key`` already."""
    return Opening(
        key=key or journal.new_key(),
        name=name,
        uri=store.without_credentials(uri),
        experiment=experiment,
        parent=parent,
        tags=tags,
        began_ms=int(time.time() * 1000),
        host=journal.host(),
        jobs=jobs,
    )


def begin_run(opened: Opening, uri: str) -> JournalTracker:
    """Begin a run; :func:`settle_runs` waits for what it said to arrive.

    Raises:
        StoreError: its journal cannot be written.
    """
    return _opened(JournalTracker(Journal(journal.root() / opened.key, new=True), opened, keyed.deliver(uri)))


def take_up_run(folder: Path, uri: str) -> tuple[JournalTracker, int]:
    """Take up the run whose journal is in ``folder``; and how many epochs it has told.

    Raises:
        StoreError: the journal is in use, gone, or cannot be written.
    """
    own = Journal(folder, patience_s=_SYNC_S)
    found = journal.read(folder)
    assert found.opening is not None, "a run that can be taken up again says how it began"
    tracker = _opened(JournalTracker(own, found.opening, keyed.deliver(uri)))
    tracker.resume()
    steps = [
        each.content["step"] for each in found.entries if each.kind == "metrics" and "loss" in each.content["metrics"]
    ]
    return tracker, max(steps, default=0)


def _opened(tracker: JournalTracker) -> JournalTracker:
    _open[:] = [each for each in _open if not each.is_settled]  # a long sweep does not keep what is done with
    if len(_open) >= _MOST_OPEN:
        _given_up.append(_open.pop(0))
        _given_up[-1].give_up()
    _open.append(tracker)
    return tracker


def settle_runs(patience_s: float = PATIENCE_S) -> Settlement:
    """Wait until the store has all that was said; give up when it has been away for ``patience_s`` seconds."""
    found = Settlement()
    until = time.monotonic() + patience_s
    _open[:0] = _given_up
    _given_up.clear()
    while _open:
        tracker = _open.pop(0)
        try:
            unsent = tracker.settle(max(0.0, until - time.monotonic()))
        except Exception as error:  # noqa: BLE001  the run has failed; the others are still to be waited for
            found.mistakes.append((tracker.opening.name, error))
        else:
            if unsent is not None:
                found.unsent.append((tracker.opening.name, unsent))
    return found
