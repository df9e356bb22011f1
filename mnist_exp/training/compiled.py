"""One epoch in one compiled call: Keras's own ``fit``, with a whole epoch for a batch.

With networks as small as these, plain ``fit`` spends nearly all of its time between batches. Here, what ``fit`` takes
for a batch is the order of a whole epoch, and :meth:`EpochModel.train_step` loops over Keras's own ``train_step``
inside one compiled program, with the images already on the device. Optimizers, metrics and callbacks are Keras's own,
and are called as with plain ``fit``, once per epoch.

Learning rate, weights, images and order are inputs of that program. Runs of the same shape share it (:func:`program`):
a sweep compiles once per shape, not once per run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_exp import metrics
from mnist_exp.config.schema import CnnConfig, MlpConfig, RunConfig
from mnist_exp.config.schema import OptimizerConfig as Optimizer
from mnist_exp.data.datasets import Examples, Split
from mnist_exp.metrics import Metric
from mnist_exp.training import networks

# Number of programs in memory: as many shapes as a sweep is likely to alternate between.
_KEPT = 8

# A program may have any base rate: it is a variable, which the schedule sets before every epoch.
_ANY_RATE = 1.0

Order = tuple[NDArray[np.int32], NDArray[np.int32]]
"""An epoch: row numbers of its full batches, [steps, batch], and of the smaller last one, [rest]."""


class OnDevice:
    """Memory for ``count`` examples with images of one shape; they can be replaced without compiling again."""

    def __init__(self, count: int, shape: tuple[int, int]) -> None:
        self._images = tf.Variable(tf.zeros((count, *shape), tf.uint8), trainable=False)
        self._labels = tf.Variable(tf.zeros((count,), tf.uint8), trainable=False)
        self._held: Examples | None = None

    def hold(self, examples: Examples) -> None:
        """Copy ``examples`` to that memory, unless they are there already."""
        if self._held is not examples:
            self._images.assign(examples.images)
            self._labels.assign(examples.labels)
            self._held = examples

    def rows(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the images and labels at ``rows``."""
        return tf.gather(self._images, rows), tf.gather(self._labels, rows)


class EpochModel(keras.Model):
    """A network whose ``train_step`` and ``test_step`` go through a whole epoch.

    Attributes:
        network: the model itself, which takes images.
        traces: how often a step was traced, which is how often something was compiled.
    """

    def __init__(
        self, network: keras.Model, optimizer: keras.Optimizer, training: int, validation: int, *, xla: bool
    ) -> None:
        """Compile ``network`` for ``training`` training and ``validation`` validation images."""
        super().__init__()
        self.network = network
        self.traces = 0
        _, height, width = network.input_shape
        self.training_data = OnDevice(training, (height, width))
        self.validation_data = OnDevice(validation, (height, width))
        self.compile(optimizer, **metrics.compile_options(), jit_compile=xla)
        self._build_all()
        self._fresh_optimizer = [variable.numpy() for variable in optimizer.variables]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the network's probabilities for images."""
        return self.network(images, training=training)

    def begin(
        self, weights: Sequence[NDArray[np.float32]], split: Split, optimizer: Sequence[NDArray[Any]] | None = None
    ) -> None:
        """Prepare for a run; nothing of the run before is left.

        Args:
            weights: the network's initial weights, in Keras's order.
            split: the images.
            optimizer: values of the optimizer's variables, in Keras's order; None if it starts anew.
        """
        self._initial_epoch = None  # BackupAndRestore sets it, and Keras never resets it
        self.network.set_weights(weights)
        for variable, value in zip(self.optimizer.variables, optimizer or self._fresh_optimizer, strict=True):
            variable.assign(value)
        self.training_data.hold(split.train)
        self.validation_data.hold(split.validation)

    def train_step(self, data: tuple[tuple[tf.Tensor, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """Train for one epoch."""
        return self._each_batch(super().train_step, self.training_data, data)

    def test_step(self, data: tuple[tuple[tf.Tensor, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """Validate once."""
        return self._each_batch(super().test_step, self.validation_data, data)

    def _each_batch(
        self, step: Callable[[Any], Any], examples: OnDevice, data: tuple[tuple[tf.Tensor, tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        self.traces += 1
        ((full, rest),) = data

        def one(number: tf.Tensor) -> tuple[tf.Tensor]:
            step(examples.rows(full[number]))
            return (number + 1,)

        # Keras keeps AutoGraph out of here, so the loop is TensorFlow's own.
        if full.shape[0]:
            tf.while_loop(lambda number: number < full.shape[0], one, (tf.constant(0),))
        if rest.shape[0]:
            step(examples.rows(rest))
        means: dict[str, tf.Tensor] = self.get_metrics_result()
        return means

    def _build_all(self) -> None:
        """Build what ``fit`` would otherwise build by trying the model on what it takes for a batch."""
        images, labels = self.training_data.rows(tf.range(1))
        probabilities = self(images)
        self.compute_loss(x=images, y=labels, y_pred=probabilities)
        self.compute_metrics(images, labels, probabilities)
        self.optimizer.build(self.trainable_variables)
        self.reset_metrics()


def program(config: RunConfig, split: Split) -> EpochModel:
    """Return the compiled program for runs of this shape: the same one for every learning rate, schedule and seed."""
    return _program(
        config.model,
        split.shape,
        split.classes,
        config.data.normalize,
        replace(config.optimizer, lr=_ANY_RATE),
        config.training.batch_size,
        len(split.train),
        len(split.validation),
        metrics.by_keras(),
    )


def orders(epochs: Iterator[NDArray[np.int64]], count: int, images: int, batch_size: int) -> tf.data.Dataset:
    """Return ``count`` epochs, each an order of all ``images``: a data set whose elements ``fit`` takes for batches."""
    steps, rest = divmod(images, batch_size)

    def generate() -> Iterator[tuple[Order]]:
        for order in epochs:
            yield (_divided(order, batch_size),)

    signature = ((tf.TensorSpec((steps, batch_size), tf.int32), tf.TensorSpec((rest,), tf.int32)),)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    # The next order is drawn while an epoch runs.
    return _lean(dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(1))


def in_order(images: int, batch_size: int) -> tf.data.Dataset:
    """Return all images once, in their own order, as one such epoch."""
    return _lean(tf.data.Dataset.from_tensors((_divided(np.arange(images), batch_size),)))


def _lean(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turn autotuning off: starting and stopping it takes longer than it saves for one element per epoch."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


def _divided(rows: NDArray[np.int64], batch_size: int) -> Order:
    full = len(rows) - len(rows) % batch_size
    rows_32 = rows.astype(np.int32)
    return rows_32[:full].reshape(-1, batch_size), rows_32[full:]


@lru_cache(maxsize=_KEPT)
def _program(
    model: MlpConfig | CnnConfig,
    shape: tuple[int, int],
    classes: int,
    normalize: bool,
    optimizer: Optimizer,
    batch_size: int,  # noqa: ARG001  the size of a batch is part of the program's shape
    training: int,
    validation: int,
    measured: tuple[Metric, ...],  # noqa: ARG001  so are the metrics that it computes
) -> EpochModel:
    network = networks.build_model(model, shape=shape, classes=classes, normalize=normalize)
    # On a CPU, XLA's convolutions are several times slower than those of TensorFlow's own graph.
    return EpochModel(
        network, networks.build_optimizer(optimizer), training, validation, xla=isinstance(model, MlpConfig)
    )
