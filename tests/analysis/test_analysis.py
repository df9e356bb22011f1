"""A ranking shows what differs, ranks what finished, and hides nothing."""

import csv

from mnist_exp.analysis.ranking import differing_keys, rank
from mnist_exp.tracking.protocols import Record


def record(name: str, kept: float | None = None, status: str = "FINISHED", **params: str) -> Record:
    """A run whose best epoch and test score say the opposite of the weights that it kept."""
    metrics = {} if kept is None else {"kept/val_accuracy": kept, "kept/epoch": 3.0, "test/accuracy": 1 - kept}
    opposite = {} if kept is None else {"best/val_accuracy": 1.9 - kept, "best/epoch": 2.0}
    return Record(name, "1", name, status, params, metrics | opposite, {})


def names(records: list[Record]) -> list[str]:
    return [each.name for each in records]


def test_the_validation_accuracy_of_the_kept_weights_ranks_whatever_best_epoch_and_test_set_say() -> None:
    board = rank([record("low", 0.8), record("high", 0.9), record("middle", 0.85)])
    assert names(board.ranked) == ["high", "middle", "low"]


def test_a_run_of_before_kept_weights_were_logged_is_ranked_by_its_last_epoch() -> None:
    before = Record("b", "1", "before", "FINISHED", {}, {"val_accuracy": 0.85, "best/val_accuracy": 0.99}, {})
    board = rank([record("low", 0.8), record("high", 0.9), before])
    assert names(board.ranked) == ["high", "before", "low"]


def test_a_range_test_finished_but_has_no_rank() -> None:
    board = rank([record("good", 0.8), record("rates", 0.99, lr="range_test")])
    assert (names(board.ranked), names(board.range_tests), board.others) == (["good"], ["rates"], [])
    assert board.finished == 2
    assert [row["rank"] for row in csv.DictReader(board.csv().splitlines())] == ["1", ""]


def test_a_replicate_stands_for_the_seeds_that_it_draws() -> None:
    drawn = [
        record("a", 0.8, replicate="0", seed="17", **{"training.order_seed": "17"}),
        record("b", 0.8, replicate="1", seed="5", **{"training.order_seed": "7"}),
    ]
    assert rank(drawn).keys == ["replicate"]
    pinned = [record("a", 0.8, replicate="0", seed="17"), record("b", 0.8, replicate="0", seed="5")]
    assert rank(pinned).keys == ["seed"]


def test_equals_keep_the_order_they_ran_in() -> None:
    assert names(rank([record("a", 0.8), record("b", 0.8)]).ranked) == ["a", "b"]


def test_what_did_not_finish_has_no_rank_but_is_there() -> None:
    board = rank([record("good", 0.8), record("dead", 0.99, status="FAILED"), record("open", status="RUNNING")])
    assert names(board.ranked) == ["good"]
    assert names(board.others) == ["dead", "open"]


def test_only_keys_that_differ_are_shown_a_missing_one_included() -> None:
    params = [{"units": "4", "seed": "1"}, {"units": "10", "seed": "1", "factor": "0.5"}]
    assert differing_keys(params) == ["units", "factor"]


def test_keys_that_come_with_a_choice_that_differs_are_left_out() -> None:
    params = [
        {"optimizer": "adam", "optimizer.lr": "0.1", "optimizer.beta_1": "0.9"},
        {"optimizer": "sgd", "optimizer.lr": "0.2", "optimizer.momentum": "0"},
    ]
    assert differing_keys(params) == ["optimizer", "optimizer.lr"]
    params.append({"optimizer": "sgd", "optimizer.momentum": "0.9"})
    assert differing_keys(params) == ["optimizer", "optimizer.lr", "optimizer.momentum"]


def test_csv_has_a_line_for_every_run() -> None:
    text = rank([record("a", 0.8, units="4"), record("b", 0.9, units="10"), record("c", status="FAILED")]).csv()
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["rank"], row["status"], row["units"]) for row in rows] == [
        *[("1", "FINISHED", "10"), ("2", "FINISHED", "4")],
        ("", "FAILED", ""),
    ]


def test_no_runs_make_an_empty_ranking() -> None:
    assert rank([]).ranked == []
