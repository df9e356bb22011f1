"""A ranking shows what differs, ranks what finished, and hides nothing."""

import csv

from mnist_exp.analysis.leaderboard import differing_keys, rank
from mnist_exp.analysis.records import Record


def record(name: str, best: float | None = None, status: str = "FINISHED", **params: str) -> Record:
    metrics = {} if best is None else {"best/val_accuracy": best, "best/epoch": 3.0, "test/accuracy": 1 - best}
    return Record(name, "1", name, status, params, metrics, {})


def test_the_best_validation_accuracy_is_first_whatever_the_test_set_says() -> None:
    board = rank([record("low", 0.8), record("high", 0.9), record("middle", 0.85)])
    assert [each.name for each in board.ranked] == ["high", "middle", "low"]


def test_equals_keep_the_order_they_ran_in() -> None:
    assert [each.name for each in rank([record("a", 0.8), record("b", 0.8)]).ranked] == ["a", "b"]


def test_what_did_not_finish_has_no_rank_but_is_there() -> None:
    board = rank([record("good", 0.8), record("dead", 0.99, status="FAILED"), record("open", status="RUNNING")])
    assert [each.name for each in board.ranked] == ["good"]
    assert [each.name for each in board.others] == ["dead", "open"]


def test_only_keys_that_differ_are_shown_a_missing_one_included() -> None:
    records = [record("a", 0.8, units="4", seed="1"), record("b", 0.8, units="10", seed="1", factor="0.5")]
    assert differing_keys(records) == ["units", "factor"]


def test_keys_that_come_with_a_choice_that_differs_are_left_out() -> None:
    runs = [
        Record(
            "a", "1", "a", "FINISHED", {"optimizer": "adam", "optimizer.lr": "0.1", "optimizer.beta_1": "0.9"}, {}, {}
        ),
        Record(
            "b", "1", "b", "FINISHED", {"optimizer": "sgd", "optimizer.lr": "0.2", "optimizer.momentum": "0"}, {}, {}
        ),
    ]
    assert differing_keys(runs) == ["optimizer", "optimizer.lr"]
    runs.append(Record("c", "1", "c", "FINISHED", {"optimizer": "sgd", "optimizer.momentum": "0.9"}, {}, {}))
    assert differing_keys(runs) == ["optimizer", "optimizer.lr", "optimizer.momentum"]


def test_csv_has_a_line_for_every_run() -> None:
    text = rank([record("a", 0.8, units="4"), record("b", 0.9, units="10"), record("c", status="FAILED")]).csv()
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["rank"], row["status"], row["units"]) for row in rows] == [
        *[("1", "FINISHED", "10"), ("2", "FINISHED", "4")],
        ("", "FAILED", ""),
    ]


def test_no_runs_make_an_empty_ranking() -> None:
    assert rank([]).ranked == []
