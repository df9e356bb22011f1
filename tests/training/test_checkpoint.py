"""A run that goes on from a checkpoint ends with the bits of one that was never interrupted."""

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from prepared import prepared

from mnist_exp.base.errors import RunFailed
from mnist_exp.base.imports import interrupted
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.metrics import Epoch
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import Progress, run
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.training import checkpoint, engine
from mnist_exp.training.callback import TrackingCallback
from mnist_exp.training.checkpoint import Checkpoint, Checkpoints

Composed = Callable[..., RunConfig]


class InterruptAfter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """What a Ctrl-C does, after so many epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        if epoch + 1 == self._epochs:
            raise KeyboardInterrupt


class BitsAfter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """The weights after an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch
        self.bits: list[bytes] = []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        if epoch + 1 == self._epoch:
            network: keras.Model = getattr(self.model, "network", self.model)  # the compiled engine's model contains it
            self.bits = [weight.tobytes() for weight in network.get_weights()]


@dataclasses.dataclass
class Trained:
    model: keras.Model
    tracker: MemoryTracker

    def bits(self) -> list[bytes]:
        return [weight.tobytes() for weight in self.model.get_weights()]

    def figures(self) -> dict[str, dict[int, float]]:
        return {name: by_step for name, by_step in self.tracker.metrics.items() if name != "epoch_seconds"}


def train(
    config: RunConfig, file: Path, tracker: MemoryTracker, *more: keras.callbacks.Callback, until: int | None = None
) -> Trained | None:
    """Train on from what is in ``file``, and up to epoch ``until``: then None."""
    split = datasets.split(datasets.load(config.data), config.data)
    done = checkpoint.load(file)
    callback = TrackingCallback(tracker)
    callback.history.epochs[:] = done.epochs if done else []
    writer = Checkpoints(file, callback.history)
    writer.every_epoch = True
    stop = [InterruptAfter(until)] if until else []
    try:
        return Trained(engine.train(config, split, [callback, writer, *more, *stop], done), tracker)
    except KeyboardInterrupt:
        return None
    finally:
        writer.finish()


# After which epochs training is interrupted. Keras compiles every part of a run anew, which is what these tests take.
COMPILED, KERAS = ("compiled", (1, 3)), ("keras", (3,))
ENGINES = pytest.mark.parametrize(("training", "interruptions"), [COMPILED, KERAS])

ADAM = ("optimizer=adam",)
MOMENTUM = ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true")
COSINE = ("optimizer=rmsprop", "optimizer.momentum=0.5", "lr=cosine")
STOPPING = ("training.early_stopping.patience=2", "training.early_stopping.monitor=val_accuracy", "optimizer.lr=0.3")
STEPS = ("training.batch_size=64", "lr=step", "lr.every=2")  # and a smaller last batch


@pytest.mark.parametrize(
    ("training", "interruptions", "overrides"),
    [(*COMPILED, each) for each in (ADAM, MOMENTUM, COSINE, STOPPING, STEPS)]
    + [(*KERAS, each) for each in (ADAM, STOPPING)],
)
def test_it_ends_as_if_it_had_never_been_interrupted(
    composed: Composed, tmp_path: Path, overrides: tuple[str, ...], training: str, interruptions: tuple[int, ...]
) -> None:
    config = composed("data.limit=300", "training.epochs=6", f"training.engine={training}", *overrides)
    undisturbed = train(config, tmp_path / "undisturbed.npz", MemoryTracker())
    tracker = MemoryTracker()
    for epoch in interruptions:
        assert train(config, tmp_path / "c.npz", tracker, until=epoch) is None
    resumed = train(config, tmp_path / "c.npz", tracker)
    assert undisturbed is not None
    assert resumed is not None
    assert resumed.bits() == undisturbed.bits()
    assert resumed.figures() == undisturbed.figures()


SEEDS = ("seed=17", "training.order_seed=17", "data.split_seed=17")
PATIENT = ("training.early_stopping.patience=2", "training.early_stopping.monitor=val_accuracy")


@ENGINES
@pytest.mark.parametrize(
    ("best", "last", "overrides"),
    [
        (2, 6, ("optimizer=sgd", "optimizer.lr=0.3")),
        (2, 4, ("optimizer=sgd", "optimizer.lr=0.3", *PATIENT)),
        (5, 6, ("optimizer=adam", "optimizer.lr=0.03")),
    ],
    ids=["before the last interruption", "early stopping", "after the last interruption"],
)
def test_the_best_weights_are_kept_across_interruptions(
    composed: Composed,
    tmp_path: Path,
    best: int,
    last: int,
    overrides: tuple[str, ...],
    training: str,
    interruptions: tuple[int, ...],
) -> None:
    base = ("data.limit=300", "training.epochs=6", f"training.engine={training}", *SEEDS, *overrides)
    config = composed(*base, "training.keep=best")
    after_best = BitsAfter(best)
    undisturbed = train(config, tmp_path / "undisturbed.npz", MemoryTracker(), after_best)
    tracker = MemoryTracker()
    for epoch in interruptions:
        assert train(config, tmp_path / "c.npz", tracker, until=epoch) is None
    resumed = train(config, tmp_path / "c.npz", tracker)
    assert undisturbed is not None
    assert resumed is not None
    accuracies = tracker.metrics["val_accuracy"]
    assert (max(accuracies, key=accuracies.__getitem__), max(accuracies)) == (best, last), "what this test is about"
    assert resumed.bits() == undisturbed.bits() == after_best.bits
    assert resumed.figures() == undisturbed.figures()
    ended = train(config, tmp_path / "c.npz", MemoryTracker())
    assert ended is not None
    assert ended.bits() == resumed.bits(), "a run whose last epoch was done before it was interrupted"


def test_a_checkpoint_without_the_best_weights_is_refused_where_they_are_kept(
    composed: Composed, tmp_path: Path
) -> None:
    base = ("data.limit=300", "training.epochs=2")
    assert train(composed(*base), tmp_path / "c.npz", MemoryTracker(), until=1) is None
    with pytest.raises(ValueError, match=r"training.keep=best must go on from a checkpoint with best weights"):
        train(composed(*base, "training.keep=best"), tmp_path / "c.npz", MemoryTracker())


def test_what_had_stopped_early_trains_no_further(composed: Composed, tmp_path: Path) -> None:
    config = composed(
        *("data.limit=300", "training.epochs=50", "optimizer=sgd", "optimizer.lr=1e-9"),
        *("training.early_stopping.patience=1", "training.early_stopping.monitor=val_accuracy"),
    )
    first = train(config, tmp_path / "c.npz", MemoryTracker())
    again = MemoryTracker()
    second = train(config, tmp_path / "c.npz", again)
    assert first is not None
    assert second is not None
    assert 1 < len(first.tracker.metrics["loss"]) < 50
    assert (second.bits(), again.metrics) == (first.bits(), {})


def test_epochs_that_were_told_are_not_told_again(composed: Composed, tmp_path: Path) -> None:
    """A process was killed after it had told of epoch 3, when the checkpoint was still that of epoch 1."""
    config, job = composed("data.limit=300", "training.epochs=5"), Job("a run", "a group", (), tmp_path)
    file = tmp_path / "checkpoint.npz"
    assert train(config, file, MemoryTracker(), until=1) is None
    tracker, shown = MemoryTracker(), list[Epoch]()
    result = run(prepared(config, job), tracker, shown.append, Progress(file, logged=3))
    assert [epoch.number for epoch in shown] == [2, 3, 4, 5]
    assert list(tracker.metrics["loss"]) == [4, 5]
    assert tracker.tags["resumed"] == "after epoch 1"
    undisturbed = train(config, tmp_path / "undisturbed.npz", MemoryTracker())
    assert undisturbed is not None
    assert result.best.scores["val_accuracy"] == max(undisturbed.tracker.metrics["val_accuracy"].values())


def test_of_a_run_that_diverged_the_last_good_epoch_is_kept(composed: Composed, tmp_path: Path) -> None:
    config = composed(
        *("optimizer=sgd", "optimizer.lr=50", "model.activation=linear", "model.layers=1"),
        *("training.batch_size=100", "training.epochs=9", "data.limit=300"),
    )
    job, tracker, told = Job("a run", "a group", (), tmp_path), MemoryTracker(), list[Epoch]()
    with pytest.raises(RunFailed, match="the loss of epoch"):
        run(prepared(config, job), tracker, told.append, Progress(tmp_path / "checkpoint.npz"))
    assert tracker.tags["failure"] == "diverged"
    (tmp_path / "kept.npz").write_bytes(tracker.artifacts["checkpoint/last_good.npz"])
    kept = checkpoint.load(tmp_path / "kept.npz")
    assert kept is not None
    good = int(tracker.tags["checkpoint_epoch"])
    assert good <= int(tracker.tags["last_good_epoch"]) == len(told) - 1
    assert 0 < good < len(told) <= 9
    assert len(kept.epochs) == good
    assert all(np.isfinite(array).all() for array in kept.weights)


def test_a_ctrl_c_that_python_swallowed_ends_training_before_the_next_epoch(composed: Composed, tmp_path: Path) -> None:
    class Swallowed(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
            interrupted.set()

    config, tracker = composed("data.limit=300", "training.epochs=5"), MemoryTracker()
    split = datasets.split(datasets.load(config.data), config.data)
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.train(config, split, [TrackingCallback(tracker), Swallowed()])
    finally:
        interrupted.clear()
    assert list(tracker.metrics["loss"]) == [1]


SOME = Checkpoint([Epoch(1, 0.1, 0.5, {"loss": 0.25})], [np.ones(3, np.float32)], [np.arange(2)], {"wait": 1}, False)


@pytest.mark.parametrize("best", [(), (np.zeros(3, np.float32),)], ids=["without best weights", "with best weights"])
def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path, best: tuple[NDArray[np.float32], ...]) -> None:
    some = dataclasses.replace(SOME, best=best)
    some.save(tmp_path / "c.npz")
    loaded = checkpoint.load(tmp_path / "c.npz")
    assert loaded is not None
    assert (loaded.epochs, loaded.stopper, loaded.stopped) == (some.epochs, some.stopper, False)
    pairs = ((some.weights, loaded.weights), (some.optimizer, loaded.optimizer), (some.best, loaded.best))
    for mine, its in pairs:
        assert [(array.dtype, array.tolist()) for array in mine] == [(array.dtype, array.tolist()) for array in its]
    assert [file.name for file in tmp_path.iterdir()] == ["c.npz"], "nothing half-written lies beside it"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_one_that_is_not_whole_is_none(tmp_path: Path, share: float) -> None:
    SOME.save(tmp_path / "c.npz")
    data = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(data[: int(share * len(data))])
    assert checkpoint.load(tmp_path / "c.npz") is None
    assert checkpoint.load(tmp_path / "there is none.npz") is None


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("code from a file was run",))


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", allow_pickle=True, state=np.array(Trap(), dtype=object))
    assert checkpoint.load(tmp_path / "c.npz") is None
    (tmp_path / "c.npz").write_bytes(pickle.dumps(Trap()))
    assert checkpoint.load(tmp_path / "c.npz") is None
