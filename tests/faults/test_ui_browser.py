"""A sweep seen in MLflow's own pages, in a real browser.

With MNIST_EXP_SCREENSHOTS naming a folder, the pages are saved there as pictures.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import SweepStore
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from mnist_exp.tracking.mlflow import ui
from mnist_exp.tracking.protocols import Record

pytestmark = pytest.mark.slow

_SCREENSHOTS = os.environ.get("MNIST_EXP_SCREENSHOTS")
_PATIENCE_MS = 60_000
_SCORES = ("kept/val_accuracy", "test/accuracy")

# On a narrower page MLflow 3.17 squeezes the list of artifacts to nothing beside the previews of four runs.
_VIEWPORT = ViewportSize(width=1500, height=1000)
_ZOOMED_OUT = ViewportSize(width=3000, height=2000)
# MLflow opens its assistant over a third of the page when a browser comes for the first time.
_NO_ASSISTANT = """
    localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
    localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""


@pytest.fixture(scope="module")
def address(sweep_store: SweepStore) -> Iterator[str]:
    with ui.serve(sweep_store.uri, port=0) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new visitor's page; at the end, no script on it may have failed."""
    expect.set_options(timeout=_PATIENCE_MS)
    context = browser.new_context(viewport=_VIEWPORT, device_scale_factor=2 if _SCREENSHOTS else 1)
    context.set_default_timeout(_PATIENCE_MS)
    context.add_init_script(_NO_ASSISTANT)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def test_children_unfold_from_the_sweep_they_belong_to(page: Page, address: str, sweep_store: SweepStore) -> None:
    page.goto(ui.experiment_link(address, sweep_store.experiment_id))
    parent = page.locator(f"[row-id='{sweep_store.parent}']").filter(has_text="model.units × optimizer.lr")
    expect(parent.get_by_role("link", name="model.units × optimizer.lr", exact=True)).to_be_visible()
    for child in sweep_store.children:
        expect(_run(page, child)).to_have_count(0)

    parent.get_by_role("button").click()

    for child in sweep_store.children:
        expect(_run(page, child)).to_be_visible()


def test_sweep_link_shows_its_children_alone_and_unfolded(page: Page, address: str, sweep_store: SweepStore) -> None:
    page.goto(ui.experiment_link(address, sweep_store.experiment_id, sweep=sweep_store.parent))

    for child in sweep_store.children:
        expect(_run(page, child)).to_be_visible()
    expect(page.get_by_text("4 matching runs")).to_be_visible()

    _swap_columns(page, out=["Dataset", "Source", "Models"], into=["model.units", "optimizer.lr", *_SCORES])
    for column in ("model.units", "optimizer.lr", *_SCORES):
        expect(page.get_by_role("columnheader", name=column, exact=True).first).to_be_visible()
    _screenshot(page, "mlflow_runs.png", height=440)


def test_runs_are_grouped_by_configuration(page: Page, address: str, sweep_store: SweepStore) -> None:
    page.goto(ui.experiment_link(address, sweep_store.experiment_id, sweep=sweep_store.parent))
    expect(_run(page, sweep_store.children[0])).to_be_visible()

    _group_by(page, "group")

    for child in sweep_store.children:
        expect(page.get_by_text(f"Group: {child.tags['group']}", exact=True)).to_be_visible()
    _swap_columns(page, out=["Dataset", "Source", "Models"], into=_SCORES)
    expect(page.get_by_role("columnheader", name="kept/val_accuracy", exact=True).first).to_be_visible()
    _screenshot(page, "mlflow_groups.png", height=440)


def test_compare_link_shows_params_and_metrics_side_by_side(page: Page, address: str, sweep_store: SweepStore) -> None:
    page.goto(_compare(address, sweep_store))
    expect(page.get_by_role("heading", name="Comparing 4 Runs from 1 Experiment")).to_be_visible()

    page.get_by_label("collapse Visualizations").click()
    page.get_by_label("Parameters - Show diff only").click()
    for key in ("model.units", "optimizer.lr"):
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=key, exact=True))
        expect(row.get_by_role("cell")).to_have_text([child.params[key] for child in sweep_store.children])
    expect(page.get_by_role("rowheader", name="seed", exact=True)).to_have_count(0)
    expect(page.get_by_text("kept/val_accuracy", exact=True)).to_be_visible()
    _screenshot(page, "mlflow_compare.png", height=1100)

    values = page.locator(".ReactVirtualized__Grid").last
    values.hover()
    page.mouse.wheel(0, 10_000)
    expect(values).not_to_have_js_property("scrollTop", 0)
    page.mouse.wheel(0, -1)  # in MLflow 3.17 the metrics' names are one movement behind their values
    expect(page.get_by_text("val_accuracy", exact=True)).to_be_visible()


def test_compare_link_shows_confusion_matrices_side_by_side(page: Page, address: str, sweep_store: SweepStore) -> None:
    page.goto(_compare(address, sweep_store))
    page.set_viewport_size(_ZOOMED_OUT)
    page.get_by_test_id("artifact-tree-node").get_by_text("confusion_matrix.png", exact=True).click()
    page.set_viewport_size(_VIEWPORT)

    images = page.get_by_role("img", name="confusion_matrix.png")
    expect(images).to_have_count(4)
    for image in images.all():
        image.scroll_into_view_if_needed()
        expect(image).to_be_in_viewport(ratio=0.9)
        expect(image).not_to_have_js_property("naturalWidth", 0)
    assert len({box["y"] for image in images.all() if (box := image.bounding_box())}) == 1
    _screenshot(page, "mlflow_confusion.png", height=390, top=page.get_by_text("Artifacts", exact=True))


def _compare(address: str, store: SweepStore) -> str:
    return ui.compare_link(address, [store.experiment_id], [child.run_id for child in store.children])


def _run(page: Page, record: Record) -> Locator:
    return page.get_by_role("link", name=record.name, exact=True)


def _group_by(page: Page, tag: str) -> None:
    page.get_by_role("button", name="Group by").first.click()
    choices = page.locator("[role=menu], [role=dialog]").last
    choices.get_by_role("textbox").fill(tag)
    choices.get_by_text(tag, exact=True).click()
    page.keyboard.press("Escape")


def _swap_columns(page: Page, *, out: Sequence[str], into: Sequence[str]) -> None:
    """Choose columns of the table of runs, as one does by hand."""
    page.get_by_test_id("column-selection-dropdown").first.click()
    choices = page.get_by_role("dialog")
    for name in (*out, *into):
        choices.get_by_placeholder("Search columns").fill(name)
        shown = choices.locator("[class*=treenode]").filter(has=page.get_by_text(name, exact=True))
        shown.locator("[class$=tree-checkbox], [class*='tree-checkbox ']").click()
    page.keyboard.press("Escape")


def _screenshot(page: Page, name: str, *, height: int, top: Locator | None = None) -> None:
    """Save the page as a picture for the README, without what MLflow has around it."""
    if not _SCREENSHOTS:
        return
    page.get_by_label("Toggle sidebar").click()
    for edge in page.locator(".ag-header-cell .ag-header-cell-resize:visible").all():
        edge.dblclick()  # makes the column as wide as its longest text
    page.set_viewport_size(ViewportSize(width=_VIEWPORT["width"], height=height))
    if top is not None:
        top.evaluate("element => element.scrollIntoView()")
    page.mouse.move(0, 0)
    page.screenshot(path=Path(_SCREENSHOTS) / name, style="[data-assistant-ui] { display: none; }")
    page.set_viewport_size(_VIEWPORT)
