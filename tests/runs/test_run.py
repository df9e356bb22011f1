"""One run, told to a tracker: all that a team needs to judge it."""

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from prepared import prepared

from mnist_exp import metrics
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.files import Arrays
from mnist_exp.metrics import Epoch
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import run
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Status
from runs.conftest import finished

pytestmark = pytest.mark.usefixtures("unchanged_checkout")

Composed = Callable[..., RunConfig]


ROOT_PICTURES = {"loss.png", "accuracy.png", "lr.png", "confusion_matrix.png", "predictions.png", "mistakes.png"}


IN_FOLDERS = {
    *("evaluation/confusion_matrix.csv", "evaluation/classification_report.json"),
    *("data/samples.png", "data/class_counts.png", "data/pixels.png"),
    *("provenance/environment.txt", "provenance/rerun.sh"),
    *("config/config.yaml", "log/mnist_exp.log"),
}


def test_everything_that_is_promised_is_logged(whole_run: MemoryTracker) -> None:
    assert set(whole_run.artifacts) == ROOT_PICTURES | IN_FOLDERS
    assert whole_run.status == Status.FINISHED
    assert whole_run.params["data"] == "digits"
    assert whole_run.params["model.units"] == 6
    assert whole_run.datasets["training"].name == "digits"
    names = {"test/loss", "test/accuracy", "best/val_accuracy", "best/val_loss", "best/epoch", "train_seconds"}
    names |= {"kept/val_accuracy", "kept/val_loss", "kept/epoch"}
    names |= {f"test/recall_{digit}" for digit in range(10)}
    assert all(list(whole_run.metrics[name]) == [0] for name in names)


def test_the_command_that_runs_it_again_composes_to_the_same_config(
    composed: Composed, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some_arrays: Arrays
) -> None:
    """Whatever the environment says by then: here, where the data are, in a path as people have."""
    path = tmp_path / "Tim's own, data.npz"
    np.savez(path, **some_arrays)  # type: ignore[arg-type]
    monkeypatch.setenv("MNIST_EXP_DATA", str(path))
    job = dataclasses.replace(job, overrides=("data=auto", "model.units=6", "training.epochs=1"))
    config = composed(*job.overrides)
    tracker = finished(config, job)
    monkeypatch.delenv("MNIST_EXP_DATA")
    command = tracker.artifacts["provenance/rerun.sh"].decode().splitlines()[-1]
    assert shlex.split(command)[:3] == ["python", "-m", "mnist_exp"]
    assert composed(*shlex.split(command)[3:]) == config
    assert yaml.safe_load(tracker.artifacts["config/config.yaml"])["data"]["path"] == str(path)
    assert tracker.tags["dataset"] == "Tim's own, data"
    assert tracker.params["data"] == "auto", "a name that a command line does not take is no param"


def test_best_values_are_those_of_the_epochs(whole_run: MemoryTracker) -> None:
    accuracies = whole_run.metrics["val_accuracy"]
    assert whole_run.metrics["best/val_accuracy"][0] == max(accuracies.values())
    assert accuracies[int(whole_run.metrics["best/epoch"][0])] == max(accuracies.values())
    assert whole_run.metrics["best/val_loss"][0] == min(whole_run.metrics["val_loss"].values())


def test_test_scores_are_those_of_the_model_that_was_kept(
    whole_run: MemoryTracker, composed: Composed, tmp_path: Path
) -> None:
    import mlflow.pyfunc

    assert callable(whole_run.model)
    (tmp_path / "model").mkdir()
    whole_run.model(tmp_path / "model")
    kept = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    test = datasets.load(composed().data).test
    again = metrics.evaluate(test.labels, kept.predict(test.images))
    assert again.accuracy == whole_run.metrics["test/accuracy"][0]
    assert again.loss == pytest.approx(whole_run.metrics["test/loss"][0], rel=1e-5)
    table = np.genfromtxt(whole_run.artifacts["evaluation/confusion_matrix.csv"].decode().splitlines(), delimiter=",")
    assert np.array_equal(table[1:, 1:], again.confusion)
    report = json.loads(whole_run.artifacts["evaluation/classification_report.json"])
    assert report["7"]["recall"] == pytest.approx(whole_run.metrics["test/recall_7"][0])


@pytest.mark.parametrize(
    ("keep", "epoch", "said"), [("last", 4, "after the last epoch"), ("best", 2, "with the weights of the best epoch")]
)
def test_all_that_is_said_of_a_run_is_said_of_the_weights_that_are_kept(
    composed: Composed, job: Job, tmp_path: Path, keep: str, epoch: int, said: str
) -> None:
    import mlflow.pyfunc

    config, tracker = (
        composed(
            *("data.limit=300", "seed=17", "training.order_seed=17", "data.split_seed=17", "optimizer=sgd"),
            *("optimizer.lr=0.3", "training.epochs=4", f"training.keep={keep}"),
        ),
        MemoryTracker(),
    )
    result = run(prepared(config, job), tracker, lambda _: None)
    accuracies = tracker.metrics["val_accuracy"]
    assert max(accuracies, key=accuracies.__getitem__) == tracker.metrics["best/epoch"][0] == result.best.number == 2
    assert (tracker.metrics["kept/epoch"][0], result.kept.number) == (epoch, epoch)
    assert tracker.metrics["kept/val_accuracy"][0] == accuracies[epoch]
    assert tracker.metrics["kept/val_loss"][0] == tracker.metrics["val_loss"][epoch]
    assert f"of the test images right {said};" in tracker.tags["mlflow.note.content"]

    assert callable(tracker.model)
    (tmp_path / "model").mkdir()
    tracker.model(tmp_path / "model")
    saved = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    split = datasets.split(datasets.load(config.data), config.data)
    validated, tested = (
        metrics.evaluate(examples.labels, saved.predict(examples.images)) for examples in (split.validation, split.test)
    )
    assert validated.accuracy == pytest.approx(accuracies[epoch])
    assert tested.accuracy == tracker.metrics["test/accuracy"][0] == result.test_accuracy


def test_where_it_came_from_is_in_its_tags(whole_run: MemoryTracker) -> None:
    assert whole_run.tags["dataset"] == "digits"
    assert whole_run.tags["dataset.digest"] == whole_run.datasets["training"].digest
    assert whole_run.tags["version.tensorflow"].startswith("2.")
    assert {"command", "host", "version.python"} <= set(whole_run.tags)
    script = whole_run.artifacts["provenance/rerun.sh"].decode()
    assert "python -m mnist_exp model.units=6 optimizer.lr=0.01 data=digits" in script
    assert "of the test images right" in whole_run.tags["mlflow.note.content"]


def test_epochs_are_told_as_they_end(composed: Composed, job: Job) -> None:
    told: list[Epoch] = []
    config = composed("training.epochs=3", "data.limit=100")
    run(prepared(config, job), MemoryTracker(), told.append)
    assert [epoch.number for epoch in told] == [1, 2, 3]


def test_pictures_of_the_data_are_drawn_once_per_process(composed: Composed, job: Job) -> None:
    config = composed("training.epochs=1", "data.limit=100")
    first, second = finished(config, job), finished(config, job)
    for name in ("data/samples.png", "data/class_counts.png", "data/pixels.png"):
        assert first.artifacts[name] is second.artifacts[name]
