"""A sweep whose process vanished is closed as killed, with its jobs counted."""

import os
from pathlib import Path

import pytest
from conftest import parent_id
from prepared import sweep_plan

from mnist_exp.base.errors import StoreError
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import sweep as sweeps
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking.mlflow import backend
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Opening, Status
from mnist_exp.tracking.spool import journal as journals
from sweeps.conftest import DIED_S, Ran, Sync


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
