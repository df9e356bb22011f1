"""Checkpoints: one file with everything that the next epoch depends on, from which a run is resumed.

The order of an epoch and its learning rate follow from its seed and number. Besides, an epoch depends on the weights,
the optimizer's variables and the state of early stopping, and with ``training.keep=best`` the result of a run depends
on the best weights so far. A resumed run ends with the same bits as one that was never interrupted.
"""

import json
import logging
import os
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mnist_exp.metrics import OBJECTIVE, Epoch, History

log = logging.getLogger(__name__)

# Share of the training time that copying the state may take; a thread writes it.
_SHARE = 0.008

# The longest pause between two copies, on however busy a machine: no more than that is trained again.
_LONGEST_PAUSE_S = 1.0

# The state of Keras's early stopping.
_STOPPER = ("wait", "best", "best_epoch")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after one of its epochs.

    Attributes:
        epochs: the completed ones.
        weights: those of the network, in Keras's order.
        optimizer: the optimizer's variables, in Keras's order.
        stopper: the state of early stopping; empty without it.
        stopped: whether early stopping ended training.
        best: the weights of the epoch with the highest ``metrics.OBJECTIVE``; empty with ``training.keep=last``.
    """

    epochs: Sequence[Epoch]
    weights: Sequence[NDArray[Any]]
    optimizer: Sequence[NDArray[Any]]
    stopper: Mapping[str, Any]
    stopped: bool
    best: Sequence[NDArray[Any]] = ()

    def save(self, file: Path) -> None:
        """Write it to a file, whole or not at all, and to the disk before this returns. Raises OSError."""
        state = {"epochs": [asdict(epoch) for epoch in self.epochs], "stopper": self.stopper, "stopped": self.stopped}
        arrays = {f"weights_{n}": array for n, array in enumerate(self.weights)}
        arrays |= {f"optimizer_{n}": array for n, array in enumerate(self.optimizer)}
        arrays |= {f"best_{n}": array for n, array in enumerate(self.best)}
        beside = file.with_name(f"{file.name}.new")
        with beside.open("wb") as out:
            np.savez(out, allow_pickle=False, state=np.array(json.dumps(state)), **arrays)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)


def load(file: Path) -> Checkpoint | None:
    """Read the checkpoint in a file; None if there is no file, or it is damaged. Runs no code from the file."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            state = json.loads(str(arrays["state"]))
            kinds = {
                kind: [arrays[f"{kind}_{n}"] for n in range(sum(name.startswith(kind) for name in arrays.files))]
                for kind in ("weights", "optimizer", "best")
            }
            epochs = [Epoch(**epoch) for epoch in state["epochs"]]
            return Checkpoint(epochs, stopper=state["stopper"], stopped=bool(state["stopped"]), **kinds)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read (%s): training starts anew", file, error)
        return None


class BestWeights(keras.callbacks.Callback):
    """Copies the weights after each epoch whose ``metrics.OBJECTIVE`` is higher than in all epochs before it.

    Of epochs with equal values the earliest counts, as in :meth:`~mnist_exp.metrics.History.best`. Keep it before
    :class:`Checkpoints` among the callbacks.

    Attributes:
        weights: of the network after its best epoch, in Keras's order; empty before the first epoch. Replaced, never
            changed in place: the thread of :class:`Checkpoints` reads them.
    """

    def __init__(self, done: Checkpoint | None) -> None:
        """Begin anew, or go on from the checkpoint ``done``.

        Raises:
            ValueError: it has no best weights, as it was written with ``training.keep=last``.
        """
        super().__init__()
        self.weights: Sequence[NDArray[Any]] = ()
        self._highest = np.float32(-np.inf)
        if done is not None:
            if not done.best:
                raise ValueError("training.keep=best must go on from a checkpoint with best weights. Received: none")
            self.weights = done.best
            self._highest = np.float32(History(list(done.epochs)).best().scores[OBJECTIVE])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Copy the weights if this epoch is the best so far."""
        assert logs is not None, "Keras passes logs to every epoch's end"
        reached = np.float32(logs[OBJECTIVE])  # float32 as in Keras, so it compares exactly with a checkpoint's
        if reached > self._highest:
            self._highest = reached
            self.weights = weights_of(self.model)


class Checkpoints(keras.callbacks.Callback):
    """Copies the state of a run after its epochs, as often as a share of the time allows; a thread writes it to a file.

    Keep it behind the callback that fills ``history``. If the thread is slower than training, it writes the latest
    state and passes over older ones. After training, :meth:`finish` waits for the last one.

    Attributes:
        file: where checkpoints are written.
        stopper: the early stopping whose state is part of them; set by ``engine.train``.
        best: the best weights; set by ``engine.train`` with ``training.keep=best``.
        every_epoch: whether the state is copied after every epoch, however long that takes.
    """

    def __init__(self, file: Path, history: History) -> None:
        """Start the thread. ``history`` has the run's epochs as they are completed."""
        super().__init__()
        self.stopper: keras.callbacks.EarlyStopping | None = None
        self.best: BestWeights | None = None
        self.every_epoch = False
        self.file = file
        self._history = history
        self._next_copy = 0.0
        self._copied: Checkpoint | None = None
        self._finished = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="checkpoints", daemon=True)
        self._thread.start()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Copy the state, if it is time for it."""
        began = time.perf_counter()
        if began < self._next_copy and not self.every_epoch:
            return
        state = state_of(self.model, self._history, self.stopper, self.best)
        with self._changed:
            self._copied = state
            self._changed.notify()
        ended = time.perf_counter()
        if epoch:  # the first copy takes longer than all others
            self._next_copy = ended + min((ended - began) / _SHARE, _LONGEST_PAUSE_S)

    def finish(self) -> None:
        """Wait until the last state is written."""
        with self._changed:
            self._finished = True
            self._changed.notify()
        self._thread.join()

    def _write(self) -> None:
        while (state := self._next()) is not None:
            try:
                state.save(self.file)
            except OSError as error:  # a full disk; that is no reason to end training
                log.warning("no checkpoint could be written to %s: %s", self.file, error.strerror)

    def _next(self) -> Checkpoint | None:
        """Wait for the next state and return it; None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._copied)
            state, self._copied = self._copied, None
            return state


def weights_of(model: keras.Model) -> list[NDArray[Any]]:
    """Copy the network's weights, in Keras's order, of a model that either engine trains."""
    return [variable.numpy() for variable in getattr(model, "network", model).weights]


def state_of(
    model: keras.Model,
    history: History,
    stopper: keras.callbacks.EarlyStopping | None,
    best: BestWeights | None,
) -> Checkpoint:
    """Copy the state of a model that either engine trains; arguments as the attributes of :class:`Checkpoints`."""
    return Checkpoint(
        epochs=tuple(history.epochs),
        weights=weights_of(model),
        optimizer=[variable.numpy() for variable in model.optimizer.variables],
        stopper={name: getattr(stopper, name) for name in _STOPPER} if stopper else {},
        stopped=bool(model.stop_training),
        best=best.weights if best else (),
    )


class ResumableEarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, which can go on from the state that it had in an earlier process."""

    def __init__(self, state: Mapping[str, Any], **settings: Any) -> None:
        """Take Keras's ``settings``, and the ``state`` in a checkpoint; empty to begin anew."""
        super().__init__(**settings)
        self._state = dict(state)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restore the state, which Keras resets here."""
        super().on_train_begin(logs)
        for name, value in self._state.items():
            setattr(self, name, value)
