"""Training: each epoch is logged as it ran, in its own order of images, and the same config gives the same bits."""

import dataclasses
import gc
import hashlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

from mnist_exp import metrics
from mnist_exp.base.errors import Diverged
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Examples, Split
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.training import compiled, engine
from mnist_exp.training.callback import TrackingCallback

Composed = Callable[..., RunConfig]
SMALL = "data.limit=300"
"""For runs that may have one shape: a program is compiled once for all of them."""


def trained(config: RunConfig) -> tuple[MemoryTracker, keras.Model]:
    split = datasets.split(datasets.load(config.data), config.data)
    tracker = MemoryTracker()
    return tracker, engine.train(config, split, [TrackingCallback(tracker, on_divergence="raise")])


def weights(model: keras.Model) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


def test_every_epoch_is_logged_with_the_rate_it_ran_with(composed: Composed) -> None:
    config = composed(SMALL, "lr=step", "lr.every=1", "lr.factor=0.5", "optimizer.lr=0.5", "training.epochs=3")
    tracker, _ = trained(config)
    assert tracker.metrics["lr"] == {1: 0.5, 2: 0.25, 3: 0.125}
    assert set(tracker.metrics) == set(metrics.per_epoch())
    assert all(list(by_epoch) == [1, 2, 3] for by_epoch in tracker.metrics.values())


def test_the_same_config_gives_the_same_bits(composed: Composed) -> None:
    config = composed("training.epochs=2", SMALL)
    (first, first_model), (second, second_model) = trained(config), trained(config)
    assert weights(first_model) == weights(second_model)
    first.metrics.pop("epoch_seconds"), second.metrics.pop("epoch_seconds")
    assert first.metrics == second.metrics


def test_the_seed_sets_the_weights_and_the_order_seed_the_batches(composed: Composed) -> None:
    base = ("training.epochs=1", SMALL)
    outcomes = [weights(trained(composed(*base, *more))[1]) for more in ((), ("seed=1",), ("training.order_seed=1",))]
    assert len({tuple(each) for each in outcomes}) == 3


def test_the_order_of_an_epoch_is_a_permutation_that_its_seed_and_number_decide() -> None:
    orders = [engine.batch_order(seed, epoch, 100) for seed in (1, 2) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(orders[0], engine.batch_order(1, 0, 100))


def test_each_epoch_shows_every_image_once_the_last_batch_being_smaller(composed: Composed) -> None:
    config = composed("data.limit=100", "training.epochs=2")
    split = datasets.split(datasets.load(config.data), config.data)
    batches = list(engine.batches(split.train, config.training).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [32, 32, 16] * 2
    first, second = np.concatenate([images for images, _ in batches]).reshape(2, 80, 28, 28)
    assert np.array_equal(first, split.train.images[engine.batch_order(17, 0, 80)])
    assert np.array_equal(second, split.train.images[engine.batch_order(17, 1, 80)])


def test_early_stopping_is_off_by_default_and_stops_when_asked(composed: Composed) -> None:
    stuck = ("training.epochs=6", "optimizer.lr=1e-12", SMALL)
    assert len(trained(composed(*stuck))[0].metrics["loss"]) == 6
    patient = ("training.early_stopping.patience=2", "training.early_stopping.monitor=val_accuracy")
    assert len(trained(composed(*stuck, *patient))[0].metrics["loss"]) == 3


@pytest.mark.parametrize("training", ["compiled", "keras"])
@pytest.mark.parametrize(("keep", "epoch"), [("last", 4), ("best", 2)])
def test_the_weights_of_the_asked_for_epoch_are_kept(composed: Composed, training: str, keep: str, epoch: int) -> None:
    config = composed(
        *(SMALL, "seed=17", "training.order_seed=17", "data.split_seed=17", "optimizer=sgd"),
        *("optimizer.lr=0.3", "training.epochs=4", f"training.engine={training}", f"training.keep={keep}"),
    )
    tracker, model = trained(config)
    accuracies = tracker.metrics["val_accuracy"]
    assert len(set(accuracies.values())) == 4, "each epoch can be told by its accuracy"
    assert max(accuracies, key=accuracies.__getitem__) == 2
    validation = datasets.split(datasets.load(config.data), config.data).validation
    right = engine.predict(model, validation.images).argmax(axis=1) == validation.labels
    assert right.mean() == pytest.approx(accuracies[epoch])


def test_of_epochs_with_equal_accuracy_the_earliest_is_kept(composed: Composed) -> None:
    base = (SMALL, "optimizer=sgd", "optimizer.lr=1e-5")
    tracker, best = trained(composed(*base, "training.epochs=3", "training.keep=best"))
    assert len(set(tracker.metrics["val_accuracy"].values())) == 1
    assert weights(best) == weights(trained(composed(*base, "training.epochs=1"))[1])
    assert weights(best) != weights(trained(composed(*base, "training.epochs=3"))[1])


def test_a_loss_that_is_no_number_ends_training_after_it_was_logged(composed: Composed) -> None:
    with pytest.raises(Diverged, match="the loss of epoch 1 is nan at learning rate 1e[+]30: lower optimizer.lr"):
        trained(composed(SMALL, "optimizer=sgd", "optimizer.lr=1e30", "training.epochs=3"))


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_every_model_learns_with_every_optimizer(composed: Composed, model: str, optimizer: str) -> None:
    config = composed(f"model={model}", "model.units=10", f"optimizer={optimizer}", "training.epochs=3")
    losses = list(trained(config)[0].metrics["loss"].values())
    assert losses[-1] < losses[0]


class TestEngines:
    # Both do the same sums, but XLA fuses and reorders them: float32 differs in its last bits (6e-8) after a step,
    # and training carries that on. Over three epochs of 38 steps the losses stay within a ten-thousandth, and hardly
    # an image of 300 changes sides.
    LOSS, ACCURACY = 1e-4, 1 / 300

    @pytest.mark.parametrize(
        ("optimizer", "batch_size"), [("adam", 32), ("sgd", 32), ("rmsprop", 32), ("adam", 50)], ids=str
    )
    def test_both_give_the_same_figures(self, composed: Composed, optimizer: str, batch_size: int) -> None:
        config = composed(
            *(f"optimizer={optimizer}", "optimizer.lr=0.002", f"training.batch_size={batch_size}"),
            *("training.epochs=3", "lr=step", "lr.every=1", "model.units=10"),
        )
        plain = dataclasses.replace(config, training=dataclasses.replace(config.training, engine="keras"))
        ours, theirs = trained(config)[0].metrics, trained(plain)[0].metrics
        assert ours["lr"] == theirs["lr"]
        for name, tolerance in (("loss", self.LOSS), ("val_loss", self.LOSS)):
            assert list(ours[name].values()) == pytest.approx(list(theirs[name].values()), rel=tolerance)
        for name in ("accuracy", "val_accuracy"):
            assert list(ours[name].values()) == pytest.approx(list(theirs[name].values()), abs=self.ACCURACY)

    def test_both_return_a_compiled_model_that_evaluates_as_it_was_validated(self, composed: Composed) -> None:
        for training in ("compiled", "keras"):
            config = composed(SMALL, "training.epochs=2", f"training.engine={training}")
            tracker, model = trained(config)
            validation = datasets.split(datasets.load(config.data), config.data).validation
            scores = model.evaluate(validation.images, validation.labels, verbose=0, return_dict=True)
            last = {name: tracker.metrics[f"val_{name}"][2] for name in ("loss", "accuracy")}
            assert scores == pytest.approx(last, rel=1e-5)
            assert int(model.optimizer.iterations) == 2 * math.ceil(240 / 32), "the optimizer has its state"

    def test_a_callback_that_set_the_first_epoch_leaves_no_trace(self, composed: Composed, tmp_path: Path) -> None:
        config = composed(SMALL, "training.epochs=3", "model.units=7")
        split = datasets.split(datasets.load(config.data), config.data)

        class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
            def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
                if epoch == 2:
                    raise InterruptedError

        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        with pytest.raises(InterruptedError):
            engine.train(config, split, [backup, Interrupt()])
        engine.train(config, split, [keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))])
        assert compiled.program(config, split)._initial_epoch == 2, "what this test is about"
        assert list(trained(config)[0].metrics["loss"]) == [1, 2, 3]

    def test_images_of_another_shape_and_more_classes(self, composed: Composed) -> None:
        random = np.random.default_rng(0)
        images, labels = random.integers(0, 256, (48, 12, 20), dtype=np.uint8), np.arange(48, dtype=np.uint8) % 24
        part = Examples(images, labels)
        for overrides in ([], ["training.engine=keras"], ["model=cnn", "model.kernel_size=3"]):
            config = composed("training.epochs=1", *overrides)
            model = engine.train(config, Split(part, part, part, classes=24), [])
            assert model.input_shape == (None, 12, 20)
            assert engine.predict(model, images).shape == (48, 24)

    def test_a_run_of_the_same_shape_compiles_nothing(self, composed: Composed) -> None:
        base = (SMALL, "training.epochs=2", "model.units=5")
        config = composed(*base)
        split = datasets.split(datasets.load(config.data), config.data)
        trained(config)
        program = compiled.program(config, split)
        assert program.traces == 2, "one for training, one for validation"
        for other in (("seed=3",), ("optimizer.lr=0.3",), ("lr=cosine",), ("training.order_seed=1",)):
            trained(composed(*base, *other))
        trained(composed(*base, "data.split_seed=5"))
        assert program.traces == 2
        assert compiled.program(composed(*base, "optimizer.lr=0.7"), split) is program
        assert compiled.program(composed(*base[:2], "model.units=6"), split) is not program

    def test_what_ran_before_leaves_no_trace(self, composed: Composed) -> None:
        shape = (SMALL, "model.units=8")  # which no other test has: its program is new
        config = composed(*shape, "training.epochs=2")
        first = trained(config)[0].metrics
        trained(composed(*shape, "training.epochs=3", "optimizer.lr=0.5", "seed=9"))
        again = trained(config)[0].metrics
        for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
            assert first[name] == again[name]

    def test_a_data_set_smaller_than_a_batch(self, composed: Composed) -> None:
        tracker, _ = trained(composed("data.limit=20", "training.batch_size=64", "training.epochs=2"))
        assert len(tracker.metrics["loss"]) == 2

    @pytest.mark.slow
    def test_memory_hardly_grows_with_the_number_of_runs(self, composed: Composed) -> None:
        config = composed(SMALL, "training.epochs=1")
        used = []
        for seed in range(30):
            trained(dataclasses.replace(config, seed=seed))
            if seed in (9, 29):
                gc.collect()
                used.append(psutil.Process().memory_info().rss)
        assert (used[1] - used[0]) / 20 < 400_000, "bytes a run; Keras itself keeps about 100,000"

    @pytest.mark.slow
    def test_another_process_gives_the_same_bits(self, composed: Composed) -> None:
        code = """
import hashlib
from mnist_exp.app.compose import compose, to_run_config
from mnist_exp.data import datasets
from mnist_exp.training import compiled, engine
config = to_run_config(compose(["data=digits", "data.limit=400", "training.epochs=2"]))
model = engine.train(config, datasets.split(datasets.load(config.data), config.data), [])
print(hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        _, model = trained(composed("data.limit=400", "training.epochs=2"))
        assert done.stdout.strip() == hashlib.sha256(b"".join(weights(model))).hexdigest()
