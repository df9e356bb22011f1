"""The Keras callback that tells a tracker, and whoever else listens, of each epoch as it ends."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from mnist_exp.base.errors import Diverged
from mnist_exp.base.imports import interrupted
from mnist_exp.metrics import SCORES, Epoch, History
from mnist_exp.tracking.protocols import Measurement, Tracker


class TrackingCallback(keras.callbacks.Callback):
    """Sends each epoch to a tracker that somebody else opened and will close.

    Keep it last among the callbacks: Keras's LearningRateScheduler sets the rate as an epoch begins, and what is
    logged must be the rate that the epoch then ran with.

    With ``may_diverge``, as in a range test, a loss that is no finite number ends training and is no failure. Epochs up
    to number ``told`` were told to the tracker by an earlier process, and are not told again.

    Raises:
        Diverged: out of ``fit``, after an epoch whose loss is no finite number was logged.
        KeyboardInterrupt: out of ``fit``, where a Ctrl-C came at a moment when Python swallows exceptions.
    """

    def __init__(
        self,
        tracker: Tracker,
        on_epoch: Callable[[Epoch], None] = lambda _: None,
        *,
        may_diverge: bool = False,
        told: int = 0,
    ) -> None:
        super().__init__()
        self._may_diverge = may_diverge
        self._told = told
        self.history = History()
        self._tracker = tracker
        self._on_epoch = on_epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note the rate, which is set by now, and the time."""
        if interrupted.is_set():
            raise KeyboardInterrupt
        self._lr = _shortest(self.model.optimizer.learning_rate)
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the epoch under the number of epochs completed."""
        assert logs is not None, "Keras passes logs to every epoch's end"
        done = Epoch(
            number=epoch + 1,
            lr=self._lr,
            seconds=time.perf_counter() - self._began,
            scores={name: _shortest(logs[name]) for name in SCORES},
        )
        if done.number > self._told:
            self._tracker.log_metrics(Measurement(done.metrics(), step=done.number))
        self.history.epochs.append(done)
        self._on_epoch(done)
        if math.isfinite(done.scores["loss"]):
            return
        if self._may_diverge:
            self.model.stop_training = True
        else:
            raise Diverged(
                f"the loss of epoch {done.number} is {done.scores['loss']:g} at learning rate {done.lr:g}: "
                "lower optimizer.lr"
            )


def _shortest(value: Any) -> float:
    """A float32 as the shortest decimal that means it: 0.001, not 0.0010000000474974513."""
    return float(str(np.float32(value)))
