"""Where training can be taken up again: all that the next epoch depends on, in one file.

The order of an epoch is a function of its seed and number, and so is its rate; what else an epoch depends on are the
weights, the optimizer's variables and what early stopping remembers. With ``training.keep=best``, the result of a run
also depends on the best weights so far. A run that goes on from a checkpoint ends with the same bits as one that was
never interrupted.
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

from mnist_exp.metrics import Epoch, History

log = logging.getLogger(__name__)

# What share of training may be spent looking at the weights; writing them is another thread's work.
_SHARE = 0.008

# However long one look took on a busy machine: no more than this has to be trained again.
_LONGEST_S = 1.0

_STOPPER = ("wait", "best", "best_epoch")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after one of its epochs.

    Attributes:
        epochs: those completed.
        weights: of the network, in Keras's order.
        optimizer: the optimizer's variables, in Keras's order.
        stopper: what early stopping remembers, empty without it.
        stopped: whether it ended training.
        best: the weights of the epoch with the highest val_accuracy; empty with ``training.keep=last``.
    """

    epochs: Sequence[Epoch]
    weights: Sequence[NDArray[Any]]
    optimizer: Sequence[NDArray[Any]]
    stopper: Mapping[str, Any]
    stopped: bool
    best: Sequence[NDArray[Any]] = ()

    def save(self, file: Path) -> None:
        """Write it whole or not at all; it outlasts a power cut."""
        told = {"epochs": [asdict(epoch) for epoch in self.epochs], "stopper": self.stopper, "stopped": self.stopped}
        arrays = {f"weights_{n}": array for n, array in enumerate(self.weights)}
        arrays |= {f"optimizer_{n}": array for n, array in enumerate(self.optimizer)}
        arrays |= {f"best_{n}": array for n, array in enumerate(self.best)}
        beside = file.with_name(f"{file.name}.new")
        with beside.open("wb") as out:
            np.savez(out, allow_pickle=False, told=np.array(json.dumps(told)), **arrays)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)


def load(file: Path) -> Checkpoint | None:
    """The checkpoint in a file; None where there is none, or none that is whole. Runs no code from the file."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            kinds = {
                kind: [arrays[f"{kind}_{n}"] for n in range(sum(name.startswith(kind) for name in arrays.files))]
                for kind in ("weights", "optimizer", "best")
            }
            epochs = [Epoch(**epoch) for epoch in told["epochs"]]
            return Checkpoint(epochs, stopper=told["stopper"], stopped=bool(told["stopped"]), **kinds)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read (%s): training starts anew", file, error)
        return None


class BestWeights(keras.callbacks.Callback):
    """Copies the weights after each epoch whose val_accuracy is higher than in all epochs before it.

    Of epochs with equal val_accuracy the earliest counts, as in :meth:`~mnist_exp.metrics.History.best`. Keep
    it before :class:`Checkpoints`.

    Attributes:
        weights: of the network after its best epoch, in Keras's order; empty before the first epoch. Replaced, never
            changed in place: the thread of :class:`Checkpoints` reads them.

    Raises:
        ValueError: if the checkpoint ``done`` holds no best weights: it was written with ``training.keep=last``.
    """

    def __init__(self, done: Checkpoint | None) -> None:
        super().__init__()
        self.weights: Sequence[NDArray[Any]] = ()
        self._highest = np.float32(-np.inf)
        if done is not None:
            if not done.best:
                raise ValueError("training.keep=best must go on from a checkpoint with best weights. Received: none")
            self.weights = done.best
            self._highest = np.float32(History(list(done.epochs)).best().scores["val_accuracy"])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Copy the weights if this epoch is the best so far."""
        assert logs is not None, "Keras passes logs to every epoch's end"
        accuracy = np.float32(logs["val_accuracy"])  # float32 as in Keras, so it compares exactly with a checkpoint's
        if accuracy > self._highest:
            self._highest = accuracy
            self.weights = weights_of(self.model)


class Checkpoints(keras.callbacks.Callback):
    """Looks at a run after its epochs, as often as its share of the time allows, and writes what it sees to a file.

    Keep it behind the callback that fills ``history``. Writing happens in a thread, the last look first; once training
    has ended, :meth:`finish` waits for it.

    Attributes:
        stopper: the early stopping to remember; whoever trains sets it.
        best: the best weights to remember; set by ``engine.train`` with ``training.keep=best``.
        looks_at_every_epoch: whether the share of the time does not matter.
    """

    def __init__(self, file: Path, history: History) -> None:
        super().__init__()
        self.stopper: keras.callbacks.EarlyStopping | None = None
        self.best: BestWeights | None = None
        self.looks_at_every_epoch = False
        self._file = file
        self._history = history
        self._next_look = 0.0
        self._seen: Checkpoint | None = None
        self._finished = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="checkpoints", daemon=True)
        self._thread.start()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Look, if it is time again."""
        began = time.perf_counter()
        if began < self._next_look and not self.looks_at_every_epoch:
            return
        seen = see(self.model, self._history, self.stopper, self.best)
        with self._changed:
            self._seen = seen
            self._changed.notify()
        ended = time.perf_counter()
        if epoch:  # the first look takes longer than all others
            self._next_look = ended + min((ended - began) / _SHARE, _LONGEST_S)

    def finish(self) -> None:
        """Wait until the last look is in the file."""
        with self._changed:
            self._finished = True
            self._changed.notify()
        self._thread.join()

    def _write(self) -> None:
        while (seen := self._next()) is not None:
            try:
                seen.save(self._file)
            except OSError as error:  # a full disk; that is no reason to end training
                log.warning("no checkpoint could be written to %s: %s", self._file, error.strerror)

    def _next(self) -> Checkpoint | None:
        """What was seen since the last time, however long that takes; None once there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._seen)
            seen, self._seen = self._seen, None
            return seen


def weights_of(model: keras.Model) -> list[NDArray[Any]]:
    """Copies of the network's weights, in Keras's order, of a model that is being trained by either engine."""
    return [variable.numpy() for variable in getattr(model, "network", model).weights]


def see(
    model: keras.Model,
    history: History,
    stopper: keras.callbacks.EarlyStopping | None,
    best: BestWeights | None,
) -> Checkpoint:
    """The checkpoint of a model that is being trained, whichever engine trains it."""
    return Checkpoint(
        epochs=tuple(history.epochs),
        weights=weights_of(model),
        optimizer=[variable.numpy() for variable in model.optimizer.variables],
        stopper={name: getattr(stopper, name) for name in _STOPPER} if stopper else {},
        stopped=bool(model.stop_training),
        best=best.weights if best else (),
    )


class ResumableEarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, which may remember the epochs of an earlier process."""

    def __init__(self, remembered: Mapping[str, Any], **settings: Any) -> None:
        super().__init__(**settings)
        self._remembered = dict(remembered)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin where the checkpoint was."""
        super().on_train_begin(logs)
        for name, value in self._remembered.items():
            setattr(self, name, value)
