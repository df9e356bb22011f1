"""Store and forward: a tracker that writes to a journal, and a thread that sends the journal's entries on.

Training waits for no store. While the store is away the thread tries again, ever less often; what it could not send
when the program ends lies in the journal, and ``mnist-exp sync`` sends it later, from there.
"""

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mnist_exp.errors import Refused, StoreError, first_line
from mnist_exp.redaction import redact
from mnist_exp.tracking import delivery
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking.journal import Entry, Journal, Opening
from mnist_exp.tracking.tracker import Content, DatasetInput, Measurement, ModelFolder, ParamValue, Status, Tracker

log = logging.getLogger(__name__)

# How long measurements gather before they are sent together: soon enough for whoever watches the run in the UI.
_GATHER_S = 1.0

# Between two attempts: twice as long after each that failed.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0

# A store that takes longer than this for one answer is as good as away when the program wants to end.
_STUCK_S = 30.0

# How often a run gives a sign of life: to its journal, and to the store as the tag ``heartbeat``.
_ALIVE_S, _HEARTBEAT_S = 5.0, 30.0


@dataclass(frozen=True)
class Unsent:
    """What of a run the store does not have.

    Attributes:
        entries: how many entries of its journal.
        reason: what keeps them.
        refused: whether the store has answered that it will not take them; else it may later.
    """

    entries: int
    reason: str
    refused: bool = False


class JournalTracker:
    """An open run that is written to a journal, and from there to the tracker that ``deliver`` opens.

    Implements :class:`~mnist_exp.tracking.tracker.Tracker`. Its calls raise StoreError where the journal cannot be
    written, and never wait for the other tracker. Files that are still to be made are made in a thread, one after
    another for the whole process, and so is the end of a run, which comes after them: :meth:`settle` waits for both.
    """

    def __init__(
        self, journal: Journal, opening: Opening, deliver: Callable[[Opening], Tracker], gather_s: float = _GATHER_S
    ) -> None:
        """Begin a run, or take up the one whose journal it is."""
        self.journal = journal
        self.opening = opening
        self._deliver = deliver
        self._gather_s = gather_s
        self._closed = False
        self._made: list[Future[None]] = []
        self._mistake: Exception | None = None
        self._refused: list[str] = []
        self._away: str | None = None
        self._status: Status | None = None
        self._hurry = False
        self._done = False
        self._progress = time.monotonic()
        self._changed = threading.Condition()
        found = journals.read(journal.folder)
        self._waiting = deque(found.waiting)
        if found.opening is None:
            journal.open(opening)
        self._thread = threading.Thread(target=self._work, name=f"sender of {opening.key}", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """The run's key, which the store has as its tag ``journal``."""
        return self.opening.key

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for or to tell of any more."""
        return not self._thread.is_alive() and self._unsent() is None and self._mistake is None

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
            self._make(lambda: self._append("artifact", {"path": path, "file": self.journal.keep(content())}))

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
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Forget what was said, and delete the journal: nobody wants the run any more."""
        self.give_up()
        self._thread.join()
        self.journal.remove()

    def settle(self, patience_s: float) -> Unsent | None:
        """Wait until the store has everything; give up when it is away and ``patience_s`` seconds are over.

        The journal is then left to others; it is deleted where nothing in it is needed any more.

        Raises:
            Exception: what went wrong in making a file. The run has ended as failed.
        """
        wait(self._made)
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            until = time.monotonic() + patience_s
            while self._waiting and not (time.monotonic() > until and self._is_stuck()):
                self._changed.wait(0.1)
            unsent = self._unsent()
            self._done = True
            self._changed.notify_all()
        if unsent is None or unsent.refused:  # else a call that hangs may hold the thread for long
            self._thread.join()
        if self._mistake is not None:
            raise self._mistake
        return unsent

    def _is_stuck(self) -> bool:
        return self._away is not None or time.monotonic() - self._progress > _STUCK_S

    def _unsent(self) -> Unsent | None:
        if self._waiting:
            return Unsent(len(self._waiting), self._away or "the store does not answer")
        return Unsent(len(self._refused), self._refused[0], refused=True) if self._refused else None

    def _leave(self) -> None:
        resumable = self._status is Status.KILLED and (self.journal.folder / journals.CHECKPOINT).exists()
        if self._status is None or self._waiting or self._refused or resumable:
            self.journal.release()
        else:
            self.journal.remove()

    def _write(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> None:
        self._must_be_open()
        self._append(kind, content, time_ms)

    def _append(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> None:
        with self._changed:
            self._waiting.append(self.journal.append(kind, content, time_ms))
            self._changed.notify_all()

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
        self._append("model", {"file": name})

    def _end(self, status: Status, time_ms: int | None) -> None:
        mistake = self._mistake
        if mistake is not None and status is Status.FINISHED:
            status = Status.FAILED
            told = redact("".join(traceback.format_exception(mistake))).encode(errors="backslashreplace")
            log.error("run %s failed as it ended", self.run_id, exc_info=mistake)
            reason = {"failure": type(mistake).__name__, "failure.message": redact(first_line(mistake))}
            self._attempt(lambda: self._append("tags", reason))
            keep = {"path": "log/traceback.txt"}
            self._attempt(lambda: self._append("artifact", {**keep, "file": self.journal.keep(told)}))
        self._attempt(lambda: self._append("close", {"status": status.value}, time_ms))

    def _work(self) -> None:
        try:
            self._send_all()
        finally:
            self._leave()

    def _send_all(self) -> None:
        tracker: Tracker | None = None
        pause_s, last_alive, last_heartbeat = _FIRST_PAUSE_S, 0.0, time.monotonic()
        while True:
            now = time.monotonic()
            if now - last_alive > _ALIVE_S:
                self.journal.alive()
                last_alive = now
            batch = self._next_batch()
            if batch is None:
                return
            try:
                tracker = tracker or self._deliver(self.opening)
                if now - last_heartbeat > _HEARTBEAT_S:
                    tracker.alive()
                    last_heartbeat = now
                if batch:
                    self.journal.alive()  # what the store has, the disk must have: also after a power cut
                    delivery.tell(batch, self.journal.folder, tracker)
            except Refused as error:
                if batch:
                    self._refuse(str(error))
                    log.error("%s", error)
            except StoreError as error:
                if not self._goes_on(str(error), pause_s):
                    return
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            except Exception as error:
                self._refuse(f"{type(error).__name__}: {first_line(error)}")
                log.exception("an entry of run %s could not be sent", self.run_id)
            pause_s = _FIRST_PAUSE_S
            self._sent(batch)

    def _goes_on(self, reason: str, pause_s: float) -> bool:
        """Wait before the next attempt, not for long where somebody waits for us; False where there is to be none."""
        with self._changed:
            if self._away is None:
                log.warning("%s; trying again", reason)
            self._away = reason
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done or self._hurry, pause_s)
            self._changed.wait_for(lambda: self._done, min(pause_s, _FIRST_PAUSE_S) if self._hurry else 0)
            return not self._done

    def _is_over(self) -> bool:
        """Whether nothing more will be said; an earlier end of a run that was taken up again is none."""
        return self._done or (self._closed and self._status is not None)

    def _refuse(self, reason: str) -> None:
        self._refused.append(reason)
        self.journal.refuse(reason)

    def _next_batch(self) -> list[Entry] | None:
        """What is to be sent next: many measurements, or one thing else; nothing after a while; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over(), _ALIVE_S)
            if not self._waiting:
                return None if self._is_over() else []
            if self._waiting[0].kind == "metrics":  # more will follow: let them gather, unless somebody waits
                full = lambda: self._hurry or self._done or self._waiting[-1].kind != "metrics"  # noqa: E731
                self._changed.wait_for(full, self._gather_s)
            return delivery.next_batch(self._waiting)

    def _sent(self, batch: Sequence[Entry]) -> None:
        with self._changed:
            self._away = None
            self._progress = time.monotonic()
            for entry in batch:
                self._waiting.popleft()
                self.journal.sent = entry.number + 1
                if entry.kind == "close":
                    self._status = Status(entry.content["status"])
                elif entry.kind == "resume":
                    self._status = None
            self._changed.notify_all()


def _redacted(value: ParamValue) -> ParamValue:
    return redact(value) if isinstance(value, str) else value


@cache
def _maker() -> ThreadPoolExecutor:
    """One thread for the whole process: drawing is not safe in two."""
    return ThreadPoolExecutor(1, thread_name_prefix="maker")
