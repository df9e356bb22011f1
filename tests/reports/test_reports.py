"""The report of a sweep: what its charts show, and that its page holds up whatever the runs are called."""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from plotly import io

from mnist_exp.analysis.comparison import Comparison, compare
from mnist_exp.analysis.next_step import NextStep
from mnist_exp.analysis.ranking import Measure, measure
from mnist_exp.reports import charts, drawing
from mnist_exp.reports.charts import LeftOut
from mnist_exp.reports.costs import costs
from mnist_exp.reports.importance import Importance, importance
from mnist_exp.reports.page import number
from mnist_exp.reports.sweep_report import SweepReport, html, rerun_command
from mnist_exp.tracking.mlflow.records import Record

BY = measure("val_accuracy")
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')


def a_run(seed: int = 1, score: float = 0.9, status: str = "FINISHED", **params: str) -> Record:
    """A run of one epoch; ``model__units`` is the key ``model.units``."""
    given = {key.replace("__", "."): value for key, value in params.items()}
    run_id = f"{zlib.crc32(repr((seed, given, status)).encode()):032x}"
    metrics = {"val_accuracy": score, "test/accuracy": score - 0.01, "parameters": 100.0, "train_seconds": 2.0}
    finished = status == "FINISHED"
    return Record(run_id, "1", f"run {seed}", status, {**given, "seed": str(seed)}, metrics if finished else {}, {})


def epochs_of(runs: Sequence[Record], count: int = 3) -> pd.DataFrame:
    """Accuracy climbs to the run's score by 0.1 an epoch, the loss falls to 1 - score."""
    rows = [
        {
            "run_id": run.run_id,
            "epoch": epoch,
            "val_accuracy": run.metrics["val_accuracy"] - 0.1 * (count - epoch),
            "val_loss": 1 - run.metrics["val_accuracy"] + 0.1 * (count - epoch),
        }
        for run in runs
        if run.metrics
        for epoch in range(1, count + 1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "val_accuracy", "val_loss"])


def compared(runs: Sequence[Record], by: Measure = BY) -> Comparison:
    return compare(runs, epochs_of(runs), by)


def a_report(runs: Sequence[Record], title: str = "model.units", by: Measure = BY) -> SweepReport:
    return SweepReport(title, "python -m mnist_exp -m", compared(runs, by), epochs_of(runs), {}, {})


def grid_of_runs(units: Sequence[str], rates: Sequence[str], seeds: Sequence[int]) -> list[Record]:
    """More units are much better, a higher rate is slightly worse, the seed is next to nothing."""
    return [
        a_run(
            seed,
            0.5 + 0.04 * place - 0.005 * other + 0.0003 * ((7 * seed + 5 * place + 3 * other) % 11),
            model__units=unit,
            optimizer__lr=rate,
        )
        for place, unit in enumerate(units)
        for other, rate in enumerate(rates)
        for seed in seeds
    ]


class Tags(HTMLParser):
    """What a browser would make of a page, its scripts left aside."""

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


def test_names_are_short_ranked_and_unique() -> None:
    comparison = compared([a_run(1, 0.8, model__units="4"), a_run(1, 0.9, model__units="16")])
    assert charts.names(comparison) == ["#1 units=16", "#2 units=4"]


def test_a_key_that_another_ends_in_keeps_its_whole_name() -> None:
    runs = [a_run(1, 0.8, lr="constant", optimizer__lr="1"), a_run(1, 0.9, lr="constant", optimizer__lr="2")]
    assert charts.names(compared(runs))[0] == "#1 optimizer.lr=2"


def test_long_names_list_the_values_alone_and_end_somewhere() -> None:
    runs = [a_run(1, 0.8, some__key="a" * 20, other__key="1"), a_run(1, 0.9, some__key="b" * 50, other__key="2")]
    first, second = charts.names(compared(runs))
    assert first == "#1 " + "b" * 26 + "…"
    assert second == "#2 " + "a" * 20 + " · 1"


def test_values_of_a_key_are_ordered_as_numbers() -> None:
    assert charts.ordered(["16", "4", charts.MISSING, "0.5", "relu", "4"]) == ["0.5", "4", "16", "relu", charts.MISSING]


def test_intervals_are_those_of_the_ranking() -> None:
    comparison = compared(grid_of_runs(["4", "16"], ["0.1"], [1, 2, 3]))
    found = charts.intervals(comparison)
    assert not isinstance(found, LeftOut)
    spread = comparison.rows[0].spread
    assert spread is not None
    assert (found[0].mean, found[0].low, found[0].high) == (spread.mean, spread.low, spread.high)
    assert [len(each.runs) for each in found] == [3, 3]
    assert not any(each.best for each in found), "three replicates give no verdict"


def test_intervals_of_the_best_set_are_marked() -> None:
    runs = grid_of_runs(["4", "16"], ["0.1", "0.2"], range(8))
    found = charts.intervals(compared(runs))
    assert not isinstance(found, LeftOut)
    assert [each.best for each in found] == [row.is_best for row in compared(runs).rows] == [True, False, False, False]


def test_parallel_coordinates_put_few_values_at_equal_distances() -> None:
    axes = charts.parallel(compared(grid_of_runs(["4", "16"], ["0.0001", "0.1"], [1])))
    assert not isinstance(axes, LeftOut)
    assert [axis.label for axis in axes] == ["model.units", "optimizer.lr", "kept val_accuracy"]
    assert axes[0].ticks == [(0.0, "4"), (1.0, "16")]
    assert axes[0].at == [1.0, 1.0, 0.0, 0.0]
    assert axes[2].at == pytest.approx([0.5403, 0.5362, 0.5021, 0.498], abs=1e-9)


def test_parallel_coordinates_put_many_rates_on_a_logarithmic_scale() -> None:
    rates = [str(10 ** -(place / 4)) for place in range(17)]
    axes = charts.parallel(compared([a_run(1, 0.5, optimizer__lr=rate) for rate in rates]))
    assert not isinstance(axes, LeftOut)
    assert sorted(axes[0].at) == pytest.approx([-4 + place / 4 for place in range(17)])
    assert [name for _, name in axes[0].ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_curves_are_means_within_the_range_of_the_seeds() -> None:
    runs = [a_run(1, 0.8, model__units="4"), a_run(2, 0.9, model__units="4")]
    found = charts.curves(compared(runs), epochs_of(runs), "val_accuracy")
    assert not isinstance(found, LeftOut)
    assert len(found) == 1
    assert found[0].epochs == [1, 2, 3]
    assert found[0].mean == pytest.approx([0.65, 0.75, 0.85])
    assert found[0].low == pytest.approx([0.6, 0.7, 0.8])
    assert found[0].high == pytest.approx([0.7, 0.8, 0.9])
    assert sorted(found[0].last) == pytest.approx([0.8, 0.9])


def test_a_curve_ends_where_the_first_of_its_seeds_stopped() -> None:
    runs = [a_run(1, 0.8, model__units="4"), a_run(2, 0.9, model__units="4")]
    epochs = pd.concat([epochs_of(runs[:1], 5), epochs_of(runs[1:], 2)])
    found = charts.curves(compare(runs, epochs, BY), epochs, "val_accuracy")
    assert not isinstance(found, LeftOut)
    assert found[0].epochs == [1, 2]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    kept = charts.thinned(1000)
    assert len(kept) == charts.POINTS
    assert (kept[0], kept[-1]) == (0, 999)
    assert charts.thinned(3) == [0, 1, 2]


def test_a_grid_has_a_gap_where_nothing_was_run() -> None:
    runs = grid_of_runs(["4", "16"], ["0.1", "0.2"], [1])[:3]
    found = charts.grid(compared(runs))
    assert not isinstance(found, LeftOut)
    assert (found.x_key, found.y_key, found.x, found.y) == ("model.units", "optimizer.lr", ["4", "16"], ["0.1", "0.2"])
    assert found.cells[0].tolist() == pytest.approx([0.5021, 0.5403])
    assert math.isnan(found.cells[1][1])
    assert not found.pooled


def test_a_grid_of_three_keys_takes_the_most_important_and_says_that_it_pools() -> None:
    runs = [a_run(1, 0.5, a=a, b=b, c=c) for a in "12" for b in "12" for c in "12"]
    found = charts.grid(compared(runs), ["c", "a", "b"])
    assert not isinstance(found, LeftOut)
    assert (found.x_key, found.y_key, found.pooled) == ("c", "a", True)


def test_matrices_follow_the_ranking_and_subtract_the_first() -> None:
    worse, better = a_run(1, 0.8, model__units="4"), a_run(1, 0.9, model__units="16")
    diagonal = np.diag(np.full(10, 5))
    moved = diagonal.copy()
    moved[3, 3], moved[3, 8] = 3, 2
    found = charts.matrices(compared([worse, better]), {worse.run_id: moved, better.run_id: diagonal})
    assert not isinstance(found, LeftOut)
    assert [matrix.name for matrix in found] == ["#1 units=16, seed 1", "#2 units=4, seed 1"]
    assert found[0].difference is None
    difference = found[1].difference
    assert difference is not None
    assert (difference[3, 3], difference[3, 8], difference.sum()) == (-2, 2, 0)


def test_matrices_of_other_images_are_not_subtracted() -> None:
    one, two = a_run(1, 0.8, model__units="4"), a_run(1, 0.9, model__units="16")
    found = charts.matrices(
        compared([one, two]), {one.run_id: np.eye(10, dtype=int), two.run_id: 2 * np.eye(10, dtype=int)}
    )
    assert not isinstance(found, LeftOut)
    assert [matrix.difference for matrix in found] == [None, None]


def test_importance_finds_the_key_that_matters() -> None:
    found = importance(compared(grid_of_runs(["4", "8", "16", "32"], ["0.1", "0.2"], [1, 2, 3])))
    assert isinstance(found, Importance)
    assert found.keys == ["model.units", "optimizer.lr"]
    assert found.drop[0] > 10 * abs(found.drop[1])
    assert 0.8 < found.r2 <= 1


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([a_run(seed, 0.5) for seed in range(20)], "in nothing but their replicate"),
        (grid_of_runs(["1", "2", "3"], ["0.1"], range(5)), "Only model.units was swept"),
        (grid_of_runs(["1", "2"], ["0.1", "0.2"], [1]), "there are 4 of 4"),
        ([a_run(seed, 0.5, a=a, b=b) for a in "12" for b in "12" for seed in range(5)], "the same figure"),
        ([a_run(s, 0.5 + 0.1 * s, a=a, b=b) for a in "12" for b in "12" for s in range(5)], "do not foretell"),
    ],
)
def test_importance_says_why_there_is_none(runs: list[Record], reason: str) -> None:
    found = importance(compared(runs))
    assert isinstance(found, LeftOut)
    assert reason in found.reason


def test_a_reason_takes_the_place_of_each_chart_that_cannot_be() -> None:
    comparison = compared([a_run(1, 0.5)])
    assert isinstance(charts.parallel(comparison), LeftOut)
    assert isinstance(charts.grid(comparison), LeftOut)
    assert isinstance(costs(comparison, "parameters", epochs_of([])), LeftOut)
    assert isinstance(charts.matrices(comparison, {}), LeftOut)
    assert isinstance(charts.curves(comparison, epochs_of([]), "val_accuracy"), LeftOut)
    assert isinstance(charts.curves(comparison, epochs_of([]), "no_such"), LeftOut)
    assert isinstance(charts.intervals(compared([a_run(1, status="FAILED")])), LeftOut)


def test_numbers_drop_what_nobody_can_see_and_what_is_none() -> None:
    assert drawing.short([0.123456789, math.nan, math.inf, 12345678.0]) == [0.12346, None, None, 12346000.0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.95124, "0.9512"), (12345.0, "12,345"), (0.000123, "0.00012"), (0.0, "0.0000"), (math.nan, "—"), (None, "—")],
)
def test_a_number_is_written_short_and_none_as_a_dash(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_no_text_of_a_run_leaves_the_script_that_draws_it() -> None:
    runs = [a_run(1, 0.8, some__key=EVIL[0]), a_run(1, 0.9, some__key=EVIL[1])]
    found = charts.intervals(compared(runs))
    assert not isinstance(found, LeftOut)
    drawn = io.to_html(drawing.ranking(found, BY), full_html=False, include_plotlyjs=False).lower()
    assert drawn.count("<script") == drawn.count("</script") == 1
    assert "<img" not in drawn
    assert "&lt;img" in drawn  # what plotly, which reads HTML of its own, shows as <img


def test_the_command_to_run_it_again_is_its_own_or_of_the_keys_that_differ() -> None:
    run = a_run(3, data__path="my data.npz", model__units="4")
    assert rerun_command(run, ["data.path", "seed", "gone"]) == "python -m mnist_exp 'data.path=my data.npz' seed=3"
    kept = replace(run, tags={"rerun": "python -m mnist_exp data=digits seed=3"})
    assert rerun_command(kept, ["seed"]) == "python -m mnist_exp data=digits seed=3"


@pytest.mark.parametrize("evil", EVIL)
def test_every_text_of_a_run_is_shown_letter_by_letter(evil: str) -> None:
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


def test_a_link_that_would_run_as_a_script_is_none() -> None:
    run = a_run(1, 0.9, key="a")
    report = replace(a_report([run]), links={run.run_id: "javascript:alert(1)"})
    assert "javascript:" not in str(Tags(html(report)).attributes)
    linked = replace(a_report([run]), links={run.run_id: "http://127.0.0.1:5000/#/experiments/1"})
    assert ("href", "http://127.0.0.1:5000/#/experiments/1") in Tags(html(linked)).attributes


@pytest.mark.parametrize(
    ("runs", "said"),
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
        ([a_run(1, math.nan, key="a"), a_run(1, 0.9, key="b")], ["without a number"]),
        (grid_of_runs(["4", "16"], ["0.1", "0.2"], [1, 2, 3]), ["too few replicates", "12 runs of 4 configurations"]),
        (
            grid_of_runs(["4", "16"], ["0.1", "0.2"], range(8)),
            ["All 6 pairs were judged together", "best set", "worse"],
        ),
    ],
)
def test_a_page_stands_whatever_ran(runs: list[Record], said: list[str]) -> None:
    text = re.sub(r"\s+", " ", Tags(html(a_report(runs))).text)
    for each in said:
        assert each in text
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text)


def test_a_sweep_that_still_runs_says_so_at_the_top() -> None:
    report = a_report([a_run(1, 0.9, key="a"), a_run(2, status="RUNNING", key="a")])
    assert "still running" not in Tags(html(report)).text
    text = Tags(html(replace(report, unfinished=True))).text
    assert text.index("still running") < text.index("What was swept")


def test_the_sweep_that_would_decide_is_shown_to_be_pasted() -> None:
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
