"""What each chart of a report shows, as plain data; :mod:`mnist_exp.reports.drawing` draws it.

A function that has nothing to show returns :class:`LeftOut` with the reason, which the page then states.
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
from mnist_exp.tracking.mlflow.records import Record

MISSING = "—"
"""Stands for a key that a run does not have, and for a number that there is not."""

CURVES, POINTS, MATRICES = 12, 100, 6
"""At most so many learning curves in a chart, points in a curve, and confusion matrices in a report."""

_NAME_LENGTH = 30
_AXIS_TICKS = 12


@dataclass(frozen=True)
class LeftOut:
    """A chart that is not drawn.

    Attributes:
        reason: a sentence for the reader.
    """

    reason: str


def names(comparison: Comparison) -> list[str]:
    """A short name for each row: ``#1 units=4 optimizer.lr=0.01``, or ``#1 4 · adam · 0.01`` where those get long. The
    rank keeps a name unique that had to be cut.
    """
    if named_by_values(comparison):
        texts = [" · ".join(row.params.get(key, MISSING) for key in comparison.keys) for row in comparison.rows]
    else:
        texts = _with_keys(comparison)
    return [_cut(f"#{rank} {text}") for rank, text in enumerate(texts, 1)]


def named_by_values(comparison: Comparison) -> bool:
    """Whether :func:`names` lists the values of the keys alone."""
    return max(map(len, _with_keys(comparison)), default=0) > _NAME_LENGTH


def _with_keys(comparison: Comparison) -> list[str]:
    known = {key for row in comparison.rows for key in row.params}
    short = {key: _short(key, known) for key in comparison.keys}
    return [
        " ".join(f"{short[key]}={row.params[key]}" for key in comparison.keys if key in row.params) or "all runs"
        for row in comparison.rows
    ]


def ordered(texts: Iterable[str]) -> list[str]:
    """Distinct values of a key: numbers by size, texts by the alphabet, what is missing last."""
    return sorted(set(texts), key=lambda text: (text == MISSING, *_rank(text)))


@dataclass(frozen=True)
class Interval:
    """A configuration in the ranking.

    Attributes:
        low, high: of its mean, at ``statistics.LEVEL``; NaN where it has one run.
        runs: the value of each of its runs.
        best: whether it cannot be ruled out as best; False where nothing was judged.
    """

    name: str
    mean: float
    low: float
    high: float
    runs: list[float]
    best: bool = False


def intervals(comparison: Comparison, limit: int = 40) -> list[Interval] | LeftOut:
    """The first ``limit`` configurations of the ranking that have a result."""
    found = [
        Interval(
            name,
            row.spread.mean,
            row.spread.low,
            row.spread.high,
            [*row.values.values()],
            row.is_judged and row.is_best,
        )
        for name, row in zip(names(comparison), comparison.rows, strict=True)
        if row.spread
    ]
    return found[:limit] or LeftOut("No run finished with this metric.")


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates.

    Attributes:
        at: where each run crosses it.
        ticks: names of places on it; empty for an axis of plain numbers.
    """

    label: str
    at: list[float]
    ticks: list[tuple[float, str]]


def parallel(comparison: Comparison) -> list[Axis] | LeftOut:
    """An axis for each swept key and one, the last, for the metric; a line is a finished run."""
    runs = [(row, value) for row in comparison.rows for value in row.values.values()]
    if not comparison.keys:
        return LeftOut("The runs differ in nothing but their replicate, so there is nothing to lay side by side.")
    if len({id(row) for row, _ in runs}) < 2:
        return LeftOut("Fewer than two configurations have a result.")
    axes = [_axis(key, [row.params.get(key, MISSING) for row, _ in runs]) for key in comparison.keys]
    return [*axes, Axis(comparison.measure.name, [value for _, value in runs], [])]


@dataclass(frozen=True)
class Curve:
    """A metric over the epochs, of one configuration.

    Attributes:
        epochs: from 1; at most ``POINTS`` of them.
        mean, low, high: over its runs; ``low`` and ``high`` are the lowest and the highest of them.
        last: the value of each of its runs at the last of the epochs.
    """

    name: str
    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    last: list[float]


def curves(comparison: Comparison, epochs: pd.DataFrame, metric: str) -> list[Curve] | LeftOut:
    """Learning curves of the best ``CURVES`` configurations. Each ends where the first of its runs stopped: beyond it,
    a mean would be one of other runs.
    """
    if metric not in epochs.columns:
        return LeftOut(f"No epochs with {metric} were logged.")
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
        at = [int(epoch) for epoch in wide.index]
        found.append(Curve(name, at, mean.tolist(), low.tolist(), high.tolist(), wide.iloc[-1].tolist()))
        if len(found) == CURVES:
            break
    return found or LeftOut(f"No finished run has epochs with {metric}.")


def thinned(count: int) -> list[int]:
    """Which of ``count`` points to draw: the first, the last, and evenly between."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, POINTS)).tolist()})


@dataclass(frozen=True)
class Grid:
    """The metric over two keys.

    Attributes:
        x, y: the values of the keys, in order.
        cells: by y, then x: the mean of the configurations there; NaN where there is none.
        pooled: whether a cell takes configurations together that differ in other keys.
    """

    x_key: str
    y_key: str
    x: list[str]
    y: list[str]
    cells: NDArray[np.float64]
    pooled: bool


def grid(comparison: Comparison, by_importance: Sequence[str] = ()) -> Grid | LeftOut:
    """A heat map of the two swept keys; of more than two, of the first two of ``by_importance`` or of the sweep."""
    if len(comparison.keys) < 2:
        return LeftOut("A heat map takes two swept keys.")
    x_key, y_key = [*by_importance, *(key for key in comparison.keys if key not in by_importance)][:2]
    found: dict[tuple[str, str], list[float]] = {}
    for row in comparison.rows:
        if row.spread:
            place = row.params.get(y_key, MISSING), row.params.get(x_key, MISSING)
            found.setdefault(place, []).append(row.spread.mean)
    if len(found) < 2:
        return LeftOut("Fewer than two combinations of the swept keys have a result.")
    y, x = ordered(place[0] for place in found), ordered(place[1] for place in found)
    cells = np.array([[np.mean(found.get((one, other), [math.nan])) for other in x] for one in y])
    return Grid(x_key, y_key, x, y, cells, pooled=any(len(means) > 1 for means in found.values()))


@dataclass(frozen=True)
class Matrix:
    """A run's confusion matrix.

    Attributes:
        counts: int [10, 10], images by true (row) and predicted (column) digit.
        difference: ``counts`` minus the first matrix's; None for the first, and for another test set.
    """

    name: str
    counts: NDArray[np.int64]
    difference: NDArray[np.int64] | None


def matrices(comparison: Comparison, confusion: Mapping[str, NDArray[np.int64]]) -> list[Matrix] | LeftOut:
    """The first ``MATRICES`` of ``confusion``, in the order of the ranking."""
    called = replicate_names([record for row in comparison.rows for record in row.finished])
    picked = [
        (f"{name}, {called[seeds_of(record)]}", np.asarray(confusion[record.run_id]))
        for name, row in zip(names(comparison), comparison.rows, strict=True)
        for record in row.finished
        if record.run_id in confusion
    ][:MATRICES]
    if not picked:
        return LeftOut("No confusion matrix was kept of a finished run.")
    first = picked[0][1]
    return [
        Matrix(name, counts, counts - first if place and _same_images(counts, first) else None)
        for place, (name, counts) in enumerate(picked)
    ]


def numbers(records: Sequence[Record], metric: str) -> list[float]:
    """A metric of those runs that have it, finite."""
    return [each for record in records if math.isfinite(each := record.metrics.get(metric, math.nan))]


def _same_images(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    return bool(np.array_equal(a.sum(axis=1), b.sum(axis=1)))


def _axis(key: str, texts: list[str]) -> Axis:
    """Few values stand at equal distances, as a sweep lists them; many numbers on a scale."""
    distinct = ordered(texts)
    if len(distinct) > _AXIS_TICKS and all(_rank(text)[0] == 0 for text in distinct):
        figures = [_rank(text)[1] for text in texts]
        if min(figures) <= 0 or max(figures) / min(figures) < 100:
            return Axis(key, figures, [])
        low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
        return Axis(key, [math.log10(one) for one in figures], [(n, f"{10.0**n:g}") for n in range(low, high + 1)])
    places = {text: float(place) for place, text in enumerate(distinct)}
    return Axis(key, [places[text] for text in texts], [(place, _cut(text, 16)) for text, place in places.items()])


def _rank(text: str) -> tuple[int, float, str]:
    value = typed(text)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return 0, float(value), ""
    return 1, 0.0, text


def _short(key: str, known: set[str]) -> str:
    """The last part of a key, where no other key ends in it."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in known) == 1 else key


def _cut(text: str, length: int = _NAME_LENGTH) -> str:
    text = text.strip()
    return text if len(text) <= length else text[: length - 1] + "…"
