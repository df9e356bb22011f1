"""What is computed of a sweep before it is decided on: what holds, what is missing, what fails."""

from collections.abc import Callable
from typing import Any

import pytest

from mnist_exp.review.actions import Reviewer
from mnist_exp.review.checks import Check, State, failing
from mnist_exp.review.person import Person
from mnist_exp.review.review import since
from mnist_exp.tracking.protocols import Record
from review.conftest import ALIKE, BOB, CLEAR, COMMIT, Sweeps

HOLDS, MISSING, FAILS = State.HOLDS, State.MISSING, State.FAILS


def check(sweeps: Sweeps, sweep: Record, name: str) -> tuple[State, str]:
    (found,) = [each for each in sweeps.review(sweep).checks if each.name == name]
    return found.state, found.words


def test_a_sound_sweep_holds_all_that_it_can_alone(sweeps: Sweeps) -> None:
    found = sweeps.review(sweeps.make(params={"question": "does width 10 beat 4?"})).checks
    assert [(each.name, each.words) for each in found if each.state is HOLDS] == [
        ("data", "data mnist c6558067"),
        ("code", "same code at 8de96d5, nothing uncommitted"),
        ("libraries", "same libraries"),
        ("finished", "16 of 16 runs finished"),
        ("replicates", "8 replicates: enough for a verdict"),
        ("test data", "test data unused in choosing"),
        ("question", "asked before any run (claimed)"),
        ("looks", "looked at once"),
    ]
    assert [each.name for each in found if each.state is MISSING] == ["confirmed", "repeated"]


@pytest.mark.parametrize(
    ("tag", "name", "words"),
    [
        ("dataset.digest", "data", "the runs have 2 different data"),
        ("fingerprint.code", "code", "the runs have 2 different code"),
        ("fingerprint.libraries", "libraries", "the runs have 2 different libraries"),
    ],
)
def test_runs_that_have_not_the_same_fail(sweeps: Sweeps, tag: str, name: str, words: str) -> None:
    sweep = sweeps.make(numbers=range(2))
    sweeps.backend.client.set_tag(sweeps.runs(sweep)[0].run_id, tag, "another")
    assert check(sweeps, sweep, name) == (FAILS, words)


def test_a_run_that_does_not_say_what_it_used_fails(sweeps: Sweeps) -> None:
    sweep = sweeps.make(numbers=range(2))
    sweeps.backend.client.delete_tag(sweeps.runs(sweep)[0].run_id, "fingerprint.libraries")
    assert check(sweeps, sweep, "libraries")[0] is FAILS


DIRTY: dict[str, Any] = {"run_tags": {"git.dirty": "true"}, "numbers": range(2)}


class TestUncommittedChanges:
    def test_fail_if_they_were_not_kept(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(**DIRTY)
        assert check(sweeps, sweep, "code") == (FAILS, "uncommitted changes at 8de96d5, which were not kept")

    def test_hold_if_they_were(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(**DIRTY)
        for run in sweeps.runs(sweep):
            sweeps.backend.client.log_text(run.run_id, "+ x = 1", "provenance/git.diff")
        assert check(sweeps, sweep, "code") == (
            HOLDS,
            "same code at 8de96d5, uncommitted changes kept in provenance/git.diff",
        )

    def test_outside_a_checkout_there_are_none(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(numbers=range(2), run_tags={"git.commit": ""})
        assert check(sweeps, sweep, "code") == (HOLDS, "same code, not in a git checkout, nothing uncommitted")


class TestFinished:
    def test_a_failed_run_fails(self, sweeps: Sweeps) -> None:
        assert check(sweeps, sweeps.make(failed=[3]), "finished") == (FAILS, "14 of 16 runs finished")

    def test_a_job_that_never_began_fails(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(tags={"sweep.jobs": "20"})
        assert check(sweeps, sweep, "finished") == (FAILS, "16 of 20 runs finished")

    def test_a_sweep_that_runs_fails(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(status="RUNNING")
        assert check(sweeps, sweep, "finished") == (FAILS, "the sweep has not ended: 16 of 16 runs finished")

    def test_a_sweep_without_a_run_fails(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make({}, [])
        assert check(sweeps, sweep, "finished") == (FAILS, "0 of 0 runs finished")
        assert check(sweeps, sweep, "replicates") == (FAILS, "nothing to compare")
        assert sweeps.review(sweep).answer.text == "failed: there are no runs to compare"

    def test_a_sweep_without_a_finished_run_fails(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(numbers=range(2), failed=range(2))
        found = sweeps.review(sweep)
        assert {each.name for each in failing(found.checks)} == {"finished", "replicates"}
        assert found.answer.text == "failed: no run finished"


class TestReplicates:
    def test_too_few_fail(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(numbers=range(4))
        assert check(sweeps, sweep, "replicates") == (FAILS, "too few replicates: 4 of at least 6")

    def test_one_configuration_fails(self, sweeps: Sweeps) -> None:
        assert check(sweeps, sweeps.make({4: 0.8}), "replicates") == (FAILS, "nothing to compare")


def test_test_data_that_runs_were_stopped_by_fail(sweeps: Sweeps) -> None:
    sweep = sweeps.make(numbers=range(2))
    for run in sweeps.runs(sweep):
        sweeps.backend.client.log_param(run.run_id, "training.early_stopping.monitor", "test/accuracy")
    assert check(sweeps, sweep, "test data") == (FAILS, "chosen by test/accuracy")


def test_a_question_that_was_asked_later_is_missing_as_is_one_that_was_not(
    sweeps: Sweeps, by: Callable[[str], Reviewer]
) -> None:
    sweep = sweeps.make(numbers=range(2))
    assert check(sweeps, sweep, "question") == (MISSING, "a question before any run")
    by(BOB).question(sweeps.review(sweep), "does width matter?", 0.01)
    assert check(sweeps, sweep, "question") == (
        MISSING,
        "a question before any run: it was asked when results had been seen",
    )
    assert sweeps.review(sweep).comparison is not None
    assert sweeps.review(sweep).question.worth == 0.01


class TestLooks:
    def test_the_same_that_was_judged_before_is_said(self, alone: Sweeps) -> None:
        first = alone.make()
        second = alone.make(numbers=range(8, 16))
        assert check(alone, first, "looks") == (HOLDS, "looked at once")
        assert check(alone, second, "looks") == (
            MISSING,
            f"one look: the same was judged once before ({first.run_id[:4]})",
        )

    def test_other_configurations_other_data_and_fresh_tests_are_no_look(self, alone: Sweeps) -> None:
        alone.make({4: 0.8, 20: 0.9}, range(2), tags={"fingerprint.data": "a"})
        first = alone.make(numbers=range(2), tags={"fingerprint.data": "b"})
        other = alone.make(numbers=range(2), tags={"fingerprint.data": "a"})
        fresh = alone.make(numbers=range(2), tags={"fingerprint.data": "a"}, params={"follows": first.run_id})
        for sweep in (first, other, fresh):
            assert check(alone, sweep, "looks") == (HOLDS, "looked at once")

    def test_a_planned_chain_counts_its_looks_and_all_of_its_runs(self, alone: Sweeps) -> None:
        first = alone.make(ALIKE, tags={"looks": "true"})
        second = alone.make(ALIKE, range(8, 12), tags={"looks": first.run_id})
        assert check(alone, second, "looks") == (HOLDS, "planned looks, taken with 8 and 12 replicates")
        assert check(alone, second, "finished") == (HOLDS, "24 of 24 runs finished")
        assert alone.review(second).content.runs == 24
        assert check(alone, first, "looks")[0] is HOLDS


class TestRepeated:
    def again(self, sweeps: Sweeps, sweep: Record, user: str, value: float | None = None) -> None:
        """The first run of the best configuration, again."""
        result = sweeps.review(sweep).comparison
        assert result is not None
        assert result.first is not None
        best = result.first.finished[0]
        value = best.metrics["kept/val_accuracy"] if value is None else value
        client = sweeps.backend.client
        tags = {"kind": "run", "fingerprint": best.tags["fingerprint"], "mlflow.user": user}
        run = client.create_run(sweep.experiment_id, tags=tags).info.run_id
        client.log_metric(run, "kept/val_accuracy", value)
        client.set_terminated(run)

    def test_the_same_figures_by_somebody_else_hold(self, alone: Sweeps) -> None:
        sweep = alone.make(numbers=range(6))
        assert check(alone, sweep, "repeated") == (MISSING, "repeated by somebody else")
        self.again(alone, sweep, "ann")
        assert check(alone, sweep, "repeated") == (MISSING, "repeated by somebody else"), "she is its author"
        self.again(alone, sweep, "bob")
        assert check(alone, sweep, "repeated") == (HOLDS, "repeated by bob: the same figures")

    def test_other_figures_are_named_and_do_not_hold(self, alone: Sweeps) -> None:
        sweep = alone.make(numbers=range(6))
        self.again(alone, sweep, "bob", 0.5)
        assert check(alone, sweep, "repeated") == (MISSING, "repeated by bob: other figures")


def test_only_what_fails_keeps_a_sweep_from_being_approved() -> None:
    checks = [Check(state, state, "") for state in State]
    assert [each.name for each in failing(checks)] == ["fails"]


def test_what_changed_since_the_last_approved_sweep_is_listed(alone: Sweeps) -> None:
    assert since(alone.backend, alone.review(alone.make({}, []))) is None
    before = alone.make(CLEAR, [0], tags={"version.keras": "3.13"})
    Reviewer(alone.backend, Person.parse(BOB)).approve(alone.review(before), "", despite="one replicate is enough here")
    alone.make({}, [], tags={"review": "approved 1f2e3d4c, 16 runs"})  # by nobody: the record decides, not the tag
    keys = "model.units, optimizer.lr, replicate"
    now = alone.make(CLEAR, [0], tags={"sweep.keys": keys, "git.commit": "9" * 40, "version.keras": "3.14"})
    found = since(alone.backend, alone.review(now))
    assert found is not None
    assert found[0].run_id == before.run_id
    assert found[1] == [
        "optimizer.lr swept",
        f"code at {COMMIT[:7]} then, 9999999 now",
        "keras 3.13 then, 3.14 now",
    ]
