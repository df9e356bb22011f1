"""Spread and differences, checked by hand against the formulas and against SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from mnist_exp.analysis.statistics import LEVEL, holm, paired, spread, unpaired

A = [0.91, 0.89, 0.93, 0.90, 0.94]
B = [0.90, 0.86, 0.91, 0.89, 0.90]


def test_spread_of_five_seeds_by_hand() -> None:
    found = spread(A)
    assert (found.n, found.median, found.min, found.max) == (5, 0.91, 0.89, 0.94)
    assert found.mean == pytest.approx(0.914)
    assert found.std == pytest.approx(0.0207364, abs=1e-7)  # sqrt(0.00172 / 4)
    # t(0.975, 4) = 2.776445 in any table; times 0.0207364 / sqrt(5)
    assert (found.low, found.high) == pytest.approx((0.914 - 0.0257476, 0.914 + 0.0257476), abs=1e-6)


def test_one_seed_has_no_interval() -> None:
    found = spread([0.9])
    assert (found.n, found.mean, found.min, found.max) == (1, 0.9, 0.9, 0.9)
    assert math.isnan(found.std)
    assert math.isnan(found.low)


def test_pairs_are_compared_by_their_differences() -> None:
    found = paired(A, B)
    # Differences 0.01, 0.03, 0.02, 0.01, 0.04: mean 0.022, deviation 0.0130384, t = 0.022 / 0.0058310 = 3.7730
    assert found.mean == pytest.approx(0.022)
    assert found.p == pytest.approx(2 * stats.t.sf(3.7729, 4), rel=1e-3)
    assert found.p == pytest.approx(stats.ttest_rel(A, B).pvalue)
    interval = stats.ttest_rel(A, B).confidence_interval(LEVEL)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.n, found.paired) == (5, True)


def test_pairing_takes_out_what_the_seeds_share() -> None:
    seeds = np.random.default_rng(0).normal(0.8, 0.1, 16)
    better = seeds + 0.01 + np.random.default_rng(1).normal(0, 0.005, 16)
    assert paired(list(better), list(seeds)).p < 0.001
    assert unpaired(list(better), list(seeds)).p > 0.5


def test_unpaired_is_welchs_test() -> None:
    found = unpaired(A, B[:3])
    assert found.p == pytest.approx(stats.ttest_ind(A, B[:3], equal_var=False).pvalue)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_one_seed_gives_no_test_and_no_spread_gives_a_plain_answer(compare: object) -> None:
    assert callable(compare)
    assert math.isnan(compare([0.9], [0.8]).p)
    assert compare([0.9], [0.8]).words() == "one seed only, so no test"
    assert compare([0.9, 0.9], [0.9, 0.9]).p == 1
    assert compare([0.9, 0.9], [0.8, 0.8]).p == 0
    assert compare([0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2]).p == 1, "what differs by rounding alone does not differ"


def test_holm_by_hand() -> None:
    """The example of Holm's procedure: 0.01, 0.04, 0.03, 0.005 in order are 4 x 0.005, 3 x 0.01, 2 x 0.03, 0.04."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_only_the_comparisons_that_were_made_and_never_exceeds_one() -> None:
    corrected = holm([0.9, math.nan, 0.8])
    assert corrected[0] == corrected[2] == 1.0
    assert math.isnan(corrected[1])
