"""A tracker that speaks to another from a thread of its own, so that training does not wait for the store."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mnist_exp.errors import StoreError
from mnist_exp.tracking.tracker import Content, Measurement, ParamValue, Status, Tracker

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from mnist_exp.data.datasets import Dataset

log = logging.getLogger(__name__)

# How long measurements gather before they are sent together: soon enough for whoever watches the run in the UI.
_GATHER_S = 1.0

Call = Callable[[], None]
Message = Measurement | Call | threading.Event | None
"""What to pass on; or an event to set once everything before it was; or None to stop."""


class BackgroundTracker:
    """Passes on what it is told, in the same order; measurements about a second's at a time.

    Implements :class:`~mnist_exp.tracking.tracker.Tracker`, of which it takes another as it is opened.

    When something cannot be kept, what was waiting is dropped, and the next call raises that error once it has passed
    on what it was told itself, so that a run that failed can still be closed as failed. :meth:`close` waits until all
    is kept; a run of which something is missing cannot be closed as finished.

    Attributes:
        tracker: the other tracker.
    """

    def __init__(self, tracker: Tracker, gather_s: float = _GATHER_S) -> None:
        self.tracker = tracker
        self._gather_s = gather_s
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"tracker of {tracker.run_id}", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """What the run is found by."""
        return self.tracker.run_id

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Pass params on."""
        self._say(lambda: self.tracker.log_params(params))

    def log_metrics(self, *measurements: Measurement) -> None:
        """Pass measurements on, together with others."""
        for measurement in measurements:
            self._say(measurement)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Pass tags on."""
        self._say(lambda: self.tracker.set_tags(tags))

    def log_artifact(self, path: str, content: Content) -> None:
        """Pass a file on; one that is still to be made is made in the other thread."""
        self._say(lambda: self.tracker.log_artifact(path, content))

    def log_dataset(self, dataset: "Dataset", context: str) -> None:
        """Pass a data set on."""
        self._say(lambda: self.tracker.log_dataset(dataset, context))

    def log_model(self, model: "keras.Model", example: "NDArray[np.uint8]") -> None:
        """Pass a model on, which nobody may change from now on."""
        self._say(lambda: self.tracker.log_model(model, example))

    def close(self, status: Status) -> None:
        """End the run, once everything is kept.

        What could not be kept of a run that failed or was killed goes to the log: how it ended matters more.
        """
        if self._closed:
            raise StoreError(f"run {self.run_id} is closed")
        try:
            self.flush()
        except Exception:
            if status is Status.FINISHED:
                raise
            log.exception("not everything of run %s could be kept", self.run_id)
        self.tracker.close(status)
        self._closed = True
        self._messages.put(None)

    def flush(self) -> None:
        """Wait until everything said so far is kept, and raise what went wrong with it."""
        if self._closed:
            return
        everything_before = threading.Event()
        self._messages.put(everything_before)
        everything_before.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _say(self, message: Measurement | Call) -> None:
        if self._closed:
            raise StoreError(f"run {self.run_id} is closed")
        error, self._error = self._error, None
        self._messages.put(message)
        if error is not None:
            raise error

    def _work(self) -> None:
        message = self._messages.get()
        while message is not None:
            if isinstance(message, threading.Event):
                message.set()
            elif isinstance(message, Measurement):
                gathered, message = self._gather(message)
                self._call(partial(self.tracker.log_metrics, *gathered))
                continue
            else:
                self._call(message)
            message = self._messages.get()

    def _gather(self, first: Measurement) -> tuple[list[Measurement], Message]:
        """The measurements of the next moment, and the message after them if there is one by then."""
        gathered, until = [first], time.monotonic() + self._gather_s
        while (left := until - time.monotonic()) > 0:
            try:
                message = self._messages.get(timeout=left)
            except queue.Empty:
                break
            if not isinstance(message, Measurement):
                return gathered, message
            gathered.append(message)
        return gathered, lambda: None

    def _call(self, call: Call) -> None:
        if self._error is not None:
            return
        try:
            call()
        except BaseException as error:  # noqa: BLE001  whatever it is, it is raised again where the run is
            self._error = error
