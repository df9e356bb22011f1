"""What configurations cost, in parameters or time, against what they reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.ranking import Measure, steady_seconds
from mnist_exp.reports.charts import LeftOut, names
from mnist_exp.reports.drawing import REST, WINNER, legend_above, short, styled, text

_SAME_TIME = 1.2  # times that differ by less are the same: runs of one configuration differ as much


@dataclass(frozen=True)
class Point:
    """What a configuration costs and reaches, each the mean over its runs.

    Attributes:
        runs: cost and value of each run.
        front: whether no other is both as cheap and as good, and better in one of them (Pareto).
    """

    name: str
    cost: float
    value: float
    runs: list[tuple[float, float]]
    front: bool


def costs(comparison: Comparison, metric: str, epochs: pd.DataFrame) -> list[Point] | LeftOut:
    """Each configuration's result against what it costs; the cheapest first.

    Args:
        comparison: the configurations.
        metric: ``parameters``, or ``train_seconds``, which leaves compiling out (``measure.steady_seconds``).
        epochs: as ``analysis.frames`` gives them.
    """
    records = [record for row in comparison.rows for record in row.finished]
    timed = metric == "train_seconds"
    if timed:
        cost = steady_seconds(records, epochs, whole_run=True)
    else:
        cost = {record.run_id: record.metrics[metric] for record in records if metric in record.metrics}
    found = [
        (name, [(cost[run_id], value) for run_id, value in row.values.items() if run_id in cost])
        for name, row in zip(names(comparison), comparison.rows, strict=True)
    ]
    found = [(name, runs) for name, runs in found if runs]
    if len(found) < 2:
        return LeftOut(f"Fewer than two configurations have both a result and {metric}.")
    means = [(float(np.mean([x for x, _ in runs])), float(np.mean([y for _, y in runs]))) for _, runs in found]
    if len({x for x, _ in means}) == 1:
        return LeftOut(f"Every configuration has the same {metric}: {means[0][0]:,.6g}.")
    sign, same = -1 if comparison.measure.higher else 1, _SAME_TIME if timed else 1.0
    goals = [(x, sign * y) for x, y in means]
    worse = [any(other != own and other[0] <= own[0] * same and other[1] <= own[1] for other in goals) for own in goals]
    if timed and sum(not each for each in worse) < 2:
        return LeftOut(
            "The best configuration takes no more time than the others, within the 20 % by which the time of one and "
            "the same run varies: there is no trade-off to show."
        )
    points = [
        Point(name, x, y, runs, front=not is_worse)
        for (name, runs), (x, y), is_worse in zip(found, means, worse, strict=True)
    ]
    return sorted(points, key=lambda point: (point.cost, sign * point.value))


def drawn(points: Sequence[Point], label: str, by: Measure) -> go.Figure:
    """Result against cost; those that nothing beats in both are joined by a line and labelled with their rank."""
    figure = go.Figure()
    runs = [run for point in points for run in point.runs]
    if len(runs) > len(points):
        figure.add_scatter(
            x=short(x for x, _ in runs),
            y=short(y for _, y in runs),
            mode="markers",
            name="a run",
            marker={"size": 5, "color": "rgba(128,134,143,0.45)"},
            hovertemplate="%{x} · %{y}<extra>a run</extra>",
        )
    front = [point for point in points if point.front]
    rest = [point for point in points if not point.front]
    for shown, name, colour in ((rest, "another is as cheap and better", REST), (front, "Pareto front", WINNER)):
        figure.add_scatter(
            x=short(point.cost for point in shown),
            y=short(point.value for point in shown),
            text=[text(point.name) for point in shown],
            mode="lines+markers+text" if shown is front else "markers",
            texttemplate="%{customdata}",
            customdata=[text(point.name.partition(" ")[0]) for point in shown],
            textposition="top center",
            line={"shape": "hv", "dash": "dot", "width": 1.5, "color": colour},
            marker={"size": 10, "color": colour},
            name=name,
            hovertemplate="%{text}<br>%{x} · %{y}<extra></extra>",
        )
    wide = points[-1].cost > 10 * points[0].cost > 0
    figure.update_xaxes(title=text(label), type="log" if wide else "linear")
    figure.update_yaxes(title=text(by.name))
    figure.update_layout(legend=legend_above())
    return styled(figure, height=380)
