"""Runs grouped into configurations, ranked and judged over their replicates, and refused where that would mislead."""

import math
import re
from dataclasses import replace

import pytest
from some_runs import BY, NOISE, compared, epochs, run, runs

from mnist_exp.analysis.comparison import Comparison, Row, compare
from mnist_exp.analysis.ranking import measure
from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics.conclusion import AgainstFirst
from mnist_exp.tracking.protocols import Record

FOUR = runs(0.86, model__units=4)
TEN = runs(0.93, model__units=10, uneven=0.001)
LIKE_FOUR = runs(0.861, model__units=8, uneven=0.01)


def row_of(result: Comparison, units: int) -> Row:
    (found,) = [row for row in result.rows if row.params["model.units"] == str(units)]
    return found


def against_first(result: Comparison, units: int) -> AgainstFirst:
    found = row_of(result, units).against_first
    assert found is not None
    return found


# Configurations and their values


def test_runs_that_differ_in_their_replicate_alone_are_one_configuration() -> None:
    result = compared(*FOUR, *TEN)
    assert result.keys == ["model.units"]
    assert [row.label(result.keys) for row in result.rows] == ["model.units=10", "model.units=4"]
    first, second = (row.spread for row in result.rows)
    assert first is not None
    assert second is not None
    assert (first.n, second.n) == (8, 8)
    assert second.mean == pytest.approx(0.86 + sum(NOISE) / 8)
    assert result.first == result.rows[0]
    assert [row.in_best_set for row in result.rows] == [True, False]


def test_the_order_of_params_makes_no_other_configuration() -> None:
    reordered = replace(FOUR[1], params=dict(reversed(FOUR[1].params.items())))
    assert len(compared(FOUR[0], reordered).rows) == 1


def test_values_are_those_of_the_kept_weights_unless_asked_otherwise() -> None:
    (kept,), (best,) = compared(*FOUR).rows, compared(*FOUR, by=measure("val_accuracy", "best")).rows
    assert kept.spread is not None
    assert best.spread is not None
    assert best.spread.mean - kept.spread.mean == pytest.approx(0.01)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_gives_no_rank(bad: float) -> None:
    result = compare([*FOUR, run(0, bad, model__units=10)], epochs(), BY)
    assert result.rows[-1].spread is None
    assert result.rows[-1].failures_in_words() == "1 finished without a finite value"
    assert [row.params["model.units"] for row in result.rows] == ["4", "10"]


def test_failed_runs_are_counted_and_named() -> None:
    result = compared(*FOUR, run(9, None, model__units=4, tags={"failure": "diverged"}), run(0, None, model__units=10))
    assert result.rows[0].failures_in_words() == "1 diverged"
    assert result.rows[1].spread is None
    assert result.rows[1].failures_in_words() == "1 FAILED"
    assert "2 of 10 runs gave no value." in result.conclusion()


def test_range_tests_are_not_ranked_among_models() -> None:
    result = compared(*FOUR, run(0, 0.99, model__units=4, lr="range_test"))
    assert len(result.rows) == 1
    assert "1 range test is not ranked among models: the result of one is its suggested rate." in result.conclusion()


def test_the_lowest_loss_is_first() -> None:
    slow, fast = (run(0, 0.5, model__units=units, metrics={"val_loss": loss}) for units, loss in ((4, 0.5), (10, 0.2)))
    first = compared(slow, fast, by=measure("val_loss")).first
    assert first is not None
    assert first.params["model.units"] == "10"


# Verdicts


def test_the_same_replicates_make_pairs() -> None:
    result = compared(*FOUR, *TEN)
    against = against_first(result, 4)
    assert result.verdicts.is_paired
    assert against.differs
    assert against.words() == "worse (p 0.008)"
    assert against.interval() == f"{against.difference:+.4f} [{against.low:+.4f}, {against.high:+.4f}]"
    assert against.difference == pytest.approx(-0.07)
    assert against.low < -0.07 < against.high < 0
    assert (against.chance, against.chance_low) == (0, 0)
    assert result.conclusion().startswith(
        "model.units=10 is best: the other is ruled out. The pair was judged at 5 % over 8 replicates that they share."
    )


@pytest.mark.parametrize(
    "others",
    [runs(0.93, range(2, 10), model__units=10), runs(0.93, model__units=10, training__order_seed=9)],
    ids=["other replicates", "another batch order"],
)
def test_replicates_that_share_little_or_nothing_make_no_pairs(others: list[Record]) -> None:
    assert not compared(*FOUR[:7], *others).verdicts.is_paired


def test_a_replicate_that_one_lacks_leaves_the_other_pairs() -> None:
    result = compared(*TEN, *FOUR[:7], run(7, None, model__units=4))
    assert result.verdicts.is_paired
    assert (len(row_of(result, 10).finished), result.verdicts.pairs["n"].tolist()) == (8, [7])
    assert "Only the 7 replicates that all have are compared; left out: replicate 7." in result.conclusion()


def test_a_difference_within_chance_is_undecided_and_both_may_be_best() -> None:
    result = compared(*FOUR, *LIKE_FOUR)
    assert against_first(result, 4).words().startswith("undecided (p 0.")
    assert result.best_set == result.rows
    assert "None can be ruled out as best: model.units=8; model.units=4." in result.conclusion()


def test_a_difference_within_worth_is_equivalent() -> None:
    result = compared(*FOUR, *TEN, worth=0.1)
    assert against_first(result, 4).words() == "equivalent, differs by less than matters (p 0.008)"
    assert against_first(compared(*FOUR, *TEN, worth=0.01), 4).verdict == "worse"


def test_a_row_reports_its_difference_minus_the_first() -> None:
    result = compared(*FOUR, *TEN, *LIKE_FOUR, worth=0.02)
    pairs = result.verdicts.pairs
    for place, row in enumerate(result.rows[1:]):
        pair, against = pairs.iloc[place], row.against_first
        assert against is not None
        assert (against.difference, against.low, against.high) == (-pair.difference, -pair.high, -pair.low)
        assert (against.low90, against.high90, against.p) == (-pair.high90, -pair.low90, pair.p)
        assert against.chance + pair.chance == pytest.approx(1)
        assert (pair.verdict, against.verdict) in {("better", "worse"), ("undecided", "undecided")}


def test_more_configurations_make_each_pair_harder_to_decide() -> None:
    pair, three = compared(*TEN, *LIKE_FOUR), compared(*TEN, *LIKE_FOUR, *FOUR)
    assert against_first(three, 8).p >= against_first(pair, 8).p
    assert against_first(three, 8).high >= against_first(pair, 8).high


def test_the_interval_of_a_constant_difference_is_one_image_wide() -> None:
    counted = {"dataset.validation_images": "12000"}
    result = compared(*runs(0.86, model__units=4, tags=counted), *runs(0.93, model__units=10, tags=counted))
    against = against_first(result, 4)
    assert (against.low, against.high) == pytest.approx((-0.07 - 1 / 12_000, -0.07 + 1 / 12_000))


def test_a_configuration_with_outliers_is_named() -> None:
    result = compared(*FOUR, run(8, 0.4, model__units=4), *TEN, run(8, 0.93, model__units=10))
    assert "model.units=4 has bad outliers: 1 run of 9 below" in result.conclusion()


def test_one_replicate_has_no_verdict() -> None:
    result = compared(FOUR[0], TEN[0])
    against = against_first(result, 4)
    assert math.isnan(against.p)
    assert (against.words(), against.differs) == ("too few replicates", False)
    assert against.interval() == f"{against.difference:+.4f}"
    text = result.conclusion()
    assert "No verdict: 1 of at least 6 replicates, so effect and spread only." in text
    assert "another replicate may reverse the order" in text


def test_runs_of_several_sweeps_are_not_judged_together() -> None:
    result = compared(*runs(0.86, model__units=4, sweep="a"), *runs(0.93, model__units=10, sweep="b"))
    assert against_first(result, 4).words() == "no verdict"
    assert re.search(r"2 sweeps .*not planned as one \(looks=true\)", result.conclusion())
    assert row_of(result, 4).spread is not None


# What is refused


def test_different_data_are_not_ranked_together_by_default() -> None:
    other = run(0, 0.99, model__units=10, tags={"dataset": "digits", "dataset.digest": "other"})
    with pytest.raises(ConfigError, match=r"used 2 data sets \(digits, mnist\)"):
        compared(*FOUR, other)
    result = compared(*FOUR, replace(other, params={**other.params, "model.units": "4"}), across_datasets=True)
    assert result.keys == ["data"], "other data make another configuration"


def test_no_runs_and_an_unknown_metric_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="there are no runs to compare"):
        compared()
    with pytest.raises(
        ConfigError, match="no run has a metric 'top5_accuracy'. There are: kept/val_accuracy, val_accuracy"
    ):
        compared(*FOUR, by=measure("top5_accuracy", direction="max"))
