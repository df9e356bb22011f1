"""Models: their layers, their names, the weights that they begin with, what they take and give."""

import math
from collections.abc import Callable

import keras
import numpy as np
import pytest

from mnist_exp.config.schema import CnnConfig, MlpConfig, RunConfig
from mnist_exp.data import datasets
from mnist_exp.training import networks

Composed = Callable[..., RunConfig]


def build(config: MlpConfig | CnnConfig, *, normalize: bool = True, seed: int = 0) -> keras.Model:
    return networks.build_model(config, shape=(28, 28), classes=10, normalize=normalize, seed=seed)


def weights(model: keras.Model) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


def _without_seeds(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = layer.get_config()
    if "kernel_initializer" in config:
        config["kernel_initializer"] = "glorot_uniform"
    return layer.__class__.from_config(config)


def test_the_network_of_the_tutorial(composed: Composed) -> None:
    model = build(composed().model)
    assert model.count_params() == 784 * 4 + 4 + 4 * 4 + 4 + 4 * 10 + 10
    assert [layer.name.rstrip("_0123456789") for layer in model.layers] == [
        *("pixels", "normalize", "flatten", "dense", "dense", "digits")
    ]


@pytest.mark.parametrize("overrides", [[], ["model=cnn", "model.layers=3"]], ids=["mlp", "cnn"])
def test_every_model_of_a_config_has_the_same_names(composed: Composed, overrides: list[str]) -> None:
    """TensorFlow keeps something of every name that a variable ever had."""
    config = composed(*overrides)
    first, second = build(config.model), build(config.model)
    assert [weight.path for weight in first.weights] == [weight.path for weight in second.weights]
    assert len({layer.name for layer in first.layers}) == len(first.layers)
    assert networks.build_optimizer(config.optimizer).name == networks.build_optimizer(config.optimizer).name


@pytest.mark.parametrize("overrides", [[], ["model=cnn", "model.layers=3"]], ids=["mlp", "cnn"])
def test_its_first_weights_are_those_of_kerass_own_seed(composed: Composed, overrides: list[str]) -> None:
    config = composed(*overrides).model
    built = build(config, seed=17)
    keras.utils.set_random_seed(17)
    by_keras = keras.models.clone_model(built, clone_function=_without_seeds)
    assert weights(built) == weights(by_keras)
    assert weights(built) != weights(build(config, seed=18))


def test_it_takes_raw_pixels_and_gives_probabilities(composed: Composed) -> None:
    images = datasets.load(composed().data).test.images[:5]
    for overrides in ([], ["model=cnn", "model.layers=4"]):
        said = build(composed(*overrides).model)(images).numpy()
        assert (said.shape, said.dtype) == ((5, 10), np.float32)
        assert said.sum(axis=1) == pytest.approx(np.ones(5))


def test_normalisation_divides_by_255(composed: Composed) -> None:
    config = composed().model
    raw = build(config, normalize=False)
    normalised = build(config)
    image = np.full((1, 28, 28), 255, np.uint8)
    assert raw.layers[1](image).numpy().max() == 255
    assert math.isclose(normalised.layers[1](image).numpy().max(), 1)


@pytest.mark.parametrize(
    "activation",
    ["relu", "tanh", "sigmoid", "gelu", "elu", "selu", "silu", "leaky_relu", "softplus", "linear"],
)
def test_every_activation_that_the_config_allows_is_one_of_keras(composed: Composed, activation: str) -> None:
    assert build(composed(f"model.activation={activation}").model)
