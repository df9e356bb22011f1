"""Test statistics of all pairs of samples, and draws of them as they are where settings do not matter."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

TIE = 1e-4
"""Statistics nearer than this, relatively, are equal: draws are float32."""

_EXACT = 11  # replicates: all 2**10 flips are made
_DRAWS = 2000  # the samples as they are included: Phipson and Smyth (2010), Permutation p-values should never be zero
_FEWER_DRAWS = 500  # where there are more pairs than _MANY
_MANY = 50_000
_SLICE = 4096  # pairs at once, which bounds memory
_SEED = 20261124  # of the random draws: the same samples give the same verdicts


class Statistic:
    """A statistic of each pair, and draws of it as it is without a difference.

    Attributes:
        difference, error, df, spread: float [m], of each pair: mean difference, its standard error, degrees of freedom,
            standard deviation of one replicate's difference.
        draws: how many, the samples as they are included.
        resolution: smallest step of a value; a difference without spread that is no larger counts as none.
    """

    difference: Floats
    error: Floats
    df: Floats
    spread: Floats
    draws: int
    resolution: float

    @property
    def without_spread(self) -> NDArray[np.bool_]:
        """bool [m]: the pairs whose difference is the same in all replicates."""
        return np.asarray(self.error == 0)

    @property
    def t(self) -> Floats:
        """Each pair's difference in standard errors, without its sign."""
        return self._if_beyond_resolution(_ratio(np.abs(self.difference), self.error))

    def seen(self) -> Floats:
        """Return the statistic of the samples as they are: float [m], growing with ``t``."""
        return self.t

    def to_t(self, statistic: float) -> float:
        """Return the t of a statistic."""
        return statistic

    def least_p(self) -> Floats:
        """Return the smallest p that the samples can have: float [m]."""
        return np.full(len(self.difference), 1 / self.draws)

    def largest(self, among: Places, *, for_intervals: bool) -> list[Floats]:
        """Return the largest statistic among those pairs in each draw: an array for each kind of draw.

        ``for_intervals`` adds the kind, if there is one, without which intervals of large differences are too narrow.
        """
        raise NotImplementedError

    def _if_beyond_resolution(self, statistic: Floats) -> Floats:
        tied = self.without_spread & (np.abs(self.difference) <= self.resolution * (1 + 1e-9))
        return np.where(tied, 0.0, statistic)


class SignFlips(Statistic):
    """The statistic is |sum of signed d| / (||d|| sqrt(n)), 0..1, which grows with t and needs no variance anew.

    Args:
        differences: for places of pairs, their differences, float [pairs, n], and the largest magnitude of the values
            that each was taken of, float [pairs].
        count: how many pairs there are.
        n: how many replicates.
        resolution: smallest step of a value.
    """

    def __init__(
        self, differences: Callable[[Places], tuple[Floats, Floats]], count: int, n: int, resolution: float
    ) -> None:
        self._differences, self._n, self.resolution = differences, n, resolution
        self.draws, self._flips = _flips(n, count)
        self.difference, self.spread, self._seen = np.empty(count), np.empty(count), np.empty(count)
        for part in _slices(np.arange(count)):
            u, unit, rounding = self._scaled(part)
            mean, deviation = u.mean(axis=1), u.std(axis=1, ddof=1)
            deviation[deviation <= rounding] = 0.0
            self.difference[part], self.spread[part] = mean * unit, deviation * unit
            norm = np.sqrt((n - 1) * deviation**2 + n * mean**2)
            self._seen[part] = _ratio(np.abs(mean) * math.sqrt(n), norm)
        self.error = self.spread / math.sqrt(n)
        self.df = np.full(count, float(n - 1))

    def _scaled(self, pairs: Places) -> tuple[Floats, Floats, Floats]:
        """Differences of each pair in units of its largest, that unit, and what is rounding alone in those units."""
        d, magnitude = self._differences(pairs)
        rounding = 8 * np.finfo(np.float64).eps * magnitude
        d[np.abs(d) <= rounding[:, None]] = 0.0
        unit = np.abs(d).max(axis=1)
        unit[unit == 0] = 1.0
        return d / unit[:, None], unit, rounding / unit

    def seen(self) -> Floats:
        """Return the statistic of the differences as they are."""
        return self._if_beyond_resolution(self._seen)

    def to_t(self, statistic: float) -> float:
        """Return the t of a statistic."""
        return math.inf if statistic >= 1 else math.sqrt((self._n - 1) / (1 - statistic**2)) * statistic

    def largest(self, among: Places, *, for_intervals: bool) -> list[Floats]:
        """Return the largest statistic in each sign-flip: of the differences; of their deviations from the mean."""
        found = [np.zeros(self.draws, dtype=np.float32) for _ in range(1 + for_intervals)]
        for part in _slices(among):
            u, _, _ = self._scaled(part)
            varies = self.spread[part, None] > 0
            for largest, sample in zip(
                found, (u, np.where(varies, u - u.mean(axis=1, keepdims=True), 0.0)), strict=False
            ):
                norm = np.linalg.norm(sample, axis=1, keepdims=True)
                unit = np.divide(sample, norm, out=np.zeros_like(sample), where=norm > 0)
                drawn = self._flips @ unit.T.astype(np.float32)
                np.maximum(largest, np.abs(drawn, out=drawn).max(axis=1), out=largest)
        return [each.astype(np.float64) / math.sqrt(self._n) for each in found]


class Welch(Statistic):
    """The statistic is Welch's t."""

    def __init__(self, samples: Sequence[Floats], first: Places, second: Places, resolution: float) -> None:
        self._first, self._second, self.resolution = first, second, resolution
        self.draws = _DRAWS if len(first) <= _MANY else _FEWER_DRAWS
        unit = max((float(np.abs(each).max()) for each in samples), default=0.0) or 1.0  # keeps squares finite
        scaled = [each / unit for each in samples]
        self._n = np.array([len(each) for each in scaled])
        n, eps = self._n.astype(np.float64), 8 * np.finfo(np.float64).eps
        mean, variance = (np.array([how(each) for each in scaled]) for how in (np.mean, lambda x: np.var(x, ddof=1)))
        variance[variance <= (eps * np.abs(mean)) ** 2] = 0.0
        a, b = (variance / n)[first], (variance / n)[second]
        difference = mean[first] - mean[second]
        difference[np.abs(difference) <= eps * np.maximum(np.abs(mean[first]), np.abs(mean[second]))] = 0.0
        self.difference = difference * unit
        self.error, self.spread = np.sqrt(a + b) * unit, np.sqrt(variance[first] + variance[second]) * unit
        least = np.minimum(n[first], n[second]) - 1
        self.df = np.maximum(_ratio((a + b) ** 2, a**2 / (n[first] - 1) + b**2 / (n[second] - 1), least), least)
        random, shape = np.random.default_rng(_SEED), (self.draws - 1, len(scaled))
        wild_mean, wild_variance = np.empty(shape), np.empty(shape)
        for place, sample in enumerate(scaled):
            signs = random.integers(0, 2, (self.draws - 1, len(sample)), dtype=np.int8) * 2 - 1
            flipped = signs * (sample - sample.mean())
            wild_mean[:, place], wild_variance[:, place] = flipped.mean(axis=1), flipped.var(axis=1, ddof=1)
        normal_mean = random.normal(size=shape) * np.sqrt(variance / n)
        normal_variance = variance * random.chisquare(n - 1, size=shape) / (n - 1)
        kinds = ((wild_mean, wild_variance / n), (normal_mean, normal_variance / n))
        # A row for each sample: rows are gathered faster than columns.
        self._kinds = [tuple(np.ascontiguousarray(each.T, dtype=np.float32) for each in kind) for kind in kinds]

    def least_p(self) -> Floats:
        """Return the smallest p; where nothing varies, that of relabelling the values in all ways."""
        a, b = self._n[self._first], self._n[self._second]
        return np.where(self.without_spread, 2 / special.comb(a + b, a), 1 / self.draws)

    def largest(self, among: Places, *, for_intervals: bool) -> list[Floats]:  # noqa: ARG002  both serve intervals, too
        """Return the largest Welch's t in each draw: of the wild bootstrap, and of normal samples."""
        found = []
        for mean, variance in self._kinds:
            # Draw 0 is the data themselves, which reach any statistic that was seen.
            largest = np.full(self.draws, math.inf)
            largest[1:] = 0.0
            for part in _slices(among):
                a, b = self._first[part], self._second[part]
                apart, error = mean[a] - mean[b], variance[a] + variance[b]
                squares = np.square(apart, out=apart)
                drawn = np.divide(squares, error, out=squares) if error.all() else _ratio(squares, error)
                np.maximum(largest[1:], drawn.max(axis=0), out=largest[1:])
            found.append(np.sqrt(largest))
        return found


def _flips(n: int, pairs: int) -> tuple[int, NDArray[np.float32]]:
    """How many sign-flips of n replicates, and the signs: float32 [draws, n], the first row all 1.

    A flip and its opposite give the same statistic, so the first sign is always 1.
    """
    if n <= _EXACT:
        draws = 2 ** (n - 1)
        signs = 1 - 2 * (np.arange(draws)[:, None] >> np.arange(n) & 1)
        return draws, np.roll(signs, 1, axis=1).astype(np.float32)
    draws = _DRAWS if pairs <= _MANY else _FEWER_DRAWS
    signs = np.random.default_rng(_SEED).integers(0, 2, (draws, n)) * 2 - 1
    signs[0] = 1
    return draws, signs.astype(np.float32)


def _slices(places: Places) -> Iterator[Places]:
    for start in range(0, len(places), _SLICE):
        yield places[start : start + _SLICE]


def _ratio(above: Any, below: Any, otherwise: Any = math.inf) -> Any:
    """``above / below``; where both are 0, 0; where only ``below`` is, ``otherwise``."""
    result = (
        np.where(above == 0, 0.0, otherwise)
        if otherwise is math.inf
        else np.broadcast_to(otherwise, below.shape).copy()
    )
    return np.divide(above, below, out=result, where=below > 0)
