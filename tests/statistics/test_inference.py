"""What a comparison of several samples promises: cases by hand, properties of any values, rates by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mnist_exp.statistics import inference
from mnist_exp.statistics.inference import Pairs, contrasts, min_replicates, paired, unpaired
from mnist_exp.statistics.resampling import Floats
from mnist_exp.statistics.table import compare
from mnist_exp.statistics.verdicts import EQUIVALENT, judge

ACCURACIES = np.array([0.931, 0.927, 0.935, 0.929, 0.933, 0.926, 0.934, 0.930])


def rows(*samples: Floats) -> pd.DataFrame:
    """A table with a row for each run."""
    return pd.DataFrame(
        [
            {"config": config, "replicate": replicate, "accuracy": value}
            for config, sample in enumerate(samples)
            for replicate, value in enumerate(sample)
        ]
    )


# Cases by hand


def test_eight_equal_differences_are_one_sign_flip_of_128() -> None:
    found = paired(np.array([ACCURACIES, ACCURACIES - 0.01]))
    assert found.p == pytest.approx([1 / 128])
    assert (found.low[0], found.high[0]) == pytest.approx((0.01, 0.01))
    assert found.differs.tolist() == [True]
    assert found.best.tolist() == [True, False]


def test_one_opposite_difference_of_eight_is_nine_sign_flips_of_128() -> None:
    differences = np.array([0.01] * 7 + [-0.01])
    found = paired(np.array([ACCURACIES + differences, ACCURACIES]))
    # A sum as large as 6 needs all signs equal or one opposite: 1 + 8 of the 128 choices, up to the sign of all.
    assert found.p == pytest.approx([9 / 128])
    assert found.best.tolist() == [True, True]


@pytest.mark.parametrize("samples", [2, 5])
def test_equal_values_do_not_differ(samples: int) -> None:
    for found in (paired(np.full((samples, 8), 0.9)), unpaired([np.full(8, 0.9)] * samples)):
        assert (found.p == 1).all()
        assert (found.low == 0).all()
        assert (found.high == 0).all()
        assert found.best.all()


def test_the_interval_of_a_constant_difference_is_as_wide_as_the_resolution() -> None:
    found = paired(np.array([ACCURACIES, ACCURACIES - 0.01]), resolution=1 / 12_000)
    assert (found.low[0], found.high[0]) == pytest.approx((0.01 - 1 / 12_000, 0.01 + 1 / 12_000))


def test_a_constant_difference_of_one_step_is_rounding() -> None:
    other = ACCURACIES - 1 / 12_000
    for found in (
        paired(np.array([ACCURACIES, other]), resolution=1 / 12_000),
        unpaired([np.full(8, 0.9), np.full(8, 0.9 - 1 / 12_000)], resolution=1 / 12_000),
    ):
        assert found.p.tolist() == [1]
        assert not found.differs.any()
        assert found.best.all()


def test_the_difference_is_the_first_minus_the_second() -> None:
    found = paired(np.array([ACCURACIES, ACCURACIES + 0.01, ACCURACIES - 0.02]))
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert found.difference == pytest.approx([-0.01, 0.02, 0.03])
    assert found.best.tolist() == [False, True, False]


def test_lower_is_better_if_higher_is_false() -> None:
    losses = np.random.default_rng(0).normal(0.3, 0.01, (4, 8)) + np.arange(4)[:, None] / 100
    assert paired(losses, higher=False).best.tolist() == paired(-losses).best.tolist()


def test_two_independent_samples_are_never_more_certain_than_welchs_test() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(0.93, 0.01, 9), random.normal(0.92, 0.03, 14)
    found, welch = unpaired([a, b]), stats.ttest_ind(a, b, equal_var=False)
    assert found.difference == pytest.approx([a.mean() - b.mean()])
    assert found.df == pytest.approx([welch.df])
    interval = welch.confidence_interval(0.95)
    assert found.low[0] <= interval.low + 1e-12
    assert found.high[0] >= interval.high - 1e-12
    assert found.p[0] >= welch.pvalue - 1e-12


def test_samples_of_unequal_sizes_are_compared() -> None:
    random = np.random.default_rng(2)
    found = unpaired([random.normal(center, 0.01, n) for center, n in ((0.95, 6), (0.95, 30), (0.80, 11))])
    assert found.differs.tolist() == [False, True, True]
    assert found.best.tolist() == [True, True, False]


def test_planned_differences_are_tested_as_pairs_are() -> None:
    values = np.random.default_rng(3).normal(0.9, 0.01, (2, 9))
    pair, planned = paired(values), contrasts(values[:1] - values[1:])
    assert planned.p == pytest.approx(pair.p)
    assert planned.low == pytest.approx(pair.low)
    assert len(planned.best) == 0


# How many replicates a verdict takes


@pytest.mark.parametrize(("level", "least"), [(0.10, 6), (0.05, 6), (0.03, 7), (0.01, 8), (0.001, 11)])
def test_the_minimum_of_replicates_makes_significance_possible_at_the_level(level: float, least: int) -> None:
    assert min_replicates(level) == least
    assert 0.5 ** (least - 1) <= level
    far = np.array([ACCURACIES.mean() + np.arange(least), np.arange(least)])
    assert paired(far, level=level).differs.all()


def test_fewer_replicates_give_no_verdict() -> None:
    found = compare(rows(ACCURACIES[:5], ACCURACIES[:5] - 0.1), "accuracy", ["config"])
    assert found.result is None
    assert len(found.best_set) == 2
    assert "5 of at least 6 replicates" in found.words()


# Properties of any values

cells = st.integers(-3, 3)
offsets = st.sampled_from([0.0, 0.001, 0.1, 1e6])


@st.composite
def samples(draw: st.DrawFn) -> Floats:
    """Values with ties, samples without spread, effects from none to huge: float [k, n]."""
    k, n = draw(st.integers(2, 4)), draw(st.integers(6, 12))
    values = np.array(draw(st.lists(st.lists(cells, min_size=n, max_size=n), min_size=k, max_size=k)), dtype=float)
    spread = np.array(draw(st.lists(st.sampled_from([0.0, 0.001, 0.1]), min_size=k, max_size=k)))
    apart = np.array(draw(st.lists(offsets, min_size=k, max_size=k)))
    return np.asarray(values * spread[:, None] + apart[:, None])


def check(found: Pairs, higher: bool) -> None:
    assert (found.differs == (found.p <= inference.LEVEL)).all()
    assert ((found.p > 0) & (found.p <= 1)).all()
    assert (found.low <= found.equivalence_low).all()
    assert (found.equivalence_high <= found.high).all()
    losers = np.where((found.difference > 0) == higher, found.second, found.first)[found.differs]
    assert not found.best[losers].any()
    assert found.best.any()


@given(samples(), st.booleans())
def test_a_pair_differs_exactly_if_its_interval_excludes_0_and_its_loser_is_ruled_out(
    values: Floats, higher: bool
) -> None:
    check(paired(values, higher=higher), higher)


@settings(max_examples=100)
@given(samples(), st.booleans(), st.integers(0, 6))
def test_the_same_holds_for_independent_samples(values: Floats, higher: bool, longer: int) -> None:
    check(unpaired([np.resize(values[0], values.shape[1] + longer), *values[1:]], higher=higher), higher)


@given(samples())
def test_a_pair_is_never_easier_to_decide_among_more_samples(values: Floats) -> None:
    among, alone = paired(values), paired(values[:2])
    assert among.p[0] >= alone.p[0]
    assert among.low[0] <= alone.low[0] + 1e-6 * abs(alone.low[0])  # sign-flips are float32


@given(samples(), st.data())
def test_the_order_of_samples_and_replicates_does_not_matter(values: Floats, data: st.DataObject) -> None:
    values = values[:, :11]  # few enough for all sign-flips to be made
    order = np.array(data.draw(st.permutations(range(len(values)))))
    found, other = paired(values), paired(values[order][:, ::-1])
    p = np.ones((len(values), len(values)))
    p[found.first, found.second] = p[found.second, found.first] = found.p
    assert other.p == pytest.approx(p[order[other.first], order[other.second]])
    assert other.best.tolist() == found.best[order].tolist()


@pytest.mark.parametrize("shift", [0, 100], ids=["paired", "unpaired"])
def test_the_order_of_a_tables_rows_changes_nothing(shift: int) -> None:
    table = rows(*np.random.default_rng(4).normal(0.9, 0.01, (4, 16)))
    table["replicate"] += shift * table["config"]
    found = compare(table, "accuracy", ["config"])
    other = compare(table.sample(frac=1, random_state=1), "accuracy", ["config"])
    assert found.is_paired == (shift == 0)
    pd.testing.assert_frame_equal(found.pairs, other.pairs)
    assert found.words() == other.words()


@settings(max_examples=100)
@given(samples(), st.sampled_from([0.0005, 0.01, 0.2]))
def test_equivalent_samples_differ_by_less_than_worth(values: Floats, worth: float) -> None:
    found = judge({at: dict(enumerate(own)) for at, own in enumerate(values)}, dict(enumerate("abcd")), worth=worth)
    alike = found.pairs[found.pairs["verdict"] == EQUIVALENT]
    assert (alike["low90"] > -worth).all()
    assert (alike["high90"] < worth).all()
    assert (alike["difference"].abs() < worth).all()


def test_the_same_samples_give_the_same_figures_again() -> None:
    values = np.random.default_rng(5).normal(0.9, 0.01, (3, 20))  # more replicates than have all their flips made
    assert paired(values).p.tolist() == paired(values).p.tolist()
    assert unpaired(list(values)).p.tolist() == unpaired(list(values)).p.tolist()


# The best set


def test_after_some_are_ruled_out_the_rest_is_tested_among_fewer() -> None:
    far = np.random.default_rng(6).normal(0.5, 0.01, (6, 8))
    near = ACCURACIES + np.array([0.009, -0.001, 0.008, 0.001, 0.005, 0.003, 0.002, 0.009])
    found = paired(np.array([near, ACCURACIES, *far]))
    assert found.p[0] > 0.05  # among all 28 pairs
    assert paired(np.array([near, ACCURACIES])).p[0] < 0.05
    assert found.best.tolist() == [True] + [False] * 7


def test_tied_best_ones_stay_together() -> None:
    random = np.random.default_rng(7)
    tied = [ACCURACIES, ACCURACIES + np.array([0.001, -0.001] * 4)]
    values = np.array([*tied, *random.normal(0.8, 0.01, (3, 8))])
    assert paired(values).best.tolist() == [True, True, False, False, False]
    assert unpaired(list(values)).best.tolist() == [True, True, False, False, False]


# Rates, by simulation with fixed seeds


def rate(judged: Callable[[Floats], bool], k: int, n: int, repeats: int) -> float:
    """How often ``judged`` is true of k samples of n values that do not differ but for their replicates."""
    random = np.random.default_rng(8)
    shared = [random.normal(0.9, 0.01, n) for _ in range(repeats)]
    return float(np.mean([judged(each + random.normal(0, 0.01, (k, n))) for each in shared]))


def any_false(found: Pairs) -> bool:
    return bool(found.differs.any() or not found.best.all())


def winner_against_each_other(values: Floats) -> bool:
    """What many do: the best mean against each other by paired t-tests, Holm's correction; is any called worse?"""
    at = values.mean(axis=1).argmax()
    others = np.delete(values, at, axis=0)
    return bool(stats.ttest_rel(values[at][None], others, axis=1).pvalue.min() * len(others) <= 0.05)


def within(repeats: int) -> float:
    """5 % and three standard errors of a rate seen in so many repeats."""
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)


def test_settings_that_do_not_matter_differ_in_at_most_5_percent_of_comparisons() -> None:
    ours = rate(lambda values: any_false(paired(values)), 16, 8, 800)
    theirs = rate(winner_against_each_other, 16, 8, 800)
    assert 0.1 - within(800) < ours < within(800)
    assert theirs > 0.1


def test_independent_samples_differ_in_at_most_5_percent_of_comparisons() -> None:
    assert rate(lambda values: any_false(unpaired(list(values))), 4, 8, 300) < within(300)


def test_looks_at_1_percent_each_stay_below_5_percent_together() -> None:
    def any_look(values: Floats, level: float) -> bool:
        return any(any_false(paired(values[:, :n], level=level)) for n in (8, 12, 16, 24, 32))

    assert rate(lambda values: any_look(values, 0.01), 2, 32, 300) < within(300)
    assert rate(lambda values: any_look(values, 0.05), 2, 32, 300) > within(300)


def test_a_clear_difference_is_found() -> None:
    assert rate(lambda values: bool(paired(values + np.array([[0.02], [0.0]])).differs[0]), 2, 16, 200) > 0.9
