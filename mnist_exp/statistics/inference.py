"""Which of several samples differ: simultaneous inference for all pairs, and the set that may hold the best sample.

Paired samples (every sample has a value for the same replicates): studentised max-T sign-flip test. If two settings do
not matter, a difference between their replicates is as likely to be d as -d. Flipping the signs of all replicates gives
the null distribution of the largest statistic over all pairs, exactly up to 11 replicates. Fisher (1935), The Design of
Experiments; Westfall and Young (1993), Resampling-Based Multiple Testing; Romano and Wolf (2005), Exact and approximate
stepdown methods for multiple hypothesis testing, JASA 100.

Unpaired samples: Welch's t for all pairs. The critical value is the larger of two bootstraps': sign-flips of each
value's deviation from its sample's mean (wild bootstrap: Davidson and Flachaire (2008), Journal of Econometrics 146),
and normal samples with the observed variances.

Both hold ``level`` over all pairs together if the settings do not matter, or if values scatter symmetrically about
their mean, even with unequal variances. No test of a mean holds for all distributions: Bahadur and Savage (1956),
Annals of Mathematical Statistics 27. docs/statistics.md shows by simulation where this one fails.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mnist_exp.statistics.resampling import TIE_TOLERANCE, Floats, Indices, PairStatistic, SignFlips, Welch

LEVEL = 0.05
"""Probability of any false difference among all pairs of a comparison."""


def min_replicates(level: float = LEVEL) -> int:
    """Return the smallest number of replicates with which any difference can be significant at ``level``.

    The 2**(n-1) sign-flips of n replicates give no p-value below 2**(1-n): 6 replicates at 5 %, 8 at 1 %.
    """
    return max(6, math.ceil(1 - math.log2(level)))


@dataclass(frozen=True)
class Pairs:
    """Every pair of k samples, m = k(k-1)/2 of them; ``first[i] < second[i]``.

    Attributes:
        first, second: int [m], indices of the two samples.
        difference: float [m], mean of the first minus mean of the second.
        low, high: float [m], simultaneous confidence interval of ``difference`` at 1 - level.
        equivalence_low, equivalence_high: float [m], simultaneous confidence interval at 1 - 2 level, for two one-sided
            tests (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15).
        p: float [m], p-value adjusted for all pairs; at most ``level`` exactly if the pair differs.
        critical: float [m], critical value of t.
        sd: float [m], standard deviation of one replicate's difference.
        df: float [m], degrees of freedom of ``sd``.
        best: bool [k], the samples that cannot be ruled out as best.
    """

    first: Indices
    second: Indices
    difference: Floats
    low: Floats
    high: Floats
    equivalence_low: Floats
    equivalence_high: Floats
    p: Floats
    critical: Floats
    sd: Floats
    df: Floats
    best: NDArray[np.bool_]

    @property
    def differs(self) -> NDArray[np.bool_]:
        """bool [m]: whether the interval at 1 - level excludes 0."""
        return (self.low > 0) | (self.high < 0)


def paired(values: Floats, *, higher: bool = True, level: float = LEVEL, resolution: float = 0.0) -> Pairs:
    """Compare samples that have their replicates in common.

    Args:
        values: float [k, n], finite; column j of every row is the same replicate; n >= ``min_replicates(level)``.
        higher: whether more is better.
        level: probability of any false difference among all pairs.
        resolution: smallest step of a value; the half-width of an interval that has no variance.

    Returns:
        The k(k-1)/2 pairs and the best set.
    """
    first, second = np.triu_indices(len(values), 1)
    magnitude = np.abs(values).max(axis=1, initial=0.0)

    def differences(pairs: Indices) -> tuple[Floats, Floats]:
        a, b = first[pairs], second[pairs]
        return values[a] - values[b], np.maximum(magnitude[a], magnitude[b])

    flips = SignFlips(differences, len(first), values.shape[1], resolution)
    return _simultaneous_inference(flips, first, second, len(values), higher, level)


def unpaired(samples: Sequence[Floats], *, higher: bool = True, level: float = LEVEL, resolution: float = 0.0) -> Pairs:
    """Compare independent samples.

    Args:
        samples: k arrays of finite values, each with at least ``min_replicates(level)``.
        higher: whether more is better.
        level: probability of any false difference among all pairs.
        resolution: smallest step of a value; the half-width of an interval that has no variance.

    Returns:
        The k(k-1)/2 pairs and the best set.
    """
    first, second = np.triu_indices(len(samples), 1)
    welch = Welch(samples, first, second, resolution)
    return _simultaneous_inference(welch, first, second, len(samples), higher, level)


def contrasts(differences: Floats, *, level: float = LEVEL) -> Pairs:
    """Test planned differences together, by the sign-flips of :func:`paired`.

    Args:
        differences: float [m, n], finite; column j of every row is the same replicate.
        level: probability of any false difference among all rows.

    Returns:
        One entry for each row; ``first``, ``second`` and ``best`` are empty.
    """
    none = np.zeros(0, dtype=np.intp)
    magnitude = np.abs(differences).max(axis=1, initial=0.0)
    count, n = differences.shape
    flips = SignFlips(lambda rows: (differences[rows].copy(), magnitude[rows]), count, n, resolution=0.0)
    return _simultaneous_inference(flips, none, none, 0, True, level)


def pair_index(a: Indices, b: Indices, count: int) -> Indices:
    """Return the index in :class:`Pairs` of each pair (a, b), a < b, of ``count`` samples."""
    return a * count - a * (a + 1) // 2 + b - a - 1


def _simultaneous_inference(
    test: PairStatistic, first: Indices, second: Indices, samples: int, higher: bool, level: float
) -> Pairs:
    """Compute intervals, p-values and the best set from a test statistic and draws of its maximum over all pairs."""
    count = len(test.difference)
    null_maxima = test.null_maxima(np.arange(count), for_intervals=True) if count else []
    p = np.maximum(2 * stats.t.sf(test.t, test.df), test.min_p())
    for maxima in null_maxima:
        reached = len(maxima) - np.searchsorted(np.sort(maxima), test.observed() * (1 - TIE_TOLERANCE), side="left")
        p = np.maximum(p, reached / len(maxima))
    critical = _critical_t(test, null_maxima, level)
    low, high = _interval(test, critical)
    equivalence_low, equivalence_high = _interval(test, _critical_t(test, null_maxima, 2 * level))
    return Pairs(
        first,
        second,
        test.difference,
        low,
        high,
        equivalence_low,
        equivalence_high,
        p,
        critical,
        test.sd,
        test.df,
        _best_set(test, first, second, samples, higher, level),
    )


def _critical_t(test: PairStatistic, null_maxima: Sequence[Floats], level: float) -> Floats:
    """Return the critical t of each pair: float [m], at least that of a single pair by Student's t."""
    critical = stats.t.ppf(1 - level / 2, test.df)
    for maxima in null_maxima:
        beyond = math.floor(level * len(maxima) + 1e-9)
        quantile = float(np.partition(maxima, len(maxima) - 1 - beyond)[len(maxima) - 1 - beyond])
        critical = np.maximum(critical, test.to_t(quantile / (1 - TIE_TOLERANCE)))
    return np.asarray(critical)


def _interval(test: PairStatistic, critical: Floats) -> tuple[Floats, Floats]:
    """Return the ends of each pair's interval; without variance, its half-width is the resolution of a value."""
    half_width = np.full(len(critical), math.inf)
    np.multiply(critical, test.error, out=half_width, where=np.isfinite(critical))
    half_width[test.is_constant & np.isfinite(critical)] = test.resolution * (1 + 1e-9)
    return test.difference - half_width, test.difference + half_width


def _best_set(
    test: PairStatistic, first: Indices, second: Indices, samples: int, higher: bool, level: float
) -> NDArray[np.bool_]:
    """Step down: drop samples that are worse than a remaining one, then test the remaining pairs anew, until none is.

    After the Model Confidence Set of Hansen, Lunde and Nason (2011), Econometrica 79, with the tests of this module.
    Ruling out needs no critical value for large differences, which costs power; for two samples, the best set and the
    interval agree. The losers of pairs that differ are always dropped.

    Returns:
        bool [samples]: the samples that cannot be ruled out as best.
    """
    remaining = np.ones(samples, dtype=np.bool_)
    loser = np.where((test.difference > 0) == higher, second, first) if samples else first
    while remaining.sum() > 1:
        pairs = np.flatnonzero(remaining[first] & remaining[second])
        critical = _critical_t(test, test.null_maxima(pairs, for_intervals=samples == 2), level)
        worse = loser[pairs[test.t[pairs] > critical[pairs]]]
        if not len(worse):
            break
        remaining[worse] = False
    return remaining
