"""Tracking of any Keras training: a run for a script to log to, and the callback that logs each epoch."""

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

import keras
import numpy as np

from mnist_exp.base.errors import Diverged, StoreError, first_line
from mnist_exp.base.imports import interrupted
from mnist_exp.metrics import Epoch, History
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import uri_from_cli
from mnist_exp.tracking.protocols import Measurement, ParamValue, Status, Tracker
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool.tracker import PATIENCE_S, JournalTracker, new_opening

log = logging.getLogger(__name__)

# What MLflow takes in the name of a metric.
_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")
_LONGEST_NAME = 250


@contextmanager
def track(
    name: str,
    *,
    experiment: str = "scripts",
    params: Mapping[str, ParamValue] | None = None,
    uri: str | None = None,
) -> Iterator[Tracker]:
    """Open a run for a script, and close it as it ended: FINISHED, FAILED by an exception, or KILLED by Ctrl-C.

    Training does not wait for the store: the run is written to a journal, and sent from there by a thread. If the store
    does not answer, a warning says so, and ``mnist-exp sync`` sends the run later.

    Args:
        name: the run's name.
        experiment: the name of its MLflow experiment.
        params: its params.
        uri: the store's MLflow tracking URI; by default MLFLOW_TRACKING_URI, or the project's ``mlruns/``.

    Yields:
        The tracker of the open run, for :class:`TrackingCallback` and for metrics, tags and files of one's own.

    Raises:
        StoreError: the URI is not one that MLflow writes to, or the journal cannot be written.
    """
    backend = open_backend(uri_from_cli(uri))
    opening = new_opening(name, backend.uri, experiment, None, {"kind": "run"})
    tracker = JournalTracker(journal.Journal(journal.root() / opening.key, new=True), opening, backend.open_run)
    try:
        tracker.log_params(params or {})
        yield tracker
    except BaseException as error:
        is_interrupted = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if is_interrupted else type(error).__name__
        with suppress(StoreError):  # it must not hide what ended the script
            tracker.set_tags({"failure": reason, "failure.message": first_line(error)})
        with suppress(StoreError):
            tracker.close(Status.KILLED if is_interrupted else Status.FAILED)
        raise
    else:
        tracker.close(Status.FINISHED)
    finally:
        _settle(name, tracker)


def _settle(name: str, tracker: JournalTracker) -> None:
    """Wait until the store has a script's run; log what it does not have."""
    try:
        unsent = tracker.settle(PATIENCE_S)
    except Exception as failure:  # noqa: BLE001  of a file that the script logged: the run has ended as FAILED
        log.error("%s failed as it ended: %s", name, first_line(failure))
        return
    if unsent is not None:
        log.warning("%s: %d entries are not in the store: %s", name, unsent.entries, unsent.reason)


class TrackingCallback(keras.callbacks.Callback):
    """Logs each epoch of any Keras training to a tracker, which the caller opens and closes.

    As an epoch ends, these are logged as metrics, under the number of epochs completed, from 1:

    - every number in Keras's ``logs``, under its name there: losses and metrics, what a model's own ``train_step``
      returns, what other callbacks add. A tensor or array with one element is a number;
    - ``lr``, the learning rate that the epoch began with, if the optimizer has one that is a number. Of a
      ``LearningRateSchedule`` it is the rate at the current iteration;
    - ``epoch_seconds``, validation included.

    A second ``fit`` with the same callback that begins with epoch 0 again is counted on. Keep the callback last: it
    then sees the rate that others set as an epoch begins, and all that they add to ``logs`` as it ends.

    Attributes:
        history: the epochs so far.
    """

    def __init__(
        self,
        tracker: Tracker,
        on_epoch: Callable[[Epoch], None] = lambda _: None,
        *,
        on_divergence: Literal["continue", "stop", "raise"] = "continue",
        already_logged: int = 0,
    ) -> None:
        """Create the callback for one run.

        Args:
            tracker: the open run.
            on_epoch: called with each epoch, once it is logged.
            on_divergence: what follows an epoch whose ``loss`` is not finite. ``continue`` leaves it to Keras and to
                callbacks such as ``TerminateOnNaN``; ``stop`` ends training; ``raise`` raises Diverged out of ``fit``.
            already_logged: number of the last epoch that the tracker has from an earlier process.
        """
        super().__init__()
        self.history = History()
        self._tracker = tracker
        self._on_epoch = on_epoch
        self._on_divergence = on_divergence
        self._already_logged = already_logged
        self._earlier: int | None = None
        self._lr: float | None = None
        self._began = time.perf_counter()
        self._left_out: set[str] = set()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note that the first epoch to come says how this ``fit`` counts."""
        self._earlier = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note the learning rate and the time.

        Raises:
            KeyboardInterrupt: a Ctrl-C came at a moment when Python swallows exceptions.
        """
        if interrupted.is_set():
            raise KeyboardInterrupt
        self._count_from(epoch)
        self._lr = _learning_rate(self.model)
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the epoch.

        Raises:
            Diverged: its loss is not finite, with ``on_divergence="raise"``.
        """
        done = Epoch(
            number=epoch + 1 + self._count_from(epoch),
            lr=self._lr,
            seconds=time.perf_counter() - self._began,
            scores=self._numbers(logs or {}),
        )
        self._began = time.perf_counter()  # of the next one, in a loop that announces no beginning
        if done.number > self._already_logged:
            self._tracker.log_metrics(Measurement(done.metrics(), step=done.number))
        self.history.epochs.append(done)
        self._on_epoch(done)
        if not math.isfinite(done.scores.get("loss", 0.0)):
            self._diverged(done)

    def _count_from(self, epoch: int) -> int:
        """Return the number of epochs before epoch 0 of this ``fit``; the first call decides, with the first epoch."""
        if self._earlier is None:
            completed = self.history.epochs[-1].number if self.history.epochs else 0
            self._earlier = max(0, completed - epoch)
        return self._earlier

    def _numbers(self, logs: Mapping[str, Any]) -> dict[str, float]:
        found = {}
        for name, value in logs.items():
            if (number := _number(value)) is not None:
                found[_NOT_IN_NAMES.sub("_", str(name))[:_LONGEST_NAME]] = number
            elif name not in self._left_out:
                self._left_out.add(name)
                log.warning("%s is not logged: it is a %s, not a number", name, type(value).__name__)
        return found

    def _diverged(self, epoch: Epoch) -> None:
        if self._on_divergence == "stop":
            self.model.stop_training = True
        elif self._on_divergence == "raise":
            rate = "" if epoch.lr is None else f" at learning rate {epoch.lr:g}"
            raise Diverged(f"the loss of epoch {epoch.number} is {epoch.scores['loss']:g}{rate}: lower optimizer.lr")


def _learning_rate(model: keras.Model | None) -> float | None:
    """Return the rate of the model's optimizer; None if it has none, or several."""
    try:
        rate = getattr(getattr(model, "optimizer", None), "learning_rate", None)
    except (NotImplementedError, TypeError, ValueError):
        return None
    return _number(rate)


def _number(value: Any) -> float | None:
    """Return a number, or a tensor or array with one element, as a float; None for anything else."""
    if not isinstance(value, float | int | np.generic | np.ndarray):
        try:
            if keras.ops.is_tensor(value) and keras.backend.standardize_dtype(value.dtype) == "bfloat16":
                value = keras.ops.cast(value, "float32")  # NumPy has no bfloat16
            value = keras.ops.convert_to_numpy(value)
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            return None
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind in "OSUcmM":
        return None
    try:
        return _shortest(float(array.reshape(()).astype(np.float64)))
    except (TypeError, ValueError):
        return None


def _shortest(value: float) -> float:
    """Return a value that was a float32 as the shortest decimal that means it: 0.001, not 0.0010000000474974513."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return value if float(single) != value or value.is_integer() else float(str(single))
