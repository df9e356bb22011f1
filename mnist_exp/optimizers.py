"""Optimizers, and the schedules that scale their learning rate from epoch to epoch."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from mnist_exp.config import (
    AdamConfig,
    ConstantConfig,
    CosineConfig,
    RangeTestConfig,
    RmspropConfig,
    RunConfig,
    SgdConfig,
    StepConfig,
)

if TYPE_CHECKING:
    import keras


def build(config: AdamConfig | SgdConfig | RmspropConfig) -> "keras.Optimizer":
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
