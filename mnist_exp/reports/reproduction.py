"""The report of a reproduction: one HTML page with each claim, its verdict, and the published figure among ours."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_exp.analysis.claims import Check, CheckResult, ClaimResult, ClaimVerdict
from mnist_exp.reports import drawing
from mnist_exp.reports.page import Page, number
from mnist_exp.statistics import inference
from mnist_exp.statistics.conclusion import promise
from mnist_exp.statistics.estimates import APPROXIMATE_BELOW

if TYPE_CHECKING:
    import plotly.graph_objects as go


def html(results: Sequence[ClaimResult], caveats: Sequence[str], runs: int, datasets: Sequence[str]) -> str:
    """Return the page.

    Args:
        results: every claim, judged.
        caveats: reasons why this may not reproduce what was published; shown at the top.
        runs: number of finished runs.
        datasets: names of the data sets that they were trained on.
    """
    page = Page()
    charts = [
        [
            page.add_chart(_strip_plot(group), f"claim-{claim_number}-{number_in_claim}")
            for number_in_claim, group in enumerate(_by_scale(claim), 1)
        ]
        for claim_number, claim in enumerate(results, 1)
    ]
    return page.render(
        "reproduction.html.j2",
        claims=list(zip(results, charts, strict=True)),
        caveats=caveats,
        runs=runs,
        datasets=datasets,
        open=ClaimVerdict.OPEN,
        shown=_shown,
        promise=promise(inference.LEVEL),
        min_replicates=inference.min_replicates(),
        approximate_below=APPROXIMATE_BELOW,
    )


def _shown(check: Check, value: float) -> str:
    """Return ``0.9512``; for a difference ``+0.2000``; for an end of an unbounded interval ``no limit``."""
    if math.isinf(value):
        return "no limit"
    return f"{'+' if check.than and value > 0 else ''}{number(value)}".replace("-", "−")


def _by_scale(claim: ClaimResult) -> list[list[CheckResult]]:
    """Return the results with values in one group for each chart: differences have another scale than figures."""
    with_values = [each for each in claim.checks if each.values]
    groups = [[each for each in with_values if bool(each.check.than) == compares] for compares in (True, False)]
    return [group for group in groups if group]


def _strip_plot(results: Sequence[CheckResult]) -> "go.Figure":
    """Draw a row for each check: replicates as dots, their mean and interval, the published figure as a diamond."""
    import plotly.graph_objects as go

    names = [
        drawing.escaped(each.check.words()).replace(", ", "<br>").replace(" minus", "<br>minus") for each in results
    ]
    figure = go.Figure()
    dots = [(name, value) for name, each in zip(names, results, strict=True) for value in each.values]
    figure.add_scatter(
        x=drawing.rounded(value for _, value in dots),
        y=[name for name, _ in dots],
        mode="markers",
        name="one replicate",
        marker={"size": 7, "color": "rgba(128,134,143,0.45)"},
        hovertemplate="%{x}<extra>one replicate</extra>",
    )
    spreads = [each.spread for each in results if each.spread]
    figure.add_scatter(
        x=drawing.rounded(spread.mean for spread in spreads),
        y=names,
        mode="markers",
        name="mean, 95 % interval",
        marker={"size": 10, "color": drawing.NORMAL},
        error_x={
            "array": drawing.rounded(spread.high - spread.mean for spread in spreads),
            "arrayminus": drawing.rounded(spread.mean - spread.low for spread in spreads),
            "color": drawing.NORMAL,
            "thickness": 2,
            "width": 5,
        },
        hovertemplate="%{x}<extra>mean</extra>",
    )
    figure.add_scatter(
        x=drawing.rounded(each.check.published for each in results),
        y=names,
        mode="markers",
        name="published",
        marker={"size": 13, "color": drawing.HIGHLIGHT, "symbol": "diamond"},
        hovertemplate="%{x}<extra>published</extra>",
    )
    figure.update_yaxes(range=[len(names) - 0.4, -0.6], type="category", showgrid=False)
    kinds, check = {each.check.kind for each in results}, results[0].check
    if kinds == {"within"}:
        figure.update_xaxes(type="log")
        figure.add_vrect(check.low, check.high, fillcolor=drawing.HIGHLIGHT, opacity=0.12, line_width=0)
    elif kinds == {"same"}:
        figure.add_vrect(-check.margin, check.margin, fillcolor=drawing.HIGHLIGHT, opacity=0.12, line_width=0)
    figure.update_layout(legend=drawing.legend_above())
    return drawing.styled(figure, height=110 + 44 * len(names))
