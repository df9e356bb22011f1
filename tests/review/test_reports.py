"""Reports and notes that show a decision: copies that can be checked, in which nothing of people is executed."""

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError
from mnist_exp.review import copy, record
from mnist_exp.review.actions import NOTE, repair_index
from mnist_exp.review.block import markdown, unreviewed, with_block
from mnist_exp.review.copy import CANNOT_TELL, DOES_NOT_HOLD, HOLDS, Finding, check
from mnist_exp.review.record import Event
from mnist_exp.tracking.protocols import Record
from review.conftest import ANN, BOB, CLEO, By, Sweeps

EVIL = "<script>alert(1)</script> **bold** [x](javascript:alert(1)) <!-- end of review --> \x1b[31m\r\nline"


@pytest.fixture
def sweep(sweeps: Sweeps) -> Record:
    return sweeps.make(params={"question": "does width 10 beat 4?"})


@pytest.fixture
def report(sweeps: Sweeps, sweep: Record, by: By, tmp_path: Path) -> Path:
    """The report of an approved sweep, as it was mailed."""
    by(BOB).approve(sweeps.review(sweep), EVIL)
    return downloaded(sweeps, sweep, tmp_path)


def downloaded(sweeps: Sweeps, sweep: Record, folder: Path) -> Path:
    page = sweeps.backend.artifact(sweep.run_id, "sweep/report.html")
    assert page is not None
    (folder / "report.html").write_bytes(page)
    return folder / "report.html"


def changed(report: Path, old: str, new: str) -> Path:
    page = report.read_bytes()
    assert old.encode() in page
    report.write_bytes(page.replace(old.encode(), new.encode()))
    return report


def event_of(report: Path) -> Event:
    found = re.search(r"<!-- review-event (\S+) -->", report.read_text())
    assert found
    event = record.parse(base64.b64decode(found[1]).decode())
    assert event is not None
    return event


class TestUnsigned:
    def test_the_store_tells_that_it_holds(self, sweeps: Sweeps, report: Path) -> None:
        assert check(report, sweeps.backend) == Finding(HOLDS, (f"untouched: approved by {BOB}", "it still holds"))

    def test_without_the_store_nobody_can_tell(self, report: Path) -> None:
        found = check(report, None, "there is no store")
        assert found.code == CANNOT_TELL
        assert found.sentences == ("cannot tell: it is not signed, and the store does not tell: there is no store",)

    @pytest.mark.parametrize(("old", "new"), [("+0.0699", "+0.0999"), ("APPROVED", "APPROVED "), ("8 replicates", "9")])
    def test_one_changed_figure_is_found(self, sweeps: Sweeps, report: Path, old: str, new: str) -> None:
        found = check(changed(report, old, new), sweeps.backend)
        assert found == Finding(
            DOES_NOT_HOLD, ("this report was changed after Bob Ray <bob@example.org> (claimed) decided on it",)
        )
        assert check(report, None).code == DOES_NOT_HOLD

    def test_a_changed_figure_with_an_event_to_match_is_not_in_the_store(self, sweeps: Sweeps, report: Path) -> None:
        event = event_of(report)
        page = report.read_text(encoding="utf-8").replace("+0.0699", "+0.0999")
        report.write_text(copy.sealed(page, replace(event, report=copy.digest(page))), encoding="utf-8")
        assert check(report, sweeps.backend) == Finding(DOES_NOT_HOLD, ("the store does not have this decision",))
        assert check(report, None).code == CANNOT_TELL

    def test_a_decision_of_another_sweep_is_no_decision_on_this(self, sweeps: Sweeps, report: Path) -> None:
        """Its figures are those of the other sweep."""
        other = sweeps.make({}, [])
        page = report.read_text(encoding="utf-8")
        report.write_text(copy.sealed(page, replace(event_of(report), sweep=other.run_id)), encoding="utf-8")
        assert check(report, sweeps.backend) == Finding(DOES_NOT_HOLD, ("the store does not have this decision",))

    def test_a_decision_that_is_stale_does_not_hold(self, sweeps: Sweeps, sweep: Record, report: Path) -> None:
        sweeps.backend.client.delete_run(sweeps.runs(sweep)[0].run_id)
        found = check(report, sweeps.backend)
        assert found.code == DOES_NOT_HOLD
        assert found.sentences[0] == "it does not hold: the sweep is stale: it had 16 runs, and has 15"

    def test_an_approval_that_somebody_else_outweighed_does_not_hold(
        self, sweeps: Sweeps, sweep: Record, report: Path, by: By
    ) -> None:
        by(CLEO).reject(sweeps.review(sweep), "the split leaks")
        found = check(report, sweeps.backend)
        assert found.code == DOES_NOT_HOLD
        assert found.sentences[0] == f"it does not hold: the sweep is rejected by {CLEO}"

    def test_a_rejected_report_does_not_hold(self, sweeps: Sweeps, sweep: Record, by: By, tmp_path: Path) -> None:
        by(CLEO).reject(sweeps.review(sweep), "the split leaks")
        found = check(downloaded(sweeps, sweep, tmp_path), sweeps.backend)
        assert found.code == DOES_NOT_HOLD
        assert found.sentences[1] == f"untouched: rejected by {CLEO}"

    def test_a_store_without_the_sweep_or_that_deleted_it_cannot_tell(
        self, sweeps: Sweeps, alone: Sweeps, sweep: Record, report: Path
    ) -> None:
        why = f"it does not have the sweep {sweep.run_id[:8]}"
        assert check(report, alone.backend).code == CANNOT_TELL
        sweeps.backend.client.delete_run(sweep.run_id)
        found = check(report, sweeps.backend)
        assert found.code == CANNOT_TELL
        assert why in found.sentences[0]

    def test_a_damaged_record_does_not_hold(self, sweeps: Sweeps, sweep: Record, report: Path) -> None:
        sweeps.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'review.0000'", sweep.run_id)
        assert check(report, sweeps.backend).sentences == (
            "the record in the store is damaged: the last event of its record is missing",
        )


class TestFiles:
    def test_mail_may_end_its_lines_otherwise(self, sweeps: Sweeps, report: Path) -> None:
        page = report.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        report.write_bytes(page)
        assert check(report, sweeps.backend).code == HOLDS

    def test_a_report_that_lost_its_end_cannot_tell(self, sweeps: Sweeps, report: Path) -> None:
        page = report.read_bytes()
        for end in (page[:-40], page[: len(page) // 2], b""):
            report.write_bytes(end)
            assert check(report, sweeps.backend).code == CANNOT_TELL

    def test_a_report_that_something_was_added_to_was_changed(self, sweeps: Sweeps, report: Path) -> None:
        report.write_bytes(report.read_bytes() + b"<p>and more</p>")
        found = check(report, sweeps.backend)
        assert found.code == DOES_NOT_HOLD
        assert found.sentences == ("this report was changed: something follows the decision at its end",)

    def test_a_report_of_before_a_decision_cannot_tell(self, sweeps: Sweeps, tmp_path: Path) -> None:
        (tmp_path / "report.html").write_text("<html></html>\n")
        (said,) = check(tmp_path / "report.html", sweeps.backend).sentences
        assert said == "this report carries no decision: it was made before one, or lost its end"

    @pytest.mark.parametrize("event", ["", "AAAA", "%%", "bnVsbA==", "e30=", "5", "/w=="])
    def test_an_end_that_is_no_event_does_not_hold(self, sweeps: Sweeps, tmp_path: Path, event: str) -> None:
        (tmp_path / "report.html").write_text(f"<html></html>\n<!-- review-event {event} -->\n")
        assert check(tmp_path / "report.html", sweeps.backend).code in (DOES_NOT_HOLD, CANNOT_TELL)

    def test_what_is_no_report_is_one_line(self, sweeps: Sweeps, tmp_path: Path) -> None:
        (tmp_path / "report.html").write_bytes(b"\xff\xfe")
        for file, words in (
            (tmp_path / "report.html", "must be a report, an HTML page in UTF-8"),
            (tmp_path, "cannot be read: Is a directory"),
            (tmp_path / "missing.html", "cannot be read: No such file"),
        ):
            with pytest.raises(ConfigError, match=words):
                check(file, sweeps.backend)


class TestSigned:
    @pytest.fixture
    def keys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: By) -> Path:
        """Bob signs with a key that is known as his; gives the file that says so."""
        if shutil.which("ssh-keygen") is None:
            pytest.skip("needs ssh-keygen, of OpenSSH's client")
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        monkeypatch.setattr(paths, "root", lambda: tmp_path)
        key, allowed = tmp_path / "key", tmp_path / "allowed_signers"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        allowed.write_text(f"bob@example.org {key.with_suffix('.pub').read_text()}")
        by(BOB)
        for name, value in (
            ("gpg.format", "ssh"),
            ("user.signingkey", str(key)),
            ("gpg.ssh.allowedSignersFile", str(allowed)),
        ):
            subprocess.run(["git", "config", "--global", name, value], check=True)
        record._verify.cache_clear()
        return allowed

    @pytest.mark.usefixtures("keys")
    def test_it_tells_without_a_store_who_decided_and_that_nothing_was_changed(
        self, sweeps: Sweeps, report: Path
    ) -> None:
        assert check(report, None, "there is no store") == Finding(
            HOLDS,
            (
                f"untouched: approved by {BOB}, signed by bob@example.org",
                "whether it still holds, the store would tell: there is no store",
            ),
        )
        assert check(report, sweeps.backend).sentences[1] == "it still holds"
        event = event_of(report)
        page = report.read_text(encoding="utf-8").replace("+0.0699", "+0.0999")
        report.write_text(copy.sealed(page, replace(event, report=copy.digest(page))), encoding="utf-8")
        (said,) = check(report, None).sentences
        assert said.startswith("the signature of this report is not valid: the text or its signature was changed")

    def test_a_key_that_is_not_known_here_tells_nothing(self, keys: Path, sweeps: Sweeps, report: Path) -> None:
        keys.write_text("")
        record._verify.cache_clear()
        found = check(report, None, "there is no store")
        assert found.code == CANNOT_TELL
        assert "signed by a key that is not known here" in found.sentences[0]
        assert check(report, sweeps.backend).code == HOLDS


class TestTextOfPeople:
    def test_in_a_report_it_is_shown_not_executed(self, report: Path) -> None:
        page = report.read_text(encoding="utf-8")
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; **bold** [x](javascript:alert(1))" in page
        assert page.count("<!-- end of review -->") == 0

    @pytest.mark.usefixtures("report")
    def test_in_a_note_it_is_shown_not_rendered(self, sweeps: Sweeps, sweep: Record) -> None:
        note = sweeps.backend.find(sweep.run_id).tags[NOTE]
        assert "&lt;script&gt;alert(1)" in note
        assert r"\*\*bold\*\* \[x\](javascript:alert(1))" in note
        assert "\x1b" not in note
        assert note.count("<!-- end of review -->") == 1

    def test_a_note_of_somebodys_own_stays_below_the_block(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        own = "We talked about this.\n\n- first\n- second"
        sweeps.backend.client.set_tag(sweep.run_id, NOTE, own)
        for person in (BOB, CLEO):
            by(person).comment(sweeps.review(sweep), "hm")
            by(person).reject(sweeps.review(sweep), "no")
        note = sweeps.backend.find(sweep.run_id).tags[NOTE]
        assert note.startswith("<!-- review -->\n\n**REJECTED by Cleo Fox")
        assert note.endswith(f"<!-- end of review -->\n\n{own}\n")
        assert note.count("<!-- review -->") == 1

    def test_a_long_note_of_somebodys_own_is_not_cut(self, sweeps: Sweeps, sweep: Record, by: By) -> None:
        own = "x" * 7600 + " the end"
        sweeps.backend.client.set_tag(sweep.run_id, NOTE, own)
        by(BOB).reject(sweeps.review(sweep), "no " * 300)
        note = sweeps.backend.find(sweep.run_id).tags[NOTE]
        assert note.startswith("<!-- review -->\n\n**REJECTED by Bob Ray")
        assert note.rstrip().endswith(own)
        assert not repair_index(sweeps.backend, sweeps.review(sweep))

    def test_a_long_reason_does_not_cut_the_block_in_two(self, sweeps: Sweeps, by: By) -> None:
        sweep = sweeps.make(numbers=range(1))
        for why in ("*" * 3900, "_" * 3900):
            by(ANN).approve(sweeps.review(sweep), "", despite=why)
            note = sweeps.backend.find(sweep.run_id).tags[NOTE]
            assert note.count("<!-- review -->") == note.count("<!-- end of review -->") == 1
            assert not repair_index(sweeps.backend, sweeps.review(sweep))

    def test_a_block_takes_the_place_of_the_one_before(self, sweeps: Sweeps, sweep: Record) -> None:
        found = sweeps.review(sweep)
        block = markdown(unreviewed(found.question, found.answer, sweep.run_id))
        assert with_block("<!-- review -->\n\nold\n\n<!-- end of review -->\n\nmine\n", block) == f"{block}\n\nmine\n"
        assert with_block("", block) == f"{block}\n"
        assert f"**Not reviewed. mnist-exp review {sweep.run_id[:8]}**" in block
