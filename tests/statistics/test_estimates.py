"""Summaries, outliers, chances and numbers of replicates, checked by hand, by formulas and against SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnist_exp.statistics.estimates import (
    LEVEL,
    Outliers,
    bad_outliers,
    chances_paired,
    chances_unpaired,
    mann_whitney,
    replicates_needed,
    spread,
)
from mnist_exp.statistics.resampling import Floats

FIVE = [0.91, 0.89, 0.93, 0.90, 0.94]


# Spread


def test_spread_of_five_replicates_by_hand() -> None:
    found = spread(FIVE)
    assert (found.n, found.median, found.min, found.max) == (5, 0.91, 0.89, 0.94)
    assert found.mean == pytest.approx(0.914)
    assert found.std == pytest.approx(0.0207364, abs=1e-7)  # sqrt(0.00172 / 4)
    # t(0.975, 4) = 2.776445 in any table; times 0.0207364 / sqrt(5)
    assert (found.low, found.high) == pytest.approx((0.914 - 0.0257476, 0.914 + 0.0257476), abs=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40).filter(lambda values: np.ptp(values) > 1e-6))
def test_the_interval_of_a_mean_is_students(values: list[float]) -> None:
    found = spread(values)
    low, high = stats.t.interval(LEVEL, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_one_replicate_has_no_interval() -> None:
    found = spread([0.9])
    assert (found.n, found.mean, found.min, found.max) == (1, 0.9, 0.9, 0.9)
    assert math.isnan(found.std)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_interval_of_a_share_stays_between_0_and_1() -> None:
    wide = [0.1, 0.99, 0.98, 0.99]
    assert spread(wide).high > 1
    assert spread(wide, share=True).high == 1
    assert spread(wide, share=True).low == spread(wide).low
    assert spread([0.01, 0.4, 0.01], share=True).low == 0


def test_values_outside_of_0_to_1_are_not_clipped() -> None:
    losses = [0.1, 1.99, 1.98, 1.99]
    assert spread(losses, share=True) == spread(losses)


def test_the_interval_of_equal_values_is_as_wide_as_their_rounding() -> None:
    found = spread([0.9] * 8, resolution=0.01)
    assert (found.low, found.high) == pytest.approx((0.89, 0.91))
    assert spread([0.9, 0.8], resolution=0.5) == spread([0.9, 0.8])


def test_below_16_replicates_an_interval_is_approximate() -> None:
    assert spread([0.9, 0.8] * 7 + [0.9]).approximate
    assert not spread([0.9, 0.8] * 8).approximate


# Outliers

HUMPED = [0.86, 0.85, 0.87, 0.86, 0.855, 0.865, 0.35, 0.11]


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [
        (HUMPED, True, Outliers(2, 0.6)),
        ([-value for value in HUMPED], False, Outliers(2, -0.6)),
        ([0.30, 0.31, 0.29, 0.30, 0.32, 2.3, 1.9], False, Outliers(2, 1.0)),
        (HUMPED, False, None),
        ([0.93, 0.93, 0.93, 0.93, 0.92], True, None),  # 1 % below: tight samples are not split
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1], True, None),  # as many as the others
        ([0.9, 0.9, 0.9, 0.1], True, None),  # too few to say which are the exception
        ([0.9] * 5, True, None),
    ],
)
def test_bad_outliers_are_counted(values: list[float], higher: bool, expected: Outliers | None) -> None:
    assert bad_outliers(values, higher=higher) == expected


@given(st.lists(st.floats(-5, 5), min_size=5, max_size=20))
def test_the_bound_lies_between_the_outliers_and_the_rest(values: list[float]) -> None:
    found = bad_outliers(values, higher=True)
    if found is not None:
        assert sum(value < found.bound for value in values) == found.count
        assert 0 < 2 * found.count < len(values)


def test_normal_samples_have_few_outliers() -> None:
    random = np.random.default_rng(0)
    found = [bad_outliers(random.normal(0.5, 0.1, 16).tolist(), higher=True) for _ in range(500)]
    assert sum(each is not None for each in found) < 0.03 * 500


# Probability that one more run of a beats one of b


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.array(values, dtype=np.intp)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_without_ties_the_interval_of_pairs_is_clopper_and_pearsons(case: tuple[int, int]) -> None:
    wins, n = case
    found = chances_paired(ints(wins), ints(0), ints(n))
    exact = stats.binomtest(wins, n).proportion_ci(LEVEL, method="exact")
    assert (found.low[0], found.high[0]) == pytest.approx((exact.low, exact.high))
    assert found.estimate[0] == wins / n


def test_ties_count_half_and_widen_the_interval() -> None:
    found = chances_paired(ints(5), ints(2), ints(8))
    assert found.estimate[0] == 6 / 8
    assert found.low[0] == pytest.approx(stats.binomtest(5, 8).proportion_ci(method="exact").low)
    assert found.high[0] == pytest.approx(stats.binomtest(7, 8).proportion_ci(method="exact").high)


def test_without_a_common_replicate_the_chance_is_unknown() -> None:
    found = chances_paired(ints(0), ints(0), ints(0))
    assert math.isnan(found.estimate[0])
    assert (found.low[0], found.high[0]) == (0, 1)


def one(value: float) -> Floats:
    return np.array([value])


@pytest.mark.parametrize(("n", "width"), [(5, 0.59), (8, 0.49), (16, 0.37), (32, 0.27)])
def test_newcombes_interval_of_an_even_chance_narrows_with_the_sizes(n: int, width: float) -> None:
    found = chances_unpaired(one(0.5), one(n), one(n))
    assert found.high[0] - found.low[0] == pytest.approx(width, abs=0.01)
    assert found.high[0] + found.low[0] == pytest.approx(1)


@given(st.floats(0, 1), st.integers(1, 40), st.integers(1, 40))
def test_newcombes_ends_solve_their_equation(estimate: float, m: int, n: int) -> None:
    found = chances_unpaired(one(estimate), one(m), one(n))
    h = (m + n) / 2 - 1
    for end, outer in ((found.low[0], 0), (found.high[0], 1)):
        variance = end * (1 - end) * (1 + h * (1 - end) / (2 - end) + h * end / (1 + end)) / (m * n)
        if abs(end - outer) > 1e-6:
            assert abs(estimate - end) == pytest.approx(1.959964 * math.sqrt(variance), abs=1e-6)
    mirrored = chances_unpaired(one(1 - estimate), one(n), one(m))
    assert (mirrored.low[0], mirrored.high[0]) == pytest.approx((1 - found.high[0], 1 - found.low[0]), abs=1e-9)


def test_a_run_that_always_won_may_lose_the_next_time() -> None:
    found = chances_unpaired(one(1.0), one(6), one(6))
    assert found.high[0] == 1
    assert 0.5 < found.low[0] < 0.7


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_mann_whitney_counts_ties_half(a: list[int], b: list[int]) -> None:
    one_way = mann_whitney(np.array(a, dtype=float), np.array(b, dtype=float))
    assert one_way == pytest.approx(sum((x > y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b)))
    assert mann_whitney(np.array(a, dtype=float), np.array(b, dtype=float), higher=False) == pytest.approx(1 - one_way)


# How many replicates would decide


def smallest(effect: float, sd: float, critical: float, df: int, minimum: int, arms: int) -> int:
    """The same straight from the definition: every n in turn, by the noncentral t distribution."""
    level = 2 * stats.t.sf(critical, df)
    upper = sd * math.sqrt(df / stats.chi2.ppf(0.4, df))
    n = minimum
    while True:
        own = arms * (n - 1)
        if stats.nct.sf(stats.t.isf(level / 2, own), own, effect * math.sqrt(n) / upper) >= 0.8:
            return n
        n += 1


@pytest.mark.parametrize("arms", [1, 2])
@pytest.mark.parametrize("critical", [2.365, 4.0, 6.5])
@pytest.mark.parametrize("effect", [0.002, 0.005, 0.02])
def test_the_number_of_replicates_is_the_smallest_with_80_percent_power(
    effect: float, critical: float, arms: int
) -> None:
    found = replicates_needed(one(effect), one(0.006), one(critical), one(7.0 * arms), 6, arms=arms)
    assert found.tolist() == [smallest(effect, 0.006, critical, 7 * arms, 6, arms)]


def test_the_formula_for_thousands_of_pairs_is_close() -> None:
    effects = np.linspace(0.002, 0.02, 5001)

    def needed(effect: Floats) -> Floats:
        return replicates_needed(
            effect, np.full_like(effect, 0.006), np.full_like(effect, 4.0), np.full_like(effect, 7.0), 6
        )

    many, few = needed(effects), needed(effects[::100])
    assert np.abs(many[::100] - few).max() <= 2


@pytest.mark.parametrize(
    ("effect", "critical"), [(0.0, 2.4), (1e-9, 2.4), (0.01, math.inf)], ids=["no effect", "tiny", "undecidable"]
)
def test_an_effect_that_takes_too_many_replicates_has_no_number(effect: float, critical: float) -> None:
    assert math.isnan(replicates_needed(one(effect), one(0.006), one(critical), one(7.0), 6)[0])


def test_a_huge_difference_takes_the_minimum() -> None:
    assert replicates_needed(one(5.0), one(0.006), one(2.4), one(7.0), 6).tolist() == [6]


def test_a_constant_difference_has_no_number_of_replicates() -> None:
    """More of them would show the same difference again, which was not enough."""
    assert np.isnan(replicates_needed(one(5.0), one(0.0), one(4.8), one(7.0), 8)).all()
