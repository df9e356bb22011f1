"""A self-contained HTML page: charts, style sheet and scripts in one file that needs no network."""

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
    """One page: collects its charts and the scripts that draw them, and fills a template."""

    def __init__(self) -> None:
        self._scripts: list[str] = []

    def add_chart(self, figure: go.Figure, chart_id: str) -> Markup:
        """Add a chart and return the HTML element to put into the template.

        Args:
            figure: a figure with a height.
            chart_id: id of the element, unique on the page.
        """
        body = io.to_html(
            figure,
            full_html=False,
            include_plotlyjs=False,
            div_id=chart_id,
            default_height=f"{figure.layout.height}px",
            config=_PLOTLY,
        )
        # The scripts run at the end of the page, when every element has its final width.
        self._scripts += re.findall(_SCRIPT, body)
        return Markup(re.sub(_SCRIPT, "", body))

    def render(self, template: str, **context: object) -> str:
        """Fill a template that extends ``base.html.j2``, and return the page: about 5 MB, with plotly inside.

        Args:
            template: file name in this package.
            context: variables of the template; every text is escaped.
        """
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
            allowed=" ".join(_csp_hash(script) for script in [library, *self._scripts]),
        )


def number(value: float | None) -> str:
    """Return ``0.9512``, ``12,345`` or ``0.00012``; a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2g}"


def _csp_hash(script: str) -> str:
    """Return the hash that allows an inline script in the page's Content Security Policy.

    Scripts that enter the page with the text of a run have no such hash and do not run.
    """
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
