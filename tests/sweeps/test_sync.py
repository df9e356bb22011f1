"""``mnist-exp sync`` sends what lies in journals once, names what is damaged, and shows what waits."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recording import contents

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Opening, Status
from mnist_exp.tracking.spool import delivery
from mnist_exp.tracking.spool import journal as journals
from sweeps.conftest import DIED_S, Ran, Sync, run_of, state


class TestSending:
    def test_what_waits_is_sent_once_and_its_journal_deleted(self, ran: Ran, sync: Sync, uri: str, root: Path) -> None:
        ran("sent-once")
        code, said = sync()
        assert (code, journals.folders(root)) == (0, [])
        assert "✓ sent-once: 10 entries sent" in said
        found = state(uri, "sent-once")
        info, data = found["run"]["info"], found["run"]["data"]
        assert (info["run_name"], info["status"]) == ("sent-once", "FINISHED")
        assert (info["start_time"], info["end_time"]) == ((DIED_S - 100) * 1000, DIED_S * 1000)
        assert data["params"] == {"seed": "17", "model.units": "4", "data.limit": "null"}
        assert found["points"] == {
            "loss": [(epoch, 1 / epoch, 1000 * epoch) for epoch in (1, 2, 3)],
            "val_accuracy": [(epoch, epoch / 4, 1000 * epoch) for epoch in (1, 2, 3)],
            "kept/val_accuracy": [(0, 0.75, 4000)],
        }
        assert found["artifacts"] == {"loss.png": b"\x89PNG"}
        assert len(found["models"]) == len(found["run"]["inputs"]["dataset_inputs"]) == 1

    def test_syncing_again_changes_nothing(self, ran: Ran, sync: Sync, uri: str) -> None:
        ran("again")
        sync()
        before = state(uri, "again")
        code, said = sync()
        assert (code, said.strip()) == (0, "Nothing waits.")
        assert state(uri, "again") == before

    @pytest.mark.parametrize("status", [*Status, None])
    def test_nor_does_sending_all_of_it_again(
        self, ran: Ran, sync: Sync, uri: str, tmp_path: Path, status: Status | None
    ) -> None:
        """As after a crash between the sending and its being noted, at any place."""
        key = f"replayed-{status}"
        folder = ran(key, status).folder
        shutil.copytree(folder, tmp_path / "copy")
        sync()
        before = state(uri, key)
        shutil.copytree(tmp_path / "copy", folder)
        os.utime(folder / "journal.jsonl", (DIED_S, DIED_S))
        (folder / "sent").unlink()
        assert sync()[0] == 0
        assert state(uri, key) == before

    @pytest.mark.parametrize("calls", range(1, 8))
    def test_sending_that_broke_off_anywhere_is_completed(
        self, ran: Ran, sync: Sync, uri: str, monkeypatch: pytest.MonkeyPatch, calls: int
    ) -> None:
        key = f"broken-off-{calls}"
        ran(key)
        left = calls

        def breaking(deliver_batch: Callable[..., None]) -> Callable[..., None]:
            def told(*arguments: Any) -> None:
                nonlocal left
                deliver_batch(*arguments)
                left -= 1
                if not left:
                    raise StoreError("the network is gone, after the store had it")

            return told

        with monkeypatch.context() as patch:
            patch.setattr(delivery, "deliver_batch", breaking(delivery.deliver_batch))
            assert sync()[0] == 1
        assert sync()[0] == 0
        whole = state(uri, key)
        assert [len(points) for points in whole["points"].values()] == [3, 3, 1]
        assert whole["run"]["info"]["status"] == "FINISHED"
        assert (len(whole["models"]), len(whole["artifacts"])) == (1, 1)

    def test_runs_are_sent_to_another_store_where_one_is_named(self, ran: Ran, sync: Sync, uri: str) -> None:
        ran("elsewhere-kept", to="sqlite:////no/such/place.db")
        code, said = sync()
        assert code == 1
        assert "/no/such/place.db is gone: give the store's new place with --uri" in said
        assert sync("--uri", uri)[0] == 0
        assert state(uri, "elsewhere-kept")["run"]["info"]["status"] == "FINISHED"

    def test_a_killed_run_that_can_be_taken_up_again_keeps_its_journal(
        self, ran: Ran, sync: Sync, uri: str, root: Path
    ) -> None:
        (ran("resumable", Status.KILLED).folder / journals.CHECKPOINT).write_bytes(b"weights")
        for _ in range(2):
            code, said = sync()
            assert code == 0
            assert "resumable: can be resumed" in said
        assert state(uri, "resumable")["run"]["info"]["status"] == "KILLED"
        assert journals.read(root / "resumable").unsent == 0


class TestDamage:
    def test_damaged_lines_are_named_in_a_tag_and_the_rest_is_there(self, ran: Ran, sync: Sync, uri: str) -> None:
        file = ran("damaged").folder / "journal.jsonl"
        every = file.read_bytes().split(b"\n")
        for number in (5, 7):  # the first and third epoch
            assert b'"loss"' in every[number - 1]
            every[number - 1] = every[number - 1].replace(b'"loss"', b'"lost"')
        file.write_bytes(b"\n".join(every))
        code, said = sync()
        assert code == 0
        assert "damaged lines: 2" in said
        found = state(uri, "damaged")
        assert found["run"]["data"]["tags"]["journal.damaged"] == "lines 5, 7"
        assert found["points"]["loss"] == [(2, 0.5, 2000)]
        assert found["run"]["info"]["status"] == "FINISHED"

    def test_one_that_does_not_say_whose_it_is_stays_for_a_person_to_look_at(
        self, ran: Ran, sync: Sync, root: Path
    ) -> None:
        file = ran("unreadable").folder / "journal.jsonl"
        file.write_bytes(b"x" + file.read_bytes()[1:])
        code, said = sync()
        assert code == 1
        assert "unreadable cannot be read" in "".join(said.split("\n"))
        assert journals.folders(root) == [root / "unreadable"]

    def test_what_the_store_refuses_is_told_and_the_rest_is_sent(
        self, ran: Ran, sync: Sync, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise Refused("the store refused it: too large")

        ran("refused")
        monkeypatch.setattr(MlflowTracker, "log_artifact", refuse)
        _, said = sync()
        assert "the store rejected part of it (the store refused it: too large)" in said
        assert state(uri, "refused")["run"]["info"]["status"] == "FINISHED"

    def test_what_was_refused_is_not_deleted_unasked(
        self, ran: Ran, sync: Sync, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise Refused("the store refused it: too large")

        ran("refused-and-kept")
        monkeypatch.setattr(MlflowTracker, "log_artifact", refuse)
        sync()
        sync()
        assert (root / "refused-and-kept").exists()

    def test_a_run_that_somebody_deleted_does_not_wait_for_ever(self, ran: Ran, sync: Sync, uri: str) -> None:
        ran("deleted")
        run_id = open_backend(uri).open_run(Opening("deleted", "x", uri, "mnist", None, {}, 1000, "host")).run_id
        connect(uri).delete_run(run_id)
        _, said = sync()
        assert f"run {run_id} was deleted" in said
        assert sync()[0] == 0


class TestStatus:
    def test_it_tells_of_everything_and_changes_nothing(self, ran: Ran, sync: Sync, uri: str, root: Path) -> None:
        ran("status-waits")
        ran("status-vanished", None)
        ran("status-runs", None, held=True)
        ran("status-on-a-node", None, host="node-7")
        before, times = contents(root), {file: file.stat().st_mtime for file in root.rglob("journal.jsonl")}
        code, said = sync("--status")
        assert code == 0
        rows = {line.split()[0]: line.split()[1:-1] for line in said.splitlines() if line.strip().startswith("status-")}
        assert rows == {
            "status-waits": ["waiting", "10"],
            "status-vanished": ["process", "vanished", "9"],
            "status-runs": ["running", "9"],
            "status-on-a-node": ["on", "another", "host", "on", "node-7", "9"],
        }
        assert contents(root) == before
        assert {file: file.stat().st_mtime for file in root.rglob("journal.jsonl")} == times
        assert run_of(uri, "status-waits") is None

    def test_where_there_is_nothing_it_says_so(self, sync: Sync) -> None:
        assert sync("--status") == (0, "Nothing waits.\n")
        assert sync() == (0, "Nothing waits.\n")


def test_a_store_that_cannot_be_written_to_is_a_mistake_in_the_command(sync: Sync) -> None:
    code, said = sync("--uri", "./mlruns")
    assert code == 2
    assert "must be a database or a server" in said
