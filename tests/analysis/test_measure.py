"""What runs are compared by, and the value that each run has of it."""

import math

import pandas as pd
import pytest
from some_runs import run

from mnist_exp.analysis.ranking import Measure, measure, steady_seconds
from mnist_exp.base.errors import ConfigError
from mnist_exp.tracking.protocols import Record

ACCURACIES = {"a": [0.5, 0.9, 0.7], "b": [0.6, 0.8, 0.8]}
SECONDS = {"a": [30.0, 1.0, 3.0, 1.5], "b": [20.0]}


def record(run_id: str, status: str = "FINISHED", **metrics: float) -> Record:
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return Record(run_id, "1", run_id, status, {}, named, {})


def epochs(**values: list[float]) -> pd.DataFrame:
    """Epochs from 1 of each run."""
    rows = [
        {"run_id": run_id, "epoch": epoch, "val_accuracy": value, "val_loss": 1 - value}
        for run_id, each in values.items()
        for epoch, value in enumerate(each, 1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "val_accuracy", "val_loss"])


def seconds() -> pd.DataFrame:
    rows = [
        {"run_id": run_id, "epoch": epoch, "epoch_seconds": value}
        for run_id, each in SECONDS.items()
        for epoch, value in enumerate(each, 1)
    ]
    return pd.DataFrame(rows)


# Values


@pytest.mark.parametrize(
    ("by", "expected"), [("kept", {"a": 0.9, "b": 0.6}), ("best", {"a": 0.9, "b": 0.8}), ("last", {"a": 0.7, "b": 0.8})]
)
def test_kept_best_and_last_are_told_apart(by: str, expected: dict[str, float]) -> None:
    runs = [
        record("a", kept__val_accuracy=0.9, kept__epoch=2, val_accuracy=0.7),
        record("b", kept__val_accuracy=0.6, kept__epoch=1, val_accuracy=0.8),
    ]
    assert measure("val_accuracy", by).values(runs, epochs(**ACCURACIES)) == pytest.approx(expected)


def test_a_metric_that_is_not_logged_of_the_kept_weights_is_read_at_their_epoch() -> None:
    runs = [record("a", kept__epoch=2, val_loss=0.3), record("b", kept__epoch=1, val_loss=0.2)]
    found = measure("val_loss").values(runs, epochs(**ACCURACIES))
    assert found == pytest.approx({"a": 1 - 0.9, "b": 1 - 0.6})


def test_runs_of_before_kept_the_weights_of_their_last_epoch() -> None:
    runs = [record("a", best__val_accuracy=0.9, val_accuracy=0.7)]
    assert measure("val_accuracy").values(runs, epochs(**ACCURACIES)) == {"a": 0.7}
    assert measure("val_accuracy", "best").values(runs, epochs(**ACCURACIES)) == {"a": 0.9}


def test_the_best_of_a_loss_is_the_low_one() -> None:
    found = measure("val_loss", "best").values([record("a"), record("b")], epochs(**ACCURACIES))
    assert found == pytest.approx({"a": 1 - 0.9, "b": 1 - 0.8})


def test_an_epoch_that_is_no_number_is_not_the_best() -> None:
    table = epochs(a=[math.nan, 0.6, 0.5], b=[math.nan, math.nan])
    assert measure("val_accuracy", "best").values([record("a"), record("b")], table) == {"a": 0.6}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", "RUNNING"])
def test_only_finished_runs_with_a_finite_value_have_one(bad: float, status: str) -> None:
    runs = [record("bad", kept__val_accuracy=bad), record("a", status, kept__val_accuracy=0.5)]
    assert measure("val_accuracy").values(runs, epochs()) == ({"a": 0.5} if status == "FINISHED" else {})


def test_a_metric_of_the_whole_run_is_what_was_logged_last() -> None:
    assert measure("parameters").values([record("a", parameters=100)], epochs(**ACCURACIES)) == {"a": 100}
    assert measure("parameters").name == "parameters"


def test_range_tests_are_ranked_by_what_they_found_alone() -> None:
    test, other = run(0, lr="range_test"), run(0, lr="constant")
    by_accuracy, by_rate = measure("val_accuracy"), measure("range_test/lowest_rate", direction="max")
    assert [by_accuracy.covers(each) for each in (test, other)] == [False, True]
    assert by_rate.covers(test)


# Times


def test_seconds_leave_out_the_first_epoch() -> None:
    runs = [record("a", train_seconds=99.0, epoch_seconds=1.5), record("b", train_seconds=20.0, epoch_seconds=20.0)]
    assert measure("epoch_seconds").values(runs, seconds()) == {"a": 1.5}, "the median of 1, 3 and 1.5"
    assert measure("train_seconds").values(runs, seconds()) == {"a": 6.0}, "of four epochs"


def test_seconds_of_runs_without_epochs_are_unknown() -> None:
    assert steady_seconds([record("a")], epochs(**ACCURACIES), whole_run=True) == {}
    assert steady_seconds([], seconds(), whole_run=False) == {}


def test_seconds_are_named_without_an_epoch() -> None:
    assert measure("epoch_seconds").name == "epoch_seconds"
    assert measure("train_seconds").words() == "train_seconds, lower is better"


# What can be ranked by


@pytest.mark.parametrize(
    ("metric", "by", "expected"),
    [
        ("val_accuracy", "kept", Measure("val_accuracy", "kept", higher=True)),
        ("kept/val_accuracy", "last", Measure("val_accuracy", "kept", higher=True)),
        ("best/val_loss", "kept", Measure("val_loss", "best", higher=False)),
        ("best/epoch", "kept", None),
        ("test/recall_3", "kept", None),
    ],
)
def test_a_metric_with_its_section_says_by_which_epoch(metric: str, by: str, expected: Measure | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError):
            measure(metric, by)
    else:
        assert measure(metric, by) == expected


def test_test_scores_are_ranked_by_only_if_that_is_wanted() -> None:
    with pytest.raises(ConfigError, match="--metric test/accuracy would choose by test scores"):
        measure("test/accuracy")
    by = measure("test/accuracy", allow_test=True)
    assert by.higher
    assert by.values([record("a", test__accuracy=0.9)], epochs(**ACCURACIES)) == {"a": 0.9}


def test_which_way_an_unknown_metric_is_better_must_be_said() -> None:
    with pytest.raises(ConfigError, match="perplexity is not known to be better high or low: add --direction max, or"):
        measure("perplexity")
    with pytest.raises(ConfigError, match="my_accuracy is not known to be better high or low"):
        measure("my_accuracy")
    assert not measure("perplexity", direction="min").higher
    assert measure("val_loss", direction="max").higher


def test_only_the_validation_accuracy_is_a_share_of_the_validation_images() -> None:
    shares = {metric: measure(metric, allow_test=True) for metric in ("val_accuracy", "accuracy", "test/accuracy")}
    assert all(by.is_share for by in shares.values())
    assert [by.is_validation_share for by in shares.values()] == [True, False, False]
    assert not measure("val_loss").is_share
