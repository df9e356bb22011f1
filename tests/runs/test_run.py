"""One run, told to a tracker: all that a team needs to judge it."""

import dataclasses
import errno
import json
import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from prepared import prepared

from mnist_exp import metrics
from mnist_exp.base.errors import RunFailed, StoreError
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.files import Arrays
from mnist_exp.metrics import Epoch
from mnist_exp.runs import checkout
from mnist_exp.runs.checkout import Code
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import run
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Content, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker
from mnist_exp.training import networks

Composed = Callable[..., RunConfig]

ROOT_PICTURES = {"loss.png", "accuracy.png", "lr.png", "confusion_matrix.png", "predictions.png", "mistakes.png"}
IN_FOLDERS = {
    *("evaluation/confusion_matrix.csv", "evaluation/classification_report.json"),
    *("data/samples.png", "data/class_counts.png", "data/pixels.png"),
    *("provenance/environment.txt", "provenance/rerun.sh"),
    *("config/config.yaml", "log/mnist_exp.log"),
}


@pytest.fixture(autouse=True)
def _unchanged_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the code under test is committed changes no test."""
    monkeypatch.setattr(checkout, "code", lambda: Code("abc", False))
    monkeypatch.setattr(checkout, "changes", lambda: b"")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("seed: 17\n")
    (tmp_path / "mnist_exp.log").write_text("a line\n")
    return Job("a run", "a configuration", ("model.units=6", "optimizer.lr=0.01"), tmp_path)


def finished(config: RunConfig, job: Job) -> MemoryTracker:
    tracker = MemoryTracker()
    run(prepared(config, job), tracker, lambda _: None)
    return tracker


@pytest.fixture
def tracker(composed: Composed, job: Job) -> MemoryTracker:
    return finished(composed("model.units=6", "optimizer.lr=0.01", "training.epochs=3"), job)


def test_everything_that_is_promised_is_logged(tracker: MemoryTracker) -> None:
    assert set(tracker.artifacts) == ROOT_PICTURES | IN_FOLDERS
    assert tracker.status == Status.FINISHED
    assert tracker.params["data"] == "digits"
    assert tracker.params["model.units"] == 6
    assert tracker.datasets["training"].name == "digits"
    names = {"test/loss", "test/accuracy", "best/val_accuracy", "best/val_loss", "best/epoch", "train_seconds"}
    names |= {"kept/val_accuracy", "kept/val_loss", "kept/epoch"}
    names |= {f"test/recall_{digit}" for digit in range(10)}
    assert all(list(tracker.metrics[name]) == [0] for name in names)


def test_a_range_test_tells_what_it_suggests(composed: Composed, job: Job) -> None:
    overrides = ("lr=range_test", "lr.epochs_per_decade=4", "optimizer.lr=0.0003", "training.epochs=16")
    tracker = finished(composed(*overrides, "model.units=10"), job)
    names = ("suggested_rate", "steepest_rate", "lowest_rate", "lowest_loss", "band_low", "band_high")
    logged = {name: tracker.metrics[f"range_test/{name}"][0] for name in names}
    assert logged["lowest_rate"] in tracker.metrics["lr"].values()
    assert logged["steepest_rate"] in tracker.metrics["lr"].values()
    assert logged["band_high"] == logged["lowest_rate"]
    assert logged["band_low"] == pytest.approx(logged["lowest_rate"] / 10)
    assert tracker.tags["range_test"].startswith(f"Suggested rate: {logged['suggested_rate']:.2g} (")
    assert tracker.tags["range_test"] in tracker.tags["mlflow.note.content"].splitlines()
    assert "lr_range.png" in tracker.artifacts


def test_a_range_test_that_suggests_nothing_says_so(composed: Composed, job: Job) -> None:
    tracker = finished(composed("lr=range_test", "training.epochs=2"), job)
    assert not [name for name in tracker.metrics if name.startswith("range_test/")]
    assert tracker.tags["range_test"].startswith("No rate suggested: ")
    assert tracker.tags["range_test"] in tracker.tags["mlflow.note.content"].splitlines()
    assert "lr_range.png" in tracker.artifacts


def test_another_run_reads_no_range_of_rates(tracker: MemoryTracker) -> None:
    assert "range_test" not in tracker.tags
    assert not [name for name in tracker.metrics if name.startswith("range_test/")]


def test_a_range_test_that_runs_into_nan_has_found_something_out(composed: Composed, job: Job) -> None:
    overrides = ("lr=range_test", "optimizer=sgd", "optimizer.lr=0.01", "lr.epochs_per_decade=0.1", "training.epochs=9")
    tracker = finished(composed(*overrides), job)
    assert tracker.status == Status.FINISHED
    assert len(tracker.metrics["loss"]) < 9
    assert "lr_range.png" in tracker.artifacts


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


def test_best_values_are_those_of_the_epochs(tracker: MemoryTracker) -> None:
    accuracies = tracker.metrics["val_accuracy"]
    assert tracker.metrics["best/val_accuracy"][0] == max(accuracies.values())
    assert accuracies[int(tracker.metrics["best/epoch"][0])] == max(accuracies.values())
    assert tracker.metrics["best/val_loss"][0] == min(tracker.metrics["val_loss"].values())


def test_test_scores_are_those_of_the_model_that_was_kept(
    tracker: MemoryTracker, composed: Composed, tmp_path: Path
) -> None:
    import mlflow.pyfunc

    assert callable(tracker.model)
    (tmp_path / "model").mkdir()
    tracker.model(tmp_path / "model")
    kept = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    test = datasets.load(composed().data).test
    again = metrics.evaluate(test.labels, kept.predict(test.images))
    assert again.accuracy == tracker.metrics["test/accuracy"][0]
    assert again.loss == pytest.approx(tracker.metrics["test/loss"][0], rel=1e-5)
    table = np.genfromtxt(tracker.artifacts["evaluation/confusion_matrix.csv"].decode().splitlines(), delimiter=",")
    assert np.array_equal(table[1:, 1:], again.confusion)
    report = json.loads(tracker.artifacts["evaluation/classification_report.json"])
    assert report["7"]["recall"] == pytest.approx(tracker.metrics["test/recall_7"][0])


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


def test_where_it_came_from_is_in_its_tags(tracker: MemoryTracker) -> None:
    assert tracker.tags["dataset"] == "digits"
    assert tracker.tags["dataset.digest"] == tracker.datasets["training"].digest
    assert tracker.tags["version.tensorflow"].startswith("2.")
    assert {"command", "host", "version.python"} <= set(tracker.tags)
    script = tracker.artifacts["provenance/rerun.sh"].decode()
    assert "python -m mnist_exp model.units=6 optimizer.lr=0.01 data=digits" in script
    assert "of the test images right" in tracker.tags["mlflow.note.content"]


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


def test_a_run_that_diverges_ends_failed_with_its_reason(composed: Composed, job: Job) -> None:
    config, tracker = composed("optimizer=sgd", "optimizer.lr=1e30", "training.epochs=3"), MemoryTracker()
    with pytest.raises(RunFailed, match="the loss of epoch 1 is nan"):
        run(prepared(config, job), tracker, lambda _: None)
    assert tracker.status == Status.FAILED
    assert tracker.tags["failure"] == "diverged"
    assert list(tracker.metrics["loss"]) == [1]
    assert "Diverged" in tracker.artifacts["log/traceback.txt"].decode()


def test_a_mistake_of_ours_ends_failed_too(
    composed: Composed, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake\nof two lines")

    monkeypatch.setattr(networks, "build_model", broken)
    tracker = MemoryTracker()
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed, match="^RuntimeError: a mistake$"):
        run(prepared(composed(), job), tracker, lambda _: None)
    assert (tracker.status, tracker.tags["failure"]) == (Status.FAILED, "RuntimeError")


def test_of_a_failure_no_secret_is_kept(
    composed: Composed, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    (job.output / "mnist_exp.log").write_text("http://me:pass1@host refused hunter2\n")
    (job.output / ".hydra" / "overrides.yaml").write_text("- tracking.uri=http://me:pass1@host\n")
    job = dataclasses.replace(job, overrides=(*job.overrides, "tracking.uri=http://me:pass1@host"))

    def broken(_: Epoch) -> None:
        raise ConnectionError("http://me:pass1@host refused hunter2")

    tracker = MemoryTracker()
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed):
        run(prepared(composed("data.limit=100"), job), tracker, broken)
    assert {"log/traceback.txt", "log/mnist_exp.log", "config/overrides.yaml"} <= set(tracker.artifacts)
    text = b"\n".join(tracker.artifacts.values())
    assert (b"pass1" in text, b"hunter2" in text) == (False, False)
    assert b"ConnectionError: http://***@host refused ***" in tracker.artifacts["log/traceback.txt"]


class Broken(MemoryTracker):
    """A store that takes no files."""

    def log_artifact(self, path: str, content: Content) -> None:  # noqa: ARG002
        raise StoreError("disk full")


def test_a_store_that_takes_no_files_leaves_no_run_open(
    composed: Composed, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    config, tracker = composed("training.epochs=1", "data.limit=100"), Broken()
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed, match="disk full"):
        run(prepared(config, job), tracker, lambda _: None)
    assert (tracker.status, tracker.tags["failure"]) == (Status.FAILED, "StoreError")


Journalled = Callable[[Tracker], JournalTracker]


@pytest.fixture
def journalled(tmp_path: Path) -> Journalled:
    """Puts a journal in front of a store."""
    opening = Opening("KEY", "a run", "memory", "digits", None, {}, 1_000, journals.host())
    return lambda store: JournalTracker(Journal(tmp_path / "journal" / "KEY", new=True), opening, lambda _: store)


def test_through_a_journal_the_store_gets_all_that_it_gets_without_one(
    composed: Composed, job: Job, journalled: Journalled, tracker: MemoryTracker
) -> None:
    config = composed("model.units=6", "optimizer.lr=0.01", "training.epochs=3")
    behind = journalled(store := MemoryTracker())
    run(prepared(config, job), behind, lambda _: None)
    assert behind.settle(0) is None
    assert (store.params, store.datasets, store.status) == (tracker.params, tracker.datasets, tracker.status)
    assert store.artifacts.keys() == tracker.artifacts.keys()
    assert store.tags.keys() == tracker.tags.keys()
    assert {name: list(steps) for name, steps in store.metrics.items()} == {
        name: list(steps) for name, steps in tracker.metrics.items()
    }
    assert store.metrics["val_loss"] == tracker.metrics["val_loss"]


def test_a_run_finishes_while_its_store_is_away(
    composed: Composed, job: Job, journalled: Journalled, caplog: pytest.LogCaptureFixture
) -> None:
    config, behind = composed("training.epochs=1", "data.limit=100"), journalled(Broken())
    with caplog.at_level(logging.CRITICAL):
        run(prepared(config, job), behind, lambda _: None)
        unsent = behind.settle(0)
    assert unsent is not None
    assert unsent.reason == "disk full"
    ended = journals.read(behind.journal.folder).ended
    assert ended is not None
    assert ended.content == {"status": "FINISHED"}


def test_a_disk_that_fills_up_ends_a_run_failed_with_its_reason(
    composed: Composed,
    job: Job,
    journalled: Journalled,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The journal holds some room back for the last words."""
    config, behind, write = (
        composed("training.epochs=3", "data.limit=100"),
        journalled(store := MemoryTracker()),
        os.pwrite,
    )
    reserve = behind.journal.folder / "reserve"

    def full(file: int, data: bytes, place: int) -> int:
        if reserve.exists() and b'"val_loss"' in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed, match="No space left on device"):
        run(prepared(config, job), behind, lambda _: None)
    assert behind.settle(0) is None
    assert (store.status, store.tags["failure"]) == (Status.FAILED, "StoreError")
    assert "No space left on device" in store.artifacts["log/traceback.txt"].decode()


def test_ctrl_c_is_no_failure_of_the_store_even_when_there_is_one(
    composed: Composed, job: Job, journalled: Journalled, caplog: pytest.LogCaptureFixture
) -> None:
    behind = journalled(Broken())

    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    with caplog.at_level(logging.CRITICAL), pytest.raises(KeyboardInterrupt):
        run(prepared(composed("data.limit=100"), job), behind, interrupt)
    behind.settle(0)
    found = journals.read(behind.journal.folder)
    assert found.ended is not None
    assert found.ended.content == {"status": "KILLED"}
    assert {"failure": "interrupted"} in [entry.content for entry in found.entries if entry.kind == "tags"]


def test_ctrl_c_ends_a_run_as_killed(composed: Composed, job: Job) -> None:
    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    tracker = MemoryTracker()
    with pytest.raises(KeyboardInterrupt):
        run(prepared(composed(), job), tracker, interrupt)
    assert tracker.status == Status.KILLED
