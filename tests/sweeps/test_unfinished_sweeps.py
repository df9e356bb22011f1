"""A sweep that was not ranked, or whose parent run is gone, and one that another process is at work on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from conftest import parent_id
from prepared import sweep_plan

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.commands import cli
from mnist_exp.config.schema import RunConfig
from mnist_exp.data.datasets import Dataset
from mnist_exp.runs.job import Job, PreparedJob
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import finalize
from mnist_exp.sweeps import sweep as sweeps
from mnist_exp.sweeps.existing import Existing, existing
from mnist_exp.sweeps.sweep import Postponed, Sweep
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow import sqlite
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import new_opening

IDENTITY = Fingerprint("config", "data", "code", "libraries")

pytestmark = pytest.mark.usefixtures("journals_root")


@pytest.fixture
def begun(uri: str, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep of one job; the variable that it sets goes with the test."""
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    return sweeps.begin(sweep_plan(uri, "mnist", ["seed"], [["seed=1"]], IDENTITY, ["seed=1"]))


def status(uri: str, run_id: str) -> str:
    return str(connect(uri).get_run(run_id).info.status)


class TestSweep:
    @pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("no server"), RuntimeError("a bug")])
    def test_whatever_keeps_it_from_being_ranked_the_next_command_closes_it(
        self, begun: Sweep, uri: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        def broken(*_: object) -> None:
            raise error

        parent_id(begun)
        with monkeypatch.context() as patch, pytest.raises((type(error), Postponed)):  # noqa: PT012
            patch.setattr(queries, "children", broken)
            finalize.finalize(begun)
        assert status(uri, parent_id(begun)) == "RUNNING"
        assert cli.main(["sync"]) == 0
        assert status(uri, parent_id(begun)) == "FAILED", "its job never began"

    def test_one_whose_parent_was_deleted_waits_for_nothing(self, begun: Sweep, uri: str) -> None:
        connect(uri).delete_run(parent_id(begun))
        with pytest.raises(Refused):
            finalize.finalize(begun)
        assert cli.main(["sync"]) == 0
        assert journals.folders(journals.root()) == []

    @pytest.mark.parametrize("says", ["Max retries exceeded", "Connection broken: IncompleteRead(17 bytes read)"])
    def test_a_server_that_goes_away_while_it_is_ranked_postpones_it(
        self, begun: Sweep, uri: str, monkeypatch: pytest.MonkeyPatch, says: str
    ) -> None:
        """Its report is the longest part of that, and is not to be missing for ever."""
        from mlflow.exceptions import MlflowException

        def away(*_: object) -> None:
            raise MlflowException(says)

        client = connect(uri)
        experiment = open_backend(uri).experiment("mnist")
        run = MlflowTracker.open(client, uri, experiment, "seed=1", parent=parent_id(begun))
        run.log_params({"seed": 1})
        run.set_tags({"dataset": "mnist", "dataset.digest": "d"})
        run.log_metrics(Measurement({"val_accuracy": 0.5}, 1), Measurement({"kept/val_accuracy": 0.5}))
        run.close(Status.FINISHED)
        with monkeypatch.context() as patch, pytest.raises(Postponed):  # noqa: PT012
            patch.setattr(sqlite, "history", away)
            finalize.finalize(begun)
        assert status(uri, parent_id(begun)) == "RUNNING"
        assert cli.main(["sync"]) == 0
        assert status(uri, parent_id(begun)) == "FINISHED"
        files = {file.path for file in client.list_artifacts(parent_id(begun), "sweep")}
        assert files >= {"sweep/report.html", "sweep/leaderboard.csv"}

    def test_one_that_another_process_runs_is_not_resumed(
        self, begun: Sweep, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = parent_id(begun)
        # What its thread sends at some time, and what it is found by.
        open_backend(uri).tracker(run_id).set_tags({"sweep.command": sweeps._digest(["seed=1"]), **IDENTITY.tags()})
        monkeypatch.setattr(sweeps, "_RANKING_S", 0.01)
        with pytest.raises(
            StoreError, match=f"the sweep {run_id} must have ended to be resumed: process {os.getpid()} since"
        ):
            sweeps.resume(sweep_plan(uri, "mnist", ["seed"], [["seed=1"]], IDENTITY, ["seed=1"]))
        finalize.finalize(begun, interrupted=True)

    def test_one_that_goes_on_on_another_host_is_not_led_twice(
        self, begun: Sweep, uri: str, journals_root: Path
    ) -> None:
        run_id = parent_id(begun)
        tracker = sweeps.lead_no_more(begun)
        assert tracker is not None
        assert tracker.settle(60) is None
        journals_root.rename(journals_root.with_name("on the other host"))
        with pytest.raises(StoreError, match=f"the sweep {run_id} goes on on .*: wait for its end"):
            sweeps.resume(sweep_plan(uri, "mnist", ["seed"], [["seed=1"]], IDENTITY, ["seed=1"]))

    def test_single_runs_are_none_of_its_jobs(
        self, uri: str, composed: Callable[..., RunConfig], tmp_path: Path
    ) -> None:
        """Also while its parent run has not arrived in the store."""
        client = connect(uri)
        single = MlflowTracker.open(
            client, uri, open_backend(uri).experiment("mnist"), "x", tags={"kind": "run", **IDENTITY.tags()}
        )
        single.close(Status.FINISHED)
        job = PreparedJob(
            Job("x", "x", (), tmp_path), composed(), cast(Dataset, None), IDENTITY, open_backend(uri), "mnist"
        )
        assert existing(job, None).finished is not None
        assert existing(job, "a key that is not there yet") == Existing()

    def test_a_refused_entry_does_not_keep_it_from_being_ranked(
        self, begun: Sweep, uri: str, journals_root: Path
    ) -> None:
        tracker = sweeps.lead_no_more(begun)
        assert tracker is not None
        tracker.postpone(5_000_000_000_000, interrupted=False)
        assert tracker.settle(60) is None
        (journals_root / begun.key / "refused").write_text("a tag")
        assert cli.main(["sync"]) == 0
        assert status(uri, parent_id(begun)) == "FAILED"

    def test_it_is_not_closed_while_a_worker_is_still_at_one_of_its_jobs(
        self, begun: Sweep, uri: str, journals_root: Path
    ) -> None:
        """The workers of a process that was interrupted may go on for a while."""
        opening = new_opening("seed=1", uri, "mnist", begun.key, {"kind": "run", **IDENTITY.tags()})
        journal = Journal(journals_root / opening.key, new=True)
        journal.open(opening)
        with pytest.raises(Postponed, match="1 of its runs are not in the store yet"):
            finalize.finalize(begun, interrupted=True)
        assert cli.main(["sync"]) == 1
        assert status(uri, parent_id(begun)) == "RUNNING"
        journal.release()
        assert cli.main(["sync"]) == 0
        assert status(uri, parent_id(begun)) == "KILLED"
