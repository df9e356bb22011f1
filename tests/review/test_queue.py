"""``mnist-exp sweeps``: the list of sweeps, and the line with which other commands end: how many wait."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mnist_exp.app.preflight import Plan, _author
from mnist_exp.base.errors import StoreAway
from mnist_exp.config.schema import DataConfig
from mnist_exp.data import datasets
from mnist_exp.review import queue
from mnist_exp.review.person import current
from mnist_exp.tracking.mlflow.backend import MlflowBackend
from review.conftest import ANN, BOB, CLEO, Desk, Sweeps


class TestQueue:
    def test_the_newest_comes_first_with_question_answer_and_turn(self, own: Desk) -> None:
        asked = own.sweeps.make({}, [], params={"question": "does width 10 beat 4?"}, tags={"answer": "8 more"})
        own.sweeps.make({}, [], author=BOB, tags={"sweep.jobs": "4"})
        own.review(asked.run_id, "--ask", "bob")
        done = own.list(by=BOB)
        assert done.code == 0
        newest, oldest = [line.split() for line in done.out.splitlines() if "asked" in line or "beat" in line]
        assert newest[1:3] == ["Bob", "Ray"]
        assert "(no question asked)" in " ".join(newest)
        assert oldest[0] == asked.run_id[:4]
        assert " ".join(oldest).endswith("does width 10 beat 4? 8 more YOU")

    def test_only_mine_only_open_only_recent(self, own: Desk) -> None:
        old = own.sweeps.make({}, [])
        own.sweeps.sql("UPDATE runs SET end_time = end_time - 3 * 86400000 WHERE run_uuid = ?", old.run_id)
        approved, bobs = own.sweeps.make(), own.sweeps.make({}, [], author=BOB)
        running = own.sweeps.make({}, [], status="RUNNING")
        own.review(approved.run_id, "--approve", by=BOB)

        def ids(*arguments: str) -> set[str]:
            return {each["id"] for each in own.json("sweeps", *arguments)}

        everything = {old.run_id, approved.run_id, bobs.run_id, running.run_id}
        assert ids() == everything
        assert ids("--mine") == everything - {bobs.run_id}
        assert ids("--open") == everything - {approved.run_id}
        assert ids("--since", "2d") == everything - {old.run_id}
        assert ids("--since", "4d", "--mine", "--open") == {old.run_id, running.run_id}

    def test_a_stale_one_is_open_and_says_so(self, own: Desk) -> None:
        sweep = own.sweeps.make()
        own.review(sweep.run_id, "--approve", by=BOB)
        own.sweeps.backend.client.delete_run(own.sweeps.runs(sweep)[0].run_id)
        (line,) = own.json("sweeps", "--open")
        assert (line["state"], line["changed"]) == ("stale", "it had 16 runs, and has 15")
        assert line["is_yours"]
        assert "stale" in own.list().out
        assert own.review(sweep.run_id, "--check").code == 1

    @pytest.mark.parametrize("since", ["7", "d", "-1d", "7 years", "1.5h", ""])
    def test_a_time_that_is_none_is_refused(self, own: Desk, since: str) -> None:
        done = own.list("--since", since) if not since.startswith("-") else own.list(f"--since={since}")
        assert done.code == 2
        assert "--since must be a number of minutes, hours, days or weeks" in done.err

    def test_an_empty_store_has_none(self, own: Desk) -> None:
        assert own.list().out == "No sweeps.\n"
        assert own.json("sweeps") == []

    def test_a_list_that_is_long_says_how_many_are_left_out(self, own: Desk) -> None:
        for _ in range(32):
            own.sweeps.make({}, [])
        assert "2 older sweeps are not shown" in own.list().out
        assert len(own.json("sweeps")) == 32


def test_other_commands_end_with_what_waits(own: Desk) -> None:
    sweep = own.sweeps.make()
    compare = ("compare", sweep.run_id, "--uri", own.sweeps.uri)
    assert "for you" not in own.run(*compare, by=BOB).err
    own.review(sweep.run_id, "--ask", "Bob Ray")
    done = own.run(*compare, by=BOB)
    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("1 sweep waits for you:  ")
    assert "for you" not in own.run(*compare, by=CLEO).err


class LoggedIn(MlflowBackend):
    """A store whose server knows its user as ``alee``."""

    def login(self) -> str | None:
        return "alee"


class Away(MlflowBackend):
    """A store whose server does not answer any more."""

    def login(self) -> str | None:
        raise StoreAway("no answer")


class TestLogins:
    def test_who_logged_in_is_the_author_of_a_sweep_and_finds_it_again(self, alone: Sweeps) -> None:
        backend = LoggedIn(alone.uri)
        author = _author(planned(backend))
        assert author == "alee"
        sweep = alone.make({}, [], author=author)
        alone.make({}, [], author=BOB)
        (line,) = queue.lines(backend, current(backend), mine=True)
        assert line.sweep.run_id == sweep.run_id
        alone.set(sweep, **{"review.turn": author})
        assert queue.waiting(backend) == 1

    def test_without_an_answer_it_is_gits_author(self, alone: Sweeps, acts_as: Callable[[str], None]) -> None:
        acts_as(ANN)
        assert _author(planned(Away(alone.uri))) == ANN
        assert _author(replace(planned(LoggedIn(alone.uri)), away=StoreAway("no answer"))) == ANN
        assert _author(planned(alone.backend)) == ANN

    def test_a_store_that_cannot_tell_says_nothing(self, alone: Sweeps) -> None:
        assert queue.waiting(Away(alone.uri)) == 0


def planned(backend: MlflowBackend) -> Plan:
    return Plan(datasets.load(DataConfig("digits", None, True, None, 0.2, False, 17)), backend, ("mnist",), None, False)
