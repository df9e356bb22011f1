"""Estimates that need no multiple testing: of one sample, of the chance to win one more run, of replicates needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mnist_exp.statistics.resampling import Floats

LEVEL = 0.95
"""Confidence level of every interval of this module."""

APPROXIMATE_BELOW = 16
"""With fewer values, a t interval of a mean misses its level if values are skewed (docs/statistics.md)."""

_OUTLIER_SDS = 5.0  # robust standard deviations from the median
_OUTLIER_MIN_DISTANCE = 0.02  # of the median: values that hardly scatter have no outliers
_OUTLIER_MIN_VALUES = 5  # in fewer values, neither part is clearly the exception
_MAD_TO_SD = 1.4826  # median absolute deviation to standard deviation, of a normal distribution

_POWER = 0.8
_MAX_NEEDED = 100_000  # replicates; larger results are NaN
_MAX_REFINED = 5000  # pairs; for more, the formula alone is used, which is within two replicates


@dataclass(frozen=True)
class Spread:
    """Summary statistics of a sample.

    Attributes:
        n: number of values.
        std: standard deviation, with n - 1 in the denominator; NaN for one value.
        low, high: Student's t interval of the mean at ``LEVEL``, clipped to 0..1 for shares; NaN for one value.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float
    median: float
    min: float
    max: float

    @property
    def has_interval(self) -> bool:
        """Whether ``low`` and ``high`` are numbers."""
        return not math.isnan(self.low)

    @property
    def approximate(self) -> bool:
        """Whether there are fewer than 16 values, so that skewed ones make the interval miss its level."""
        return self.n < APPROXIMATE_BELOW


def spread(values: Sequence[float], *, share: bool = False, resolution: float = 0.0) -> Spread:
    """Summarise a sample.

    Args:
        values: at least one, none NaN.
        share: whether they are shares; if all lie in 0..1, the interval of the mean is clipped to 0..1.
        resolution: smallest step of a value; the half-width of the interval if all values are equal.

    Returns:
        The summary statistics.
    """
    sample = np.asarray(values, dtype=np.float64)
    mean, n = float(sample.mean()), len(sample)
    std, low, high = math.nan, math.nan, math.nan
    if n > 1:
        std = float(sample.std(ddof=1))
        half_width = max(float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n), 0.0 if std else resolution)
        low, high = mean - half_width, mean + half_width
        if share and sample.min() >= 0 and sample.max() <= 1:
            low, high = max(low, 0.0), min(high, 1.0)
    return Spread(n, mean, std, low, high, float(np.median(sample)), float(sample.min()), float(sample.max()))


@dataclass(frozen=True)
class Outliers:
    """Values of a sample that are far worse than the rest.

    Attributes:
        count: number of outliers.
        bound: a round number between them and the rest.
    """

    count: int
    bound: float


def bad_outliers(values: Sequence[float], *, higher: bool) -> Outliers | None:
    """Find values that are worse than the median by more than 5 robust standard deviations and by 2 % of the median.

    Args:
        values: the sample; the robust standard deviation is its scaled median absolute deviation.
        higher: whether more is better.

    Returns:
        None if there are no outliers, if they are not the smaller part, or if there are fewer than 5 values.
    """
    sample = np.sort(np.asarray(values, dtype=np.float64) * (1 if higher else -1))
    if len(sample) < _OUTLIER_MIN_VALUES:
        return None
    median = float(np.median(sample))
    robust_sd = _MAD_TO_SD * float(np.median(np.abs(sample - median)))
    distance = max(_OUTLIER_SDS * robust_sd, _OUTLIER_MIN_DISTANCE * abs(median), 1e-12)
    count = int((sample < median - distance).sum())
    if count == 0 or 2 * count >= len(sample):
        return None
    bound = _round_between(float(sample[count - 1]), float(sample[count]))
    return Outliers(count, (bound if higher else -bound) + 0.0)  # + 0.0 turns -0.0 into 0.0


def _round_between(low: float, high: float) -> float:
    """Return the middle of (low, high], rounded to as few digits as keep it in there."""
    middle = (low + high) / 2
    for digits in range(-12, 13):
        rounded = round(middle, digits)
        if low < rounded <= high:
            return rounded
    return high


@dataclass(frozen=True)
class Chances:
    """For each of m pairs, the probability that one more run of a is better than one more run of b; ties count half.

    Attributes:
        estimate: float [m], 0..1.
        low, high: float [m], confidence interval at ``LEVEL`` of each pair alone, not simultaneous.
    """

    estimate: Floats
    low: Floats
    high: Floats


def chances_paired(wins: NDArray[np.intp], ties: NDArray[np.intp], n: NDArray[np.intp]) -> Chances:
    """Estimate the probability that a beats b from replicates that both have.

    The low end is Clopper and Pearson's (1934, Biometrika 26) from the wins, the high end from wins and ties.

    Args:
        wins: int [m], replicates in which a is better than b.
        ties: int [m], replicates in which both are equal.
        n: int [m], replicates that both have.

    Returns:
        The chances; the estimate is NaN for a pair without a common replicate.
    """
    tail = (1 - LEVEL) / 2
    wins_and_ties = wins + ties
    low = np.where(wins > 0, stats.beta.ppf(tail, np.maximum(wins, 1), n - wins + 1), 0.0)
    losses = n - wins_and_ties
    high = np.where(losses > 0, stats.beta.ppf(1 - tail, wins_and_ties + 1, np.maximum(losses, 1)), 1.0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return Chances((wins + ties / 2) / n, low, high)


def chances_unpaired(estimate: Floats, m: Floats, n: Floats) -> Chances:
    """Estimate the probability that a beats b from independent runs.

    The interval is method 5 of Newcombe (2006), Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2, Statistics in Medicine 25: all t with |estimate - t| <= z sqrt(v(t)), where
    v(t) = t (1 - t) (1 + h (1 - t) / (2 - t) + h t / (1 + t)) / (m n) and h = (m + n) / 2 - 1.

    Args:
        estimate: float [pairs], :func:`mann_whitney` of each pair.
        m, n: float [pairs], sizes of the two samples.

    Returns:
        The estimates with their intervals.
    """
    z, h = float(stats.norm.ppf((1 + LEVEL) / 2)), (m + n) / 2 - 1

    def end(limit: float) -> Floats:
        """Find the end of the interval between the estimate and ``limit`` by bisection."""
        inside, outside = estimate.copy(), np.full(len(estimate), limit)
        for _ in range(40):
            t = (inside + outside) / 2
            variance = t * (1 - t) * (1 + h * (1 - t) / (2 - t) + h * t / (1 + t)) / (m * n)
            is_inside = np.abs(estimate - t) <= z * np.sqrt(variance)
            inside, outside = np.where(is_inside, t, inside), np.where(is_inside, outside, t)
        return inside

    return Chances(estimate, end(0.0), end(1.0))


def mann_whitney(a: Floats, b: Floats, *, higher: bool = True) -> float:
    """Return the share of all pairs (value of a, value of b) in which a is better, 0..1; ties count half."""
    advantage = (a[:, None] - b[None, :]) * (1 if higher else -1)
    return float(((advantage > 0).sum() + (advantage == 0).sum() / 2) / advantage.size)


def replicates_needed(
    effect: Floats, sd: Floats, critical: Floats, df: Floats, minimum: int, *, arms: int = 1
) -> Floats:
    """Return the number of replicates with which each difference is significant with 80 % probability.

    Args:
        effect: float [m], the true difference, in units of the value.
        sd: float [m], observed standard deviation of one replicate's difference. Its upper 60 % confidence limit is
            used (Browne 1995, Statistics in Medicine 14), because a small sample underestimates it half of the time.
        critical: float [m], critical t of the pair among all pairs; it determines the level of the new test.
        df: float [m], degrees of freedom of ``sd``.
        minimum: the smallest result, which is the number of replicates that a verdict takes.
        arms: 1 for paired replicates, 2 for independent ones; the new test has arms (n - 1) degrees of freedom.

    Returns:
        float [m]; NaN if it is more than 100,000, if ``effect`` or ``sd`` is 0, or if ``critical`` is infinite.
    """
    level = 2 * stats.t.sf(critical, df)
    upper_sd = sd * np.sqrt(df / stats.chi2.ppf(0.4, df))
    z = stats.norm.isf(level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.ceil(((z + stats.norm.ppf(_POWER)) * upper_sd / np.abs(effect)) ** 2 + z**2 / 2)  # Guenther (1981)
    needed[~(needed <= _MAX_NEEDED) | (level <= 0) | (sd == 0)] = math.nan
    needed = np.where(np.isnan(needed), needed, np.maximum(needed, minimum))
    needed = np.asarray(needed)
    if len(needed) > _MAX_REFINED:
        return needed

    def power(n: Floats, pairs: NDArray[np.intp]) -> Floats:
        """Return the probability that a t test with n replicates is significant, by the noncentral t distribution."""
        test_df = arms * (n - 1)
        noncentrality = np.minimum(np.abs(effect[pairs]) * np.sqrt(n) / np.maximum(upper_sd[pairs], 1e-300), 100.0)
        critical_t = stats.t.ppf(1 - level[pairs] / 2, test_df)
        is_certain = noncentrality > critical_t + 30
        return np.asarray(np.where(is_certain, 1.0, stats.nct.sf(critical_t, test_df, noncentrality)))

    # The formula is approximate: step up until the power is enough, then down while one less is enough, too.
    pairs = np.flatnonzero(np.isfinite(needed))
    while len(pairs):
        pairs = pairs[power(needed[pairs], pairs) < _POWER]
        needed[pairs] += 1
    pairs = np.flatnonzero(needed > minimum)
    while len(pairs):
        pairs = pairs[power(needed[pairs] - 1, pairs) >= _POWER]
        needed[pairs] -= 1
        pairs = pairs[needed[pairs] > minimum]
    return needed
