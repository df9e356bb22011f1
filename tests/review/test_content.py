"""What a decision is for: a sweep's content as a digest, and in words what changed of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from some_runs import run, runs

from mnist_exp.review.content import Content, changes, content_of
from mnist_exp.tracking.protocols import Record

RUNS = [*runs(0.8, range(3), model__units=4), *runs(0.87, range(3), model__units=10)]
QUESTION, WORTH = "does width 10 beat 4?", 0.005
CONTENT = content_of(RUNS, QUESTION, WORTH)


def with_first(**fields: Any) -> list[Record]:
    """The runs, the first of which differs in some fields."""
    return [replace(RUNS[0], **fields), *RUNS[1:]]


def what_changed(now: list[Record], question: str = QUESTION, worth: float | None = WORTH) -> str:
    content = content_of(now, question, worth)
    assert content.digest != CONTENT.digest
    return changes(vars(CONTENT), content, now)


def test_a_content_is_shown_by_eight_digits_and_its_number_of_runs() -> None:
    assert CONTENT.words == f"{CONTENT.digest[:8]}, 6 runs"
    assert len(CONTENT.digest) == 16


UNIMPORTANT: dict[str, Callable[[Record], Record]] = {
    "tags": lambda each: replace(each, tags={**each.tags, "review": "rejected", "mlflow.note.content": "a note"}),
    "name": lambda each: replace(each, name="another name"),
    "id": lambda each: replace(each, run_id=f"another {each.run_id}"),
    "end": lambda each: replace(each, ended_ms=999),
    "system": lambda each: replace(each, metrics={**each.metrics, "system/cpu": 99.0}),
    "seconds": lambda each: replace(each, metrics={**each.metrics, "train_seconds": 99.0}),
}


@pytest.mark.parametrize("what", UNIMPORTANT)
def test_what_does_not_change_a_result_does_not_count(what: str) -> None:
    assert content_of([UNIMPORTANT[what](each) for each in RUNS], QUESTION, WORTH) == CONTENT


def test_the_order_of_runs_does_not_count() -> None:
    assert content_of(RUNS[::-1], QUESTION, WORTH) == CONTENT


def test_a_changed_metric_is_named_with_its_run() -> None:
    metrics = {**RUNS[0].metrics, "kept/val_accuracy": 0.99}
    assert what_changed(with_first(metrics=metrics)) == (
        f"metrics changed; changed or new: run {RUNS[0].run_id[:8]} (a run)"
    )


def test_the_last_bit_of_a_metric_counts() -> None:
    value = RUNS[0].metrics["kept/val_accuracy"]
    metrics = {**RUNS[0].metrics, "kept/val_accuracy": value + 2**-53}
    assert metrics["kept/val_accuracy"] != value
    assert "metrics changed" in what_changed(with_first(metrics=metrics))


def test_a_metric_that_is_no_number_is_the_same_again() -> None:
    first, second = ([run(0, 0.9, metrics={"f1": float("nan"), "loss": float("inf")})] for _ in range(2))
    assert content_of(first, "", None) == content_of(second, "", None)


def test_a_changed_state_is_named() -> None:
    assert what_changed(with_first(status="FAILED")).startswith("states changed; changed or new: run ")


def test_a_changed_param_or_fingerprint_is_named() -> None:
    for changed in (
        {"params": {**RUNS[0].params, "model.units": "5"}},
        {"tags": {**RUNS[0].tags, "fingerprint": "of other code"}},
    ):
        assert what_changed(with_first(**changed)).startswith("fingerprints changed; changed or new: run ")


def test_another_replicate_is_named() -> None:
    params = {**RUNS[0].params, "replicate": "9", "seed": "5"}
    assert what_changed(with_first(params=params)).startswith("replicates changed; changed or new: run ")


def test_another_question_or_worth_is_named() -> None:
    assert what_changed(RUNS, question="is it worth it?") == "question changed"
    assert what_changed(RUNS, worth=None) == "question changed"


def test_a_further_run_is_counted_and_named() -> None:
    (more,) = runs(0.87, [7], model__units=10)
    assert what_changed([*RUNS, more]) == (f"it had 6 runs, and has 7; changed or new: run {more.run_id[:8]} (a run)")


def test_a_removed_run_is_counted() -> None:
    assert what_changed(RUNS[1:]) == "it had 6 runs, and has 5"


def test_two_runs_that_exchange_their_results_are_both_named() -> None:
    first, second = RUNS[0], RUNS[1]
    changed = [replace(first, metrics=second.metrics), replace(second, metrics=first.metrics), *RUNS[2:]]
    assert content_of(changed, QUESTION, WORTH).parts == CONTENT.parts
    assert what_changed(changed).startswith("changed or new: run ")


def test_several_changed_runs_are_counted_after_two() -> None:
    changed = [replace(each, status="KILLED") for each in RUNS]
    assert what_changed(changed).endswith("and 4 more")


def test_more_runs_than_an_event_can_name_are_compared_as_a_whole() -> None:
    many = [run(number, 0.9) for number in range(301)]
    before = content_of(many, "", None)
    assert before.each == ""
    now = [replace(many[0], status="FAILED"), *many[1:]]
    assert changes(vars(before), content_of(now, "", None), now) == "states changed"


@pytest.mark.parametrize("before", [{}, {"parts": {}}, {"digest": "x", "each": "abc", "runs": 6}])
def test_an_event_that_says_little_of_its_content_is_no_error(before: dict[str, Any]) -> None:
    now: Content = CONTENT
    assert changes(before, now, RUNS)
