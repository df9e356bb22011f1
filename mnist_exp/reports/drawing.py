"""Chart data -> plotly figures. Colours suit light and dark paper; the page's style sheet colours the text.

Plotly reads some HTML in labels, and its hover templates have a language of their own: text from a run goes through
:func:`text`, and into no template.
"""

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from mnist_exp.analysis.ranking import Measure
from mnist_exp.reports.charts import Axis, Curve, Grid, Interval, Matrix
from mnist_exp.reports.importance import Importance

PALETTE = (
    "#3f7fc4",
    "#e0803a",
    "#3d9e6b",
    "#c65560",
    "#8d6cc0",
    "#a2794f",
    "#d277ad",
    "#7b8794",
    "#a6a52f",
    "#2fa5b5",
    "#5b6fd6",
    "#d1a32a",
)
WINNER, REST = PALETTE[1], PALETTE[0]

_TEXT, _LINES = "#80868f", "rgba(128,134,143,0.25)"
_SEQUENTIAL = ((0.0, "#e4edf7"), (0.5, "#7fabda"), (1.0, "#1f4e8c"))
_DIVERGING = ((0.0, "#c65560"), (0.5, "#eef0f2"), (1.0, "#3f7fc4"))
_VISIBLE_CURVES = 5
_EPOCHS_NAMED_EACH = 10
_MOST_CELLS_WITH_TEXT = 100


def text(value: str) -> str:
    """A run's text as plotly shows it letter by letter."""
    return html.escape(value, quote=False)


def short(numbers: Iterable[float]) -> list[float | None]:
    """Numbers at five significant digits, which is what a screen can show; None where there is none."""
    return [float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers]


def ranking(intervals: Sequence[Interval], by: Measure) -> go.Figure:
    """Means with their intervals, the best on top, each run as a dot behind them; the best set in its own colour."""
    names = [text(each.name) for each in intervals]
    figure = go.Figure()
    dots = [(name, value) for name, each in zip(names, intervals, strict=True) for value in each.runs]
    figure.add_scatter(
        x=short(value for _, value in dots),
        y=[name for name, _ in dots],
        mode="markers",
        name="a run",
        marker={"size": 6, "color": "rgba(128,134,143,0.45)"},
        hovertemplate="%{y}<br>%{x}<extra>a run</extra>",
    )
    figure.add_scatter(
        x=short(each.mean for each in intervals),
        y=names,
        mode="markers",
        name="mean, 95 % interval",
        marker={"size": 10, "color": [WINNER if each.best else REST for each in intervals]},
        error_x={
            "array": short(each.high - each.mean for each in intervals),
            "arrayminus": short(each.mean - each.low for each in intervals),
            "color": _TEXT,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="%{y}<br>%{x}<extra>mean</extra>",
    )
    figure.update_yaxes(range=[len(names) - 0.4, -0.6], type="category", showgrid=False)
    figure.update_xaxes(title=text(by.name))
    figure.update_layout(legend=legend_above())
    return styled(figure, height=130 + 26 * len(names))


def parallel(axes: Sequence[Axis], by: Measure) -> go.Figure:
    """A line a run, coloured by the metric, which is the last axis."""
    result = axes[-1].at
    figure = go.Figure(
        go.Parcoords(
            line={
                "color": short(result),
                "colorscale": [[0, "#c9b458"], [0.5, "#3d9e6b"], [1, "#2b59a8"]],
                "reversescale": not by.higher,
            },
            dimensions=[
                {
                    "label": text(axis.label),
                    "values": short(axis.at),
                    **(
                        {
                            "tickvals": [place for place, _ in axis.ticks],
                            # Plotly shows these letter by letter of its own accord.
                            "ticktext": [name for _, name in axis.ticks],
                            "range": [axis.ticks[0][0] - 0.15, axis.ticks[-1][0] + 0.15],
                        }
                        if axis.ticks
                        else {}
                    ),
                }
                for axis in axes
            ],
            labelfont={"size": 12},
        )
    )
    styled(figure, height=380)
    return figure.update_layout(margin={"l": 60, "r": 80, "t": 50, "b": 20})


def curves(found: Sequence[Curve], metric: str) -> go.Figure:
    """Means as lines, the range over the runs as bands, each run as a dot at the end; more wait in the legend."""
    figure = go.Figure()
    for place, curve in enumerate(found):
        colour = PALETTE[place % len(PALETTE)]
        shared = {
            "legendgroup": str(place),
            "visible": True if place < _VISIBLE_CURVES else "legendonly",
        }
        if len(curve.last) > 1:
            figure.add_scatter(
                x=[*curve.epochs, *curve.epochs[::-1]],
                y=short([*curve.high, *curve.low[::-1]]),
                fill="toself",
                fillcolor=_faint(colour),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                **shared,
            )
            figure.add_scatter(
                x=[curve.epochs[-1]] * len(curve.last),
                y=short(curve.last),
                mode="markers",
                marker={"size": 5, "color": colour, "opacity": 0.6},
                hovertemplate="%{y}<extra>a run</extra>",
                showlegend=False,
                **shared,
            )
        figure.add_scatter(
            x=curve.epochs,
            y=short(curve.mean),
            mode="lines" if len(curve.epochs) > 1 else "markers",
            line={"color": colour, "width": 2},
            marker={"color": colour},
            name=text(curve.name),
            **shared,
        )
    few = max(each.epochs[-1] for each in found) <= _EPOCHS_NAMED_EACH
    figure.update_xaxes(title="epoch", dtick=1 if few else None)
    lowest, highest = min(low for each in found for low in each.low), max(high for each in found for high in each.high)
    figure.update_yaxes(title=text(metric), type="log" if "loss" in metric and highest > 10 * lowest > 0 else "linear")
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "maxheight": 0.9}
    figure.update_layout(legend=legend, hovermode="closest")
    return styled(figure, height=360 + 21 * len(found))


def heat_map(grid: Grid, by: Measure) -> go.Figure:
    """The darker, the better."""
    figure = go.Figure(
        go.Heatmap(
            x=[text(each) for each in grid.x],
            y=[text(each) for each in grid.y],
            z=[short(row) for row in grid.cells],
            colorscale=_SEQUENTIAL,
            reversescale=not by.higher,
            texttemplate="%{z:.4~g}" if grid.cells.size <= _MOST_CELLS_WITH_TEXT else None,
            hovertemplate="%{y} × %{x}<br>%{z}<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
            colorbar=_colour_bar(),
        )
    )
    figure.update_xaxes(title=text(grid.x_key), type="category", showgrid=False)
    figure.update_yaxes(title=text(grid.y_key), type="category", showgrid=False)
    return styled(figure, height=min(700, 170 + 42 * len(grid.y)))


def importance(found: Importance) -> go.Figure:
    """A bar a key, the most important on top."""
    figure = go.Figure(
        go.Bar(
            x=short(found.drop),
            y=[text(key) for key in found.keys],
            orientation="h",
            marker={"color": REST},
            error_x={"array": short(found.spread), "color": _TEXT, "thickness": 1.5, "width": 4},
            hovertemplate="%{y}<br>%{x}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(title="fall of R² without the key")
    return styled(figure, height=110 + 36 * len(found.keys))


def confusion(matrix: Matrix) -> go.Figure:
    """Counts; the colour is the share of the true digit, its root, so that few errors can be seen."""
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(matrix.counts, totals, out=np.zeros(matrix.counts.shape), where=totals > 0)
    return _digits(np.sqrt(shares), matrix.counts.astype(str), zmin=0, zmax=1, colorscale=_SEQUENTIAL)


def confusion_difference(difference: NDArray[np.int64]) -> go.Figure:
    """Blue cells have more images than in the first matrix, red ones fewer."""
    most = max(1, int(np.abs(difference).max()))
    signed = np.where(difference == 0, "", np.char.mod("%+d", difference))
    return _digits(difference.astype(np.float64), signed, zmin=-most, zmax=most, colorscale=_DIVERGING)


def _digits(
    shade: NDArray[np.float64],
    cells: NDArray[np.str_],
    *,
    zmin: float,
    zmax: float,
    colorscale: Sequence[tuple[float, str]],
) -> go.Figure:
    digits = [str(digit) for digit in range(len(shade))]
    figure = go.Figure(
        go.Heatmap(
            x=digits,
            y=digits,
            z=[short(row) for row in shade],
            text=cells.tolist(),
            texttemplate="%{text}",
            hovertemplate="true %{y}, predicted %{x}: %{text}<extra></extra>",
            zmin=zmin,
            zmax=zmax,
            colorscale=colorscale,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    figure.update_xaxes(title="predicted", type="category", showgrid=False)
    figure.update_yaxes(title="true", type="category", showgrid=False, autorange="reversed")
    styled(figure, height=330)
    return figure.update_layout(margin={"l": 44, "r": 6, "t": 6, "b": 44}, font={"size": 11})


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The figure in the style of all, ``height`` pixels high. A drag on a phone scrolls the page: zooming waits in
    the mode bar.
    """
    figure.update_xaxes(gridcolor=_LINES, zerolinecolor=_LINES, linecolor=_LINES, automargin=True)
    figure.update_yaxes(gridcolor=_LINES, zerolinecolor=_LINES, linecolor=_LINES, automargin=True)
    return figure.update_layout(
        template=go.layout.Template(),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _TEXT, "family": "system-ui, sans-serif", "size": 12},
        margin={"l": 12, "r": 12, "t": 34, "b": 12},
        height=height,
        dragmode=False,
        hoverlabel={"font": {"family": "system-ui, sans-serif"}, "namelength": -1},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": _LINES, "activecolor": _TEXT},
    )


def legend_above() -> dict[str, object]:
    """Where a legend does not cover the chart."""
    return {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0}


def _colour_bar() -> dict[str, object]:
    return {"thickness": 10, "outlinewidth": 0}


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
