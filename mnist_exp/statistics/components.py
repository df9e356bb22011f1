"""Where the spread between runs comes from: initial weights, batch order, split, or their interactions.

A sweep that crosses the seeds of these sources has runs that share seeds: they are no independent replicates, and no
verdict is given on them. What they tell is how large each source is.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_exp.analysis.samples import Seeds
from mnist_exp.config.replicate import SOURCES

INTERACTIONS = "interactions"


@dataclass(frozen=True)
class Components:
    """Variance components of a crossed sweep.

    Attributes:
        variances: of each source that varies, by its name in words, and of their interactions; in squared units of the
            value, the mean over configurations, not below 0.
        levels: how many seeds of each source.
        configurations: how many were averaged.
        sampling: variance that a share has on ``images`` validation images alone, p (1 - p) / images; None if the value
            is no such share.
        images: validation images; None if unknown.
    """

    variances: Mapping[str, float]
    levels: Mapping[str, int]
    configurations: int
    sampling: float | None
    images: int | None

    @property
    def total(self) -> float:
        """Variance of one run."""
        return sum(self.variances.values())

    def rows(self) -> list[tuple[str, float, float]]:
        """Return source, standard deviation, and share of the variance (0..1) of each."""
        total = self.total
        return [(name, math.sqrt(each), each / total if total else 0.0) for name, each in self.variances.items()]

    def sentence(self) -> str:
        """``Of the variance between runs, 61 % comes from initial weights (sd 0.0031), ...``."""
        if self.total == 0:
            return "The runs do not vary."
        parts = [f"{100 * share:.0f} % comes from {name} (sd {sd:.2g})" for name, sd, share in self.rows()]
        text = f"Of the variance between runs, {', '.join(parts)}."
        if self.sampling is not None and self.images is not None and SOURCES["data.split_seed"] in self.variances:
            most = min(100.0, 100 * self.sampling / self.total)
            text += (
                f" Which {self.images:,} images validate makes up to {most:.0f} % of it (binomial sd "
                f"{math.sqrt(self.sampling):.2g}): that is part of the split and of its interactions."
            )
        return text


def components(
    runs: Sequence[Mapping[Seeds, float]], *, is_share: bool = False, images: int | None = None
) -> Components | None:
    """Estimate variance components of crossed random factors from their mean squares (analysis of variance).

    With the expected mean squares of a balanced random model, the component of a set of sources A is the sum over all
    sets B that hold A of (-1)^(|B| - |A|) MS_B, divided by the number of runs with the same seeds in A. Searle, Casella
    and McCulloch (1992), Variance Components, chapter 4.

    Args:
        runs: of each configuration, its values by seeds.
        is_share: whether the values are shares of ``images`` validation images.
        images: how many there are; None if unknown.

    Returns:
        None if a configuration does not have every combination of its seeds exactly once.
    """
    found = [one for one in map(_of_one, runs) if one is not None]
    if not found or len(found) < len(runs) or len({tuple(each) for each, _ in found}) > 1:
        return None
    names = [*found[0][0], INTERACTIONS]
    variances = {name: float(np.mean([variance[name] for _, variance in found])) for name in names}
    share = float(np.mean([value for one in runs for value in one.values()]))
    sampling = share * (1 - share) / images if is_share and images else None
    return Components(variances, found[0][0], len(found), sampling, images if sampling is not None else None)


def _of_one(values: Mapping[Seeds, float]) -> tuple[dict[str, int], dict[str, float]] | None:
    """Levels and variances of one configuration."""
    seeds = [sorted({own[place] for own in values}) for place in range(len(SOURCES))]
    if len(values) < 4 or len(values) != math.prod(map(len, seeds)):
        return None
    grid = np.array([values[own] for own in itertools.product(*seeds)]).reshape([len(each) for each in seeds])
    places = [place for place in range(len(SOURCES)) if len(seeds[place]) > 1]
    grid = grid.reshape([len(seeds[place]) for place in places])
    axes = range(len(places))
    sets = [frozenset(some) for size in range(1, len(places) + 1) for some in itertools.combinations(axes, size)]
    squares = {some: _mean_square(grid, some) for some in sets}
    variances = {
        some: sum((-1) ** (len(other) - len(some)) * squares[other] for other in sets if other >= some)
        / math.prod(grid.shape[axis] for axis in axes if axis not in some)
        for some in sets
    }
    words = [list(SOURCES.values())[place] for place in places]
    single = {words[axis]: max(0.0, variances[frozenset([axis])]) for axis in axes}
    together = sum(max(0.0, variances[some]) for some in sets if len(some) > 1)
    return dict(zip(words, grid.shape, strict=True)), {**single, INTERACTIONS: together}


def _mean_square(grid: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", some: frozenset[int]) -> float:
    """Mean square of the effect of the axes in ``some``."""
    axes = range(grid.ndim)
    effect = np.zeros_like(grid)
    for size in range(len(some) + 1):
        for kept in itertools.combinations(sorted(some), size):
            others = tuple(axis for axis in axes if axis not in kept)
            effect = effect + (-1) ** (len(some) - size) * grid.mean(axis=others, keepdims=True)
    return float((effect**2).sum() / math.prod(grid.shape[axis] - 1 for axis in some))
