"""Draws the data of charts as plotly figures.

Colours are legible on light and dark backgrounds; the page's style sheet colours the text. Plotly interprets some HTML
in labels and a template language in hover texts: every text of a run goes through :func:`escaped`, and into no
template.
"""

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from mnist_exp import metrics
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
HIGHLIGHT, NORMAL = PALETTE[1], PALETTE[0]

_TEXT, _LINES = "#80868f", "rgba(128,134,143,0.25)"
_SEQUENTIAL = ((0.0, "#e4edf7"), (0.5, "#7fabda"), (1.0, "#1f4e8c"))
_DIVERGING = ((0.0, "#c65560"), (0.5, "#eef0f2"), (1.0, "#3f7fc4"))
_VISIBLE_CURVES = 5  # the rest is shown on a click in the legend
_MAX_LABELLED_EPOCHS = 10  # up to which every epoch has a label
_MAX_LABELLED_CELLS = 100


def escaped(text: str) -> str:
    """Return a text that plotly shows as it is, without interpreting HTML."""
    return html.escape(text, quote=False)


def rounded(numbers: Iterable[float]) -> list[float | None]:
    """Return numbers with five significant digits, which is what a screen can show; None for NaN and infinity."""
    return [float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers]


def ranking(intervals: Sequence[Interval], by: Measure) -> go.Figure:
    """Draw means with their intervals, the best on top, and a dot for each run; the best set is highlighted."""
    names = [escaped(each.name) for each in intervals]
    figure = go.Figure()
    dots = [(name, value) for name, each in zip(names, intervals, strict=True) for value in each.runs]
    figure.add_scatter(
        x=rounded(value for _, value in dots),
        y=[name for name, _ in dots],
        mode="markers",
        name="a run",
        marker={"size": 6, "color": "rgba(128,134,143,0.45)"},
        hovertemplate="%{y}<br>%{x}<extra>a run</extra>",
    )
    figure.add_scatter(
        x=rounded(each.mean for each in intervals),
        y=names,
        mode="markers",
        name="mean, 95 % interval",
        marker={"size": 10, "color": [HIGHLIGHT if each.best else NORMAL for each in intervals]},
        error_x={
            "array": rounded(each.high - each.mean for each in intervals),
            "arrayminus": rounded(each.mean - each.low for each in intervals),
            "color": _TEXT,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="%{y}<br>%{x}<extra>mean</extra>",
    )
    figure.update_yaxes(range=[len(names) - 0.4, -0.6], type="category", showgrid=False)
    figure.update_xaxes(title=escaped(by.name))
    figure.update_layout(legend=legend_above())
    return styled(figure, height=130 + 26 * len(names))


def parallel(axes: Sequence[Axis], by: Measure) -> go.Figure:
    """Draw a line for each run, coloured by the metric, which is the last axis."""
    result = axes[-1].positions
    figure = go.Figure(
        go.Parcoords(
            line={
                "color": rounded(result),
                "colorscale": [[0, "#c9b458"], [0.5, "#3d9e6b"], [1, "#2b59a8"]],
                "reversescale": not by.higher,
            },
            dimensions=[
                {
                    "label": escaped(axis.label),
                    "values": rounded(axis.positions),
                    **(
                        {
                            "tickvals": [position for position, _ in axis.ticks],
                            # Plotly interprets no HTML in these.
                            "ticktext": [label for _, label in axis.ticks],
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
    """Draw means as lines, the range over the runs as bands, and a dot for each run at the end."""
    figure = go.Figure()
    for index, curve in enumerate(found):
        colour = PALETTE[index % len(PALETTE)]
        shared = {
            "legendgroup": str(index),
            "visible": True if index < _VISIBLE_CURVES else "legendonly",
        }
        if len(curve.last) > 1:
            figure.add_scatter(
                x=[*curve.epochs, *curve.epochs[::-1]],
                y=rounded([*curve.high, *curve.low[::-1]]),
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
                y=rounded(curve.last),
                mode="markers",
                marker={"size": 5, "color": colour, "opacity": 0.6},
                hovertemplate="%{y}<extra>a run</extra>",
                showlegend=False,
                **shared,
            )
        figure.add_scatter(
            x=curve.epochs,
            y=rounded(curve.mean),
            mode="lines" if len(curve.epochs) > 1 else "markers",
            line={"color": colour, "width": 2},
            marker={"color": colour},
            name=escaped(curve.name),
            **shared,
        )
    few = max(each.epochs[-1] for each in found) <= _MAX_LABELLED_EPOCHS
    figure.update_xaxes(title="epoch", dtick=1 if few else None)
    lowest, highest = min(low for each in found for low in each.low), max(high for each in found for high in each.high)
    logarithmic = metrics.spans_decades(metric) and highest > 10 * lowest > 0
    figure.update_yaxes(title=escaped(metric), type="log" if logarithmic else "linear")
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "maxheight": 0.9}
    figure.update_layout(legend=legend, hovermode="closest")
    return styled(figure, height=360 + 21 * len(found))


def heat_map(grid: Grid, by: Measure) -> go.Figure:
    """Draw a cell for each combination of two keys; darker is better."""
    figure = go.Figure(
        go.Heatmap(
            x=[escaped(each) for each in grid.x],
            y=[escaped(each) for each in grid.y],
            z=[rounded(row) for row in grid.cells],
            colorscale=_SEQUENTIAL,
            reversescale=not by.higher,
            texttemplate="%{z:.4~g}" if grid.cells.size <= _MAX_LABELLED_CELLS else None,
            hovertemplate="%{y} × %{x}<br>%{z}<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
            colorbar=_colour_bar(),
        )
    )
    figure.update_xaxes(title=escaped(grid.x_key), type="category", showgrid=False)
    figure.update_yaxes(title=escaped(grid.y_key), type="category", showgrid=False)
    return styled(figure, height=min(700, 170 + 42 * len(grid.y)))


def importance(found: Importance) -> go.Figure:
    """Draw a bar for each key, the most important on top."""
    figure = go.Figure(
        go.Bar(
            x=rounded(found.drop),
            y=[escaped(key) for key in found.keys],
            orientation="h",
            marker={"color": NORMAL},
            error_x={"array": rounded(found.sd), "color": _TEXT, "thickness": 1.5, "width": 4},
            hovertemplate="%{y}<br>%{x}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(title="drop of R² with the key shuffled")
    return styled(figure, height=110 + 36 * len(found.keys))


def confusion(matrix: Matrix) -> go.Figure:
    """Draw counts. The colour is the square root of the share of the true class, so that few errors are visible."""
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(matrix.counts, totals, out=np.zeros(matrix.counts.shape), where=totals > 0)
    return _matrix(np.sqrt(shares), matrix.counts.astype(str), zmin=0, zmax=1, colorscale=_SEQUENTIAL)


def confusion_difference(difference: NDArray[np.int64]) -> go.Figure:
    """Draw differences of counts: blue cells have more images than the first matrix, red ones fewer."""
    most = max(1, int(np.abs(difference).max()))
    signed = np.where(difference == 0, "", np.char.mod("%+d", difference))
    return _matrix(difference.astype(np.float64), signed, zmin=-most, zmax=most, colorscale=_DIVERGING)


def _matrix(
    shade: NDArray[np.float64],
    cells: NDArray[np.str_],
    *,
    zmin: float,
    zmax: float,
    colorscale: Sequence[tuple[float, str]],
) -> go.Figure:
    classes = [str(index) for index in range(len(shade))]
    figure = go.Figure(
        go.Heatmap(
            x=classes,
            y=classes,
            z=[rounded(row) for row in shade],
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
    """Apply the common style and a height in pixels to a figure, and return it.

    Dragging does not zoom, so that it scrolls the page on a phone; the mode bar has buttons to zoom.
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
    """Return the position of a legend that does not cover the chart."""
    return {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0}


def _colour_bar() -> dict[str, object]:
    return {"thickness": 10, "outlinewidth": 0}


def _faint(colour: str) -> str:
    """Return a hex colour at 16 % opacity."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
