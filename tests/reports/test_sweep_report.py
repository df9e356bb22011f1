"""The page of a sweep's report: complete whatever ran, and safe whatever the runs are called."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_runs import BY, EVIL, a_run, compared, epochs_of, grid_of_runs

from mnist_exp.analysis.next_step import NextStep
from mnist_exp.analysis.ranking import Measure
from mnist_exp.reports.page import number
from mnist_exp.reports.sweep_report import SweepReport, html, rerun_command
from mnist_exp.tracking.protocols import Record


def a_report(runs: Sequence[Record], title: str = "model.units", by: Measure = BY) -> SweepReport:
    return SweepReport(title, "python -m mnist_exp -m", compared(runs, by), epochs_of(runs), {}, {})


class Tags(HTMLParser):
    """Elements, attributes and text of a page, without its scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.text += data


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.95124, "0.9512"), (12345.0, "12,345"), (0.000123, "0.00012"), (0.0, "0.0000"), (math.nan, "—"), (None, "—")],
)
def test_a_number_is_written_short_and_an_unknown_one_as_a_dash(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_the_command_that_repeats_a_run_is_the_recorded_one_or_sets_the_keys_that_differ() -> None:
    run = a_run(3, data__path="my data.npz", model__units="4")
    assert rerun_command(run, ["data.path", "seed", "gone"]) == "python -m mnist_exp 'data.path=my data.npz' seed=3"
    kept = replace(run, tags={"rerun": "python -m mnist_exp data=digits seed=3"})
    assert rerun_command(kept, ["seed"]) == "python -m mnist_exp data=digits seed=3"


@pytest.mark.parametrize("evil", EVIL)
def test_every_text_of_a_run_is_shown_without_interpretation(evil: str) -> None:
    run = a_run(1, 0.9, **{"key": evil, "other" + evil: "1"})
    tags = {"failure": evil, "failure.message": evil, "dataset": evil, "rerun": evil}
    runs = [replace(run, name=evil, tags=tags), replace(a_run(2, status="FAILED", key="b"), name=evil, tags=tags)]
    comparison = compared(runs)
    confusion = {runs[0].run_id: np.eye(10, dtype=np.int64)}
    links = {run.run_id: f"http://localhost/{evil}" for run in runs}
    page = Tags(html(SweepReport(evil, evil, comparison, epochs_of(runs), confusion, links)))
    assert "img" not in page.tags
    assert page.text.count(evil) > 8
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    charts_drawn = [value for name, value in page.attributes if (name, value) == ("class", "plotly-graph-div")]
    assert page.tags.count("script") == 1 + len(charts_drawn)


def test_a_link_that_would_run_as_a_script_is_left_out() -> None:
    run = a_run(1, 0.9, key="a")
    report = replace(a_report([run]), links={run.run_id: "javascript:alert(1)"})
    assert "javascript:" not in str(Tags(html(report)).attributes)
    linked = replace(a_report([run]), links={run.run_id: "http://127.0.0.1:5000/#/experiments/1"})
    assert ("href", "http://127.0.0.1:5000/#/experiments/1") in Tags(html(linked)).attributes


@pytest.mark.parametrize(
    ("runs", "texts"),
    [
        (
            [a_run(1, 0.9)],
            ["There is one configuration with a value", "in nothing but their replicate", "one run only"],
        ),
        (
            [a_run(seed, 0.9) for seed in (1, 2)],
            ["There is one configuration with a value", "2 runs of 1 configuration,"],
        ),
        ([a_run(1, status="FAILED", key="a"), a_run(1, status="KILLED", key="b")], ["No run finished", "1 FAILED"]),
        ([a_run(1, 0.8, key="a"), a_run(1, 0.9, key="b")], ["one run only", "A heat map takes two swept keys"]),
        ([a_run(1, math.nan, key="a"), a_run(1, 0.9, key="b")], ["without a finite value"]),
        (grid_of_runs(["4", "16"], ["0.1", "0.2"], [1, 2, 3]), ["too few replicates", "12 runs of 4 configurations"]),
        (
            grid_of_runs(["4", "16"], ["0.1", "0.2"], range(8)),
            ["All 6 pairs were judged together", "best set", "worse"],
        ),
    ],
)
def test_the_page_is_complete_whatever_ran(runs: list[Record], texts: list[str]) -> None:
    text = re.sub(r"\s+", " ", Tags(html(a_report(runs))).text)
    for each in texts:
        assert each in text
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text)


def test_the_page_of_a_running_sweep_states_that_at_the_top() -> None:
    report = a_report([a_run(1, 0.9, key="a"), a_run(2, status="RUNNING", key="a")])
    assert "still running" not in Tags(html(report)).text
    text = Tags(html(replace(report, unfinished=True))).text
    assert text.index("still running") < text.index("What was swept")


def test_the_next_step_is_shown_with_its_command() -> None:
    step = NextStep(
        "At least 6 replicates take part in a verdict.", "python -m mnist_exp -m key=a,b replicate=range(8)"
    )
    report = replace(a_report([a_run(1, 0.9, key="a"), a_run(1, 0.8, key="b")]), next_step=step)
    text = Tags(html(report)).text
    assert step.why in text
    assert step.command in text


def test_a_run_that_failed_is_listed_with_its_reason() -> None:
    failed = replace(
        a_run(2, status="FAILED", key="a"),
        tags={"failure": "diverged", "failure.message": "the loss of epoch 1 is nan"},
    )
    text = Tags(html(a_report([a_run(1, 0.9, key="a"), failed]))).text
    assert "1 diverged" in text
    assert "FAILED · diverged" in text
    assert "the loss of epoch 1 is nan" in text


def test_two_hundred_runs_make_a_page_under_six_megabytes() -> None:
    units = [str(unit) for unit in range(5)]
    runs = grid_of_runs(units, ["0.1", "0.2"], range(20))
    report = replace(a_report(runs), epochs=epochs_of(runs, 50))
    report = replace(report, confusion={run.run_id: np.eye(10, dtype=np.int64) for run in runs})
    assert len(html(report).encode()) < 6_000_000
