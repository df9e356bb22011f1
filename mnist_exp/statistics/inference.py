"""Which of several samples differ: all pairs in one simultaneous procedure, and the set that may hold the best.

Paired samples (every sample has a value for the same replicates): studentised max-T sign-flips. Where two settings do
not matter, a difference between two of their replicates is as likely to be d as -d. Flipping the signs of all
replicates gives the distribution of the largest statistic over all pairs, exactly up to 11 replicates. Fisher
(1935), The Design of Experiments; Westfall and Young (1993), Resampling-Based Multiple Testing; Romano and Wolf (2005),
Exact and approximate stepdown methods for multiple hypothesis testing, JASA 100.

Unpaired samples: Welch's t for all pairs, its critical value the larger of two bootstraps': sign-flips of each value's
deviation from its sample's mean (wild bootstrap: Davidson and Flachaire (2008), Journal of Econometrics 146), and
normal samples with the variances seen.

Both hold at ``level`` over all pairs together where the settings do not matter, or where values scatter evenly about
their mean, however unequally. No test of a mean holds for all shapes: Bahadur and Savage (1956), Annals of Mathematical
Statistics 27. docs/statistics.md shows by simulation where this one fails.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mnist_exp.statistics.resampling import TIE, Floats, Places, SignFlips, Statistic, Welch

LEVEL = 0.05
"""Chance of any false difference among all pairs of a comparison."""


def fewest(level: float = LEVEL) -> int:
    """Return the smallest number of replicates with which any difference can be shown at ``level``.

    2**(n-1) sign-flips give no p below 2**(1-n): 6 replicates at 5 %, 8 at 1 %.
    """
    return max(6, math.ceil(1 - math.log2(level)))


@dataclass(frozen=True)
class Pairs:
    """Every pair of k samples, m = k(k-1)/2 of them; ``first[i] < second[i]``.

    Attributes:
        first, second: int [m], places of the two samples.
        difference: float [m], mean of the first minus mean of the second.
        low, high: float [m], simultaneous interval of that at 1 - level. A pair differs exactly if it leaves out 0.
        equivalence_low, equivalence_high: float [m], simultaneous interval at 1 - 2 level: two one-sided tests
            (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15).
        p: float [m], adjusted for all pairs; at most ``level`` exactly where a pair differs.
        critical: float [m], the t that a difference had to exceed.
        spread: float [m], standard deviation of one replicate's difference.
        df: float [m], degrees of freedom of that.
        best: bool [k], the samples that cannot be ruled out as best.
    """

    first: Places
    second: Places
    difference: Floats
    low: Floats
    high: Floats
    equivalence_low: Floats
    equivalence_high: Floats
    p: Floats
    critical: Floats
    spread: Floats
    df: Floats
    best: NDArray[np.bool_]

    @property
    def differs(self) -> NDArray[np.bool_]:
        """Whether the interval of each pair leaves out 0."""
        return (self.low > 0) | (self.high < 0)


def paired(values: Floats, *, higher: bool = True, level: float = LEVEL, resolution: float = 0.0) -> Pairs:
    """Compare samples that share their replicates.

    Args:
        values: float [k, n], finite; column j of every row is the same replicate; n >= ``fewest(level)``.
        higher: whether more is better.
        level: chance of any false difference.
        resolution: smallest step of a value; an interval without width is widened by it.
    """
    first, second = np.triu_indices(len(values), 1)
    magnitude = np.abs(values).max(axis=1, initial=0.0)

    def differences(pairs: Places) -> tuple[Floats, Floats]:
        a, b = first[pairs], second[pairs]
        return values[a] - values[b], np.maximum(magnitude[a], magnitude[b])

    flips = SignFlips(differences, len(first), values.shape[1], resolution)
    return _judge(flips, first, second, len(values), higher, level)


def contrasts(differences: Floats, *, level: float = LEVEL) -> Pairs:
    """Judge planned differences together, by the sign-flips of :func:`paired`.

    Args:
        differences: float [m, n], finite; column j of every row is the same replicate.
        level: chance of any false difference.

    Returns:
        One entry for each row; ``first``, ``second`` and ``best`` are empty.
    """
    none = np.zeros(0, dtype=np.intp)
    magnitude = np.abs(differences).max(axis=1, initial=0.0)
    count, n = differences.shape
    flips = SignFlips(lambda rows: (differences[rows].copy(), magnitude[rows]), count, n, resolution=0.0)
    return _judge(flips, none, none, 0, True, level)


def unpaired(samples: Sequence[Floats], *, higher: bool = True, level: float = LEVEL, resolution: float = 0.0) -> Pairs:
    """Compare samples that share nothing.

    Args:
        samples: k arrays of finite values, each with at least ``fewest(level)``.
        higher, level, resolution: as in :func:`paired`.
    """
    first, second = np.triu_indices(len(samples), 1)
    return _judge(Welch(samples, first, second, resolution), first, second, len(samples), higher, level)


def place(a: Places, b: Places, count: int) -> Places:
    """Return where the pairs (a, b), a < b, of ``count`` samples stand in :class:`Pairs`."""
    return a * count - a * (a + 1) // 2 + b - a - 1


def _judge(test: Statistic, first: Places, second: Places, samples: int, higher: bool, level: float) -> Pairs:
    count = len(test.difference)
    drawn = test.largest(np.arange(count), for_intervals=True) if count else []
    p = np.maximum(2 * stats.t.sf(test.t, test.df), test.least_p())
    for each in drawn:
        reached = len(each) - np.searchsorted(np.sort(each), test.seen() * (1 - TIE), side="left")
        p = np.maximum(p, reached / len(each))
    critical = _critical(test, drawn, level)
    low, high = _interval(test, critical)
    equivalence_low, equivalence_high = _interval(test, _critical(test, drawn, 2 * level))
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
        test.spread,
        test.df,
        _best(test, first, second, samples, higher, level),
    )


def _critical(test: Statistic, drawn: Sequence[Floats], level: float) -> Floats:
    """The t that a pair's must exceed: float [m]; no lower than that of a single pair."""
    critical = stats.t.ppf(1 - level / 2, test.df)
    for each in drawn:
        beyond = math.floor(level * len(each) + 1e-9)
        largest = float(np.partition(each, len(each) - 1 - beyond)[len(each) - 1 - beyond])
        critical = np.maximum(critical, test.to_t(largest / (1 - TIE)))
    return np.asarray(critical)


def _interval(test: Statistic, critical: Floats) -> tuple[Floats, Floats]:
    """Ends of each pair's interval; without spread, it is as wide as the rounding of a value."""
    half = np.full(len(critical), math.inf)
    np.multiply(critical, test.error, out=half, where=np.isfinite(critical))
    half[test.without_spread & np.isfinite(critical)] = test.resolution * (1 + 1e-9)
    return test.difference - half, test.difference + half


def _best(
    test: Statistic, first: Places, second: Places, samples: int, higher: bool, level: float
) -> NDArray[np.bool_]:
    """Step down: drop what is worse than a survivor, judge the pairs of those left anew, until nothing is dropped.

    After the Model Confidence Set of Hansen, Lunde and Nason (2011), Econometrica 79, with the tests of this module.
    Ruling out needs no critical value for large differences, which costs power; of two samples alone, the best set and
    the interval decide alike. The losers of pairs that differ are dropped in any case.
    """
    left = np.ones(samples, dtype=np.bool_)
    loser = np.where((test.difference > 0) == higher, second, first) if samples else first
    while left.sum() > 1:
        among = np.flatnonzero(left[first] & left[second])
        critical = _critical(test, test.largest(among, for_intervals=samples == 2), level)
        worse = loser[among[test.t[among] > critical[among]]]
        if not len(worse):
            break
        left[worse] = False
    return left
