"""The record of a review in a real store: nothing is lost, nothing is changed unseen, nothing is cut."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest
from some_runs import run

from mnist_exp.base.errors import ConfigError, Refused, StoreError
from mnist_exp.review import record
from mnist_exp.review.content import content_of
from mnist_exp.review.person import Person
from mnist_exp.review.record import HEAD, LONGEST, Event, Kind, append, new_event, parse, read, serialized
from mnist_exp.tracking.protocols import MAX_PARAM, Record
from review.conftest import BOB, CLEO, ReadOnly, Sweeps

PERSON = Person.parse(BOB)


@pytest.fixture(autouse=True)
def bob(acts_as: Callable[[str], None]) -> None:
    acts_as(BOB)


@pytest.fixture
def sweep(sweeps: Sweeps) -> Record:
    """A sweep that has no runs."""
    return sweeps.make({}, [])


def comment(sweep: Record, text: str, **more: Any) -> Event:
    return new_event(Kind.COMMENT, PERSON, sweep, text=text, **more)


def texts(sweep: Record) -> list[str]:
    return [each.text for each in read(sweep).events]


def with_three(sweeps: Sweeps, sweep: Record) -> Record:
    for text in ("one", "two", "three"):
        sweep = append(sweeps.backend, comment(sweep, text))
    return sweep


def test_events_are_read_in_order_each_chained_to_the_one_before(sweeps: Sweeps, sweep: Record) -> None:
    kept = with_three(sweeps, sweep)
    assert texts(kept) == ["one", "two", "three"]
    assert sorted(key for key in kept.params if key.startswith("review.")) == [f"review.000{n}" for n in range(3)]
    first, second, third = read(kept).events
    assert first.before == ""
    assert len({first.before, second.before, third.before}) == 3
    assert read(kept).head.startswith("3 ")


def test_two_people_who_write_at_once_lose_nothing(sweeps: Sweeps, sweep: Record) -> None:
    def write_five(name: str) -> None:
        for number in range(5):
            append(sweeps.backend, new_event(Kind.COMMENT, Person.parse(name), sweep, text=f"{number}"))

    with ThreadPoolExecutor(2) as both:
        list(both.map(write_five, [BOB, CLEO]))
    kept = read(sweeps.backend.find(sweep.run_id))
    assert kept.problem == ""
    for name in (BOB, CLEO):
        assert [each.text for each in kept.events if each.by == name] == ["0", "1", "2", "3", "4"]


class TestTampering:
    def change(self, sweeps: Sweeps, sweep: Record, number: int, text: str) -> str:
        name = f"review.{number:04d}"
        sweeps.sql("UPDATE params SET value = ? WHERE run_uuid = ? AND key = ?", text, sweep.run_id, name)
        return read(sweeps.backend.find(sweep.run_id)).problem

    def remove(self, sweeps: Sweeps, sweep: Record, number: int) -> str:
        sweeps.sql("DELETE FROM params WHERE run_uuid = ? AND key = ?", sweep.run_id, f"review.{number:04d}")
        return read(sweeps.backend.find(sweep.run_id)).problem

    def headed(self, sweeps: Sweeps, sweep: Record) -> Record:
        """With the tag that says how long the record is, as every command leaves it."""
        kept = with_three(sweeps, sweep)
        sweeps.backend.client.set_tag(sweep.run_id, HEAD, read(kept).head)
        return sweeps.backend.find(sweep.run_id)

    def test_an_untouched_record_has_no_problem(self, sweeps: Sweeps, sweep: Record) -> None:
        assert read(self.headed(sweeps, sweep)).problem == ""

    def test_an_event_that_was_changed_breaks_the_chain(self, sweeps: Sweeps, sweep: Record) -> None:
        text = self.headed(sweeps, sweep).params["review.0001"].replace("two", "2")
        assert self.change(sweeps, sweep, 1, text) == (
            "review.0002 of its record does not follow from the one before it"
        )

    def test_the_last_event_that_was_changed_is_found_by_the_tag(self, sweeps: Sweeps, sweep: Record) -> None:
        text = self.headed(sweeps, sweep).params["review.0002"].replace("three", "3")
        assert self.change(sweeps, sweep, 2, text) == "review.0002 of its record was changed"

    def test_an_event_that_was_removed_is_missed(self, sweeps: Sweeps, sweep: Record) -> None:
        self.headed(sweeps, sweep)
        assert self.remove(sweeps, sweep, 1) == "review.0001 of its record is missing"

    def test_the_last_events_that_were_removed_are_missed(self, sweeps: Sweeps, sweep: Record) -> None:
        self.headed(sweeps, sweep)
        assert self.remove(sweeps, sweep, 2) == "the last event of its record is missing"
        self.remove(sweeps, sweep, 1)
        assert self.remove(sweeps, sweep, 0) == "the last 3 events of its record are missing"

    def test_a_tag_that_is_older_than_the_record_is_no_problem(self, sweeps: Sweeps, sweep: Record) -> None:
        append(sweeps.backend, comment(self.headed(sweeps, sweep), "four"))
        assert read(sweeps.backend.find(sweep.run_id)).problem == ""

    def test_an_event_of_another_sweep_does_not_count(self, sweeps: Sweeps, sweep: Record) -> None:
        other = append(sweeps.backend, comment(sweeps.make({}, []), "fine"))
        sweeps.backend.write_once(sweep.run_id, "review.0000", other.params["review.0000"])
        kept = read(sweeps.backend.find(sweep.run_id))
        assert kept.events == ()
        assert kept.problem == "review.0000 of its record does not follow from the one before it"

    def test_an_event_under_a_second_name_hides_none(self, sweeps: Sweeps, sweep: Record) -> None:
        """``review.00002`` is another param, which MLflow lets anybody write."""
        kept = with_three(sweeps, sweep)
        forged = kept.params["review.0002"].replace("three", "forged")
        for name in ("review.00002", "review.000٢"):
            sweeps.sql("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", name, forged, sweep.run_id)
        assert texts(sweeps.backend.find(sweep.run_id)) == ["one", "two", "three"]

    def test_nothing_is_added_to_a_damaged_record(self, sweeps: Sweeps, sweep: Record) -> None:
        self.headed(sweeps, sweep)
        self.remove(sweeps, sweep, 1)
        before = sweeps.backend.find(sweep.run_id).params
        with pytest.raises(
            StoreError, match="nothing can be added to the review of .*: review.0001 of its record is missing"
        ):
            append(sweeps.backend, comment(sweep, "four"))
        assert sweeps.backend.find(sweep.run_id).params == before


class TestLength:
    def test_an_event_that_mlflow_would_cut_is_refused_and_nothing_written(self, sweeps: Sweeps, sweep: Record) -> None:
        with pytest.raises(ConfigError, match=r"the text must be [\d,]+ characters shorter"):
            append(sweeps.backend, comment(sweep, "x" * LONGEST))
        assert texts(sweeps.backend.find(sweep.run_id)) == []

    def test_the_longest_event_is_kept_whole(self, sweeps: Sweeps, sweep: Record) -> None:
        room = LONGEST - len(serialized(comment(sweep, "")).replace("{", '{, "text": ""'))
        kept = append(sweeps.backend, comment(sweep, "ß" * room))
        assert texts(kept) == ["ß" * room]
        assert len(kept.params["review.0000"]) in range(LONGEST - 5, LONGEST + 1)

    def test_an_approval_of_many_runs_has_room_for_the_longest_text(self, sweeps: Sweeps, sweep: Record) -> None:
        content = content_of([run(number, 0.9) for number in range(300)], "which?", 0.1)
        assert len(content.each) == 1800
        given = asdict(content)
        more = {"content": given, "report": "f" * 64, "text": "x" * 4000}
        kept = append(sweeps.backend, new_event(Kind.APPROVE, PERSON, sweep, **more))
        (event,) = read(kept).events
        assert event.text == "x" * 4000
        assert event.content == {key: value for key, value in given.items() if key != "each"}

    def test_a_short_approval_names_the_runs_it_is_for(self, sweeps: Sweeps, sweep: Record) -> None:
        content = asdict(content_of([run(number, 0.9) for number in range(300)], "which?", 0.1))
        kept = append(sweeps.backend, new_event(Kind.APPROVE, PERSON, sweep, content=content, report="f" * 64))
        assert read(kept).events[0].content == content

    def test_a_text_is_counted_as_it_is_kept(self, sweeps: Sweeps, sweep: Record) -> None:
        """Newlines and quotes take two characters in JSON."""
        with pytest.raises(ConfigError, match="characters shorter"):
            append(sweeps.backend, comment(sweep, '"\n' * 1500))

    def test_the_limit_leaves_room_for_what_mlflow_keeps(self) -> None:
        assert LONGEST < MAX_PARAM


class TestTexts:
    @pytest.mark.parametrize(
        "text", ["<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "größer?\n\tja", '"\\n', "日本 🙂", "\x00\x7f\x9b"]
    )
    def test_any_text_is_kept_as_it_is(self, sweeps: Sweeps, sweep: Record, text: str) -> None:
        assert texts(append(sweeps.backend, comment(sweep, text))) == [text]

    def test_a_text_that_no_database_holds_is_written_out(self, sweeps: Sweeps, sweep: Record) -> None:
        assert texts(append(sweeps.backend, comment(sweep, "half \udcff"))) == ["half \\udcff"]

    def test_a_secret_is_not_kept(self, sweeps: Sweeps, sweep: Record) -> None:
        assert texts(append(sweeps.backend, comment(sweep, "with ghp_" + "a" * 36))) == ["with ***"]


class TestForeignEvents:
    """Anybody who may write to a store may write any text as an event."""

    SOUND = Event(Kind.APPROVE, BOB, "0" * 32, text="fine", content={"digest": "ab", "parts": {"states": "cd"}})

    def forged(self, **fields: Any) -> str:
        return json.dumps(json.loads(serialized(self.SOUND)) | fields, ensure_ascii=False, sort_keys=True)

    def test_what_was_written_is_read(self) -> None:
        assert parse(serialized(self.SOUND)) == self.SOUND

    @pytest.mark.parametrize(
        "fields",
        [
            {"by": 5},
            {"by": ["ann"]},
            {"text": {"a": "b"}},
            {"at_ms": "now"},
            {"at_ms": 10**30},
            {"at_ms": -1},
            {"at_ms": 1.5},
            {"is_login": "yes"},
            {"content": "all"},
            {"content": {"parts": ["a"]}},
            {"content": {"digest": {}}},
            {"content": {"runs": "<b>"}},
            {"failed": [1]},
            {"worth": "much"},
            {"worth": float("nan")},
            {"worth": 10**400},
            {"signature": 1},
            {"kind": "approved"},
            {"unknown": "field"},
        ],
        ids=str,
    )
    def test_a_field_of_another_type_makes_it_none(self, fields: dict[str, Any]) -> None:
        assert parse(self.forged(**fields)) is None

    @pytest.mark.parametrize("text", ["", "null", "[]", "{}", "5", "{", "[" * 6000, '{"a":' * 1500, "\ud800", "NaN"])
    def test_what_is_no_event_is_none(self, text: str) -> None:
        assert parse(text) is None

    def test_one_text_has_one_meaning(self) -> None:
        assert parse(serialized(self.SOUND) + " ") is None
        assert parse(serialized(self.SOUND).replace("fine", "f\\u0069ne")) is None


def test_a_reader_gets_one_line_and_nothing_is_written(sweeps: Sweeps, sweep: Record) -> None:
    with pytest.raises(Refused, match="does not let this user write"):
        append(ReadOnly(sweeps.uri), comment(sweep, "fine"))
    assert texts(sweeps.backend.find(sweep.run_id)) == []


def test_a_deleted_sweep_takes_no_event(sweeps: Sweeps, sweep: Record) -> None:
    sweeps.backend.client.delete_run(sweep.run_id)
    with pytest.raises(Refused, match="deleted"):
        append(sweeps.backend, comment(sweep, "fine"))


def test_others_who_are_always_first_end_in_one_line(
    sweeps: Sweeps, sweep: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_ATTEMPTS", 2)
    monkeypatch.setattr(type(sweeps.backend), "write_once", lambda *_: False)
    with pytest.raises(StoreError, match="could not be written: 2 events were added meanwhile"):
        append(sweeps.backend, comment(sweep, "fine"))
