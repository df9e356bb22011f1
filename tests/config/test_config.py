"""A config that cannot lie: every key has a type and a rule, and what breaks one is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_exp.app.compose import compose, register, to_run_config
from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError
from mnist_exp.config.schema import RunConfig

GROUP_FILES = [file for file in sorted(paths.CONF.glob("*/*.yaml")) if file.parent.name != "hydra"]
Composed = Callable[..., RunConfig]


@pytest.mark.parametrize("file", GROUP_FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_file_of_conf_composes_to_a_valid_config(file: Path) -> None:
    config = to_run_config(compose([f"{file.parent.name}={file.stem}"]))
    section = getattr(config, file.parent.name)
    assert getattr(section, "name", file.stem) == file.stem


@pytest.mark.parametrize("name", paths.experiment_files())
def test_every_experiment_composes_to_a_valid_config(name: str) -> None:
    assert to_run_config(compose([f"experiment={name}"])).experiment == name


PUBLISHED = {  # pixels divided, units, rate of the first epoch, epochs
    "model_1": (False, 4, 0.001, 20),
    "model_2": (True, 4, 0.001, 20),
    "model_3": (True, 4, 0.0001, 80),
    "model_4": (True, 4, 0.01, 100),
    "model_5": (True, 4, 0.001, 200),
    "model_6": (True, 10, 0.001, 100),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_six_models_are_those_of_the_tutorial(name: str, composed: Composed) -> None:
    config = composed(f"experiment={name}")
    assert (
        config.data.normalize,
        config.model.units,
        config.optimizer.lr,
        config.training.epochs,
    ) == PUBLISHED[name]
    assert (config.model.name, config.model.layers, config.model.activation) == ("mlp", 2, "relu")
    assert (config.optimizer.name, config.training.batch_size, config.seed) == ("adam", 32, 17)
    assert config.lr.name == ("range_test" if name == "model_3" else "constant")


def test_no_override_at_all_is_model_2(composed: Composed) -> None:
    assert composed().params() == {
        key: value for key, value in composed("experiment=model_2").params().items() if key != "experiment"
    }


def test_what_the_command_line_says_wins_over_the_experiment(composed: Composed) -> None:
    assert composed("experiment=model_3", "optimizer.lr=0.5", "training.epochs=3").params()["optimizer.lr"] == 0.5


def test_params_bear_the_names_that_a_command_line_takes(composed: Composed) -> None:
    params = composed("model=cnn", "lr=step").params()
    assert params["model"] == "cnn"
    assert params["lr"] == "step"
    assert params["lr.every"] == 10
    assert not [key for key in params if key.startswith("tracking")]
    overrides = [f"{key}={'null' if value is None else value}" for key, value in params.items()]
    assert composed(*overrides).params() == params


def test_the_data_path_falls_back_to_the_environment(monkeypatch: pytest.MonkeyPatch, composed: Composed) -> None:
    monkeypatch.setenv("MNIST_EXP_DATA", "/somewhere/mnist.npz")
    assert composed("data=auto").data.path == "/somewhere/mnist.npz"
    assert composed("data=auto", "data.path=/else.npz").data.path == "/else.npz"
    assert composed("data=digits").data.path is None


BROKEN = {
    "+model.unitz=3": "model.unitz is not a key. Did you mean model.units? Received: 3",
    "+training.early_stopping.patients=3": "training.early_stopping.patients is not a key. "
    "Did you mean training.early_stopping.patience? Received: 3",
    "+zzz={a: 1}": "zzz is not a key. Received: {'a': 1}",
    "~model.units": "model.units is missing. It has no default: check the files in conf/ for it",
    "model.units=-4": "model.units must be greater than 0. Received: -4",
    "model.units=four": "model.units must be a valid integer. Received: 'four'",
    "model.units=4.5": "model.units must be a valid integer. Received: 4.5",
    "model.units=true": "model.units must be a valid integer. Received: True",
    "model.units=null": "model.units must be a valid integer. Received: None",
    "model.name=rnn": "model must be one of mlp, cnn. Received: 'rnn'",
    "model.activation=rellu": "model.activation must be one of relu, tanh, sigmoid, gelu, elu, selu, silu, "
    "leaky_relu, softplus, linear. Received: 'rellu'",
    "optimizer.lr=0": "optimizer.lr must be greater than 0. Received: 0",
    "optimizer.lr=-0.1": "optimizer.lr must be greater than 0. Received: -0.1",
    "optimizer.lr=nan": "optimizer.lr must be a finite number. Received: nan",
    "optimizer.lr=inf": "optimizer.lr must be a finite number. Received: inf",
    "optimizer.lr=fast": "optimizer.lr must be a valid number. Received: 'fast'",
    "optimizer.beta_1=1": "optimizer.beta_1 must be less than 1. Received: 1",
    "training.epochs=-1": "training.epochs must be greater than 0. Received: -1",
    "training.batch_size=0": "training.batch_size must be greater than 0. Received: 0",
    "training.early_stopping.patience=0": "training.early_stopping.patience must be greater than 0. Received: 0",
    "data.validation=1.0": "data.validation must be less than 1. Received: 1.0",
    "data.limit=3": "data.limit must be greater than or equal to 20. Received: 3",
    "data.normalize=yes": "data.normalize must be a valid boolean. Received: 'yes'",
    "data.path=x.npz": "data.path must be null with data=digits, which is embedded. Received: 'x.npz'",
    "tracking.uri='a\0b'": r"tracking.uri must hold no NUL character. Received: 'a\x00b'",
    "seed=-1": "seed must be greater than or equal to 0. Received: -1",
}


@pytest.mark.parametrize("override", BROKEN)
def test_what_breaks_a_rule_is_named_with_the_rule_and_the_value(override: str, composed: Composed) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(override)
    assert str(caught.value) == BROKEN[override]


def test_registering_twice_changes_nothing(composed: Composed) -> None:
    before = composed("experiment=model_6")
    register()
    assert composed("experiment=model_6") == before
