"""From a model's config to a Keras model. Every model takes raw pixels, so that what is trained is what is served."""

import random

import keras

from mnist_exp.config import CnnConfig, MlpConfig


def build(config: MlpConfig | CnnConfig, *, normalize: bool, seed: int = 0) -> keras.Model:
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
