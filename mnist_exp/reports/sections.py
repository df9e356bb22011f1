"""The sections of a sweep's page that have charts: title, introduction, charts, or the reason why there are none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import NDArray

from mnist_exp import metrics
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.reports import charts, costs, drawing
from mnist_exp.reports.charts import NoChart
from mnist_exp.reports.importance import Importance, importance
from mnist_exp.reports.page import Page

T = TypeVar("T")


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        caption: text above it; may be empty.
        body: its HTML element.
        wide: whether it scrolls sideways on a phone.
        alone: whether it takes a whole row of the layout ``pairs``.
    """

    caption: str
    body: Markup
    wide: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Section:
    """Charts under a heading.

    Attributes:
        id: of the HTML element.
        title: the heading.
        intro: how to read the charts; not shown without charts.
        charts: in order.
        reasons: sentences on charts that are missing.
        layout: ``one`` chart per row, or ``pairs`` if the window is wide enough.
    """

    id: str
    title: str
    intro: str
    charts: list[Chart] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    layout: str = "one"


class Sections:
    """Makes the sections of one page.

    Args:
        comparison: the configurations.
        epochs: as ``analysis.frames`` returns them.
        confusion: confusion matrices of some runs, by run id.
        page: collects the charts.
    """

    def __init__(
        self,
        comparison: Comparison,
        epochs: pd.DataFrame,
        confusion: Mapping[str, NDArray[np.int64]],
        page: Page,
    ) -> None:
        self._page = page
        self._comparison = comparison
        self._by = comparison.measure
        self._epochs = epochs
        self._confusion_matrices = confusion

    def all(self) -> list[Section]:
        """Return all sections in the order of the page."""
        weights = importance(self._comparison)
        return [
            self._ranking(),
            self._parallel(),
            self._curves(),
            self._grid(weights),
            self._importance(weights),
            self._costs(),
            self._confusion(),
        ]

    def _ranking(self) -> Section:
        has_verdicts = self._comparison.verdicts.result is not None
        intro = f"Ranked by {self._by.words()}. Each grey dot is a run; the bar is the 95 % interval of the mean"
        rows = [row for row in self._comparison.rows if row.spread]
        approximate = any(row.spread and row.spread.n > 1 and row.spread.approximate for row in rows)
        intro += ", approximate below 16 runs." if approximate else "."
        if has_verdicts:
            intro += " Orange: cannot be ruled out as best. The bars do not test differences; the table has the tests."
        if charts.named_by_values(self._comparison):
            intro += f" The names list {' · '.join(self._comparison.keys)}."
        section = Section("ranking", "Ranking", intro)
        singles = [row for row in rows if row.spread and row.spread.n == 1]
        self._add(section, charts.intervals(self._comparison), lambda data: drawing.ranking(data, self._by))
        if singles:
            whose = "Every configuration" if len(singles) == len(rows) else f"{len(singles)} of {len(rows)}"
            section.reasons.append(
                f"{whose} has one run only. One figure has no spread, so no interval and no verdict can be given; "
                "repeat it with replicates: replicate=range(8)."
            )
        return section

    def _parallel(self) -> Section:
        intro = "Each line is a finished run. Drag along an axis to pick some; drag an axis by its name to move it."
        section = Section("parallel", "Parallel coordinates", intro)
        data = charts.parallel(self._comparison)
        self._add(section, data, lambda axes: drawing.parallel(axes, self._by), wide=True)
        return section

    def _curves(self) -> Section:
        intro = (
            f"The mean over the runs of each configuration, at most {charts.MAX_CURVES} of them; the band reaches from "
            "the lowest run to the highest, dots are single runs. A line ends with the shortest of its runs. "
            "Tap a name to show or hide it."
        )
        section = Section("curves", "Learning curves", intro, layout="pairs")
        measured = [self._by.metric] if self._by.metric in self._epochs.columns else []
        for metric in dict.fromkeys([*measured, *metrics.validated()]):
            data = charts.curves(self._comparison, self._epochs, metric)
            self._add(section, data, partial(drawing.curves, metric=metric), caption=metric)
        return section

    def _grid(self, weights: Importance | NoChart) -> Section:
        data = charts.grid(self._comparison, () if isinstance(weights, NoChart) else weights.keys)
        intro = "The mean of each combination, without its spread; the darker, the better."
        if not isinstance(data, NoChart) and len(self._comparison.keys) > 2:
            why = "the first two of the sweep" if isinstance(weights, NoChart) else "the two most important"
            intro += f" {len(self._comparison.keys)} keys were swept, these are {why}."
        if not isinstance(data, NoChart) and data.pooled:
            intro += " A cell is the mean over the other keys."
        section = Section("heatmap", "Two keys together", intro)
        self._add(section, data, lambda found: drawing.heat_map(found, self._by))
        return section

    def _importance(self, weights: Importance | NoChart) -> Section:
        intro = ""
        if not isinstance(weights, NoChart):
            intro = (
                "A random forest learned the metric from the keys; its R² on held-out runs was "
                f"{weights.r2:.2f}. A bar is the drop of R² if the key's values are shuffled, its whisker the standard "
                "deviation over five folds. Importance holds for the values that were swept only."
            )
        section = Section("importance", "What mattered", intro)
        self._add(section, weights, drawing.importance)
        return section

    def _costs(self) -> Section:
        intro = (
            "Large dots are means over runs. No configuration is both as cheap and better than one on the Pareto "
            "front. Times exclude compiling, count as equal within 20 %, and are comparable only if every run had the "
            "same machine to itself."
        )
        section = Section("costs", "What it costs", intro, layout="pairs")
        for metric, label in (("parameters", "parameters"), ("train_seconds", "training time (s)")):
            data = costs.costs(self._comparison, metric, self._epochs)
            self._add(section, data, partial(costs.draw, label=label, by=self._by), caption=label)
        return section

    def _confusion(self) -> Section:
        intro = "Test images by true (row) and predicted (column) digit, one run for each matrix."
        section = Section("confusion", "Confusion matrices", intro, layout="pairs")
        data = charts.matrices(self._comparison, self._confusion_matrices)
        if isinstance(data, NoChart):
            section.reasons.append(data.reason)
            return section
        for matrix in data:
            alone = matrix.difference is None
            self._add(section, matrix, drawing.confusion, caption=matrix.name, alone=alone)
            if matrix.difference is not None:
                caption = f"{matrix.name}, minus the first matrix: blue is more images, red fewer"
                self._add(section, matrix.difference, drawing.confusion_difference, caption=caption)
        if len(data) > 1 and any(matrix.difference is None for matrix in data[1:]):
            section.reasons.append("No difference is shown between runs that were tested on different images.")
        return section

    def _add(
        self,
        section: Section,
        data: T | NoChart,
        draw: Callable[[T], go.Figure],
        *,
        caption: str = "",
        wide: bool = False,
        alone: bool = False,
    ) -> None:
        """Add a chart to a section, or the reason why it cannot be drawn."""
        if isinstance(data, NoChart):
            section.reasons.append(data.reason)
        else:
            chart_id = f"chart-{section.id}-{len(section.charts) + 1}"
            section.charts.append(Chart(caption, self._page.add_chart(draw(data), chart_id), wide, alone))
