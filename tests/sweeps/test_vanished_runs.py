"""A run whose process vanished is closed as killed; one that another process runs is left alone."""

from pathlib import Path

import pytest
from recording import contents

from mnist_exp.tracking.mlflow.backend import MlflowBackend, open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Opening
from mnist_exp.tracking.spool import journal as journals
from sweeps.conftest import DIED_S, Ran, Sync, run_of, state, store_is_away


class TestVanished:
    def test_it_is_closed_as_killed_at_its_last_sign_of_life(self, ran: Ran, sync: Sync, uri: str) -> None:
        ran("vanished", None)
        code, said = sync()
        assert code == 0
        assert "vanished: its process vanished, closed as KILLED" in said
        run = state(uri, "vanished")["run"]
        assert (run["info"]["status"], run["info"]["end_time"]) == ("KILLED", DIED_S * 1000)
        assert run["data"]["tags"]["failure"] == "vanished"
        assert run["data"]["metrics"]["val_accuracy"] == 0.75, "what it measured is there"

    def test_also_where_the_store_comes_back_only_later(
        self, ran: Ran, sync: Sync, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ran("vanished-later", None)
        with monkeypatch.context() as patch:
            patch.setattr(MlflowBackend, "open_run", lambda _, opening: store_is_away(opening))
            assert sync()[0] == 1
            assert sync()[0] == 1
        assert sync()[0] == 0
        info = state(uri, "vanished-later")["run"]["info"]
        assert (info["status"], info["end_time"]) == ("KILLED", DIED_S * 1000)

    def test_also_where_everything_it_said_was_sent_and_its_last_lines_are_damaged(
        self, ran: Ran, sync: Sync, uri: str
    ) -> None:
        """What is written now must not look sent."""
        journal = ran("vanished-damaged", None)
        count = len(journals.read(journal.folder).entries) + 1
        tracker = open_backend(uri).open_run(Opening("vanished-damaged", "x", uri, "mnist", None, {}, 1000, "host"))
        (journal.folder / "sent").write_text(f"{count:020}")
        file = journal.folder / "journal.jsonl"
        every = file.read_bytes().split(b"\n")
        file.write_bytes(b"\n".join([*every[:-4], b"damaged", b"damaged", b"damaged", b""]))
        assert sync()[0] == 0
        run = connect(uri).get_run(tracker.run_id)
        assert (run.info.status, run.data.tags.get("failure")) == ("KILLED", "vanished")

    def test_with_a_checkpoint_it_can_be_taken_up_again(self, ran: Ran, sync: Sync, root: Path) -> None:
        (ran("vanished-resumable", None).folder / journals.CHECKPOINT).write_bytes(b"weights")
        code, said = sync()
        assert code == 0
        assert "its process vanished, closed as KILLED; can be resumed" in said
        assert journals.read(root / "vanished-resumable").resumable

    def test_one_whose_process_runs_is_left_alone(self, ran: Ran, sync: Sync, uri: str, root: Path) -> None:
        ran("still-running", None, held=True)
        before = contents(root)
        code, said = sync()
        assert (code, said.strip()) == (0, "still-running: goes on")
        assert contents(root) == before
        assert run_of(uri, "still-running") is None

    def test_one_of_another_host_is_left_alone_unless_that_host_is_gone(
        self, ran: Ran, sync: Sync, uri: str, root: Path
    ) -> None:
        ran("on-a-node", None, host="node-7")
        before = contents(root)
        code, said = sync("--gone", "node-8")
        assert code == 0
        assert "on-a-node: goes on on node-7; from here its process cannot be checked" in said
        assert contents(root) == before
        assert run_of(uri, "on-a-node") is None
        assert sync("--gone", "node-8", "--gone", "node-7")[0] == 0
        info = state(uri, "on-a-node")["run"]["info"]
        assert (info["status"], info["end_time"]) == ("KILLED", DIED_S * 1000)

    def test_one_of_another_host_that_ended_is_sent_from_here(self, ran: Ran, sync: Sync, uri: str) -> None:
        ran("ended-on-a-node", host="node-7")
        assert sync()[0] == 0
        assert state(uri, "ended-on-a-node")["run"]["info"]["status"] == "FINISHED"
