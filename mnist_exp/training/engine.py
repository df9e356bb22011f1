"""Train the model of a config: in one compiled call per epoch, or by Keras's plain ``fit``.

Both engines give the same images in the same order to the same Keras objects: results differ by float32 rounding only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_exp import metrics
from mnist_exp.config.schema import EarlyStoppingConfig, RunConfig, TrainingConfig
from mnist_exp.data.datasets import Examples, Split
from mnist_exp.training import compiled, networks
from mnist_exp.training.checkpoint import BestWeights, Checkpoint, Checkpoints, ResumableEarlyStopping

# Images per step of a validation or prediction. It changes speed and memory, and results only by float32 rounding.
EVALUATION_BATCH = 1000


def train(
    config: RunConfig,
    split: Split,
    callbacks: Sequence[keras.callbacks.Callback],
    done: Checkpoint | None = None,
) -> keras.Model:
    """Train a model.

    Args:
        config: what to train, and how.
        split: the images.
        callbacks: called after those that set the learning rate and stop early, so they see the rate of each epoch.
        done: a checkpoint of an earlier process to go on from; the result has the same bits as without interruption.

    Returns:
        The model, uint8 [N, height, width] to float32 [N, classes], as Keras's ``fit`` leaves it: compiled, with the
        state of its optimizer. Its weights are those that ``training.keep`` names: after the last epoch, or of the
        epoch with the highest ``metrics.OBJECTIVE``.

    Raises:
        ValueError: ``training.keep`` is best, and the checkpoint has no best weights.
    """
    model = networks.build_model(
        config.model, shape=split.shape, classes=split.classes, normalize=config.data.normalize, seed=config.seed
    )
    own: list[keras.callbacks.Callback] = [_RateOfEachEpoch(networks.schedule(config))]
    stopper = best = None
    if config.training.early_stopping.patience is not None:
        own.append(stopper := _early_stopping(config.training.early_stopping, done))
    if config.training.keep == "best":
        own.append(best := BestWeights(done))
    for callback in callbacks:
        if isinstance(callback, Checkpoints):
            callback.stopper, callback.best = stopper, best
    fit = _fit_compiled if config.training.engine == "compiled" else _fit_plainly
    fit(model, config, split, [*own, *callbacks], done)
    if best is not None:
        model.set_weights(best.weights)
    return model


def predict(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probability of each class, float32 [N, classes], for uint8 images [N, height, width].

    The model is called eagerly: nothing is compiled.
    """
    starts = range(0, len(images), EVALUATION_BATCH)
    return np.concatenate([model(images[start : start + EVALUATION_BATCH]).numpy() for start in starts])


def batch_order(order_seed: int, epoch: int, images: int) -> NDArray[np.int64]:
    """Return the order of ``images`` images in epoch ``epoch``, counted from 0: int64 [images].

    It depends on its arguments alone: runs with the same ``training.order_seed`` see the same batches, also if their
    weights have different seeds, and a run can be resumed at any epoch.
    """
    return np.random.default_rng([order_seed, epoch]).permutation(images)


def batches(examples: Examples, config: TrainingConfig, done: int = 0) -> tf.data.Dataset:
    """Return the batches of all epochs but the first ``done``, each epoch in its :func:`batch_order`.

    The last batch of an epoch may be smaller. This is a stream, not a PyDataset: Keras calls the ``on_epoch_end`` of a
    PyDataset once before the first epoch.
    """

    def generate() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for epoch in range(done, config.epochs):
            order = batch_order(config.order_seed, epoch, len(examples))
            for start in range(0, len(order), config.batch_size):
                batch = examples.take(order[start : start + config.batch_size])
                yield batch.images, batch.labels

    signature = (tf.TensorSpec((None, *examples.shape), tf.uint8), tf.TensorSpec((None,), tf.uint8))
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(tf.data.AUTOTUNE)


def _fit_compiled(
    model: keras.Model,
    config: RunConfig,
    split: Split,
    callbacks: Sequence[keras.callbacks.Callback],
    done: Checkpoint | None,
) -> None:
    training, images = config.training, len(split.train)
    program = compiled.program(config, split)
    program.begin(done.weights if done else model.get_weights(), split, done.optimizer if done else None)
    rest = _epochs_left(training, done)
    if rest:
        epochs = (batch_order(training.order_seed, epoch, images) for epoch in rest)
        program.fit(
            compiled.orders(epochs, len(rest), images, training.batch_size),
            steps_per_epoch=1,
            shuffle=False,
            validation_data=compiled.in_order(len(split.validation), EVALUATION_BATCH),
            initial_epoch=rest.start,
            epochs=training.epochs,
            callbacks=callbacks,
            verbose=0,
        )
    # The program's own network and optimizer are those of the next run as well.
    model.set_weights(program.network.get_weights())
    _compile(model, config, [variable.numpy() for variable in program.optimizer.variables])


def _fit_plainly(
    model: keras.Model,
    config: RunConfig,
    split: Split,
    callbacks: Sequence[keras.callbacks.Callback],
    done: Checkpoint | None,
) -> None:
    if done is not None:
        model.set_weights(done.weights)
    _compile(model, config, done.optimizer if done else None)
    rest = _epochs_left(config.training, done)
    if rest:
        model.fit(
            batches(split.train, config.training, rest.start),
            steps_per_epoch=-(-len(split.train) // config.training.batch_size),
            shuffle=False,
            validation_data=(split.validation.images, split.validation.labels),
            validation_batch_size=EVALUATION_BATCH,
            initial_epoch=rest.start,
            epochs=config.training.epochs,
            callbacks=callbacks,
            verbose=0,
        )


def _compile(model: keras.Model, config: RunConfig, state: Sequence[NDArray[Any]] | None) -> None:
    """Compile a model; ``state`` are values of its optimizer's variables, in Keras's order."""
    model.compile(networks.build_optimizer(config.optimizer), **metrics.compile_options())
    if state is not None:
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)


class _RateOfEachEpoch(keras.callbacks.LearningRateScheduler):
    """Sets the learning rate of each epoch, and adds nothing to ``logs``: TrackingCallback logs the rate as ``lr``."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave ``logs`` as they are."""


def _epochs_left(training: TrainingConfig, done: Checkpoint | None) -> range:
    """Return the epochs to come, counted from 0."""
    if done is None:
        return range(training.epochs)
    return range(0) if done.stopped else range(len(done.epochs), training.epochs)


def _early_stopping(config: EarlyStoppingConfig, done: Checkpoint | None) -> ResumableEarlyStopping:
    monitored = metrics.find(config.monitor)
    return ResumableEarlyStopping(
        done.stopper if done else {},
        monitor=config.monitor,
        min_delta=config.min_delta,
        patience=config.patience,
        mode="max" if monitored and monitored.higher else "min",
    )
