"""The tracking callback in Keras scripts of anybody's: it logs what there is to log, and gets in nobody's way."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import mnist_exp
from mnist_exp.metrics import Epoch
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.training.callback import TrackingCallback

IMAGES = np.random.default_rng(0).random((16, 4)).astype(np.float32)
LABELS = np.arange(16) % 2
OWN = {"lr", "epoch_seconds"}


def network(*, loss: str = "sparse_categorical_crossentropy", **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "softmax")])
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": loss, **options})
    return model


def fitted(model: keras.Model, *, callbacks: Any = (), **options: Any) -> MemoryTracker:
    """What was logged of a training of two epochs."""
    tracker = MemoryTracker()
    model.fit(IMAGES, LABELS, verbose=0, **{"epochs": 2, **options}, callbacks=[*callbacks, TrackingCallback(tracker)])
    return tracker


def logged_of(logs: Mapping[str, Any], **options: Any) -> MemoryTracker:
    """What is logged of one epoch with these ``logs``, in a training loop that has no model."""
    tracker = MemoryTracker()
    TrackingCallback(tracker, **options).on_epoch_end(0, logs)
    return tracker


def test_it_is_imported_from_the_package() -> None:
    assert mnist_exp.TrackingCallback is TrackingCallback


# What is logged


def test_without_validation_the_training_metrics_are_logged() -> None:
    assert set(fitted(network()).metrics) == {"loss", *OWN}


def test_epochs_without_a_validation_have_no_validation_metrics() -> None:
    logged = fitted(network(), epochs=4, validation_split=0.5, validation_freq=2).metrics
    assert list(logged["loss"]) == [1, 2, 3, 4]
    assert list(logged["val_loss"]) == [2, 4]


def test_every_metric_is_logged_under_keras_name_for_it() -> None:
    model = network(metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")])
    logged = fitted(model, validation_split=0.5).metrics
    assert set(logged) == {*OWN, *(f"{val}{each}" for val in ("", "val_") for each in ("loss", "accuracy", "top_2"))}
    history = fitted(model, epochs=1).metrics
    assert list(history["top_2"]) == [1]


def test_every_output_of_a_model_has_its_metrics() -> None:
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("left", "right")]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"], metrics=[["mae"], ["mae"]])
    tracker = MemoryTracker()
    model.fit(IMAGES, [LABELS, LABELS], verbose=0, callbacks=[TrackingCallback(tracker)])
    assert set(tracker.metrics) == {*OWN, "loss", "left_loss", "right_loss", "left_mae", "right_mae"}


def test_what_a_train_step_of_ones_own_returns_is_logged() -> None:
    class Own(keras.Model):  # type: ignore[misc]  # Keras is untyped
        def train_step(self, data: Any) -> dict[str, Any]:  # noqa: ARG002
            return {"energy": tf.constant(1.5), "parts": {"kinetic": tf.constant([[0.5]])}}

    model = Own()
    model.compile()
    tracker = MemoryTracker()
    model.fit(IMAGES, LABELS, verbose=0, callbacks=[TrackingCallback(tracker)])
    assert (tracker.metrics["energy"], tracker.metrics["kinetic"]) == ({1: 1.5}, {1: 0.5})


def test_what_other_callbacks_add_is_logged() -> None:
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, _: 0.5 / (epoch + 1))
    logged = fitted(network(), callbacks=[scheduler]).metrics
    assert logged["learning_rate"] == logged["lr"] == {1: 0.5, 2: 0.25}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (np.float32(0.1), 0.1),
        (0.1 + 1e-9, 0.1 + 1e-9),
        (1e300, 1e300),
        (16_777_217, 16_777_217.0),
        (123_456_792, 123_456_792.0),
        (np.array([[2.5]]), 2.5),
        (tf.constant([2.5]), 2.5),
        (tf.Variable(2.5), 2.5),
        (keras.Variable(2.5), 2.5),
        (tf.constant(2.5, tf.bfloat16), 2.5),
        (True, 1.0),
        (math.inf, math.inf),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_one_number_is_logged_as_it_is(value: Any, number: float) -> None:
    assert logged_of({"loss": value}).metrics["loss"] == {1: number}


def test_a_loss_that_is_no_number_any_more_is_logged() -> None:
    assert math.isnan(logged_of({"loss": float("nan")}).metrics["loss"][1])


@pytest.mark.parametrize(
    "value",
    [None, "0.5", np.zeros(2), tf.zeros((2, 2)), [], {}, object(), np.array("0.5"), 1j],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_left_out_and_named_once(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    tracker = MemoryTracker()
    callback = TrackingCallback(tracker)
    for epoch in range(2):
        callback.on_epoch_end(epoch, {"loss": 0.5, "odd": value})
    assert (tracker.metrics["loss"], "odd" in tracker.metrics) == ({1: 0.5, 2: 0.5}, False)
    assert caplog.messages == [f"odd is not logged: it is a {type(value).__name__}, not a number"]


def test_a_name_that_mlflow_refuses_is_changed() -> None:
    assert set(logged_of({"f1@½ (macro)": 1.0, "a" * 300: 2.0}).metrics) == {"f1_½ _macro_", "a" * 250, "epoch_seconds"}


def test_an_epoch_without_logs_is_an_epoch() -> None:
    tracker = MemoryTracker()
    TrackingCallback(tracker).on_epoch_end(0, None)
    assert set(tracker.metrics) == {"epoch_seconds"}


# The learning rate


def test_of_a_schedule_the_rate_of_the_current_iteration_is_logged() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.8, decay_steps=4, decay_rate=0.5)
    logged = fitted(network(optimizer=keras.optimizers.SGD(schedule)), batch_size=4, epochs=3).metrics
    assert logged["lr"] == pytest.approx({1: 0.8, 2: 0.4, 3: 0.2})


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(lambda: 0.5),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5)),
    ],
    ids=["a function", "loss scaling"],
)
def test_the_rate_is_found_however_the_optimizer_has_it(optimizer: keras.Optimizer) -> None:
    assert fitted(network(optimizer=optimizer)).metrics["lr"] == {1: 0.5, 2: 0.5}


def test_without_a_rate_the_epoch_is_logged_all_the_same() -> None:
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.5)))
    logged = fitted(network(optimizer=several)).metrics
    assert (list(logged["loss"]), "lr" in logged) == ([1, 2], False)


def test_prediction_and_evaluation_need_no_optimizer() -> None:
    model, tracker = network(optimizer=None), MemoryTracker()
    callback = TrackingCallback(tracker)
    model.predict(IMAGES, verbose=0, callbacks=[callback])
    model.evaluate(IMAGES, LABELS, verbose=0, callbacks=[callback])
    assert tracker.metrics == {}


# Numbers of epochs


def test_a_second_fit_is_counted_on() -> None:
    model, tracker = network(), MemoryTracker()
    callback = TrackingCallback(tracker)
    for more in ({"epochs": 2}, {"epochs": 3}, {"epochs": 7, "initial_epoch": 5}):
        model.fit(IMAGES, LABELS, verbose=0, callbacks=[callback], **more)
    assert list(tracker.metrics["loss"]) == [1, 2, 3, 4, 5, 6, 7]


def test_a_fit_that_begins_later_is_numbered_as_keras_does() -> None:
    assert list(fitted(network(), initial_epoch=3, epochs=5).metrics["loss"]) == [4, 5]


def test_epochs_that_an_earlier_process_logged_are_not_logged_again() -> None:
    tracker, seen = MemoryTracker(), list[Epoch]()
    network().fit(
        IMAGES, LABELS, epochs=3, verbose=0, callbacks=[TrackingCallback(tracker, seen.append, already_logged=2)]
    )
    assert list(tracker.metrics["loss"]) == [3]
    assert [epoch.number for epoch in seen] == [1, 2, 3]


# Divergence


def diverging(**options: Any) -> Callable[[], tuple[MemoryTracker, keras.callbacks.History]]:
    def train() -> tuple[MemoryTracker, keras.callbacks.History]:
        tracker = MemoryTracker()
        model = network(loss="mse")
        own = options.pop("callbacks", [])
        callback = TrackingCallback(tracker, **options)
        return tracker, model.fit(IMAGES, IMAGES[:, :2] * np.nan, epochs=3, verbose=0, callbacks=[*own, callback])

    return train


def test_a_loss_that_is_not_finite_is_left_to_keras() -> None:
    tracker, history = diverging()()
    assert list(tracker.metrics["loss"]) == [1, 2, 3]
    assert len(history.epoch) == 3


def test_keras_own_stop_is_as_quiet_as_without_us(capsys: pytest.CaptureFixture[str]) -> None:
    tracker, history = diverging(callbacks=[keras.callbacks.TerminateOnNaN()])()
    assert list(tracker.metrics["loss"]) == [1]
    assert len(history.epoch) == 1
    assert "Invalid loss, terminating training" in capsys.readouterr().out


def test_training_stops_after_it_if_that_is_wanted() -> None:
    tracker, history = diverging(on_divergence="stop")()
    assert list(tracker.metrics["loss"]) == [1]
    assert len(history.epoch) == 1


def test_the_logger_of_the_package_is_silent_about_a_normal_training(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mnist_exp"):
        fitted(network())
    assert not caplog.messages
