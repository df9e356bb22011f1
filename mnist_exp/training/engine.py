"""Train the model of a config: in one compiled call an epoch, or by Keras's plain ``fit``.

Both show the same images in the same order to the same Keras objects, so they agree but for float32's rounding.
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_exp.config.schema import EarlyStoppingConfig, RunConfig, TrainingConfig
from mnist_exp.data.datasets import Examples, Split
from mnist_exp.training import compiled, networks
from mnist_exp.training.checkpoint import BestWeights, Checkpoint, Checkpoints, ResumableEarlyStopping

# Images per step outside of training; it changes speed and memory, no figure beyond float32's rounding.
EVALUATION_BATCH = 1000


def train(
    config: RunConfig,
    split: Split,
    callbacks: Sequence[keras.callbacks.Callback],
    done: Checkpoint | None = None,
) -> keras.Model:
    """The trained model: uint8 [N, 28, 28] to float32 [N, 10].

    ``callbacks`` come after those that set the rate and stop early, so they see the rate an epoch ran with. With what
    an earlier process has ``done``, training goes on from there, to the same bits. The model has the weights that
    ``training.keep`` names: those after the last epoch, or those of the epoch with the highest val_accuracy.
    """
    model = networks.build_model(config.model, normalize=config.data.normalize, seed=config.seed)
    own: list[keras.callbacks.Callback] = [keras.callbacks.LearningRateScheduler(networks.schedule(config))]
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
    """Probabilities, float32 [N, 10], of uint8 images [N, 28, 28]; called eagerly, which compiles nothing."""
    starts = range(0, len(images), EVALUATION_BATCH)
    return np.concatenate([model(images[start : start + EVALUATION_BATCH]).numpy() for start in starts])


def batch_order(order_seed: int, epoch: int, images: int) -> NDArray[np.int64]:
    """The order in which epoch ``epoch`` (from 0) shows ``images`` images: int64 [images].

    A function of its arguments alone, so that runs with the same ``training.order_seed`` see the same batches
    whatever their weights' seed, and a run can be taken up again at any epoch.
    """
    return np.random.default_rng([order_seed, epoch]).permutation(images)


def batches(examples: Examples, config: TrainingConfig, done: int = 0) -> tf.data.Dataset:
    """The batches of one epoch after another, each epoch in its :func:`batch_order`; its last may be smaller.

    The first ``done`` epochs are left out.

    A stream, because Keras tells a PyDataset of an epoch's end once before the first has begun.
    """

    def generate() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for epoch in range(done, config.epochs):
            order = batch_order(config.order_seed, epoch, len(examples))
            for start in range(0, len(order), config.batch_size):
                batch = examples.take(order[start : start + config.batch_size])
                yield batch.images, batch.labels

    signature = (tf.TensorSpec((None, 28, 28), tf.uint8), tf.TensorSpec((None,), tf.uint8))
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
    model.set_weights(program.network.get_weights())  # the program's own network is the next run's


def _fit_plainly(
    model: keras.Model,
    config: RunConfig,
    split: Split,
    callbacks: Sequence[keras.callbacks.Callback],
    done: Checkpoint | None,
) -> None:
    optimizer = networks.build_optimizer(config.optimizer)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    if done is not None:
        model.set_weights(done.weights)
        optimizer.build(model.trainable_variables)
        for variable, value in zip(optimizer.variables, done.optimizer, strict=True):
            variable.assign(value)
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


def _epochs_left(training: TrainingConfig, done: Checkpoint | None) -> range:
    """The numbers, from 0, of the epochs to come."""
    if done is None:
        return range(training.epochs)
    return range(0) if done.stopped else range(len(done.epochs), training.epochs)


def _early_stopping(config: EarlyStoppingConfig, done: Checkpoint | None) -> ResumableEarlyStopping:
    return ResumableEarlyStopping(
        done.stopper if done else {},
        monitor=config.monitor,
        min_delta=config.min_delta,
        patience=config.patience,
        mode="min" if config.monitor.endswith("loss") else "max",
    )
