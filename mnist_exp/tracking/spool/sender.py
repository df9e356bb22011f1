"""A thread that sends the entries of a journal to the store, and retries while the store does not answer."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_exp.base.errors import Refused, StoreError, first_line
from mnist_exp.tracking.protocols import Opening, Status, Tracker
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Entry, Journal

log = logging.getLogger(__name__)

# How long measurements are collected into one batch; short, so that the MLflow UI shows a run as it trains.
GATHER_S = 1.0

# Between two attempts; doubled after each failure.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0

# If a request takes longer, settle() treats the store as away, so that a hanging request cannot keep the program alive.
_STUCK_S = 30.0

# How often the journal's mtime is set and its lines flushed: by the mtime it is known until when a run was alive.
_ALIVE_S = 5.0


@dataclass(frozen=True)
class Unsent:
    """The entries of a journal that the store does not have.

    Attributes:
        entries: their number.
        reason: why the store does not have them.
        refused: True if the store rejected them permanently; False if they will be sent later.
    """

    entries: int
    reason: str
    refused: bool = False


class Sender:
    """A thread that sends the waiting entries of a journal to the store, and those appended while it runs.

    It ends after the entry that closes the run if :meth:`stop_after_close` was called, or after :meth:`give_up`. Then
    it deletes the journal, or releases it if something in it is still needed: entries not sent, or a checkpoint.
    """

    def __init__(
        self, journal: Journal, opening: Opening, open_run: Callable[[Opening], Tracker], gather_s: float
    ) -> None:
        """Start the thread.

        Args:
            journal: held by this process; from now on the thread writes to it and releases it.
            opening: what the run is created from.
            open_run: gets or creates the run in the store. Called in the thread, again if the store did not answer.
            gather_s: how long measurements are collected into one batch.
        """
        self._journal = journal
        self._opening = opening
        self._open_run = open_run
        self._gather_s = gather_s
        self._closing = False
        self._refused: list[str] = []
        self._away_reason: str | None = None
        self._status: Status | None = None
        self._settling = False
        self._stopping = False
        self._last_progress_s = time.monotonic()
        self._changed = threading.Condition()
        self._waiting = deque(journals.read(journal.folder).waiting)
        self._thread = threading.Thread(target=self._run, name=f"sender of {opening.key}", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended, and the store has every entry."""
        return not self._thread.is_alive() and self._unsent() is None

    def append(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> None:
        """Write an entry to the journal; the thread sends it.

        Raises:
            StoreError: the journal cannot be written.
        """
        with self._changed:
            self._waiting.append(self._journal.append(kind, content, time_ms))
            self._changed.notify_all()

    def stop_after_close(self) -> None:
        """End the thread after the entry that closes the run: none will be appended after it."""
        self._closing = True

    def give_up(self) -> None:
        """Stop retrying: the thread ends when all is sent or a request fails; unsent entries stay in the journal."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the thread has ended, and so released or deleted the journal."""
        self._thread.join()

    def settle(self, patience_s: float) -> Unsent | None:
        """Wait until the store has every entry, then end the thread.

        Args:
            patience_s: how long to wait for a store that does not answer.

        Returns:
            The entries that the store does not have; None if it has all.
        """
        with self._changed:
            self._settling = True
            self._changed.notify_all()
            until = time.monotonic() + patience_s
            while self._waiting and not (time.monotonic() > until and self._is_stuck()):
                self._changed.wait(0.1)
            unsent = self._unsent()
            self.give_up()
        if unsent is None or unsent.refused:  # otherwise a request that hangs could block the thread for long
            self.join()
        return unsent

    def _is_stuck(self) -> bool:
        return self._away_reason is not None or time.monotonic() - self._last_progress_s > _STUCK_S

    def _unsent(self) -> Unsent | None:
        if self._waiting:
            return Unsent(len(self._waiting), self._away_reason or "the store does not answer")
        return Unsent(len(self._refused), self._refused[0], refused=True) if self._refused else None

    def _release_or_remove(self) -> None:
        resumable = self._status is Status.KILLED and (self._journal.folder / journals.CHECKPOINT).exists()
        if self._status is None or self._waiting or self._refused or resumable:
            self._journal.release()
        else:
            self._journal.remove()

    def _run(self) -> None:
        try:
            self._send_all()
        finally:
            self._release_or_remove()

    def _send_all(self) -> None:
        tracker: Tracker | None = None
        is_second = False  # attempt to deliver a batch that the store refused: its run may be gone
        pause_s, last_alive = _FIRST_PAUSE_S, 0.0
        while True:
            now = time.monotonic()
            if now - last_alive > _ALIVE_S:
                self._journal.alive()
                last_alive = now
            batch = self._next_batch()
            if batch is None:
                return
            try:
                if tracker is None:
                    tracker, is_other = delivery.opened(self._journal, self._opening, self._open_run)
                    if is_other:
                        self._send_again()
                        continue
                if batch:
                    self._journal.alive()  # flush first: after a power cut, the journal must have what the store has
                    delivery.deliver_batch(batch, self._journal.folder, tracker)
            except Refused as error:
                if tracker is not None and not is_second:
                    tracker, is_second = None, True
                    continue
                if batch:
                    self._refuse(str(error))
                    log.error("%s", error)
            except StoreError as error:
                if not self._wait_to_retry(str(error), pause_s):
                    return
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                tracker = None  # a store that comes back may not have the run
                continue
            except Exception as error:
                self._refuse(f"{type(error).__name__}: {first_line(error)}")
                log.exception("an entry of run %s could not be sent", self._opening.key)
            pause_s, is_second = _FIRST_PAUSE_S, False
            self._mark_sent(batch, tracker.run_id if tracker else "")

    def _wait_to_retry(self, reason: str, pause_s: float) -> bool:
        """Sleep before a retry, shortly while :meth:`settle` waits; return False if stopping."""
        with self._changed:
            if self._away_reason is None:
                log.warning("%s; trying again", reason)
            self._away_reason = reason
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopping or self._settling, pause_s)
            self._changed.wait_for(lambda: self._stopping, min(pause_s, _FIRST_PAUSE_S) if self._settling else 0)
            return not self._stopping

    def _is_complete(self) -> bool:
        """True if stopping, or after the final entry: a ``close``, unless a ``resume`` undoes it."""
        return self._stopping or (self._closing and self._status is not None)

    def _refuse(self, reason: str) -> None:
        self._refused.append(reason)
        self._journal.refuse(reason)

    def _next_batch(self) -> list[Entry] | None:
        """Wait for the next batch; return [] on timeout, None when done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_complete(), _ALIVE_S)
            if not self._waiting:
                return None if self._is_complete() else []
            if self._waiting[0].kind == "metrics":  # more will follow: collect them, unless settle() waits
                ready = lambda: self._settling or self._stopping or self._waiting[-1].kind != "metrics"  # noqa: E731
                self._changed.wait_for(ready, self._gather_s)
            return delivery.next_batch(self._waiting)

    def _send_again(self) -> None:
        """Send all entries of the journal, from the first."""
        with self._changed:
            self._waiting = deque(journals.read(self._journal.folder).waiting)

    def _mark_sent(self, batch: Sequence[Entry], run_id: str) -> None:
        with self._changed:
            self._away_reason = None
            self._last_progress_s = time.monotonic()
            for entry in batch:
                self._waiting.popleft()
                self._journal.mark_sent(entry.number + 1, run_id)
                if entry.kind == "close":
                    self._status = Status(entry.content["status"])
                elif entry.kind == "resume":
                    self._status = None
            self._changed.notify_all()
