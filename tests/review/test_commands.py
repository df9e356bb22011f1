"""``mnist-exp review`` as two people type it."""

import json
from typing import Any

import pytest

from mnist_exp.review.record import Kind
from mnist_exp.tracking.mlflow import backend as backends
from review.conftest import ALIKE, ANN, BOB, CLEO, Desk, ReadOnly, said

EVIL = "[bold]x[/] \x1b[31mred\x07 <b>"


class TestTheWalk:
    def test_ask_reject_ask_again_approve(self, own: Desk) -> None:
        sweep = own.sweeps.make(params={"question": "does width 10 beat 4?", "worth": "0.005"})
        which = sweep.run_id[:6]
        assert own.review(which, "--check").code == 1

        asked = own.review(which, "--ask", "bob", "-m", "please")
        assert (asked.code, asked.err) == (0, ""), "it waits for Bob, not for her"
        assert "for you" in own.review(which, by=BOB).err

        rejected = own.review(which, "--reject", "-m", "why not 16 replicates?", by=BOB)
        assert "REJECTED" in rejected.out
        assert "why not 16 replicates?" in rejected.out
        assert own.review(which, "--check").code == 1
        assert own.review(which).err.startswith("1 sweep waits for you:  ")

        own.review(which, "--ask", "bob@example.org")
        approved = own.review(which, "--approve", by=BOB)
        assert approved.code == 0
        assert "APPROVED by Bob Ray <bob@example.org> (claimed)" in approved.out
        checked = own.review(which, "--check", by=CLEO)
        assert (checked.code, checked.err) == (0, "")
        assert checked.out.startswith("APPROVED by Bob Ray")
        assert own.review(which).err == ""

    def test_the_screen_has_everything_on_eighty_columns(self, desk: Desk) -> None:
        sweep = desk.sweeps.make(params={"question": "does width 10 beat 4? " * 8, "worth": "0.005"})
        said(desk, sweep, Kind.COMMENT, BOB, text="a long text " * 40)
        done = desk.review(sweep.run_id)
        lines = done.out.splitlines()
        for title in ("by ", "question ", "answer ", "holds ", "missing ", "talk ", "turn ", "next ", "page "):
            assert sum(line.startswith(title) for line in lines) == 1, title
        until_next = lines[: next(at for at, line in enumerate(lines) if line.startswith("next"))]
        assert max(map(len, until_next)) <= 80
        assert "model.units=10 is better: +0.0699" in done.out

    def test_the_next_commands_are_those_that_help(self, desk: Desk) -> None:
        sweep = desk.sweeps.make()
        which = sweep.run_id[:4]
        by_ann, by_bob = desk.json("review", sweep.run_id)["next"], desk.json("review", sweep.run_id, by=BOB)["next"]
        assert any(each.endswith(f'review {which} --question "..."') for each in by_ann)
        assert any(each.endswith(f"review {which} --ask NAME") for each in by_ann)
        assert not any("--approve" in each for each in by_ann)
        assert any("--approve" in each for each in by_bob)
        assert by_ann[-1] == (f"python -m mnist_exp -m model.units=4,10 'replicate=range(8,16)' follows={sweep.run_id}")
        desk.review(sweep.run_id, "--approve", by=BOB)
        assert any(each.endswith(f"promote {which}") for each in desk.json("review", sweep.run_id)["next"])

    def test_a_question_that_is_asked_later_says_so(self, desk: Desk) -> None:
        sweep = desk.sweeps.make()
        done = desk.review(sweep.run_id, "--question", "a,b > c; it's #1?", "--worth", "0.01")
        words = " ".join(done.out.split())
        assert "question a,b > c; it's #1? asked when results had been seen, worth 0.01" in words
        assert desk.json("review", sweep.run_id)["question"] == {
            "text": "a,b > c; it's #1?",
            "worth": 0.01,
            "asked": "after",
        }

    def test_without_an_id_it_is_the_last_sweep(self, own: Desk) -> None:
        own.sweeps.make({}, [])
        last = own.sweeps.make({}, [])
        assert own.json("review")["id"] == last.run_id


class TestJson:
    def test_it_has_all_that_the_screen_has(self, desk: Desk) -> None:
        sweep = desk.sweeps.make(params={"question": "does width 10 beat 4?"})
        desk.review(sweep.run_id, "--approve", "-m", "fine", by=BOB)
        found = desk.json("review", sweep.run_id)
        assert (found["state"], found["turn"], found["by"]) == ("approved", "-", ANN)
        assert found["answer"]["difference"] == pytest.approx(0.0699, abs=1e-4)
        assert {each["state"] for each in found["checks"]} == {"holds", "missing"}
        assert found["events"][0]["content"]["digest"] == found["content"]["digest"]
        assert found["page"].endswith(sweep.run_id)

    def test_a_size_beyond_all_reason_is_kept(self, desk: Desk) -> None:
        sweep = desk.sweeps.make({}, [])
        desk.review(sweep.run_id, "--question", "how much?", "--worth", "1e300")
        assert desk.json("review", sweep.run_id)["question"]["worth"] == 1e300

    @pytest.mark.parametrize("numbers", [range(0), range(1), range(4)])
    def test_what_is_not_known_is_null(self, desk: Desk, numbers: range) -> None:
        sweep = desk.sweeps.make(ALIKE, numbers)
        assert desk.json("review", sweep.run_id)["answer"]["low"] is None

    def test_a_difference_without_noise_is_json(self, desk: Desk) -> None:
        sweep = desk.sweeps.make()
        for run in desk.sweeps.runs(sweep):
            value = float(run.params["model.units"]) / 20
            desk.sweeps.sql("UPDATE latest_metrics SET value = ? WHERE run_uuid = ?", value, run.run_id)
        assert desk.json("review", sweep.run_id)["answer"]["kind"] == "decided"

    def test_a_check_has_its_code(self, desk: Desk) -> None:
        sweep = desk.sweeps.make({}, [])
        done = desk.review(sweep.run_id, "--check", "--format", "json")
        assert (done.code, json.loads(done.out)) == (
            1,
            {"code": 1, "found": [f"{sweep.run_id[:4]} is not reviewed"]},
        )


class TestIds:
    def test_what_is_no_sweep_is_one_line(self, desk: Desk) -> None:
        sweep = desk.sweeps.make(numbers=range(1))
        deleted = desk.sweeps.make({}, []).run_id
        desk.sweeps.backend.client.delete_run(deleted)
        for given in ("0" * 32, "xyz", "", "a" * 300, deleted, desk.sweeps.runs(sweep)[0].run_id):
            done = desk.review(given)
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
            assert "error: no sweep has an id that begins with" in done.err
            assert desk.review(given, "--check").code == 2, "it cannot be told"

    def test_letters_may_be_capitals(self, desk: Desk) -> None:
        sweep = desk.sweeps.make({}, [])
        assert desk.json("review", sweep.run_id.upper())["id"] == sweep.run_id

    def test_an_id_that_several_have_lists_them(self, own: Desk) -> None:
        ids = [own.sweeps.make({}, []).run_id for _ in range(17)]
        shared = next(each[0] for each in ids if [other[0] for other in ids].count(each[0]) > 1)
        done = own.review(shared)
        assert done.code == 2
        assert done.err.strip().endswith("Give more of it")
        assert sum(each[:5] in done.err for each in ids) >= 2

    def test_a_store_without_a_sweep_or_none_at_all(self, own: Desk, tmp_path: Any) -> None:
        assert own.review().err.startswith("error: there is no sweep yet")
        missing = f"sqlite:///{tmp_path / 'missing.db'}"
        assert own.run("review", "--uri", missing).code == 2
        done = own.run("review", "abcd", "--check", "--uri", missing)
        assert done.code == 2
        assert done.out.startswith("cannot tell: ")
        assert not (tmp_path / "missing.db").exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--worth", "0.1"], "--worth goes with --question"),
            (["--question", "a?", "--worth", "0"], "--worth must be greater than 0"),
            (["--question", "a?", "--worth", "nan"], "--worth must be greater than 0"),
            (["--despite", "why"], "--despite goes with --approve"),
            (["-m", "text"], "-m goes with --ask, --approve, --reject or --comment"),
            (["--check", "-m", "text"], "-m goes with"),
            (["--reject"], "--reject takes a text: -m TEXT"),
            (["--comment", "-m", " "], "--comment takes a text: -m TEXT"),
            (["--comment", "-m", "x" * 100_000], "a text must have at most 4,000 characters"),
            (["--approve"], "it is your own sweep"),
            (["--ask", ""], "--ask must name somebody"),
        ],
    )
    def test_what_breaks_a_rule_is_one_line_and_nothing_written(
        self, desk: Desk, arguments: list[str], words: str
    ) -> None:
        sweep = desk.sweeps.make({}, [])
        done = desk.review(sweep.run_id, *arguments)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert words in done.err
        assert not [key for key in desk.sweeps.backend.find(sweep.run_id).params if key.startswith("review.")]

    def test_two_actions_at_once(self, desk: Desk) -> None:
        assert desk.review("--approve", "--reject").code == 2

    def test_bytes_that_are_no_text(self, desk: Desk) -> None:
        sweep = desk.sweeps.make({}, [])
        assert desk.review(sweep.run_id, "--comment", "-m", "half \udcff").code == 0

    def test_a_reader_sees_the_screen_and_gets_one_line_for_writing(
        self, own: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweep = own.sweeps.make(numbers=range(1))
        said(own, sweep, Kind.COMMENT, BOB, text="hm")  # its index is still to be written
        monkeypatch.setattr(backends, "MlflowBackend", ReadOnly)
        backends.open_backend.cache_clear()
        shown = own.review(sweep.run_id)
        assert (shown.code, shown.err) == (0, "")
        assert "hm" in shown.out
        refused = own.review(sweep.run_id, "--comment", "-m", "no")
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert "does not let this user write" in refused.err
        backends.open_backend.cache_clear()


class TestHostileText:
    def test_the_terminal_obeys_none_of_it(self, desk: Desk) -> None:
        sweep = desk.sweeps.make(numbers=range(1), author=EVIL, tags={"answer": EVIL})
        for kind, field in ((Kind.COMMENT, "text"), (Kind.QUESTION, "question"), (Kind.ASK, "to")):
            said(desk, sweep, kind, BOB, **{field: EVIL})
        for done in (desk.review(sweep.run_id), desk.list(), desk.review(sweep.run_id, "--format", "json")):
            assert done.code == 0
            assert not {"\x1b", "\x07"} & set(done.out)
        assert r"[bold]x[/] \x1b[31mred\x07 <b>" in desk.review(sweep.run_id).out

    def test_an_event_of_nonsense_is_one_damaged_record(self, own: Desk) -> None:
        sweep, sound = own.sweeps.make({}, []), own.sweeps.make({}, [])
        nonsense = json.dumps({"at_ms": 10**30, "by": 5, "kind": "ask", "sweep": sweep.run_id})
        own.sweeps.backend.write_once(sweep.run_id, "review.0000", nonsense)
        assert {each["id"]: each["state"] for each in own.json("sweeps")} == {
            sweep.run_id: "broken",
            sound.run_id: "open",
        }
        assert "BROKEN: review.0000 of its record cannot be read" in own.review(sweep.run_id).out
        assert own.review(sweep.run_id, "--check").code == 1

    def test_a_sweep_with_numbers_that_are_none_is_listed(self, own: Desk) -> None:
        sweep = own.sweeps.make(tags={"sweep.jobs": "many", "worth": "much"}, numbers=[])
        own.sweeps.sql("UPDATE latest_metrics SET value = 1.7976931348623157e308 WHERE run_uuid = ?", sweep.run_id)
        assert own.list().code == 0
        assert own.json("sweeps")[0]["jobs"] == 0

    def test_a_sweep_that_looks_at_one_that_is_not_there_is_listed(self, own: Desk) -> None:
        sweep = own.sweeps.make({}, [], tags={"looks": "f" * 32})
        said(own, sweep, Kind.APPROVE, BOB, content={"digest": "4f1c9a2e"})
        (line,) = own.json("sweeps")
        assert line["state"] == "broken"
        done = own.review(sweep.run_id)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
