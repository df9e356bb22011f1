"""Configurations over their seeds: grouped, ranked, tested, and refused where a ranking would mislead."""

from dataclasses import replace

import pandas as pd
import pytest

from mnist_exp.analysis.comparison import Comparison, compare, measure
from mnist_exp.analysis.records import Record
from mnist_exp.errors import ConfigError

BEST = measure("val_accuracy")


def run(units: int, seed: int, accuracy: float | None = None, **more: str) -> Record:
    """A run of ``units`` units; without an accuracy it failed."""
    fields = {"status": "FINISHED" if accuracy is not None else "FAILED", "digest": "d", "failure": "diverged"} | more
    metrics = {} if accuracy is None else {"val_accuracy": accuracy, "test/accuracy": accuracy, "train_seconds": 2.0}
    order = {"training.order_seed": fields["order_seed"]} if "order_seed" in fields else {}
    return Record(
        run_id=f"{units}-{seed}",
        experiment_id="1",
        name=f"model.units={units}",
        status=fields["status"],
        params={"model.units": str(units), "seed": str(seed), **order},
        metrics=metrics,
        tags={"dataset": "mnist", "dataset.digest": fields["digest"]}
        | ({"failure": fields["failure"]} if accuracy is None else {}),
    )


def epochs(*runs: Record, before: float = 0.01) -> pd.DataFrame:
    """Two epochs of each finished run, the first better by ``before``."""
    rows = [
        {
            "run_id": run.run_id,
            "epoch": epoch,
            "val_accuracy": run.metrics["val_accuracy"] + (before if epoch == 1 else 0),
        }
        for run in runs
        if "val_accuracy" in run.metrics
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "val_accuracy"])


def compared(*runs: Record, **options: bool) -> Comparison:
    return compare(runs, epochs(*runs), BEST, **options)


FOUR = [run(4, seed, 0.85 + seed / 100) for seed in range(4)]
TEN = [run(10, seed, 0.93 + seed / 100 + (seed % 2) / 500) for seed in range(4)]


def test_runs_that_differ_in_their_seed_alone_are_one_configuration() -> None:
    result = compared(*FOUR, *TEN)
    assert result.keys == ["model.units"]
    assert [row.label(result.keys) for row in result.rows] == ["model.units=10", "model.units=4"]
    first, second = (row.spread for row in result.rows)
    assert first is not None
    assert second is not None
    assert (first.n, second.n) == (4, 4)
    assert second.mean == pytest.approx(0.865 + 0.01)


def test_best_and_last_values_are_told_apart() -> None:
    result = compared(*FOUR)
    (row,) = result.rows
    assert row.spread is not None
    assert row.other_spread is not None
    assert row.spread.mean - row.other_spread.mean == pytest.approx(0.01)
    (by_last,) = compare(FOUR, epochs(*FOUR), measure("val_accuracy", "last")).rows
    assert by_last.spread == row.other_spread


def test_the_same_seeds_make_pairs() -> None:
    against = compared(*FOUR, *TEN).rows[1].against_winner
    assert against is not None
    assert (against.paired, against.n) == (True, 4)
    assert against.shown
    assert against.words() == "differs (p < 0.001)"


@pytest.mark.parametrize(
    "others",
    [
        [run(10, seed, 0.93 + seed / 100) for seed in (2, 3, 4)],
        [run(10, seed, 0.93 + seed / 100, order_seed="9") for seed in range(4)],
    ],
    ids=["other seeds", "another batch order"],
)
def test_other_seeds_or_batches_make_no_pairs(others: list[Record]) -> None:
    against = compared(*FOUR, *others).rows[1].against_winner
    assert against is not None
    assert not against.paired


def test_a_seed_that_one_lacks_leaves_the_other_pairs() -> None:
    against = compared(*TEN, *FOUR[:3], run(4, 3)).rows[1].against_winner
    assert against is not None
    assert (against.paired, against.n) == (True, 3)


def test_what_is_within_chance_is_said_so() -> None:
    alike = [run(8, seed, 0.86 + (-1) ** seed / 50) for seed in range(4)]
    result = compared(*FOUR, *alike)
    assert "no difference is shown to the other: model.units=8." in result.conclusion()
    assert result.rows[1].against_winner is not None
    assert result.rows[1].against_winner.words().startswith("no difference shown (p 0.")


def test_several_comparisons_are_corrected_together() -> None:
    alike = [run(8, seed, 0.92 + seed / 90 + (seed % 2) / 100) for seed in range(4)]
    pair = compared(*TEN, *alike).rows[1].against_winner
    three = next(row for row in compared(*TEN, *alike, *FOUR).rows if row.params["model.units"] == "8").against_winner
    assert pair is not None
    assert three is not None
    assert (pair.p, pair.corrected) == (three.p, pair.p)
    assert three.corrected >= three.p


def test_runs_that_failed_count_and_are_named() -> None:
    result = compared(*FOUR, run(4, 9), run(10, 0, failure="interrupted"))
    assert result.rows[0].how_others_ended() == "1 diverged"
    assert result.rows[1].spread is None
    assert result.rows[1].how_others_ended() == "1 interrupted"
    assert result.conclusion().endswith("2 of 6 runs did not finish with a figure.")


def test_one_seed_has_no_test() -> None:
    assert "from one seed: another seed may turn the order round" in compared(FOUR[0], TEN[0]).conclusion()


def test_the_order_of_params_makes_no_other_configuration() -> None:
    turned = replace(FOUR[1], params=dict(reversed(FOUR[1].params.items())))
    assert len(compared(FOUR[0], turned).rows) == 1


def test_infinite_values_are_no_figures() -> None:
    (row,) = compare([run(4, 0, float("inf"))], epochs(), measure("val_accuracy", "last")).rows
    assert row.spread is None


def test_a_winner_with_seeds_is_not_said_to_have_one() -> None:
    said = compared(*TEN, FOUR[0]).conclusion()
    assert "against others with one seed" in said


def test_losses_are_ranked_upwards() -> None:
    assert not measure("val_loss").higher
    rows = [run(4, 0, 0.5), run(10, 0, 0.9)]
    assert compare(rows, epochs(*rows), measure("train_seconds")).winner is not None


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("test/accuracy", "would choose by test scores"),
        ("perplexity", "is not known to be better high or low: add --direction max, or min"),
    ],
)
def test_what_cannot_be_ranked_by_is_refused(metric: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(metric)


def test_a_test_score_is_ranked_by_when_that_is_wanted() -> None:
    by = measure("test/accuracy", allow_test=True)
    winner = compare([*FOUR, *TEN], epochs(*FOUR, *TEN), by).winner
    assert winner is not None
    assert winner.params["model.units"] == "10"


def test_different_data_are_not_ranked_together_unless_told_to() -> None:
    other = run(10, 0, 0.99, digest="other")
    with pytest.raises(ConfigError, match="used 2 data sets"):
        compared(*FOUR, other)
    assert compared(*FOUR, other, across_datasets=True).winner is not None


def test_no_runs_and_no_such_metric_are_said_so() -> None:
    with pytest.raises(ConfigError, match="there are no runs to compare"):
        compared()
    with pytest.raises(
        ConfigError, match="no run has a metric 'top5_accuracy'. There are: test/accuracy, train_seconds"
    ):
        compare(FOUR, epochs(*FOUR), measure("top5_accuracy"))


def test_a_metric_that_is_no_number_gives_no_rank() -> None:
    result = compare([*FOUR, run(10, 0, float("nan"))], epochs(*FOUR), measure("val_accuracy", "last"))
    assert result.rows[-1].how_others_ended() == "1 finished without a number for it"
