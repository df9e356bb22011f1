"""Results against costs: the Pareto front, by parameters and by time."""

from collections.abc import Mapping

import pandas as pd
import pytest
from report_runs import BY, a_run, compared, epochs_of, grid_of_runs

from mnist_exp.analysis.ranking import Measure, measure
from mnist_exp.reports import costs
from mnist_exp.reports.charts import NoChart
from mnist_exp.reports.costs import Point
from mnist_exp.tracking.protocols import Record


def costed(cost: float, score: float, seed: int = 1) -> Record:
    """A run whose configuration is named after its parameters."""
    run = a_run(seed, score, model__units=f"{cost:g}")
    run.metrics.update(parameters=cost, val_loss=1 - score)
    return run


def timed(seconds: Mapping[str, float], first: float) -> pd.DataFrame:
    """Four epochs of each run, by id; the first takes ``first``, the others what is given."""
    return pd.DataFrame(
        [
            {"run_id": run_id, "epoch": epoch, "epoch_seconds": first if epoch == 1 else each}
            for run_id, each in seconds.items()
            for epoch in range(1, 5)
        ]
    )


def by_parameters(*runs: Record, by: Measure = BY) -> list[Point]:
    found = costs.costs(compared(runs, by), "parameters", epochs_of(runs))
    assert not isinstance(found, NoChart)
    return found


def test_the_pareto_front_excludes_dominated_configurations() -> None:
    found = by_parameters(costed(1, 0.5), costed(2, 0.7), costed(3, 0.6), costed(4, 0.8))
    assert [(point.cost, point.front) for point in found] == [(1, True), (2, True), (3, False), (4, True)]


def test_the_pareto_front_of_a_loss_is_the_lower_one() -> None:
    found = by_parameters(costed(1, 0.5), costed(2, 0.7), costed(3, 0.6), by=measure("val_loss"))
    assert [point.front for point in found] == [True, True, False]


def test_a_point_is_the_mean_of_its_runs_and_has_them() -> None:
    few, _ = by_parameters(costed(1, 0.5, seed=1), costed(1, 0.7, seed=2), costed(2, 0.9))
    assert (few.cost, few.value) == pytest.approx((1, 0.6))
    assert sorted(few.runs) == [(1, 0.5), (1, 0.7)]
    drawn = costs.draw([few, few], "parameters", BY)
    assert list(drawn.data[0].y) == [0.5, 0.7] * 2


def test_equal_costs_give_no_chart() -> None:
    alike = grid_of_runs(["4", "16"], ["0.1"], [1])
    found = costs.costs(compared(alike), "parameters", epochs_of(alike))
    assert found == NoChart("Every configuration has the same parameters: 100.")


def test_time_excludes_the_first_epoch_which_includes_compiling() -> None:
    slow, fast = costed(4, 0.9), costed(1, 0.5)
    epochs = timed({slow.run_id: 2.0, fast.run_id: 0.5}, first=100.0)
    found = costs.costs(compared([slow, fast]), "train_seconds", epochs)
    assert not isinstance(found, NoChart)
    assert [(point.cost, point.front) for point in found] == [(2.0, True), (8.0, True)]


def test_times_within_20_percent_are_equal() -> None:
    best, other = costed(4, 0.9), costed(1, 0.5)
    found = costs.costs(compared([best, other]), "train_seconds", timed({best.run_id: 1.15, other.run_id: 1.0}, 1.0))
    assert isinstance(found, NoChart)
    assert "takes no more time than the others, within the 20 %" in found.reason


def test_runs_of_one_epoch_have_no_time() -> None:
    runs = [costed(4, 0.9), costed(1, 0.5)]
    once = timed({run.run_id: 1.0 for run in runs}, 1.0).query("epoch == 1")
    found = costs.costs(compared(runs), "train_seconds", once)
    assert found == NoChart("Fewer than two configurations have both a result and train_seconds.")
