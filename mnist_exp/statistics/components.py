"""Variance components: how much of the variance between runs comes from each source, or from their interactions.

In a sweep that crosses the seeds of several sources (initial weights, batch order, split), runs have seeds in common.
They are no independent replicates and get no verdict, but they show how large each source of variance is.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_exp.config.replicate import SOURCES, Seeds
from mnist_exp.statistics.resampling import Floats

INTERACTIONS = "interactions"


@dataclass(frozen=True)
class Components:
    """Variance components of a crossed sweep.

    Attributes:
        variances: component of each source that varies, by its name in words, and of their interactions; in squared
            units of the value, mean over configurations, at least 0.
        levels: number of seeds of each source.
        configurations: number of configurations averaged.
        sampling: variance of a share measured on ``images`` images, p (1 - p) / images; None if the value is no such
            share.
        images: number of validation images; None if unknown.
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
        """Return for each source its name, standard deviation and share of the variance (0..1)."""
        total = self.total
        return [(name, math.sqrt(each), each / total if total else 0.0) for name, each in self.variances.items()]

    def sentence(self) -> str:
        """Return ``Of the variance between runs, 61 % comes from initial weights (sd 0.0031), ...``."""
        if self.total == 0:
            return "The runs do not vary."
        parts = [f"{100 * share:.0f} % comes from {name} (sd {sd:.2g})" for name, sd, share in self.rows()]
        text = f"Of the variance between runs, {', '.join(parts)}."
        if self.sampling is not None and self.images is not None and SOURCES["data.split_seed"] in self.variances:
            share = min(100.0, 100 * self.sampling / self.total)
            text += (
                f" The choice of the {self.images:,} validation images accounts for up to {share:.0f} % of it "
                f"(binomial sd {math.sqrt(self.sampling):.2g}), as part of the split and of its interactions."
            )
        return text


def components(
    runs: Sequence[Mapping[Seeds, float]], *, is_share: bool = False, images: int | None = None
) -> Components | None:
    """Estimate variance components of crossed random factors from their mean squares (analysis of variance).

    With the expected mean squares of a balanced random model, the component of a set of sources A is the sum over all
    sets B that contain A of (-1)^(|B| - |A|) MS_B, divided by the number of runs with the same seeds in A. Searle,
    Casella and McCulloch (1992), Variance Components, chapter 4.

    Args:
        runs: for each configuration, its values by seeds.
        is_share: whether the values are shares of ``images`` validation images.
        images: number of validation images; None if unknown.

    Returns:
        The components, averaged over configurations. None if a configuration does not have every combination of its
        seeds exactly once, or if configurations vary different sources.
    """
    found = [one for one in map(_of_configuration, runs) if one is not None]
    if not found or len(found) < len(runs) or len({tuple(levels) for levels, _ in found}) > 1:
        return None
    levels = found[0][0]
    names = [*levels, INTERACTIONS]
    variances = {name: float(np.mean([variance[name] for _, variance in found])) for name in names}
    mean = float(np.mean([value for one in runs for value in one.values()]))
    sampling = mean * (1 - mean) / images if is_share and images else None
    return Components(variances, levels, len(found), sampling, images if sampling is not None else None)


def _of_configuration(values: Mapping[Seeds, float]) -> tuple[dict[str, int], dict[str, float]] | None:
    """Return levels and variances of one configuration, by source; None if it is no complete crossed design."""
    seeds = [sorted({own[source] for own in values}) for source in range(len(SOURCES))]
    if len(values) < 4 or len(values) != math.prod(map(len, seeds)):
        return None
    cells = np.array([values[own] for own in itertools.product(*seeds)])
    varied = [source for source in range(len(SOURCES)) if len(seeds[source]) > 1]
    grid = cells.reshape([len(seeds[source]) for source in varied])  # one axis for each source that varies
    axes = range(len(varied))
    effects = [frozenset(some) for size in range(1, len(varied) + 1) for some in itertools.combinations(axes, size)]
    mean_squares = {effect: _mean_square(grid, effect) for effect in effects}
    variances = {
        effect: sum((-1) ** (len(other) - len(effect)) * mean_squares[other] for other in effects if other >= effect)
        / math.prod(grid.shape[axis] for axis in axes if axis not in effect)
        for effect in effects
    }
    names = [list(SOURCES.values())[source] for source in varied]
    single = {names[axis]: max(0.0, variances[frozenset([axis])]) for axis in axes}
    interactions = sum(max(0.0, variances[effect]) for effect in effects if len(effect) > 1)
    return dict(zip(names, grid.shape, strict=True)), {**single, INTERACTIONS: interactions}


def _mean_square(grid: Floats, effect: frozenset[int]) -> float:
    """Return the mean square of the effect of the axes in ``effect``: a main effect, or an interaction of several."""
    values = np.zeros_like(grid)
    for size in range(len(effect) + 1):
        for kept in itertools.combinations(sorted(effect), size):
            averaged = tuple(axis for axis in range(grid.ndim) if axis not in kept)
            values = values + (-1) ** (len(effect) - size) * grid.mean(axis=averaged, keepdims=True)
    return float((values**2).sum() / math.prod(grid.shape[axis] - 1 for axis in effect))
