"""The data of each chart in a sweep's report; :mod:`mnist_exp.reports.drawing` draws them.

A function that has nothing to show returns :class:`NoChart` with the reason, which the page states instead.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.frames import typed
from mnist_exp.analysis.samples import replicate_names, seeds_of
from mnist_exp.tracking.protocols import Record

MISSING = "—"
"""Shown for a key that a run does not have, and for an unknown number."""

MAX_CURVES, MAX_POINTS, MAX_MATRICES = 12, 100, 6
"""Limits of learning curves in a chart, of points in a curve, and of confusion matrices in a report."""

_MAX_NAME, _MAX_TICKS = 30, 12  # characters of a name; values on an axis
_LOG_RANGE = 100  # an axis whose numbers span more is logarithmic


@dataclass(frozen=True)
class NoChart:
    """Stands for a chart that is not drawn.

    Attributes:
        reason: a sentence for the page.
    """

    reason: str


def names(comparison: Comparison) -> list[str]:
    """Return a short name for each row: ``#1 units=4 optimizer.lr=0.01``, or ``#1 4 · 0.01`` if any gets too long.

    The rank keeps shortened names unique.
    """
    if named_by_values(comparison):
        texts = [" · ".join(row.params.get(key, MISSING) for key in comparison.keys) for row in comparison.rows]
    else:
        texts = _with_keys(comparison)
    return [_cut(f"#{rank} {text}") for rank, text in enumerate(texts, 1)]


def named_by_values(comparison: Comparison) -> bool:
    """Return whether :func:`names` lists values without their keys."""
    return max(map(len, _with_keys(comparison)), default=0) > _MAX_NAME


def _with_keys(comparison: Comparison) -> list[str]:
    known = {key for row in comparison.rows for key in row.params}
    short = {key: _short(key, known) for key in comparison.keys}
    return [
        " ".join(f"{short[key]}={row.params[key]}" for key in comparison.keys if key in row.params) or "all runs"
        for row in comparison.rows
    ]


def ordered(texts: Iterable[str]) -> list[str]:
    """Return the distinct values of a key: numbers by size, then texts by the alphabet, then ``MISSING``."""
    return sorted(set(texts), key=lambda text: (text == MISSING, *_sort_key(text)))


@dataclass(frozen=True)
class Interval:
    """A configuration in the ranking.

    Attributes:
        mean: of its runs.
        low, high: 95 % interval of ``mean``; NaN for one run.
        runs: the value of each run.
        best: whether it cannot be ruled out as best; False without a verdict.
    """

    name: str
    mean: float
    low: float
    high: float
    runs: list[float]
    best: bool = False


def intervals(comparison: Comparison, limit: int = 40) -> list[Interval] | NoChart:
    """Return the first ``limit`` configurations of the ranking that have a finished run."""
    found = [
        Interval(
            name,
            row.spread.mean,
            row.spread.low,
            row.spread.high,
            [*row.values.values()],
            row.is_judged and row.in_best_set,
        )
        for name, row in zip(names(comparison), comparison.rows, strict=True)
        if row.spread
    ]
    return found[:limit] or NoChart("No run finished with this metric.")


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates.

    Attributes:
        positions: of each run.
        ticks: positions with labels; empty for an axis of plain numbers.
    """

    label: str
    positions: list[float]
    ticks: list[tuple[float, str]]


def parallel(comparison: Comparison) -> list[Axis] | NoChart:
    """Return an axis for each swept key and, last, one for the metric. A line is a finished run."""
    runs = [(row, value) for row in comparison.rows for value in row.values.values()]
    if not comparison.keys:
        return NoChart("The runs differ in nothing but their replicate, so there is nothing to lay side by side.")
    if len({id(row) for row, _ in runs}) < 2:
        return NoChart("Fewer than two configurations have a result.")
    axes = [_axis(key, [row.params.get(key, MISSING) for row, _ in runs]) for key in comparison.keys]
    return [*axes, Axis(comparison.measure.name, [value for _, value in runs], [])]


@dataclass(frozen=True)
class Curve:
    """A metric over the epochs, of one configuration.

    Attributes:
        epochs: numbers from 1; at most ``MAX_POINTS`` of them.
        mean, low, high: mean, minimum and maximum over the runs, for each epoch.
        last: value of each run at the last epoch shown.
    """

    name: str
    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    last: list[float]


def curves(comparison: Comparison, epochs: pd.DataFrame, metric: str) -> list[Curve] | NoChart:
    """Return the learning curves of the first ``MAX_CURVES`` configurations.

    A curve ends with the shortest of its runs, because a mean over fewer runs does not continue it.
    """
    if metric not in epochs.columns:
        return NoChart(f"No epochs with {metric} were logged.")
    finite = epochs[np.isfinite(epochs[metric].astype(float))]
    found = []
    for name, row in zip(names(comparison), comparison.rows, strict=True):
        ids = [record.run_id for record in row.finished]
        wide = finite[finite["run_id"].isin(ids)].pivot_table(index="epoch", columns="run_id", values=metric)
        wide = wide.dropna()
        if wide.empty:
            continue
        wide = wide.iloc[thinned(len(wide))]
        low, mean, high = wide.min(axis=1), wide.mean(axis=1), wide.max(axis=1)
        numbered = [int(epoch) for epoch in wide.index]
        found.append(Curve(name, numbered, mean.tolist(), low.tolist(), high.tolist(), wide.iloc[-1].tolist()))
        if len(found) == MAX_CURVES:
            break
    return found or NoChart(f"No finished run has epochs with {metric}.")


def thinned(count: int) -> list[int]:
    """Return the indices of at most ``MAX_POINTS`` of ``count`` points: first, last, and evenly between."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, MAX_POINTS)).tolist()})


@dataclass(frozen=True)
class Grid:
    """The metric over two keys.

    Attributes:
        x, y: values of the keys, in order.
        cells: float [y, x], mean of the configurations with these values; NaN if there is none.
        pooled: whether a cell averages configurations that differ in other keys.
    """

    x_key: str
    y_key: str
    x: list[str]
    y: list[str]
    cells: NDArray[np.float64]
    pooled: bool


def grid(comparison: Comparison, by_importance: Sequence[str] = ()) -> Grid | NoChart:
    """Return the mean result for each combination of the values of two swept keys.

    Args:
        comparison: the configurations.
        by_importance: swept keys, most important first; of more than two keys, the first two are shown.
    """
    if len(comparison.keys) < 2:
        return NoChart("A heat map takes two swept keys.")
    x_key, y_key = [*by_importance, *(key for key in comparison.keys if key not in by_importance)][:2]
    found: dict[tuple[str, str], list[float]] = {}
    for row in comparison.rows:
        if row.spread:
            cell = row.params.get(y_key, MISSING), row.params.get(x_key, MISSING)
            found.setdefault(cell, []).append(row.spread.mean)
    if len(found) < 2:
        return NoChart("Fewer than two combinations of the swept keys have a result.")
    y, x = ordered(y_value for y_value, _ in found), ordered(x_value for _, x_value in found)
    cells = np.array([[np.mean(found.get((y_value, x_value), [math.nan])) for x_value in x] for y_value in y])
    return Grid(x_key, y_key, x, y, cells, pooled=any(len(means) > 1 for means in found.values()))


@dataclass(frozen=True)
class Matrix:
    """A run's confusion matrix.

    Attributes:
        counts: int [classes, classes], images by true (row) and predicted (column) class.
        difference: ``counts`` minus those of the first matrix; None for the first, and for other test images.
    """

    name: str
    counts: NDArray[np.int64]
    difference: NDArray[np.int64] | None


def matrices(comparison: Comparison, confusion: Mapping[str, NDArray[np.int64]]) -> list[Matrix] | NoChart:
    """Return the first ``MAX_MATRICES`` of the confusion matrices, in the order of the ranking.

    Args:
        comparison: the configurations.
        confusion: matrices of some runs, by run id.
    """
    replicates = replicate_names([record for row in comparison.rows for record in row.finished])
    picked = [
        (f"{name}, {replicates[seeds_of(record)]}", np.asarray(confusion[record.run_id]))
        for name, row in zip(names(comparison), comparison.rows, strict=True)
        for record in row.finished
        if record.run_id in confusion
    ][:MAX_MATRICES]
    if not picked:
        return NoChart("No confusion matrix was kept of a finished run.")
    first = picked[0][1]
    return [
        Matrix(name, counts, counts - first if index and _same_images(counts, first) else None)
        for index, (name, counts) in enumerate(picked)
    ]


def numbers(records: Sequence[Record], metric: str) -> list[float]:
    """Return the finite values that runs have of a metric."""
    return [value for record in records if math.isfinite(value := record.metrics.get(metric, math.nan))]


def _same_images(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    """Return whether two confusion matrices have the same number of images of each class."""
    return bool(np.array_equal(a.sum(axis=1), b.sum(axis=1)))


def _axis(key: str, texts: list[str]) -> Axis:
    """Return the axis of a key: few values at equal distances, many numbers on a linear or logarithmic scale."""
    values = ordered(texts)
    figures = [number for text in texts if (number := _number(text)) is not None]
    if len(values) > _MAX_TICKS and len(figures) == len(texts):
        if min(figures) <= 0 or max(figures) / min(figures) < _LOG_RANGE:
            return Axis(key, figures, [])
        low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
        return Axis(key, [math.log10(each) for each in figures], [(n, f"{10.0**n:g}") for n in range(low, high + 1)])
    positions = {text: float(index) for index, text in enumerate(values)}
    return Axis(key, [positions[text] for text in texts], [(at, _cut(text, 16)) for text, at in positions.items()])


def _number(text: str) -> float | None:
    """Return the finite number that a param's text stands for. Returns None if it stands for something else."""
    value = typed(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _sort_key(text: str) -> tuple[int, float, str]:
    number = _number(text)
    return (1, 0.0, text) if number is None else (0, number, "")


def _short(key: str, known: set[str]) -> str:
    """Return the last part of a key, or all of it if another key ends in the same part."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in known) == 1 else key


def _cut(text: str, length: int = _MAX_NAME) -> str:
    text = text.strip()
    return text if len(text) <= length else text[: length - 1] + "…"
