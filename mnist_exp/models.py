"""From a model's config to a Keras model. Every model takes raw pixels, so that what is trained is what is served."""

import keras

from mnist_exp.config import CnnConfig, MlpConfig


def build(config: MlpConfig | CnnConfig, *, normalize: bool) -> keras.Model:
    """An uncompiled model: uint8 [N, 28, 28], 0..255, to float32 [N, 10], a probability for each digit.

    Normalisation is its first layer: 1/255 where ``normalize``, else 1. Initial weights come from Keras's global
    seed, which the caller sets.
    """
    inputs = keras.Input((28, 28), dtype="uint8", name="pixels")
    scaled = keras.layers.Rescaling(1 / 255 if normalize else 1.0, name="normalize")(inputs)
    match config:
        case MlpConfig():
            hidden = keras.layers.Flatten()(scaled)
            for _ in range(config.layers):
                hidden = keras.layers.Dense(config.units, activation=config.activation)(hidden)
        case CnnConfig():
            hidden = keras.layers.Reshape((28, 28, 1))(scaled)
            for block in range(config.layers):
                hidden = keras.layers.Conv2D(
                    config.filters * 2**block,
                    config.kernel_size,
                    padding="same",
                    activation=config.activation,
                )(hidden)
                hidden = keras.layers.MaxPooling2D()(hidden)
            hidden = keras.layers.Flatten()(hidden)
            hidden = keras.layers.Dense(config.units, activation=config.activation)(hidden)
    outputs = keras.layers.Dense(10, activation="softmax", name="digits")(hidden)
    return keras.Model(inputs, outputs, name=config.name)
