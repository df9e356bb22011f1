"""Where training can be taken up again: all that the next epoch depends on, in one file.

The order of an epoch is a function of its seed and number, and so is its rate; what else an epoch depends on are the
weights, the optimizer's variables and what early stopping remembers. A run that goes on from a checkpoint ends with the
same bits as one that was never interrupted.
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

from mnist_exp.training.epochs import Epoch, History

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
    """

    epochs: Sequence[Epoch]
    weights: Sequence[NDArray[Any]]
    optimizer: Sequence[NDArray[Any]]
    stopper: Mapping[str, Any]
    stopped: bool

    def save(self, file: Path) -> None:
        """Write it whole or not at all; it outlasts a power cut."""
        told = {"epochs": [asdict(epoch) for epoch in self.epochs], "stopper": self.stopper, "stopped": self.stopped}
        arrays = {f"weights_{n}": array for n, array in enumerate(self.weights)}
        arrays |= {f"optimizer_{n}": array for n, array in enumerate(self.optimizer)}
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
                for kind in ("weights", "optimizer")
            }
            epochs = [Epoch(**epoch) for epoch in told["epochs"]]
            return Checkpoint(epochs, kinds["weights"], kinds["optimizer"], told["stopper"], bool(told["stopped"]))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read (%s): training starts anew", file, error)
        return None


class Checkpoints(keras.callbacks.Callback):
    """Looks at a run after its epochs, as often as its share of the time allows, and writes what it sees to a file.

    Keep it behind the callback that fills ``history``. Writing happens in a thread, the last look first; once training
    has ended, :meth:`finish` waits for it.

    Attributes:
        stopper: the early stopping to remember; whoever trains sets it.
        looks_at_every_epoch: whether the share of the time does not matter.
    """

    def __init__(self, file: Path, history: History) -> None:
        super().__init__()
        self.stopper: keras.callbacks.EarlyStopping | None = None
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
        seen = see(self.model, self._history, self.stopper)
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


def see(model: keras.Model, history: History, stopper: keras.callbacks.EarlyStopping | None) -> Checkpoint:
    """The checkpoint of a model that is being trained, whichever engine trains it."""
    network = getattr(model, "network", model)
    return Checkpoint(
        epochs=tuple(history.epochs),
        weights=[variable.numpy() for variable in network.weights],
        optimizer=[variable.numpy() for variable in model.optimizer.variables],
        stopper={name: getattr(stopper, name) for name in _STOPPER} if stopper else {},
        stopped=bool(model.stop_training),
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
