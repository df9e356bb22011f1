"""Results against costs (parameters or training time) with the Pareto front: data of the chart, and its drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.ranking import Measure, steady_seconds
from mnist_exp.reports.charts import NoChart, names
from mnist_exp.reports.drawing import HIGHLIGHT, NORMAL, escaped, legend_above, rounded, styled

_EQUAL_TIMES = 1.2  # ratio below which times count as equal: those of one configuration differ as much


@dataclass(frozen=True)
class Point:
    """Cost and result of a configuration.

    Attributes:
        cost, value: means over its runs.
        runs: cost and value of each run.
        front: whether it is on the Pareto front: no other is at least as cheap and as good, and better in one of both.
    """

    name: str
    cost: float
    value: float
    runs: list[tuple[float, float]]
    front: bool


def costs(comparison: Comparison, metric: str, epochs: pd.DataFrame) -> list[Point] | NoChart:
    """Return cost and result of each configuration, the cheapest first.

    Args:
        comparison: the configurations.
        metric: the cost: ``parameters``, or ``train_seconds``, which excludes compiling (``ranking.steady_seconds``).
        epochs: as ``analysis.frames`` returns them.
    """
    records = [record for row in comparison.rows for record in row.finished]
    is_time = metric == "train_seconds"
    if is_time:
        cost = steady_seconds(records, epochs, whole_run=True)
    else:
        cost = {record.run_id: record.metrics[metric] for record in records if metric in record.metrics}
    found = [
        (name, [(cost[run_id], value) for run_id, value in row.values.items() if run_id in cost])
        for name, row in zip(names(comparison), comparison.rows, strict=True)
    ]
    found = [(name, runs) for name, runs in found if runs]
    if len(found) < 2:
        return NoChart(f"Fewer than two configurations have both a result and {metric}.")
    means = [(float(np.mean([x for x, _ in runs])), float(np.mean([y for _, y in runs]))) for _, runs in found]
    if len({x for x, _ in means}) == 1:
        return NoChart(f"Every configuration has the same {metric}: {means[0][0]:,.6g}.")
    sign, tolerance = -1 if comparison.measure.higher else 1, _EQUAL_TIMES if is_time else 1.0
    minimized = [(x, sign * y) for x, y in means]
    dominated = [
        any(other != own and other[0] <= own[0] * tolerance and other[1] <= own[1] for other in minimized)
        for own in minimized
    ]
    if is_time and dominated.count(False) < 2:
        return NoChart(
            "The best configuration takes no more time than the others, within the 20 % by which the time of one and "
            "the same run varies: there is no trade-off to show."
        )
    points = [
        Point(name, x, y, runs, front=not is_dominated)
        for (name, runs), (x, y), is_dominated in zip(found, means, dominated, strict=True)
    ]
    return sorted(points, key=lambda point: (point.cost, sign * point.value))


def draw(points: Sequence[Point], label: str, by: Measure) -> go.Figure:
    """Draw result against cost; the Pareto front is a line, and its points are labelled with their rank.

    Args:
        points: the configurations, the cheapest first.
        label: of the axis of costs.
        by: what the configurations are compared by.
    """
    figure = go.Figure()
    runs = [run for point in points for run in point.runs]
    if len(runs) > len(points):
        figure.add_scatter(
            x=rounded(x for x, _ in runs),
            y=rounded(y for _, y in runs),
            mode="markers",
            name="a run",
            marker={"size": 5, "color": "rgba(128,134,143,0.45)"},
            hovertemplate="%{x} · %{y}<extra>a run</extra>",
        )
    front = [point for point in points if point.front]
    rest = [point for point in points if not point.front]
    for shown, name, colour in ((rest, "another is as cheap and better", NORMAL), (front, "Pareto front", HIGHLIGHT)):
        figure.add_scatter(
            x=rounded(point.cost for point in shown),
            y=rounded(point.value for point in shown),
            text=[escaped(point.name) for point in shown],
            mode="lines+markers+text" if shown is front else "markers",
            texttemplate="%{customdata}",
            customdata=[escaped(point.name.partition(" ")[0]) for point in shown],
            textposition="top center",
            line={"shape": "hv", "dash": "dot", "width": 1.5, "color": colour},
            marker={"size": 10, "color": colour},
            name=name,
            hovertemplate="%{text}<br>%{x} · %{y}<extra></extra>",
        )
    wide = points[-1].cost > 10 * points[0].cost > 0
    figure.update_xaxes(title=escaped(label), type="log" if wide else "linear")
    figure.update_yaxes(title=escaped(by.name))
    figure.update_layout(legend=legend_above())
    return styled(figure, height=380)
