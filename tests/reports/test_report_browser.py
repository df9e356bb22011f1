"""A report opened as from a mail attachment, in a real browser.

With MNIST_EXP_SCREENSHOTS naming a folder, it is saved there as pictures.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize, expect
from report_runs import EVIL, compared, epochs_of, grid_of_runs

from mnist_exp.analysis import claims
from mnist_exp.analysis.next_step import NextStep
from mnist_exp.reports import reproduction
from mnist_exp.reports.sweep_report import SweepReport, html

pytestmark = pytest.mark.slow

_SCREENSHOTS = os.environ.get("MNIST_EXP_SCREENSHOTS")
_PATIENCE_MS = 60_000
_DESKTOP = ViewportSize(width=1280, height=900)
_PHONE = ViewportSize(width=390, height=844)
# Ranking, parallel coordinates, two curves, heat map, importance, two costs, three matrices and two differences.
_CHARTS = 13

_PIXELS_OF_LINES = """canvases => canvases.map(canvas => {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext("2d");
    context.drawImage(canvas, 0, 0);
    return context.getImageData(0, 0, copy.width, copy.height).data.filter((value, at) => at % 4 == 3 && value).length;
})"""


@dataclass
class Visit:
    """A page, with its requests and errors."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        def on_request(request: Request) -> None:
            self.requests.append(request.url)

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.errors.append(message.text)

        self.page.on("request", on_request)
        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with everything in it, whose values try to run as scripts."""
    runs = grid_of_runs(["4", "8", "16"], ["0.1", *EVIL], range(8))
    comparison = compared(runs)
    assert comparison.verdicts.result is not None, "so that every column is there"
    for place, run in enumerate(runs):
        run.metrics.update(parameters=100.0 + place)
    seconds = {run.run_id: 2.0 + place for place, run in enumerate(runs)}
    epochs = epochs_of(runs, 20).assign(epoch_seconds=lambda table: table["run_id"].map(seconds))
    confusion = {row.finished[0].run_id: np.diag(np.full(10, 9)) for row in comparison.rows[:3]}
    links = {run.run_id: "http://127.0.0.1:5000/#/experiments/1" for run in runs}
    step = NextStep(*EVIL)
    page = html(SweepReport(EVIL[0], EVIL[1], comparison, epochs, confusion, links, step, unfinished=True))
    path = tmp_path_factory.mktemp("mail") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@contextlib.contextmanager
def opened(browser: Browser, report: Path, size: ViewportSize) -> Iterator[Visit]:
    """The report, opened without a network; in the end it has asked for nothing else, and no script has failed."""
    context = browser.new_context(viewport=size, color_scheme="light", offline=True)
    visit = Visit(context.new_page())
    visit.page.goto(report.as_uri())
    yield visit
    assert visit.requests == [report.as_uri()]
    assert visit.errors == []
    context.close()


@pytest.fixture(scope="module")
def desktop(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report, _DESKTOP) as visit:
        yield visit.page


@pytest.fixture(scope="module")
def phone(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report, _PHONE) as visit:
        yield visit.page


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_report_draws_its_charts_offline_and_without_errors(device: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(device)
    expect(page.locator(".plotly-graph-div")).to_have_count(_CHARTS)
    for chart in page.locator(".plotly-graph-div").all():
        marks = chart.locator(".main-svg path, .main-svg rect, .main-svg image, .main-svg text")
        expect(marks.first).to_be_attached(timeout=_PATIENCE_MS)
        assert chart.locator(".trace, .point, .hm, .parcoords").count() > 0
    assert max(page.locator("#parallel canvas").evaluate_all(_PIXELS_OF_LINES)) > 1000
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for chart in page.locator(".plotly-graph-div .main-svg:first-child").all():
        box, around = chart.bounding_box(), chart.locator("xpath=ancestor::figure").bounding_box()
        assert box is not None
        assert around is not None
        wide = chart.locator("xpath=ancestor::*[contains(@class, 'wide')]").count()
        assert wide or box["x"] + box["width"] <= around["x"] + around["width"] + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_it_is_light_or_dark_as_the_reader_asked(
    device: str, scheme: Literal["light", "dark"], request: pytest.FixtureRequest
) -> None:
    page: Page = request.getfixturevalue(device)
    page.emulate_media(color_scheme=scheme)
    luminance = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(luminance) < 200) == (scheme == "dark")
    if _SCREENSHOTS:
        width = page.viewport_size["width"] if page.viewport_size else 0
        page.screenshot(path=Path(_SCREENSHOTS) / f"report_{width}_{scheme}.png", full_page=True)


@pytest.mark.parametrize("size", [_DESKTOP, _PHONE], ids=["desktop", "phone"])
def test_the_reproduction_draws_every_claim_with_runs(browser: Browser, tmp_path: Path, size: ViewportSize) -> None:
    replicates = {str(number): 0.9 + number / 200 for number in range(8)}
    values = {"accuracy": {f"model_{number}": replicates for number in range(1, 7)}}
    values["range_test/lowest_rate"] = {"model_3": {each: 0.002 * (int(each) + 1) for each in replicates}}
    path = tmp_path / "reproduction.html"
    path.write_text(reproduction.html(claims.judge_claims(values), [EVIL[0]], 48, ["mnist"]), encoding="utf-8")
    context = browser.new_context(viewport=size, offline=True)
    visit = Visit(context.new_page())
    visit.page.goto(path.as_uri())

    expect(visit.page.locator(".plotly-graph-div")).to_have_count(7)  # none for claim 6, and two each for 1 and 3
    expect(visit.page.locator(".plotly-graph-div .point").first).to_be_attached(timeout=_PATIENCE_MS)
    expect(visit.page.get_by_text("No run that this needs has finished.")).to_have_count(1)
    expect(visit.page.get_by_role("status")).to_have_text(EVIL[0])
    assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if _SCREENSHOTS:
        visit.page.screenshot(path=Path(_SCREENSHOTS) / f"reproduction_{size['width']}.png", full_page=True)
    assert visit.requests == [path.as_uri()]
    assert visit.errors == []
    context.close()


def test_names_that_are_markup_are_shown_as_text_in_charts(desktop: Page) -> None:
    expect(desktop.locator("h1")).to_have_text(EVIL[0])
    for section in ("#heatmap", "#parallel"):
        ticks = desktop.locator(f"{section} text").all_text_contents()
        assert any(tick.startswith("<script>") for tick in ticks), ticks
        assert not any("&lt;" in tick for tick in ticks), ticks
    expect(desktop.locator("img, .plotly-graph-div a[href*='onerror']")).to_have_count(0)


def test_a_tap_on_the_legend_shows_a_curve_that_was_hidden(desktop: Page) -> None:
    curves = desktop.locator("#curves .plotly-graph-div").first
    lines = curves.locator(".scatterlayer .trace path.js-line")
    before = lines.count()
    curves.locator(".legend .traces").last.locator(".legendtoggle").click()
    expect(lines).not_to_have_count(before)


def test_print_unfolds_every_run(desktop: Page) -> None:
    command = desktop.locator("#runs details:not([open]) .command").first
    expect(command).not_to_be_visible()

    desktop.emulate_media(media="print")

    assert command.evaluate("element => element.getBoundingClientRect().height") > 0
    desktop.emulate_media(media="screen")
