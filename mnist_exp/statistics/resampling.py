"""Test statistics of all pairs of samples, and their joint null distribution by resampling.

:class:`SignFlips` serves paired samples, :class:`Welch` independent ones; :mod:`mnist_exp.statistics.inference` uses
either through :class:`PairStatistic`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

TIE_TOLERANCE = 1e-4
"""Relative difference below which two statistics are equal: resampled ones are float32."""

_MAX_EXACT = 11  # replicates up to which all 2**(n-1) sign patterns are enumerated
_DRAWS = 2000  # including the data themselves: Phipson and Smyth (2010), Permutation p-values should never be zero
_FEWER_DRAWS = 500  # for more than _MANY_PAIRS pairs
_MANY_PAIRS = 50_000
_CHUNK = 4096  # pairs processed at once; bounds memory
_SEED = 20261124  # of the random draws: the same samples give the same results


class PairStatistic:
    """A test statistic for each of m pairs of samples, and draws of it under the null hypothesis of no difference.

    Attributes:
        difference: float [m], mean of the first sample minus mean of the second.
        error: float [m], standard error of ``difference``.
        df: float [m], degrees of freedom of ``error``.
        sd: float [m], standard deviation of one replicate's difference.
        draws: number of draws, including the data themselves.
        resolution: smallest step of a value; a difference without variance that is no larger counts as none.
    """

    difference: Floats
    error: Floats
    df: Floats
    sd: Floats
    draws: int
    resolution: float

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """bool [m]: the pairs whose difference has no variance."""
        return np.asarray(self.error == 0)

    @property
    def t(self) -> Floats:
        """float [m]: absolute difference in standard errors."""
        return self._zero_within_resolution(_ratio(np.abs(self.difference), self.error))

    def observed(self) -> Floats:
        """Return the statistic of the data: float [m], increasing with ``t``."""
        return self.t

    def to_t(self, statistic: float) -> float:
        """Convert a value of the statistic to the corresponding t."""
        return statistic

    def min_p(self) -> Floats:
        """Return the smallest p-value that the samples allow: float [m]."""
        return np.full(len(self.difference), 1 / self.draws)

    def null_maxima(self, pairs: Indices, *, for_intervals: bool) -> list[Floats]:
        """Draw the maximum of the statistic over several pairs.

        Args:
            pairs: the pairs to take the maximum over.
            for_intervals: whether to add the kind of draws, if there is one, without which simultaneous intervals are
                too narrow beside a large difference.

        Returns:
            float [draws] for each kind of draws; a valid test uses the largest critical value of all kinds.
        """
        raise NotImplementedError

    def _zero_within_resolution(self, statistic: Floats) -> Floats:
        is_rounding = self.is_constant & (np.abs(self.difference) <= self.resolution * (1 + 1e-9))
        return np.where(is_rounding, 0.0, statistic)


class SignFlips(PairStatistic):
    """Paired samples: the signs of all replicates' differences are flipped together.

    The statistic of differences d over n replicates is |sum of signed d| / (||d|| sqrt(n)), in 0..1. It increases with
    t, and its denominator is the same for all sign patterns.

    Args:
        differences: returns, for indices of pairs, their differences, float [pairs, n], and the largest magnitude of
            the values subtracted, float [pairs].
        count: number of pairs.
        n: number of replicates.
        resolution: smallest step of a value.
    """

    def __init__(
        self, differences: Callable[[Indices], tuple[Floats, Floats]], count: int, n: int, resolution: float
    ) -> None:
        self._differences, self._n, self.resolution = differences, n, resolution
        self._signs = _sign_patterns(n, count)
        self.draws = len(self._signs)
        self.difference, self.sd, self._observed = np.empty(count), np.empty(count), np.empty(count)
        for chunk in _chunks(np.arange(count)):
            d, unit, rounding = self._scaled(chunk)
            mean, sd = d.mean(axis=1), d.std(axis=1, ddof=1)
            sd[sd <= rounding] = 0.0
            self.difference[chunk], self.sd[chunk] = mean * unit, sd * unit
            norm = np.sqrt((n - 1) * sd**2 + n * mean**2)
            self._observed[chunk] = _ratio(np.abs(mean) * math.sqrt(n), norm)
        self.error = self.sd / math.sqrt(n)
        self.df = np.full(count, float(n - 1))

    def _scaled(self, pairs: Indices) -> tuple[Floats, Floats, Floats]:
        """Return the differences of each pair divided by the largest, that divisor, and the rounding error so divided.

        Scaling keeps squares finite. Differences below the floating-point error of the values are set to 0.
        """
        d, magnitude = self._differences(pairs)
        rounding = 8 * np.finfo(np.float64).eps * magnitude
        d[np.abs(d) <= rounding[:, None]] = 0.0
        unit = np.abs(d).max(axis=1)
        unit[unit == 0] = 1.0
        return d / unit[:, None], unit, rounding / unit

    def observed(self) -> Floats:
        """Return the statistic of the data: float [m]."""
        return self._zero_within_resolution(self._observed)

    def to_t(self, statistic: float) -> float:
        """Convert a value of the statistic to the corresponding t."""
        return math.inf if statistic >= 1 else math.sqrt((self._n - 1) / (1 - statistic**2)) * statistic

    def null_maxima(self, pairs: Indices, *, for_intervals: bool) -> list[Floats]:
        """Return the maximum for each sign pattern: of the differences and, for intervals, of their residuals."""
        maxima = [np.zeros(self.draws, dtype=np.float32) for _ in range(1 + for_intervals)]
        for chunk in _chunks(pairs):
            d, _, _ = self._scaled(chunk)
            varies = self.sd[chunk, None] > 0
            residuals = np.where(varies, d - d.mean(axis=1, keepdims=True), 0.0)
            for maximum, sample in zip(maxima, (d, residuals), strict=False):
                norm = np.linalg.norm(sample, axis=1, keepdims=True)
                normed = np.divide(sample, norm, out=np.zeros_like(sample), where=norm > 0)
                drawn = self._signs @ normed.T.astype(np.float32)
                np.maximum(maximum, np.abs(drawn, out=drawn).max(axis=1), out=maximum)
        return [each.astype(np.float64) / math.sqrt(self._n) for each in maxima]


class Welch(PairStatistic):
    """Independent samples: Welch's t, with draws of the wild bootstrap and of normal samples.

    Args:
        samples: the values of each sample.
        first, second: indices of the two samples of each pair.
        resolution: smallest step of a value.
    """

    def __init__(self, samples: Sequence[Floats], first: Indices, second: Indices, resolution: float) -> None:
        self._first, self._second, self.resolution = first, second, resolution
        self.draws = _DRAWS if len(first) <= _MANY_PAIRS else _FEWER_DRAWS
        unit = max((float(np.abs(each).max()) for each in samples), default=0.0) or 1.0  # keeps squares finite
        scaled = [each / unit for each in samples]
        self._n = np.array([len(each) for each in scaled])
        n, eps = self._n.astype(np.float64), 8 * np.finfo(np.float64).eps
        mean, variance = (np.array([of(each) for each in scaled]) for of in (np.mean, lambda x: np.var(x, ddof=1)))
        variance[variance <= (eps * np.abs(mean)) ** 2] = 0.0
        a, b = (variance / n)[first], (variance / n)[second]
        difference = mean[first] - mean[second]
        difference[np.abs(difference) <= eps * np.maximum(np.abs(mean[first]), np.abs(mean[second]))] = 0.0
        self.difference = difference * unit
        self.error, self.sd = np.sqrt(a + b) * unit, np.sqrt(variance[first] + variance[second]) * unit
        min_df = np.minimum(n[first], n[second]) - 1
        self.df = np.maximum(_ratio((a + b) ** 2, a**2 / (n[first] - 1) + b**2 / (n[second] - 1), min_df), min_df)
        random, shape = np.random.default_rng(_SEED), (self.draws - 1, len(scaled))
        wild_mean, wild_variance = np.empty(shape), np.empty(shape)
        for index, sample in enumerate(scaled):
            signs = random.integers(0, 2, (self.draws - 1, len(sample)), dtype=np.int8) * 2 - 1
            flipped = signs * (sample - sample.mean())
            wild_mean[:, index], wild_variance[:, index] = flipped.mean(axis=1), flipped.var(axis=1, ddof=1)
        normal_mean = random.normal(size=shape) * np.sqrt(variance / n)
        normal_variance = variance * random.chisquare(n - 1, size=shape) / (n - 1)
        kinds = ((wild_mean, wild_variance / n), (normal_mean, normal_variance / n))
        # One row per sample, because rows are gathered faster than columns.
        self._kinds = [tuple(np.ascontiguousarray(each.T, dtype=np.float32) for each in kind) for kind in kinds]

    def min_p(self) -> Floats:
        """Return the smallest p-value; for a pair without variance, that of relabelling the values in all ways."""
        a, b = self._n[self._first], self._n[self._second]
        return np.where(self.is_constant, 2 / special.comb(a + b, a), 1 / self.draws)

    def null_maxima(self, pairs: Indices, *, for_intervals: bool) -> list[Floats]:  # noqa: ARG002
        """Return the maximum of Welch's t in each draw: of the wild bootstrap, and of normal samples.

        Both kinds are needed for tests and for intervals alike.
        """
        maxima = []
        for mean, variance in self._kinds:
            # Draw 0 stands for the data, which reach every observed statistic.
            maximum = np.full(self.draws, math.inf)
            maximum[1:] = 0.0
            for chunk in _chunks(pairs):
                a, b = self._first[chunk], self._second[chunk]
                difference, error = mean[a] - mean[b], variance[a] + variance[b]
                squares = np.square(difference, out=difference)
                drawn = np.divide(squares, error, out=squares) if error.all() else _ratio(squares, error)
                np.maximum(maximum[1:], drawn.max(axis=0), out=maximum[1:])
            maxima.append(np.sqrt(maximum))
        return maxima


def _sign_patterns(n: int, pairs: int) -> NDArray[np.float32]:
    """Return patterns of n signs, +1 or -1: float32 [draws, n], the first row all +1.

    All patterns up to _MAX_EXACT replicates, else random ones. A pattern and its opposite give the same statistic, so
    the enumerated ones all start with +1.
    """
    if n <= _MAX_EXACT:
        signs = 1 - 2 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)
        return np.roll(signs, 1, axis=1).astype(np.float32)
    draws = _DRAWS if pairs <= _MANY_PAIRS else _FEWER_DRAWS
    signs = np.random.default_rng(_SEED).integers(0, 2, (draws, n)) * 2 - 1
    signs[0] = 1
    return signs.astype(np.float32)


def _chunks(indices: Indices) -> Iterator[Indices]:
    for start in range(0, len(indices), _CHUNK):
        yield indices[start : start + _CHUNK]


def _ratio(numerator: Any, denominator: Any, default: Any = math.inf) -> Any:
    """Divide; where the denominator is 0, return 0 if the numerator is 0, too, else ``default``."""
    result = (
        np.where(numerator == 0, 0.0, default)
        if default is math.inf
        else np.broadcast_to(default, denominator.shape).copy()
    )
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
