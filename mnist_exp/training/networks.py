"""From a model's config to a Keras model. Every model takes raw pixels, so that what is trained is what is served."""

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras

from mnist_exp.config.schema import (
    AdamConfig,
    CnnConfig,
    ConstantConfig,
    CosineConfig,
    MlpConfig,
    RangeTestConfig,
    RmspropConfig,
    RunConfig,
    SgdConfig,
    StepConfig,
)

if TYPE_CHECKING:
    import keras


def build_model(config: MlpConfig | CnnConfig, *, normalize: bool, seed: int = 0) -> keras.Model:
    """An uncompiled model: uint8 [N, 28, 28], 0..255, to float32 [N, 10], a probability for each digit.

    Normalisation is its first layer: 1/255 where ``normalize``, else 1. Biases start at 0, weights as Glorot and Bengio
    (2010) draw them, from ``seed`` alone: no global state is read or changed, whatever other threads do.
    """
    draws = random.Random(seed)  # the same numbers that Keras would draw after keras.utils.set_random_seed(seed)

    def weights() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=draws.randint(1, 10**9))

    inputs = keras.Input((28, 28), dtype="uint8", name="pixels")
    scaled = keras.layers.Rescaling(1 / 255 if normalize else 1.0, name="normalize")(inputs)
    match config:
        case MlpConfig():
            hidden = keras.layers.Flatten()(scaled)
            for _ in range(config.layers):
                hidden = keras.layers.Dense(config.units, config.activation, kernel_initializer=weights())(hidden)
        case CnnConfig():
            hidden = keras.layers.Reshape((28, 28, 1))(scaled)
            for block in range(config.layers):
                hidden = keras.layers.Conv2D(
                    config.filters * 2**block,
                    config.kernel_size,
                    padding="same",
                    activation=config.activation,
                    kernel_initializer=weights(),
                )(hidden)
                hidden = keras.layers.MaxPooling2D()(hidden)
            hidden = keras.layers.Flatten()(hidden)
            hidden = keras.layers.Dense(config.units, config.activation, kernel_initializer=weights())(hidden)
    outputs = keras.layers.Dense(10, "softmax", kernel_initializer=weights(), name="digits")(hidden)
    return keras.Model(inputs, outputs, name=config.name)


def build_optimizer(config: AdamConfig | SgdConfig | RmspropConfig) -> "keras.Optimizer":
    """The Keras optimizer, at its base rate."""
    import keras

    match config:
        case AdamConfig():
            return keras.optimizers.Adam(config.lr, config.beta_1, config.beta_2, config.epsilon)
        case SgdConfig():
            return keras.optimizers.SGD(config.lr, config.momentum, config.nesterov)
        case RmspropConfig():
            return keras.optimizers.RMSprop(config.lr, config.rho, config.momentum, config.epsilon)


def schedule(config: RunConfig) -> Callable[[int], float]:
    """The learning rate of each epoch, counted from 0: the base rate ``optimizer.lr`` times the schedule's factor.

    The range test of the tutorial is ``1e-4 * 10 ** (epoch / 20)``.
    """
    base = config.optimizer.lr
    match config.lr:
        case ConstantConfig():
            return lambda _: base
        case RangeTestConfig(epochs_per_decade=decade):
            return lambda epoch: base * 10 ** (epoch / decade)
        case StepConfig(every=every, factor=factor):
            return lambda epoch: base * factor ** (epoch // every)
        case CosineConfig(floor=floor):
            epochs = config.training.epochs
            return lambda epoch: base * (floor + (1 - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2)
