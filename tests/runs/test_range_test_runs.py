"""A run of a learning-rate range test: what it suggests, and that it says so where it suggests nothing."""

from collections.abc import Callable

import pytest

from mnist_exp.config.schema import RunConfig
from mnist_exp.runs.job import Job
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Status
from runs.conftest import finished

pytestmark = pytest.mark.usefixtures("unchanged_checkout")

Composed = Callable[..., RunConfig]


def test_a_range_test_tells_what_it_suggests(composed: Composed, job: Job) -> None:
    overrides = ("lr=range_test", "lr.epochs_per_decade=4", "optimizer.lr=0.0003", "training.epochs=16")
    tracker = finished(composed(*overrides, "model.units=6"), job)
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
    tracker = finished(composed("lr=range_test", "training.epochs=2", "data.limit=100"), job)
    assert not [name for name in tracker.metrics if name.startswith("range_test/")]
    assert tracker.tags["range_test"].startswith("No rate suggested: ")
    assert tracker.tags["range_test"] in tracker.tags["mlflow.note.content"].splitlines()
    assert "lr_range.png" in tracker.artifacts


def test_another_run_reads_no_range_of_rates(whole_run: MemoryTracker) -> None:
    assert "range_test" not in whole_run.tags
    assert not [name for name in whole_run.metrics if name.startswith("range_test/")]


def test_a_range_test_that_runs_into_nan_has_found_something_out(composed: Composed, job: Job) -> None:
    overrides = ("lr=range_test", "optimizer=sgd", "optimizer.lr=0.01", "lr.epochs_per_decade=0.1", "training.epochs=9")
    tracker = finished(composed("data.limit=300", *overrides), job)
    assert tracker.status == Status.FINISHED
    assert len(tracker.metrics["loss"]) < 9
    assert "lr_range.png" in tracker.artifacts
