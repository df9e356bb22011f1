"""The tags and the note by which a review is found: an index that commands repair from the record."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mnist_exp.base.errors import Refused
from mnist_exp.review.actions import NOTE, REVIEW, repair_index
from mnist_exp.review.decision import TURN, State
from mnist_exp.review.record import HEAD
from mnist_exp.review.review import Review
from mnist_exp.tracking.protocols import Record
from review.conftest import BOB, By, ReadOnly, Sweeps


class TestIndex:
    def test_tags_say_what_was_decided_for_which_content(self, sweeps: Sweeps, approved: Record) -> None:
        found = sweeps.review(approved)
        assert found.sweep.tags[REVIEW] == f"approved {found.content.digest[:8]}, 16 runs"
        assert found.sweep.tags[TURN] == "-"
        assert found.sweep.tags[HEAD] == found.record.head

    def test_it_is_repaired_from_the_record(self, sweeps: Sweeps, approved: Record) -> None:
        right = sweeps.review(approved).sweep.tags
        for tag in (REVIEW, TURN, HEAD, NOTE):
            sweeps.backend.client.delete_tag(approved.run_id, tag)
        sweeps.set(approved, review="rejected by nobody")
        assert repair_index(sweeps.backend, sweeps.review(approved))
        assert sweeps.review(approved).sweep.tags == right
        assert not repair_index(sweeps.backend, sweeps.review(approved)), "nothing is left to repair"

    def test_an_approval_without_an_event_is_none(self, sweeps: Sweeps, sweep: Record) -> None:
        sweeps.set(sweep, review="approved 4f1c9a2e, 16 runs")
        assert sweeps.review(sweep).state is State.OPEN
        assert repair_index(sweeps.backend, sweeps.review(sweep))
        assert sweeps.review(sweep).sweep.tags[REVIEW] == "open"
        assert not repair_index(sweeps.backend, sweeps.review(sweep))

    def test_a_damaged_record_is_shown_as_one_and_the_tag_that_proves_it_stays(
        self, sweeps: Sweeps, approved: Record
    ) -> None:
        head = sweeps.review(approved).sweep.tags[HEAD]
        sweeps.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'review.0000'", approved.run_id)
        repair_index(sweeps.backend, sweeps.review(approved))
        tags = sweeps.backend.find(approved.run_id).tags
        assert (tags[REVIEW], tags[HEAD]) == ("broken", head)
        assert tags[NOTE].startswith("<!-- review -->\n\n**BROKEN: the last event of its record is missing")

    def test_a_sweep_that_nobody_reviewed_has_none(self, sweeps: Sweeps, sweep: Record) -> None:
        assert not repair_index(sweeps.backend, sweeps.review(sweep))

    def test_an_event_counts_though_its_index_cannot_be_written(
        self, sweeps: Sweeps, sweep: Record, by: By, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as context:
            context.setattr(type(sweeps.backend), "tracker", ReadOnly.tracker)
            after = by(BOB).comment(sweeps.review(sweep), "hm")
        assert [each.text for each in after.record.events] == ["hm"]
        assert repair_index(sweeps.backend, sweeps.review(sweep))

    def test_who_may_only_read_gets_one_line(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        reader = replace(by(BOB), backend=ReadOnly(sweeps.uri))
        acts: list[Callable[[Review], Any]] = [
            lambda review: reader.comment(review, "hm"),
            lambda review: reader.approve(review, ""),
            lambda review: reader.ask(review, "cleo", ""),
        ]
        for act in acts:
            with pytest.raises(Refused, match="does not let this user write to run"):
                act(sweeps.review(sweep))
        assert sweeps.review(sweep).record.events == ()
