"""The model that a run keeps: compiled, named after its run, scored, and served for raw pixels only."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import keras
import mlflow.keras
import mlflow.pyfunc
import numpy as np
import pytest
import tensorflow as tf
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Split
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import DatasetInput, Measurement
from mnist_exp.tracking.spool.tracker import new_opening
from mnist_exp.training import engine, networks

Composed = Callable[..., RunConfig]


@dataclass(frozen=True)
class Saved:
    model: keras.Model
    folder: Path
    split: Split


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A trained model and the folder that it was saved to."""
    from mnist_exp.app.compose import compose, to_run_config

    config = to_run_config(compose(["data=digits", "data.limit=300", "training.epochs=2", "optimizer.lr=0.01"]))
    split = datasets.split(datasets.load(config.data), config.data)
    model = engine.train(config, split, [])
    folder = tmp_path_factory.mktemp("model")
    model_artifact.save(model, split.test.images[:5], folder)
    return Saved(model, folder, split)


@pytest.fixture(scope="module")
def served(saved: Saved) -> Any:
    return mlflow.pyfunc.load_model(str(saved.folder))


def answer(served: Any, pixels: Any) -> Any:
    """What `mlflow models serve` answers: its own handler of a request."""
    server: Any = scoring_server
    response = server.invocations(
        json.dumps({"instances": pixels.tolist()}), "application/json", served, served.metadata.get_input_schema()
    )
    assert response.status == 200
    return np.array(json.loads(response.response)["predictions"], np.float32)


def test_it_is_compiled_and_evaluates_as_it_did(saved: Saved) -> None:
    test = saved.split.test
    loaded = mlflow.keras.load_model(str(saved.folder))
    expected = saved.model.evaluate(test.images, test.labels, verbose=0, return_dict=True)
    assert loaded.evaluate(test.images, test.labels, verbose=0, return_dict=True) == pytest.approx(expected)
    assert set(expected) == {"loss", "accuracy"}


def test_it_trains_on_with_its_optimizer(saved: Saved) -> None:
    loaded = mlflow.keras.load_model(str(saved.folder))
    steps = int(loaded.optimizer.iterations)
    assert steps == int(saved.model.optimizer.iterations) > 0
    loaded.fit(saved.split.train.images[:32], saved.split.train.labels[:32], verbose=0)
    assert int(loaded.optimizer.iterations) == steps + 1


def test_raw_pixels_are_answered_with_its_probabilities(saved: Saved, served: Any) -> None:
    images = saved.split.test.images[:5]
    expected = saved.model.predict(images, verbose=0)
    assert np.array_equal(served.predict(images), expected)
    assert answer(served, images) == pytest.approx(expected, abs=1e-6)
    assert answer(served, images.astype(float)) == pytest.approx(expected, abs=1e-6), "255.0 is 255"


@pytest.mark.parametrize(
    "scaled",
    [lambda pixels: pixels / 255, lambda pixels: (pixels / 255 - 0.1307) / 0.3081, lambda pixels: pixels // 255],
    ids=["0 to 1", "standardised", "0 and 1"],
)
def test_pixels_of_another_scale_are_refused(saved: Saved, served: Any, scaled: Callable[[Any], Any]) -> None:
    images = scaled(saved.split.test.images[:5])
    with pytest.raises(MlflowException) as refused:
        answer(served, images)
    error: Any = refused.value
    assert error.get_http_status_code() == 400
    assert "pixels_must_be_0_to_255" in error.serialize_as_json()
    with pytest.raises((MlflowException, tf.errors.InvalidArgumentError)):  # of floats it refuses the type
        served.predict(images)


def test_a_blank_image_among_others_is_none_of_another_scale(saved: Saved, served: Any) -> None:
    images = saved.split.test.images[:2].copy()
    images[0] = 0
    assert np.array_equal(served.predict(images), saved.model.predict(images, verbose=0))


def test_a_model_of_dark_images_takes_them(composed: Composed, tmp_path: Path) -> None:
    model = networks.build_model(composed().model, shape=(28, 28), classes=10, normalize=True)
    images = np.ones((3, 28, 28), np.uint8)
    model_artifact.save(model, images, tmp_path)
    assert np.array_equal(mlflow.pyfunc.load_model(str(tmp_path)).predict(images), model.predict(images, verbose=0))


def test_its_signature_is_that_of_the_model(composed: Composed, tmp_path: Path) -> None:
    model = networks.build_model(composed().model, shape=(12, 20), classes=24, normalize=True)
    model_artifact.save(model, np.full((1, 12, 20), 255, np.uint8), tmp_path)
    signature = mlflow.pyfunc.load_model(str(tmp_path)).metadata.signature
    assert str(signature.inputs) == "[Tensor('uint8', (-1, 12, 20))]"
    assert str(signature.outputs) == "[Tensor('float32', (-1, 24))]"


def run_called(name: str | None) -> Run:
    return cast(Run, SimpleNamespace(info=SimpleNamespace(run_name=name)))


@pytest.mark.parametrize(
    ("run", "model"),
    [
        ("model_6", "model_6"),
        ("model.units=4 optimizer.lr=0.01", "model_units=4 optimizer_lr=0_01"),
        ("data.path='a/b:c'\n", "data_path=_a_b_c"),
        ('Ümläute % "quoted"', "Ümläute _ _quoted"),
        ("...", "model"),
        (None, "model"),
        ("n" * 300, "n" * 250),
    ],
)
def test_it_is_called_as_its_run_in_letters_that_mlflow_takes(run: str | None, model: str) -> None:
    assert model_artifact.name_of(run_called(run)) == model


def test_in_the_store_it_has_a_name_params_and_test_scores(uri: str, composed: Composed) -> None:
    backend, client = open_backend(uri), connect(uri)
    tracker = backend.open_run(new_opening("model.units=4", uri, "digits", None, {}))
    dataset = datasets.load(composed().data)
    tracker.log_params({"model.units": 4, "seed": 17})
    tracker.log_dataset(DatasetInput.of(dataset), "training")
    tracker.log_metrics(Measurement({"val_accuracy": 0.5, "loss": 1.0}, 1, 1_000))
    scores = {"test/accuracy": 0.75, "test/loss": 0.5}
    tracker.log_metrics(Measurement({**scores, "test/recall_3": math.nan, "kept/val_accuracy": 0.5}, 0, 2_000))
    model = networks.build_model(composed().model, shape=(28, 28), classes=10, normalize=True)
    before = client.get_run(tracker.run_id).data.metrics
    for _ in range(2):  # the second finds that it is there
        tracker.log_model(partial(model_artifact.save, model, dataset.test.images[:2]))
    run = client.get_run(tracker.run_id)
    (kept,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{tracker.run_id}'")
    assert kept.name == "model_units=4"
    assert kept.params == {"model.units": "4", "seed": "17"}
    assert {each.key: each.value for each in kept.metrics or []} == scores
    assert {(each.dataset_name, each.dataset_digest) for each in kept.metrics or []} == {
        ("digits", dataset.digest[:32])
    }
    assert str(run.data.metrics) == str(before), "the run's own metrics are as they were"
    assert all(len(client.get_metric_history(tracker.run_id, name)) == 1 for name in before)
