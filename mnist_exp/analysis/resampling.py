"""Test statistics of all pairs of samples, and draws of them as they are where settings do not matter."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

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


class Test:
    """A statistic of each pair, and draws of it as it is without a difference.

    Attributes:
        difference, error, df, spread: float [m], of each pair: mean difference, its standard error, degrees of freedom,
            standard deviation of one replicate's difference.
        draws: how many, the samples as they are included.
    """

    difference: Floats
    error: Floats
    df: Floats
    spread: Floats
    draws: int

    @property
    def t(self) -> Floats:
        """Each pair's difference in standard errors, without its sign."""
        return _ratio(np.abs(self.difference), self.error)

    def statistic(self) -> Floats:
        """Return what is drawn, as it was seen: float [m], growing with ``t``."""
        return self.t

    def to_t(self, statistic: float) -> float:
        """Return the t of a statistic."""
        return statistic

    def largest(self, among: Places, *, centred: bool) -> list[Floats]:
        """Return the largest statistic among those pairs in each draw, for each kind of draw.

        ``centred`` adds the kind that serves intervals alone, if there is one.
        """
        raise NotImplementedError


class SignFlips(Test):
    """The statistic is |sum of signed d| / (||d|| sqrt(n)), 0..1, which grows with t and needs no variance anew."""

    def __init__(self, differences: Callable[[Places], Floats], count: int, n: int, scale: float) -> None:
        self._differences, self._n, self._count = differences, n, count
        self._rounding = 1e-12 * scale
        self.draws, self._flips = _flips(n, count)
        self.difference, self.spread = np.empty(count), np.empty(count)
        for part in _slices(np.arange(count)):
            d = self._of(part)
            self.difference[part], self.spread[part] = d.mean(axis=1), d.std(axis=1, ddof=1)
        self.spread[self.spread <= self._rounding] = 0.0
        self.error = self.spread / math.sqrt(n)
        self.df = np.full(count, float(n - 1))

    def _of(self, pairs: Places) -> Floats:
        d = self._differences(pairs)
        d[np.abs(d) <= self._rounding] = 0.0
        return d

    def statistic(self) -> Floats:
        """Return what is drawn, as it was seen."""
        n = self._n
        return _ratio(
            np.abs(self.difference) * math.sqrt(n), np.sqrt((n - 1) * self.spread**2 + n * self.difference**2)
        )

    def to_t(self, statistic: float) -> float:
        """Return the t of a statistic."""
        return math.inf if statistic >= 1 else math.sqrt((self._n - 1) / (1 - statistic**2)) * statistic

    def largest(self, among: Places, *, centred: bool) -> list[Floats]:
        """Return the largest statistic in each sign-flip: of the differences, and of their deviations from the mean."""
        found = [np.zeros(self.draws, dtype=np.float32) for _ in range(1 + centred)]
        for part in _slices(among):
            d = self._of(part)
            for largest, sample in zip(found, (d, d - d.mean(axis=1, keepdims=True)), strict=False):
                norm = np.linalg.norm(sample, axis=1, keepdims=True)
                unit = np.divide(sample, norm, out=np.zeros_like(sample), where=norm > self._rounding)
                drawn = self._flips @ unit.T.astype(np.float32)
                np.maximum(largest, np.abs(drawn, out=drawn).max(axis=1), out=largest)
        return [each.astype(np.float64) / math.sqrt(self._n) for each in found]


class Welch(Test):
    """The statistic is Welch's t."""

    def __init__(self, samples: Sequence[Floats], first: Places, second: Places) -> None:
        self._first, self._second = first, second
        self.draws = _DRAWS if len(first) <= _MANY else _FEWER_DRAWS
        n = np.array([len(each) for each in samples], dtype=np.float64)
        mean, variance = (np.array([how(each) for each in samples]) for how in (np.mean, lambda x: np.var(x, ddof=1)))
        variance[variance <= (1e-12 * np.abs(mean)) ** 2] = 0.0
        a, b = (variance / n)[first], (variance / n)[second]
        self.difference = mean[first] - mean[second]
        self.difference[np.abs(self.difference) <= 1e-12 * np.abs(mean).max()] = 0.0
        self.error, self.spread = np.sqrt(a + b), np.sqrt(variance[first] + variance[second])
        least = np.minimum(n[first], n[second]) - 1
        self.df = np.maximum(_ratio((a + b) ** 2, a**2 / (n[first] - 1) + b**2 / (n[second] - 1), least), least)
        random, shape = np.random.default_rng(_SEED), (self.draws - 1, len(samples))
        wild_mean, wild_variance = np.empty(shape), np.empty(shape)
        for place, sample in enumerate(samples):
            signs = random.integers(0, 2, (self.draws - 1, len(sample)), dtype=np.int8) * 2 - 1
            flipped = signs * (sample - sample.mean())
            wild_mean[:, place], wild_variance[:, place] = flipped.mean(axis=1), flipped.var(axis=1, ddof=1)
        normal_mean = random.normal(size=shape) * np.sqrt(variance / n)
        normal_variance = variance * random.chisquare(n - 1, size=shape) / (n - 1)
        self._kinds = ((wild_mean, wild_variance / n), (normal_mean, normal_variance / n))

    def largest(self, among: Places, *, centred: bool) -> list[Floats]:  # noqa: ARG002  both kinds are centred
        """Return the largest Welch's t in each draw: of the wild bootstrap, and of normal samples."""
        found = []
        for mean, variance in self._kinds:
            # The samples as they are count as a draw that reaches whatever was seen.
            largest = np.full(self.draws, math.inf)
            largest[1:] = 0.0
            for part in _slices(among):
                a, b = self._first[part], self._second[part]
                drawn = _ratio(np.abs(mean[:, a] - mean[:, b]), np.sqrt(variance[:, a] + variance[:, b]))
                np.maximum(largest[1:], drawn.max(axis=1), out=largest[1:])
            found.append(largest)
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


def _ratio(above: Floats, below: Floats, otherwise: Floats | float = math.inf) -> Floats:
    """``above / below``; where both are 0, 0; where only ``below`` is, ``otherwise``."""
    result = (
        np.where(above == 0, 0.0, otherwise)
        if otherwise is math.inf
        else np.broadcast_to(otherwise, below.shape).copy()
    )
    return np.divide(above, below, out=result, where=below > 0)
