"""A page of its own: charts, style and scripts in one file, which asks nobody for anything."""

import base64
import hashlib
import math
import re

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly import io
from plotly.offline import get_plotlyjs

from mnist_exp.reports.charts import MISSING

_SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)

_PLOTLY = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "pan2d", "autoScale2d"],
}


class Page:
    """Draws charts for one page, collects the scripts that draw them, and fills a template that extends
    ``base.html.j2``.
    """

    def __init__(self) -> None:
        self._scripts: list[str] = []

    def drawn(self, figure: go.Figure, chart_id: str) -> Markup:
        """The place of a chart, for the template. ``figure`` must have a height; ``chart_id`` is its own."""
        body = io.to_html(
            figure,
            full_html=False,
            include_plotlyjs=False,
            div_id=chart_id,
            default_height=f"{figure.layout.height}px",
            config=_PLOTLY,
        )
        # Drawn after the last element stands, when every chart has the width that it keeps.
        self._scripts += re.findall(_SCRIPT, body)
        return Markup(re.sub(_SCRIPT, "", body))

    def render(self, template: str, **context: object) -> str:
        """The whole page, with plotly inside: about 5 MB. Every text in ``context`` is escaped."""
        environment = Environment(
            loader=PackageLoader("mnist_exp.reports", package_path=""),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["number"] = number
        library = get_plotlyjs()
        return environment.get_template(template).render(
            **context,
            missing=MISSING,
            plotly=Markup(library),
            scripts=[Markup(script) for script in self._scripts],
            allowed=" ".join(_fingerprint(script) for script in [library, *self._scripts]),
        )


def number(value: float | None) -> str:
    """``0.9512``, ``12,345``, ``0.00012``; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2g}"


def _fingerprint(script: str) -> str:
    """By which the page's policy lets this script run, and none that came in with the text of a run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
