"""Sends the entries of a journal on, in a thread: again and again while the store is away."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_exp.base.errors import Refused, StoreError, first_line
from mnist_exp.tracking.protocols import Status, Tracker
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Entry, Journal, Opening

log = logging.getLogger(__name__)

# How long measurements gather before they are sent together: soon enough for whoever watches the run in the UI.
GATHER_S = 1.0

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


class Sender:
    """Sends what waits in a journal to the tracker that ``deliver`` opens, and what is added to it meanwhile.

    When all is sent and no more will be said, it leaves the journal to others, or deletes one that is done with.
    """

    def __init__(
        self, journal: Journal, opening: Opening, deliver: Callable[[Opening], Tracker], gather_s: float
    ) -> None:
        self._journal = journal
        self._opening = opening
        self._deliver = deliver
        self._gather_s = gather_s
        self._closing = False
        self._refused: list[str] = []
        self._away: str | None = None
        self._status: Status | None = None
        self._hurry = False
        self._done = False
        self._progress = time.monotonic()
        self._changed = threading.Condition()
        self._waiting = deque(journals.read(journal.folder).waiting)
        self._thread = threading.Thread(target=self._work, name=f"sender of {opening.key}", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and the store has everything."""
        return not self._thread.is_alive() and self._unsent() is None

    def append(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> None:
        """Write an entry, which is then sent.

        Raises:
            StoreError: the journal cannot be written.
        """
        with self._changed:
            self._waiting.append(self._journal.append(kind, content, time_ms))
            self._changed.notify_all()

    def nothing_follows(self) -> None:
        """Say that an entry which closes the run is the last, once it has been written."""
        self._closing = True

    def give_up(self) -> None:
        """Try no more once the store is away: what it does not have stays in the journal."""
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the journal was left to others."""
        self._thread.join()

    def settle(self, patience_s: float) -> Unsent | None:
        """Wait until the store has everything; give up when it is away and ``patience_s`` seconds are over."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            until = time.monotonic() + patience_s
            while self._waiting and not (time.monotonic() > until and self._is_stuck()):
                self._changed.wait(0.1)
            unsent = self._unsent()
            self.give_up()
        if unsent is None or unsent.refused:  # else a call that hangs may hold the thread for long
            self.join()
        return unsent

    def _is_stuck(self) -> bool:
        return self._away is not None or time.monotonic() - self._progress > _STUCK_S

    def _unsent(self) -> Unsent | None:
        if self._waiting:
            return Unsent(len(self._waiting), self._away or "the store does not answer")
        return Unsent(len(self._refused), self._refused[0], refused=True) if self._refused else None

    def _leave(self) -> None:
        resumable = self._status is Status.KILLED and (self._journal.folder / journals.CHECKPOINT).exists()
        if self._status is None or self._waiting or self._refused or resumable:
            self._journal.release()
        else:
            self._journal.remove()

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
                self._journal.alive()
                last_alive = now
            batch = self._next_batch()
            if batch is None:
                return
            try:
                tracker = tracker or self._deliver(self._opening)
                if now - last_heartbeat > _HEARTBEAT_S:
                    self._beat(tracker)
                    last_heartbeat = now
                if batch:
                    self._journal.alive()  # what the store has, the disk must have: also after a power cut
                    delivery.tell(batch, self._journal.folder, tracker)
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
                log.exception("an entry of run %s could not be sent", self._opening.key)
            pause_s = _FIRST_PAUSE_S
            self._sent(batch)

    def _beat(self, tracker: Tracker) -> None:
        """Give the store a sign of life; where it will not take one, what is sent next is another matter."""
        try:
            tracker.alive()
        except Refused as error:
            log.warning("%s", error)
        except StoreError:
            raise
        except Exception:
            log.exception("run %s could not give a sign of life", self._opening.key)

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
        return self._done or (self._closing and self._status is not None)

    def _refuse(self, reason: str) -> None:
        self._refused.append(reason)
        self._journal.refuse(reason)

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
                self._journal.sent = entry.number + 1
                if entry.kind == "close":
                    self._status = Status(entry.content["status"])
                elif entry.kind == "resume":
                    self._status = None
            self._changed.notify_all()
