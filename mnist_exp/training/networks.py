"""From a config to Keras models and optimizers. Every model takes raw pixels: it is served as it was trained."""

import math
import random
from collections.abc import Callable

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


def build_model(
    config: MlpConfig | CnnConfig, *, shape: tuple[int, int], classes: int, normalize: bool, seed: int = 0
) -> keras.Model:
    """Build an uncompiled model: uint8 [N, height, width], 0..255, to probabilities, float32 [N, classes].

    Biases start at 0; weights are drawn as by Glorot and Bengio (2010), from ``seed`` alone: no global state is read or
    changed, so other threads may draw meanwhile.

    Args:
        config: the architecture.
        shape: height and width of an image, in pixels.
        classes: the number of classes.
        normalize: whether the first layer divides pixels by 255.
        seed: of the weights.
    """
    # Keras would number the layers of all models of a process; TensorFlow keeps 36 kB for every name of a variable.
    draws = random.Random(seed)  # the same numbers that Keras would draw after keras.utils.set_random_seed(seed)

    def weights() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=draws.randint(1, 10**9))

    inputs = keras.Input(shape, dtype="uint8", name="pixels")
    scaled = keras.layers.Rescaling(1 / 255 if normalize else 1.0, name="normalize")(inputs)
    match config:
        case MlpConfig():
            hidden = keras.layers.Flatten(name="flatten")(scaled)
            for number in range(1, config.layers + 1):
                hidden = keras.layers.Dense(
                    config.units, config.activation, kernel_initializer=weights(), name=f"dense_{number}"
                )(hidden)
        case CnnConfig():
            hidden = keras.layers.Reshape((*shape, 1), name="one_channel")(scaled)
            for block in range(config.layers):
                hidden = keras.layers.Conv2D(
                    config.filters * 2**block,
                    config.kernel_size,
                    padding="same",
                    activation=config.activation,
                    kernel_initializer=weights(),
                    name=f"convolution_{block + 1}",
                )(hidden)
                hidden = keras.layers.MaxPooling2D(name=f"pooling_{block + 1}")(hidden)
            hidden = keras.layers.Flatten(name="flatten")(hidden)
            hidden = keras.layers.Dense(config.units, config.activation, kernel_initializer=weights(), name="dense")(
                hidden
            )
    outputs = keras.layers.Dense(classes, "softmax", kernel_initializer=weights(), name="digits")(hidden)
    return keras.Model(inputs, outputs, name=config.name)


def build_optimizer(config: AdamConfig | SgdConfig | RmspropConfig) -> keras.Optimizer:
    """Build the Keras optimizer, at its base rate."""
    match config:
        case AdamConfig():
            return keras.optimizers.Adam(config.lr, config.beta_1, config.beta_2, config.epsilon, name="adam")
        case SgdConfig():
            return keras.optimizers.SGD(config.lr, config.momentum, config.nesterov, name="sgd")
        case RmspropConfig():
            return keras.optimizers.RMSprop(config.lr, config.rho, config.momentum, config.epsilon, name="rmsprop")


def schedule(config: RunConfig) -> Callable[[int], float]:
    """Return the function from an epoch, counted from 0, to its learning rate: ``optimizer.lr`` times a factor.

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
