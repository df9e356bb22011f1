"""A model that was kept is data: loading one runs no code that came with its file."""

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import mlflow.pyfunc
import numpy as np
import pytest

from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.training import networks

Composed = Callable[..., RunConfig]


@pytest.fixture
def kept(uri: str, composed: Composed) -> Path:
    """The folder of a model as a run keeps it."""
    client = connect(uri)
    tracker = MlflowTracker.open(client, uri, open_backend(uri).experiment("models"), "a run")
    model = networks.build_model(composed().model, shape=(28, 28), classes=10, normalize=True)
    tracker.log_model(partial(model_artifact.save, model, datasets.load(composed().data).test.images[:2]))
    (output,) = client.get_run(tracker.run_id).outputs.model_outputs  # type: ignore[union-attr]
    return Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))


def test_it_holds_nothing_pickled(kept: Path) -> None:
    files = [file for file in kept.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {"", ".keras", ".txt", ".json", ".yaml"}
    assert not [file for file in files if file.read_bytes()[:1] == b"\x80"], "how a pickle begins"
    (model,) = [file for file in files if file.suffix == ".keras"]
    assert set(zipfile.ZipFile(model).namelist()) == {"metadata.json", "config.json", "model.weights.h5"}


def test_code_put_into_it_is_not_run(kept: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (model,) = kept.rglob("*.keras")
    path = str(trap)
    code = keras.layers.Lambda(
        lambda pixels: (__import__("pathlib").Path(path).write_text(""), pixels)[1], output_shape=(28, 28)
    )
    evil = keras.Sequential([keras.Input((28, 28)), code])
    trap.unlink(missing_ok=True)  # Keras may have called it already
    evil.save(model)
    with pytest.raises(ValueError, match="Lambda|lambda"):
        mlflow.pyfunc.load_model(str(kept))
    with pytest.raises(ValueError, match="Lambda|lambda"):
        keras.models.load_model(model)
    assert not trap.exists()
    keras.models.load_model(model, safe_mode=False)(np.zeros((1, 28, 28), np.float32))
    assert trap.exists(), "the trap would have worked"
