"""The reproduction as one HTML page: each claim, its verdict, and where the published figure lies among ours."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_exp.analysis.claim_rules import Check, Verdict
from mnist_exp.analysis.claims import Answer, ClaimAnswer
from mnist_exp.reports import drawing
from mnist_exp.reports.page import Page, number
from mnist_exp.statistics import inference
from mnist_exp.statistics.conclusion import promise
from mnist_exp.statistics.estimates import APPROXIMATE_BELOW

if TYPE_CHECKING:
    import plotly.graph_objects as go


def html(answers: Sequence[ClaimAnswer], caveats: Sequence[str], runs: int, datasets: Sequence[str]) -> str:
    """Return the whole page.

    Args:
        answers: every claim, judged.
        caveats: why this may not be a reproduction of what was published; shown above everything else.
        runs: number of finished runs.
        datasets: names of the data that they were trained on.
    """
    page = Page()
    charts = [
        [page.drawn(_strips(some), f"claim-{claim_number}-{place}") for place, some in enumerate(_by_scale(claim), 1)]
        for claim_number, claim in enumerate(answers, 1)
    ]
    return page.render(
        "reproduction.html.j2",
        claims=list(zip(answers, charts, strict=True)),
        caveats=caveats,
        runs=runs,
        datasets=datasets,
        open=Verdict.OPEN,
        shown=_shown,
        promise=promise(inference.LEVEL),
        fewest=inference.fewest(),
        approximate_below=APPROXIMATE_BELOW,
    )


def _shown(check: Check, value: float) -> str:
    """``0.9512``; of a difference ``+0.2000``, and ``no limit`` where an interval has none."""
    if math.isinf(value):
        return "no limit"
    return f"{'+' if check.than and value > 0 else ''}{number(value)}".replace("-", "−")


def _by_scale(claim: ClaimAnswer) -> list[list[Answer]]:
    """Return the answers that have values in groups, a chart each: differences are of another size than figures."""
    answered = [each for each in claim.answers if each.values]
    groups = [[each for each in answered if bool(each.check.than) == compares] for compares in (True, False)]
    return [group for group in groups if group]


def _strips(answers: Sequence[Answer]) -> "go.Figure":
    """Draw a row for each check: replicates as dots, their mean and interval, the published figure as a diamond."""
    import plotly.graph_objects as go

    names = [drawing.text(each.check.words()).replace(", ", "<br>").replace(" minus", "<br>minus") for each in answers]
    figure = go.Figure()
    dots = [(name, value) for name, each in zip(names, answers, strict=True) for value in each.values]
    figure.add_scatter(
        x=drawing.short(value for _, value in dots),
        y=[name for name, _ in dots],
        mode="markers",
        name="one replicate",
        marker={"size": 7, "color": "rgba(128,134,143,0.45)"},
        hovertemplate="%{x}<extra>one replicate</extra>",
    )
    spreads = [each.spread for each in answers if each.spread]
    figure.add_scatter(
        x=drawing.short(spread.mean for spread in spreads),
        y=names,
        mode="markers",
        name="mean, 95 % interval",
        marker={"size": 10, "color": drawing.REST},
        error_x={
            "array": drawing.short(spread.high - spread.mean for spread in spreads),
            "arrayminus": drawing.short(spread.mean - spread.low for spread in spreads),
            "color": drawing.REST,
            "thickness": 2,
            "width": 5,
        },
        hovertemplate="%{x}<extra>mean</extra>",
    )
    figure.add_scatter(
        x=drawing.short(each.check.published for each in answers),
        y=names,
        mode="markers",
        name="published",
        marker={"size": 13, "color": drawing.WINNER, "symbol": "diamond"},
        hovertemplate="%{x}<extra>published</extra>",
    )
    figure.update_yaxes(range=[len(names) - 0.4, -0.6], type="category", showgrid=False)
    kinds, check = {each.check.kind for each in answers}, answers[0].check
    if kinds == {"within"}:
        figure.update_xaxes(type="log")
        figure.add_vrect(check.low, check.high, fillcolor=drawing.WINNER, opacity=0.12, line_width=0)
    elif kinds == {"same"}:
        figure.add_vrect(-check.margin, check.margin, fillcolor=drawing.WINNER, opacity=0.12, line_width=0)
    figure.update_layout(legend=drawing.legend_above())
    return drawing.styled(figure, height=110 + 44 * len(names))
