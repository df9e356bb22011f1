"""What two people decide of a sweep: what counts, what makes it stale, whose turn it is, what is refused."""

from dataclasses import replace

import pytest

from mnist_exp.base.errors import ConfigError
from mnist_exp.review import decision, record
from mnist_exp.review.actions import NOTE
from mnist_exp.review.decision import State
from mnist_exp.review.person import Person
from mnist_exp.review.record import Event, Kind, ReviewRecord
from mnist_exp.review.review import present_decision
from mnist_exp.review.signature import State as Signature
from mnist_exp.review.signature import Verified
from mnist_exp.tracking.protocols import Record
from review.conftest import ALIKE, ANN, BOB, CLEO, By, Sweeps, decide


class TestWhatCounts:
    def test_a_sweep_is_open_at_first_and_it_is_nobodys_turn(self, sweeps: Sweeps, sweep: Record) -> None:
        found = sweeps.review(sweep).decision
        assert (found.state, found.event, found.turn) == (State.OPEN, None, "-")

    def test_an_approval_is_for_the_content_that_the_sweep_has(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        by(BOB).approve(sweeps.review(sweep), "fine for the demo")
        found = sweeps.review(sweep)
        assert found.state is State.APPROVED
        assert found.decision.event is not None
        assert (found.decision.event.by, found.decision.event.text) == (BOB, "fine for the demo")
        assert found.decision.event.content["digest"] == found.content.digest
        assert present_decision(sweeps.backend, found.sweep) == found.decision

    def test_a_rejection_outweighs_an_approval_in_either_order(self, sweeps: Sweeps, sweep: Record) -> None:
        decide(sweeps, sweep, Kind.APPROVE, BOB)
        decide(sweeps, sweep, Kind.REJECT, CLEO)
        assert sweeps.review(sweep).state is State.REJECTED
        decide(sweeps, sweep, Kind.APPROVE, BOB)
        assert sweeps.review(sweep).state is State.REJECTED

    def test_who_rejected_may_approve_later(self, sweeps: Sweeps, sweep: Record) -> None:
        decide(sweeps, sweep, Kind.REJECT, BOB)
        decide(sweeps, sweep, Kind.APPROVE, BOB)
        assert sweeps.review(sweep).state is State.APPROVED

    @pytest.mark.parametrize(
        ("rejected", "approved", "state"),
        [
            ("key 1", "", State.REJECTED),
            ("key 1", "key 1", State.APPROVED),
            ("key 1", "key 2", State.REJECTED),
            ("bob's key 1", "bob's key 2", State.APPROVED),
            ("bob's key 1", "eve's key 3", State.REJECTED),
            ("bob's key 1", "key 4", State.REJECTED),
            ("", "key 1", State.APPROVED),
        ],
    )
    def test_a_signed_rejection_is_not_taken_back_by_who_claims_the_name(
        self, sweeps: Sweeps, sweep: Record, monkeypatch: pytest.MonkeyPatch, rejected: str, approved: str, state: State
    ) -> None:
        """The signer of "bob's key 1" is bob; that of "key 1" is not known here."""

        def verified(_: str, signature: str) -> Verified:
            signer, of, key = signature.rpartition("'s ")
            known = Signature.VERIFIED if of else Signature.UNKNOWN
            return Verified(known, signer=signer, key=key)

        monkeypatch.setattr(record, "_verify", verified)
        found = sweeps.review(sweep)
        events = [
            Event(kind, BOB, sweep.run_id, content=vars(found.content), signature=signature)
            for kind, signature in ((Kind.REJECT, rejected), (Kind.APPROVE, approved))
        ]
        assert decision.decide(ReviewRecord(tuple(events)), found.content, found.runs, ANN).state is state

    def test_a_person_is_known_by_the_address_not_by_how_the_name_is_written(
        self, sweeps: Sweeps, sweep: Record
    ) -> None:
        decide(sweeps, sweep, Kind.REJECT, "Bob Ray <bob@example.org>")
        decide(sweeps, sweep, Kind.APPROVE, "Robert Ray <bob@example.org>")
        assert sweeps.review(sweep).state is State.APPROVED

    def test_an_approval_despite_something_does_not_hide_another(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        by(BOB).approve(sweeps.review(sweep), "")
        by(ANN).approve(sweeps.review(sweep), "", despite="I want to")
        event = sweeps.review(sweep).decision.event
        assert event is not None
        assert event.by == BOB

    def test_the_last_approval_is_the_one_that_is_shown(self, sweeps: Sweeps, sweep: Record) -> None:
        for person in (BOB, CLEO, BOB):
            decide(sweeps, sweep, Kind.APPROVE, person)
        event = sweeps.review(sweep).decision.event
        assert event is not None
        assert event == sweeps.review(sweep).record.events[-1]

    def test_a_damaged_record_decides_nothing(self, sweeps: Sweeps, approved: Record) -> None:
        sweeps.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'review.0000'", approved.run_id)
        found = sweeps.review(approved)
        assert (found.state, found.decision.event) == (State.BROKEN, None)
        assert found.decision.reason == "the last event of its record is missing"


class TestStale:
    def stale(self, sweeps: Sweeps, sweep: Record) -> str:
        """What changed since the sweep was approved."""
        found = sweeps.review(sweep)
        assert found.state is State.STALE
        assert found.decision.turn == ANN
        assert found.decision.event is not None
        return found.decision.reason

    def test_a_changed_metric(self, sweeps: Sweeps, approved: Record) -> None:
        run = sweeps.runs(approved)[3]
        sweeps.sql("UPDATE latest_metrics SET value = 0.99 WHERE run_uuid = ? AND key = 'val_accuracy'", run.run_id)
        assert self.stale(sweeps, approved) == f"metrics changed; changed or new: run {run.run_id[:8]} ({run.name})"

    def test_a_changed_state(self, sweeps: Sweeps, approved: Record) -> None:
        sweeps.backend.client.set_terminated(sweeps.runs(approved)[0].run_id, "KILLED")
        assert self.stale(sweeps, approved).startswith("states changed; changed or new: run ")

    def test_a_deleted_run(self, sweeps: Sweeps, approved: Record) -> None:
        sweeps.backend.client.delete_run(sweeps.runs(approved)[0].run_id)
        assert self.stale(sweeps, approved) == "it had 16 runs, and has 15"

    def test_a_run_that_is_there_again_makes_it_approved_again(self, sweeps: Sweeps, approved: Record) -> None:
        run = sweeps.runs(approved)[0]
        sweeps.backend.client.delete_run(run.run_id)
        self.stale(sweeps, approved)
        sweeps.backend.client.restore_run(run.run_id)
        assert sweeps.review(approved).state is State.APPROVED

    def test_another_replicate(self, sweeps: Sweeps, approved: Record) -> None:
        run = sweeps.runs(approved)[0]
        sweeps.sql("UPDATE params SET value = '9' WHERE run_uuid = ? AND key = 'replicate'", run.run_id)
        assert self.stale(sweeps, approved).startswith("replicates changed; changed or new: run ")

    def test_a_question_that_is_asked_afterwards(self, sweeps: Sweeps, by: By) -> None:
        sweep = sweeps.make()
        decide(sweeps, sweep, Kind.APPROVE, BOB)
        by(ANN).question(sweeps.review(sweep), "does width matter?", 0.01)
        assert self.stale(sweeps, sweep) == "question changed"

    def test_tags_names_notes_and_reports_change_nothing(self, sweeps: Sweeps, approved: Record) -> None:
        client, run = sweeps.backend.client, sweeps.runs(approved)[0]
        for record_ in (approved, run):
            client.set_tag(record_.run_id, NOTE, "we like it")
            client.set_tag(record_.run_id, "mlflow.runName", "another name")
            client.log_text(record_.run_id, "another report", "sweep/report.html")
        client.set_tag(run.run_id, "verified.by", "cleo")
        assert sweeps.review(approved).state is State.APPROVED


class TestTurn:
    def turn(self, sweeps: Sweeps, sweep: Record) -> str:
        return sweeps.review(sweep).decision.turn

    def test_it_goes_to_and_fro(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        by(ANN).ask(sweeps.review(sweep), "bob", "")
        assert self.turn(sweeps, sweep) == "bob"
        assert by(BOB).person.is_called("bob")
        by(BOB).comment(sweeps.review(sweep), "why not 16 replicates?")
        assert self.turn(sweeps, sweep) == ANN
        by(ANN).comment(sweeps.review(sweep), "8 decide it")
        assert self.turn(sweeps, sweep) == ANN
        by(ANN).ask(sweeps.review(sweep), BOB, "now?")
        assert self.turn(sweeps, sweep) == BOB
        decide(sweeps, sweep, Kind.REJECT, BOB)
        assert self.turn(sweeps, sweep) == ANN
        decide(sweeps, sweep, Kind.APPROVE, BOB)
        assert self.turn(sweeps, sweep) == "-"

    def test_a_name_is_asked_for_on_one_line(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        by(ANN).ask(sweeps.review(sweep), " \x1b[31mbob\n <b@x> ", "")
        assert "\x1b" not in self.turn(sweeps, sweep)
        with pytest.raises(ConfigError, match="--ask must name somebody"):
            by(ANN).ask(sweeps.review(sweep), "  ", "")


class TestRefused:
    def test_ones_own_sweep(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        with pytest.raises(ConfigError, match='cannot be approved: it is your own sweep. .*: --despite "why"'):
            by(ANN).approve(sweeps.review(sweep), "fine")
        assert sweeps.review(sweep).record.events == ()

    def test_ones_own_sweep_though_the_server_knows_one_by_a_login(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        logged_in = replace(by(ANN), person=Person("alee", is_login=True))
        assert logged_in.is_author(sweeps.review(sweep))
        by_login = sweeps.make({}, [], author="alee")
        assert logged_in.is_author(sweeps.review(by_login))
        assert not replace(by(BOB), person=Person("bob", is_login=True)).is_author(sweeps.review(by_login))

    def test_a_failing_check(self, sweeps: Sweeps, by: By) -> None:
        sweep = sweeps.make(failed=[3])
        with pytest.raises(ConfigError, match="cannot be approved: 14 of 16 runs finished. "):
            by(BOB).approve(sweeps.review(sweep), "fine")

    def test_what_is_approved_despite_it_is_kept_and_shown(self, sweeps: Sweeps, by: By) -> None:
        sweep = sweeps.make(failed=[3])
        by(ANN).approve(sweeps.review(sweep), "", despite="the machine failed, *not* the model")
        (event,) = sweeps.review(sweep).record.events
        assert event.despite == "the machine failed, *not* the model"
        assert event.failed == ("14 of 16 runs finished", "it is your own sweep")
        note = sweeps.backend.find(sweep.run_id).tags[NOTE]
        assert "APPROVED despite objections by Ann Lee" in note
        assert r"Approved despite: the machine failed, \*not\* the model" in note
        page = sweeps.backend.artifact(sweep.run_id, "sweep/report.html")
        assert page is not None
        assert b"Approved despite: the machine failed, *not* the model" in page

    def test_a_despite_that_is_not_needed_is_refused(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        with pytest.raises(ConfigError, match="is for what forbids an approval, and nothing does"):
            by(BOB).approve(sweeps.review(sweep), "fine", despite="just in case")

    @pytest.mark.parametrize(("option", "act"), [("--reject", "reject"), ("--comment", "comment")])
    def test_a_rejection_and_a_comment_say_something(
        self, sweeps: Sweeps, sweep: Record, by: By, option: str, act: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"{option} takes a text: -m TEXT"):
            getattr(by(BOB), act)(sweeps.review(sweep), " \n ")

    def test_a_hundred_thousand_characters(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        with pytest.raises(ConfigError, match="a text must have at most 4,000 characters. Received: 100,000"):
            by(BOB).comment(sweeps.review(sweep), "x" * 100_000)
        assert sweeps.review(sweep).record.events == ()

    def test_a_second_question(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        with pytest.raises(ConfigError, match="was asked already: does width 10 beat 4"):
            by(ANN).question(sweeps.review(sweep), "another?", None)

    @pytest.mark.parametrize("text", [" ", "two\nlines", "\x1b[31mred", "x" * 501])
    def test_a_question_that_is_no_sentence(self, sweeps: Sweeps, by: By, text: str) -> None:
        with pytest.raises(ConfigError, match="--question must be a sentence of at most 500 characters"):
            by(ANN).question(sweeps.review(sweeps.make({}, [])), text, None)


def test_an_undecided_answer_may_be_approved(sweeps: Sweeps, by: By) -> None:
    """An answer is no check: that it is open may be what was to be shown."""
    sweep = sweeps.make(ALIKE)
    assert by(BOB).approve(sweeps.review(sweep), "open, as expected").state is State.APPROVED
