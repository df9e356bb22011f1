"""The table of metrics: what it says of a name, and that every place that deals with metrics follows it."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from prepared import prepared

from mnist_exp import metrics
from mnist_exp.analysis import ranking
from mnist_exp.analysis.comparison import compare
from mnist_exp.analysis.frames import load_runs
from mnist_exp.analysis.ranking import measure
from mnist_exp.config.schema import EarlyStoppingConfig, RunConfig
from mnist_exp.data import datasets
from mnist_exp.metrics import Epoch, History, Metric
from mnist_exp.reports import charts
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import run
from mnist_exp.tracking import queries
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.spool.tracker import new_opening
from mnist_exp.training import compiled, engine, range_test
from mnist_exp.training.callback import TrackingCallback

Composed = Callable[..., RunConfig]
TOP_3 = Metric("top_3", "images", True, is_share=True, keras_class="SparseTopKCategoricalAccuracy", options={"k": 3})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("loss", "loss"),
        ("val_accuracy", "accuracy"),
        ("kept/val_loss", "loss"),
        ("best/epoch", "epoch"),
        ("test/recall_3", "recall"),
        ("range_test/lowest_rate", "lowest_rate"),
        ("accuracy_1", "accuracy"),
        ("epoch_seconds", "epoch_seconds"),
        ("balanced_accuracy", None),
        ("f1", None),
        ("", None),
    ],
)
def test_a_logged_name_is_that_of_a_metric_in_the_table(name: str, found: str | None) -> None:
    known = metrics.find(name)
    assert (known.name if known else None) == found


def test_every_metric_of_an_epoch_has_its_place() -> None:
    assert metrics.per_epoch() == ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "epoch_seconds")
    assert metrics.validated() == ("val_accuracy", "val_loss")
    assert metrics.OBJECTIVE in metrics.per_epoch()


def test_a_metric_that_keras_does_not_compute_builds_none() -> None:
    with pytest.raises(ValueError, match="must name a class of keras.metrics. Received: loss"):
        metrics.METRICS[0].build()


def test_each_model_gets_metric_objects_of_its_own() -> None:
    (one,), (other,) = (metrics.compile_options()["metrics"] for _ in range(2))
    assert one is not other
    assert one.name == other.name == "accuracy"


@pytest.mark.parametrize(
    ("name", "heading", "value", "text"),
    [
        ("kept/val_accuracy", "val_accuracy", 0.97314, "0.9731"),
        ("kept/epoch", "at epoch", 7.0, "7"),
        ("best/val_accuracy", "best val_accuracy", 1.0, "1.0000"),
        ("train_seconds", "train_seconds", 12.345, "12.3"),
        ("parameters", "parameters", 7960.0, "7,960"),
        ("lr", "lr", 0.001, "0.001"),
        ("f1", "f1", 0.5, "0.5000"),
    ],
)
def test_the_table_says_how_a_metric_is_shown(name: str, heading: str, value: float, text: str) -> None:
    assert (metrics.heading(name), metrics.shown(name, value)) == (heading, text)


def test_a_ranking_shows_the_objective_first_and_chooses_by_it() -> None:
    assert ranking.RANKED_BY == ranking.COLUMNS[0][0] == "kept/val_accuracy"
    assert [heading for _, heading in ranking.COLUMNS] == [
        *("val_accuracy", "at epoch", "val_loss", "accuracy", "best val_accuracy", "test accuracy")
    ]


def test_early_stopping_monitors_metrics_of_the_table() -> None:
    assert set(get_args(get_type_hints(EarlyStoppingConfig)["monitor"])) <= set(metrics.per_epoch())


def test_a_range_test_logs_metrics_of_the_table() -> None:
    suggestion = range_test.Suggestion(0.01, 0.01, 0.1, 0.5, still_falling=False)
    assert all(metrics.find(name) for name in suggestion.metrics())


# Epochs


def test_of_an_epoch_the_numbers_in_logs_win_over_our_own() -> None:
    assert Epoch(1, 0.1, 2.0, {"lr": 0.2, "loss": 0.5}).metrics() == {"lr": 0.2, "loss": 0.5, "epoch_seconds": 2.0}
    assert Epoch(1, None, 2.0, {}).metrics() == {"epoch_seconds": 2.0}


def test_a_series_has_a_place_for_each_epoch() -> None:
    history = History([Epoch(1, 0.1, 1.0, {"loss": 0.5}), Epoch(2, 0.1, 1.0, {"loss": 0.4, "val_loss": 0.6})])
    assert history.series("loss") == [0.5, 0.4]
    assert history.series("val_loss") == pytest.approx([float("nan"), 0.6], nan_ok=True)


# One line more


@pytest.fixture
def with_top_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, TOP_3))


@pytest.mark.usefixtures("with_top_3")
class TestOneLineMore:
    @pytest.mark.parametrize("training", ["compiled", "keras"])
    def test_keras_computes_it_and_it_is_logged(self, composed: Composed, training: str) -> None:
        config = composed("data.limit=300", "training.epochs=2", f"training.engine={training}", "optimizer.lr=0.01")
        split = datasets.split(datasets.load(config.data), config.data)
        tracker = MemoryTracker()
        model = engine.train(config, split, [TrackingCallback(tracker)])
        assert set(tracker.metrics) == {*metrics.per_epoch(), "top_3", "val_top_3"}
        probabilities = engine.predict(model, split.validation.images)
        among_three = (probabilities.argsort(axis=1)[:, -3:] == split.validation.labels[:, None]).any(axis=1)
        assert tracker.metrics["val_top_3"][2] == pytest.approx(among_three.mean())
        assert tracker.metrics["accuracy"][2] < tracker.metrics["top_3"][2] < 1
        evaluated = metrics.evaluate(split.validation.labels, probabilities).scores
        assert evaluated["top_3"] == pytest.approx(among_three.mean())
        scores = model.evaluate(split.validation.images, split.validation.labels, verbose=0, return_dict=True)
        assert scores["top_3"] == pytest.approx(among_three.mean())

    def test_it_is_compared_by_like_any_other(self) -> None:
        by = measure("best/val_top_3")
        assert (by.metric, by.by, by.higher) == ("val_top_3", "best", True)
        assert by.is_share
        assert by.is_validation_share
        assert by.name == "best val_top_3"
        assert metrics.validated() == ("val_accuracy", "val_loss", "val_top_3")


def test_a_program_computes_the_metrics_that_it_was_compiled_with(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed("data.limit=300")
    split = datasets.split(datasets.load(config.data), config.data)
    without = compiled.program(config, split)
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, TOP_3))
    assert compiled.program(config, split) is not without
    monkeypatch.undo()
    assert compiled.program(config, split) is without


def test_it_is_read_back_compared_and_drawn(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, TOP_3))
    backend = open_backend(new_store(tmp_path))
    for replicate in range(2):
        job = prepared(composed("data.limit=100", "training.epochs=2", f"replicate={replicate}"), a_job(tmp_path))
        run(job, backend.open_run(new_opening("a run", backend.uri, "digits", None, {})), lambda _: None)
    runs, epochs = load_runs(uri=backend.uri)
    assert epochs[["top_3", "val_top_3"]].notna().to_numpy().all()
    kept = runs.set_index("run_id")["metrics.kept/val_top_3"].to_dict()
    assert kept == epochs[epochs["epoch"] == 2].set_index("run_id")["val_top_3"].to_dict()
    assert runs["metrics.test/top_3"].between(0, 1).all()
    compared = compare(queries.everything(backend), epochs, measure("val_top_3"))
    (row,) = compared.rows
    assert row.values == kept
    curves = charts.curves(compared, epochs, "val_top_3")
    assert isinstance(curves, list)
    assert len(curves[0].mean) == 2


def a_job(folder: Path) -> Job:
    return Job("a run", "a group", (), folder)
