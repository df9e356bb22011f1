"""What several seeds say together: their spread, and whether two configurations differ.

A configuration's runs are a sample of what its seeds can give. Two configurations that were run with the same seeds and
batch orders are compared pair by pair (common random numbers), which takes out what the seeds have in common.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of every interval; and 1 - LEVEL is what a corrected p-value must be below for a difference to count as shown."""


@dataclass(frozen=True)
class Spread:
    """A sample in seven figures.

    Attributes:
        n: how many values.
        std: with n - 1 in the denominator; NaN for one value.
        low, high: the ends of Student's t interval for the mean at ``LEVEL``; NaN for one value.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float
    median: float
    min: float
    max: float


def spread(values: Sequence[float]) -> Spread:
    """Describe ``values``, of which there must be one at least and none NaN."""
    sample = np.asarray(values, dtype=np.float64)
    mean, n = float(sample.mean()), len(sample)
    std = float(sample.std(ddof=1)) if n > 1 else math.nan
    low, high = _interval(sample)
    return Spread(n, mean, std, low, high, float(np.median(sample)), float(sample.min()), float(sample.max()))


@dataclass(frozen=True)
class Difference:
    """Configuration a minus configuration b.

    Attributes:
        mean: of the differences (paired), or the difference of the means.
        low, high: interval of that at ``LEVEL``; NaN where there are too few values.
        p: of the two-sided t-test that it is 0: paired, or Welch's; NaN where there are too few values.
        n: how many pairs, or the smaller sample.
        paired: whether seeds and batch orders were the same.
        corrected: ``p`` after :func:`holm`, over all comparisons made together.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    paired: bool
    corrected: float = math.nan

    @property
    def shown(self) -> bool:
        """Whether the two differ by more than chance explains."""
        return self.corrected < 1 - LEVEL

    def words(self) -> str:
        """The verdict on it."""
        if math.isnan(self.p):
            return "one seed only, so no test"
        return f"differs (p {_p(self.corrected)})" if self.shown else f"no difference shown (p {_p(self.corrected)})"


def paired(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Compare two configurations value by value: ``a[i]`` and ``b[i]`` share their seed and their batches."""
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n, mean = len(differences), float(differences.mean())
    low, high = _interval(differences)
    if n < 2:
        return Difference(mean, low, high, math.nan, n, paired=True)
    if _alike(differences):  # the test divides by the spread, of which there is none
        return Difference(mean, mean, mean, float(abs(mean) <= 1e-12), n, paired=True)
    return Difference(mean, low, high, float(stats.ttest_rel(a, b).pvalue), n, paired=True)


def unpaired(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Compare two configurations whose runs have nothing in common: Welch's t-test."""
    mean, n = float(np.mean(a) - np.mean(b)), min(len(a), len(b))
    if n < 2:
        return Difference(mean, math.nan, math.nan, math.nan, n, paired=False)
    if _alike(a) and _alike(b):
        return Difference(mean, mean, mean, float(abs(mean) <= 1e-12), n, paired=False)
    test = stats.ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(LEVEL)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue), n, paired=False)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for having been looked at together; NaNs stay, and count as no comparison.

    Holm, S. (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    corrected, largest = [math.nan] * len(p_values), 0.0
    made = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    for smaller, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - smaller) * p))
        corrected[place] = largest
    return corrected


def _interval(sample: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    if len(sample) < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * stats.sem(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


def _alike(sample: "Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]") -> bool:
    """Whether the values differ by no more than rounding does."""
    return bool(np.ptp(sample) <= 1e-12 * max(1.0, float(np.max(np.abs(sample)))))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
