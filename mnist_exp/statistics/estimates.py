"""What the values of one configuration say, and how one more run of two would compare."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mnist_exp.statistics.resampling import Floats

LEVEL = 0.95
"""Of every interval of this module."""

APPROXIMATE_BELOW = 16
"""With fewer values, a t interval of a mean misses its level where values are skewed (docs/statistics.md)."""

_FAR = 5.0  # robust standard deviations below the median
_FAR_FROM = 5  # values; with fewer there is no telling which are the exception
_POWER = 0.8
_MOST_NEEDED = 100_000  # replicates; more are not given as a number
_MOST_REFINED = 5000  # pairs; of more, the formula alone, which is within one or two replicates

_MAD_TO_SD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Spread:
    """A sample in seven figures.

    Attributes:
        n: how many values.
        std: with n - 1 in the denominator; NaN for one value.
        low, high: Student's t interval of the mean at ``LEVEL``, of shares cut to 0..1; NaN for one value.
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
        """Whether ``low`` and ``high`` are known."""
        return not math.isnan(self.low)

    @property
    def approximate(self) -> bool:
        """Whether there are fewer than 16 values, too few for the interval to hold its level if they are skewed."""
        return self.n < APPROXIMATE_BELOW


def spread(values: Sequence[float], *, share: bool = False, resolution: float = 0.0) -> Spread:
    """Describe ``values``, of which there must be one at least and none NaN.

    Args:
        values: the sample.
        share: whether they are shares: of values in 0..1, the interval of the mean is cut to 0..1.
        resolution: smallest step of a value; the interval of equal values reaches that far to either side.
    """
    sample = np.asarray(values, dtype=np.float64)
    mean, n = float(sample.mean()), len(sample)
    std, low, high = math.nan, math.nan, math.nan
    if n > 1:
        std = float(sample.std(ddof=1))
        half = max(float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n), 0.0 if std else resolution)
        low, high = mean - half, mean + half
        if share and sample.min() >= 0 and sample.max() <= 1:
            low, high = max(low, 0.0), min(high, 1.0)
    return Spread(n, mean, std, low, high, float(np.median(sample)), float(sample.min()), float(sample.max()))


@dataclass(frozen=True)
class FarOff:
    """Some values of a sample lie far on the bad side of the others.

    Attributes:
        count: how many.
        bound: a round number between them and the others.
    """

    count: int
    bound: float


def far_off(values: Sequence[float], *, higher: bool) -> FarOff | None:
    """Find the values more than 5 robust standard deviations (median distance from the median) worse than the median.

    Returns None if there are none, or fewer than 5 values. They must also be worse by 2 % of the median, so that tight
    samples are not split over nothing.
    """
    sample = np.sort(np.asarray(values, dtype=np.float64) * (1 if higher else -1))
    if len(sample) < _FAR_FROM:
        return None
    middle = float(np.median(sample))
    robust = _MAD_TO_SD * float(np.median(np.abs(sample - middle)))
    count = int((sample < middle - max(_FAR * robust, 0.02 * abs(middle), 1e-12)).sum())
    if count == 0 or 2 * count >= len(sample):
        return None
    bound = _round_between(float(sample[count - 1]), float(sample[count]))
    return FarOff(count, (bound if higher else -bound) + 0.0)  # + 0.0: no -0


def _round_between(low: float, high: float) -> float:
    """The number with the fewest digits in (low, high]; of several, the one nearest to the middle."""
    middle = (low + high) / 2
    for digits in range(-12, 13):
        rounded = round(middle, digits)
        if low < rounded <= high:
            return rounded
    return high


@dataclass(frozen=True)
class Chances:
    """Of many pairs, the probability that one more run of a beats one more run of b; ties count half.

    Attributes:
        estimate, low, high: float [m], 0..1; each interval is at ``LEVEL`` on its own, not simultaneously.
    """

    estimate: Floats
    low: Floats
    high: Floats


def chances_paired(wins: NDArray[np.intp], ties: NDArray[np.intp], n: NDArray[np.intp]) -> Chances:
    """Probability that a beats b where both had the same ``n`` replicates: int [m] each.

    The low end is Clopper and Pearson's (1934, Biometrika 26) from the wins, the high end from wins and ties.
    """
    tail = (1 - LEVEL) / 2
    most = wins + ties
    low = np.where(wins > 0, stats.beta.ppf(tail, np.maximum(wins, 1), n - wins + 1), 0.0)
    high = np.where(most < n, stats.beta.ppf(1 - tail, most + 1, np.maximum(n - most, 1)), 1.0)
    with np.errstate(invalid="ignore"):  # NaN where they share no replicate
        return Chances((wins + ties / 2) / n, low, high)


def chances_unpaired(estimate: Floats, m: Floats, n: Floats) -> Chances:
    """Probability that a beats b where their runs share nothing.

    ``estimate`` is :func:`mann_whitney` of each pair, ``m`` and ``n`` are the sizes of the two samples. The interval is
    method 5 of Newcombe (2006), Confidence intervals for an effect size measure based on the Mann-Whitney statistic,
    part 2, Statistics in Medicine 25: all t with |estimate - t| <= z sqrt(v(t)), where
    v(t) = t (1 - t) (1 + h (1 - t) / (2 - t) + h t / (1 + t)) / (m n) and h = (m + n) / 2 - 1.
    """
    z, h = float(stats.norm.ppf((1 + LEVEL) / 2)), (m + n) / 2 - 1

    def end(outer: float) -> Floats:
        within, beyond = estimate.copy(), np.full(len(estimate), outer)
        for _ in range(40):  # bisection
            t = (within + beyond) / 2
            variance = t * (1 - t) * (1 + h * (1 - t) / (2 - t) + h * t / (1 + t)) / (m * n)
            inside = np.abs(estimate - t) <= z * np.sqrt(variance)
            within, beyond = np.where(inside, t, within), np.where(inside, beyond, t)
        return within

    return Chances(estimate, end(0.0), end(1.0))


def mann_whitney(a: Floats, b: Floats, *, higher: bool = True) -> float:
    """Return the share of all pairs of a value of a and one of b in which a is better; ties count half."""
    apart = (a[:, None] - b[None, :]) * (1 if higher else -1)
    return float(((apart > 0).sum() + (apart == 0).sum() / 2) / apart.size)


def replicates_needed(
    effect: Floats, sd: Floats, critical: Floats, df: Floats, fewest: int, *, arms: int = 1
) -> Floats:
    """Return how many replicates would show each difference with 80 % probability.

    Args:
        effect: float [m], the true difference, in units of the value.
        sd: float [m], standard deviation of one replicate's difference, as seen with ``df`` degrees of freedom. Its
            upper 60 % limit is used (Browne 1995, Statistics in Medicine 14): a small sample's own is too small half of
            the time.
        critical: float [m], the t that a difference had to exceed, all pairs considered: it sets each pair's level.
        df: float [m].
        fewest: the least that a verdict takes.
        arms: 1 where the replicates are paired, 2 where not: so many times n - 1 are the degrees of freedom.

    Returns:
        float [m]; NaN where it is more than 100,000, where ``effect`` or ``sd`` is 0, or ``critical`` infinite.
    """
    level = 2 * stats.t.sf(critical, df)
    upper = sd * np.sqrt(df / stats.chi2.ppf(0.4, df))
    z = stats.norm.isf(level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.ceil(((z + stats.norm.ppf(_POWER)) * upper / np.abs(effect)) ** 2 + z**2 / 2)  # Guenther (1981)
    needed[~(needed <= _MOST_NEEDED) | (level <= 0) | (sd == 0)] = math.nan
    needed = np.where(np.isnan(needed), needed, np.maximum(needed, fewest))
    needed = np.asarray(needed)
    if len(needed) > _MOST_REFINED:
        return needed

    def power(count: Floats, at: NDArray[np.intp]) -> Floats:
        own = arms * (count - 1)
        away = np.minimum(np.abs(effect[at]) * np.sqrt(count) / np.maximum(upper[at], 1e-300), 100.0)
        shown = stats.t.ppf(1 - level[at] / 2, own)
        return np.asarray(np.where(away > shown + 30, 1.0, stats.nct.sf(shown, own, away)))

    going = np.flatnonzero(np.isfinite(needed))
    while len(going):  # up to where the power is enough
        going = going[power(needed[going], going) < _POWER]
        needed[going] += 1
    going = np.flatnonzero(needed > fewest)
    while len(going):  # and down to where one less is too few
        going = going[power(needed[going] - 1, going) >= _POWER]
        needed[going] -= 1
        going = going[needed[going] > fewest]
    return needed
