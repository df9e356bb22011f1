"""--help: every group and every key, each with what conf/ says of it."""

import re

from mnist_exp.app import help as help_text
from mnist_exp.app.compose import compose, to_run_config
from mnist_exp.base import paths


def test_every_option_of_every_group_is_named() -> None:
    said = help_text.text([])
    for file in paths.CONF.glob("*/*.yaml"):
        assert re.search(rf"^  {file.parent.name} .*\b{file.stem}\b", said, re.MULTILINE)
    assert re.search(r"^  experiment +model_1 \| .* \| model_6 \| variance$", said, re.MULTILINE)


def test_every_key_is_there_with_its_default() -> None:
    keys = [key.split(".")[-1] for key in to_run_config(compose(["data=digits"])).params()]
    said = help_text.text([])
    assert all(re.search(rf"^ +{key}[:=]|^  {key}=", said, re.MULTILINE) for key in keys if key != "lr")
    assert "units: 4          # units in each dense layer" in said
    assert "tracking=mlflow" in said
    assert "\n  replicate: 0 # draws the seeds of weights, batch order and split together" in said
    assert "\n  seed: null # of the initial weights; null: drawn from the replicate" in said


def test_a_choice_shows_its_own_keys() -> None:
    said = help_text.text(["model=cnn", "model.units=4", "optimizer=nonsense"])
    assert "kernel_size: 3" in said
    assert "model=mlp" not in said
    assert "optimizer=adam" in said


def test_an_option_that_builds_on_another_shows_its_keys_and_its_own_values() -> None:
    said = help_text.text(["data=digits"])
    assert "scikit-learn's 1,797 handwritten digits" in said
    assert "path: null\n" in said
    assert "validation: 0.2   #" in said
