"""The data of a report's charts, and how they are drawn."""

import math

import numpy as np
import pandas as pd
import pytest
from plotly import io
from report_runs import BY, EVIL, a_run, compared, epochs_of, grid_of_runs

from mnist_exp.analysis.comparison import compare
from mnist_exp.reports import charts, drawing
from mnist_exp.reports.charts import NoChart
from mnist_exp.reports.costs import costs
from mnist_exp.reports.importance import Importance, importance
from mnist_exp.tracking.protocols import Record


def test_names_are_short_ranked_and_unique() -> None:
    comparison = compared([a_run(1, 0.8, model__units="4"), a_run(1, 0.9, model__units="16")])
    assert charts.names(comparison) == ["#1 units=16", "#2 units=4"]


def test_a_key_that_another_ends_in_keeps_its_whole_name() -> None:
    runs = [a_run(1, 0.8, lr="constant", optimizer__lr="1"), a_run(1, 0.9, lr="constant", optimizer__lr="2")]
    assert charts.names(compared(runs))[0] == "#1 optimizer.lr=2"


def test_long_names_list_values_without_keys_and_are_cut() -> None:
    runs = [a_run(1, 0.8, some__key="a" * 20, other__key="1"), a_run(1, 0.9, some__key="b" * 50, other__key="2")]
    first, second = charts.names(compared(runs))
    assert first == "#1 " + "b" * 26 + "…"
    assert second == "#2 " + "a" * 20 + " · 1"


def test_values_of_a_key_are_ordered_as_numbers() -> None:
    assert charts.ordered(["16", "4", charts.MISSING, "0.5", "relu", "4"]) == ["0.5", "4", "16", "relu", charts.MISSING]


def test_intervals_are_those_of_the_ranking() -> None:
    comparison = compared(grid_of_runs(["4", "16"], ["0.1"], [1, 2, 3]))
    found = charts.intervals(comparison)
    assert not isinstance(found, NoChart)
    spread = comparison.rows[0].spread
    assert spread is not None
    assert (found[0].mean, found[0].low, found[0].high) == (spread.mean, spread.low, spread.high)
    assert [len(each.runs) for each in found] == [3, 3]
    assert not any(each.best for each in found), "three replicates give no verdict"


def test_intervals_of_the_best_set_are_marked() -> None:
    runs = grid_of_runs(["4", "16"], ["0.1", "0.2"], range(8))
    found = charts.intervals(compared(runs))
    assert not isinstance(found, NoChart)
    assert (
        [each.best for each in found] == [row.in_best_set for row in compared(runs).rows] == [True, False, False, False]
    )


def test_parallel_coordinates_put_few_values_at_equal_distances() -> None:
    axes = charts.parallel(compared(grid_of_runs(["4", "16"], ["0.0001", "0.1"], [1])))
    assert not isinstance(axes, NoChart)
    assert [axis.label for axis in axes] == ["model.units", "optimizer.lr", "kept val_accuracy"]
    assert axes[0].ticks == [(0.0, "4"), (1.0, "16")]
    assert axes[0].positions == [1.0, 1.0, 0.0, 0.0]
    assert axes[2].positions == pytest.approx([0.5403, 0.5362, 0.5021, 0.498], abs=1e-9)


def test_parallel_coordinates_put_many_rates_on_a_logarithmic_scale() -> None:
    rates = [str(10 ** -(place / 4)) for place in range(17)]
    axes = charts.parallel(compared([a_run(1, 0.5, optimizer__lr=rate) for rate in rates]))
    assert not isinstance(axes, NoChart)
    assert sorted(axes[0].positions) == pytest.approx([-4 + place / 4 for place in range(17)])
    assert [name for _, name in axes[0].ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_curves_are_means_with_the_range_over_the_runs() -> None:
    runs = [a_run(1, 0.8, model__units="4"), a_run(2, 0.9, model__units="4")]
    found = charts.curves(compared(runs), epochs_of(runs), "val_accuracy")
    assert not isinstance(found, NoChart)
    assert len(found) == 1
    assert found[0].epochs == [1, 2, 3]
    assert found[0].mean == pytest.approx([0.65, 0.75, 0.85])
    assert found[0].low == pytest.approx([0.6, 0.7, 0.8])
    assert found[0].high == pytest.approx([0.7, 0.8, 0.9])
    assert sorted(found[0].last) == pytest.approx([0.8, 0.9])


def test_a_curve_ends_with_the_shortest_of_its_runs() -> None:
    runs = [a_run(1, 0.8, model__units="4"), a_run(2, 0.9, model__units="4")]
    epochs = pd.concat([epochs_of(runs[:1], 5), epochs_of(runs[1:], 2)])
    found = charts.curves(compare(runs, epochs, BY), epochs, "val_accuracy")
    assert not isinstance(found, NoChart)
    assert found[0].epochs == [1, 2]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    kept = charts.thinned(1000)
    assert len(kept) == charts.MAX_POINTS
    assert (kept[0], kept[-1]) == (0, 999)
    assert charts.thinned(3) == [0, 1, 2]


def test_a_grid_has_a_gap_where_nothing_was_run() -> None:
    runs = grid_of_runs(["4", "16"], ["0.1", "0.2"], [1])[:3]
    found = charts.grid(compared(runs))
    assert not isinstance(found, NoChart)
    assert (found.x_key, found.y_key, found.x, found.y) == ("model.units", "optimizer.lr", ["4", "16"], ["0.1", "0.2"])
    assert found.cells[0].tolist() == pytest.approx([0.5021, 0.5403])
    assert math.isnan(found.cells[1][1])
    assert not found.pooled


def test_a_grid_of_three_keys_shows_the_most_important_two_and_is_pooled() -> None:
    runs = [a_run(1, 0.5, a=a, b=b, c=c) for a in "12" for b in "12" for c in "12"]
    found = charts.grid(compared(runs), ["c", "a", "b"])
    assert not isinstance(found, NoChart)
    assert (found.x_key, found.y_key, found.pooled) == ("c", "a", True)


def test_matrices_follow_the_ranking_and_subtract_the_first() -> None:
    worse, better = a_run(1, 0.8, model__units="4"), a_run(1, 0.9, model__units="16")
    diagonal = np.diag(np.full(10, 5))
    moved = diagonal.copy()
    moved[3, 3], moved[3, 8] = 3, 2
    found = charts.matrices(compared([worse, better]), {worse.run_id: moved, better.run_id: diagonal})
    assert not isinstance(found, NoChart)
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
    assert not isinstance(found, NoChart)
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
        ([a_run(s, 0.5 + 0.1 * s, a=a, b=b) for a in "12" for b in "12" for s in range(5)], "do not predict"),
    ],
)
def test_importance_says_why_there_is_none(runs: list[Record], reason: str) -> None:
    found = importance(compared(runs))
    assert isinstance(found, NoChart)
    assert reason in found.reason


def test_each_chart_without_data_has_a_reason_instead() -> None:
    comparison = compared([a_run(1, 0.5)])
    assert isinstance(charts.parallel(comparison), NoChart)
    assert isinstance(charts.grid(comparison), NoChart)
    assert isinstance(costs(comparison, "parameters", epochs_of([])), NoChart)
    assert isinstance(charts.matrices(comparison, {}), NoChart)
    assert isinstance(charts.curves(comparison, epochs_of([]), "val_accuracy"), NoChart)
    assert isinstance(charts.curves(comparison, epochs_of([]), "no_such"), NoChart)
    assert isinstance(charts.intervals(compared([a_run(1, status="FAILED")])), NoChart)


def test_drawn_numbers_have_five_digits_and_none_is_infinite() -> None:
    assert drawing.rounded([0.123456789, math.nan, math.inf, 12345678.0]) == [0.12346, None, None, 12346000.0]


def test_no_text_of_a_run_ends_the_script_that_draws_it() -> None:
    runs = [a_run(1, 0.8, some__key=EVIL[0]), a_run(1, 0.9, some__key=EVIL[1])]
    found = charts.intervals(compared(runs))
    assert not isinstance(found, NoChart)
    drawn = io.to_html(drawing.ranking(found, BY), full_html=False, include_plotlyjs=False).lower()
    assert drawn.count("<script") == drawn.count("</script") == 1
    assert "<img" not in drawn
    assert "&lt;img" in drawn  # what plotly, which reads HTML of its own, shows as <img
