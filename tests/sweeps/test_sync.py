"""What lies in journals is sent once, closed where its process vanished, and left alone where it is another's."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import parent_id
from prepared import sweep_plan

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.commands import cli
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import sweep as sweeps
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking.mlflow import backend
from mnist_exp.tracking.mlflow.backend import MlflowBackend, open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import delivery, sender
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker

DIED_S = 1_750_000_000
"""When processes vanish here, in seconds since 1970; their runs began 100 s before."""


@pytest.fixture(autouse=True)
def root(journals_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """Where the journals lie."""
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.CRITICAL)
    return journals_root


Sync = Callable[..., tuple[int, str]]


@pytest.fixture
def sync(capsys: pytest.CaptureFixture[str]) -> Sync:
    """``mnist-exp sync``: its exit code and what it says."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["sync", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def save(folder: Path) -> None:
    from mlflow.models import Model

    Model().save(str(folder / "MLmodel"))
    (folder / "weights").write_bytes(b"weights")


def away(_: Opening) -> Tracker:
    raise StoreError("no server answers there")


Ran = Callable[..., Journal]


@pytest.fixture
def ran(root: Path, uri: str) -> Iterator[Ran]:
    """Leaves the journal of a run of which the store has nothing; without a status, its process vanished.

    ``held``: its process still runs. ``name`` is its key, too.
    """
    held_ones: list[Journal] = []

    def make(
        name: str,
        status: Status | None = Status.FINISHED,
        *,
        host: str = "",
        parent: str | None = None,
        held: bool = False,
        to: str = uri,
    ) -> Journal:
        opening = Opening(name, name, to, "mnist", parent, {}, (DIED_S - 100) * 1000, host or journals.host())
        tracker = JournalTracker(Journal(root / name, new=True), opening, away)
        tracker.log_params({"seed": 17, "model.units": 4, "data.limit": None})
        tracker.set_tags({"kind": "run", "dataset": "mnist", "dataset.digest": "d"})
        tracker.log_dataset(DatasetInput("mnist", "d" * 64, "a file", {"train": 60000, "test": 10000}), "training")
        for epoch in (1, 2, 3):
            tracker.log_metrics(Measurement({"loss": 1 / epoch, "val_accuracy": epoch / 4}, epoch, 1000 * epoch))
        tracker.log_metrics(Measurement({"kept/val_accuracy": 0.75}, time_ms=4000))
        tracker.log_artifact("loss.png", lambda: b"\x89PNG")
        tracker.log_model(save)
        if status is not None:
            tracker.close(status, DIED_S * 1000)
        assert tracker.settle(0) is not None
        tracker._sender.join()
        os.utime(root / name / "journal.jsonl", (DIED_S, DIED_S))
        if held:
            held_ones.append(Journal(root / name))
            os.utime(root / name / "journal.jsonl", (DIED_S, DIED_S))
        return tracker.journal

    yield make
    for journal in held_ones:
        journal.release()


def run_of(uri: str, key: str) -> str | None:
    record = open_backend(uri).find_key(key)
    return record.run_id if record else None


def state(uri: str, key: str) -> dict[str, Any]:
    """All that the store has of the run with that key."""
    client = connect(uri)
    run_id = run_of(uri, key)
    assert run_id is not None
    run = client.get_run(run_id)
    folder = Path(run.info.artifact_uri)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "run": run.to_dictionary(),
        "points": {
            name: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "artifacts": {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()},
        "models": [(model.model_id, str(model.status), model.artifact_location) for model in models],
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


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
            patch.setattr(MlflowBackend, "open_run", lambda _, opening: away(opening))
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


def vanish(sweep: Sweep) -> None:
    """What the system does for a process that is killed."""
    tracker = sweeps._led.pop(sweep.key)
    assert tracker.settle(60) is None
    os.utime(journals.root() / sweep.key / "journal.jsonl", (DIED_S, DIED_S))


@pytest.fixture
def sweep(uri: str, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep of five jobs that this process leads; the variable that it sets goes with the test."""
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    jobs = [[f"model.units={units}"] for units in (1, 2, 3, 4, 5)]
    return sweeps.begin(
        sweep_plan(uri, "mnist", ["model.units"], jobs, Fingerprint("config", "data", "code", "libraries"), [])
    )


class TestSweep:
    def test_one_that_vanished_is_closed_as_killed_with_its_jobs_counted(
        self, ran: Ran, sync: Sync, uri: str, sweep: Sweep, root: Path
    ) -> None:
        ran("job-1", Status.FINISHED, parent=sweep.key)
        ran("job-2", Status.FAILED, parent=sweep.key)
        ran("job-3", None, parent=sweep.key)
        vanish(sweep)
        assert sync()[0] == 0
        assert journals.folders(root) == []
        parent = connect(uri).get_run(parent_id(sweep))
        assert (parent.info.status, parent.info.end_time) == ("KILLED", DIED_S * 1000)
        counted = {name: value for name, value in parent.data.metrics.items() if name.startswith("jobs/")}
        assert counted == {"jobs/finished": 1, "jobs/failed": 1, "jobs/killed": 1, "jobs/never_begun": 2}

    def test_one_that_goes_on_is_left_alone(self, sync: Sync, uri: str, sweep: Sweep) -> None:
        assert sync()[0] == 0
        assert connect(uri).get_run(parent_id(sweep)).info.status == "RUNNING"
        vanish(sweep)

    def test_one_whose_job_still_runs_in_another_process_waits_for_it(
        self, ran: Ran, sync: Sync, uri: str, sweep: Sweep
    ) -> None:
        """Even if the store has all that the job said so far."""
        job = ran("job-goes-on", None, parent=sweep.key, held=True)
        open_backend(uri).open_run(Opening("job-goes-on", "x", uri, "mnist", sweep.key, {}, 1000, "host"))
        (job.folder / "sent").write_text(f"{len(journals.read(job.folder).entries) + 1:020}")
        vanish(sweep)
        assert sync()[0] == 1
        assert connect(uri).get_run(parent_id(sweep)).info.status == "RUNNING"

    def test_one_that_had_to_wait_ended_when_it_vanished(
        self, sync: Sync, uri: str, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not when somebody tried to close it."""

        def gone(_: str) -> None:
            raise StoreError("no server answers there")

        vanish(sweep)
        with monkeypatch.context() as patch:
            patch.setattr(backend, "connect", gone)
            assert sync()[0] == 1
        assert sync()[0] == 0
        info = connect(uri).get_run(parent_id(sweep)).info
        assert (info.status, info.end_time) == ("KILLED", DIED_S * 1000)

    def test_it_did_not_end_before_its_last_job(self, ran: Ran, sync: Sync, uri: str, sweep: Sweep) -> None:
        """A sweep says nothing while its jobs run: their signs of life are its own."""
        ran("last-job", Status.FINISHED, parent=sweep.key)
        vanish(sweep)
        began_s = DIED_S - 1000
        os.utime(journals.root() / sweep.key / "journal.jsonl", (began_s, began_s))
        assert sync()[0] == 0
        assert connect(uri).get_run(parent_id(sweep)).info.end_time == DIED_S * 1000
