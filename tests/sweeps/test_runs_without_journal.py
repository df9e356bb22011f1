"""Runs whose journals are not here: those of other hosts, and those whose journals somebody deleted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_exp.commands import cli
from mnist_exp.sweeps import finalize
from mnist_exp.sweeps.sweep import Postponed, Sweep
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Record, Status
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import new_opening

pytestmark = pytest.mark.usefixtures("journals_root")


@pytest.fixture(autouse=True)
def the_store_of_this_environment(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)


Opened = Callable[..., MlflowTracker]


@pytest.fixture
def opened(uri: str, request: pytest.FixtureRequest) -> Opened:
    """Begins a run on a host."""
    client = connect(uri)
    experiment = open_backend(uri).experiment(request.node.name)

    def make(key: str, parent: str | None = None, host: str = "there", **tags: str) -> MlflowTracker:
        own = {"kind": "run", "dataset": "mnist", "dataset.digest": "d", "host": host}
        tracker = MlflowTracker.open(client, uri, experiment, key, parent=parent, tags={"journal": key, **own, **tags})
        tracker.log_metrics(Measurement({"val_accuracy": 0.5}, 1), Measurement({"kept/val_accuracy": 0.5}))
        return tracker

    return make


def kept(uri: str, tracker: MlflowTracker) -> Record:
    return open_backend(uri).find(tracker.run_id)


def test_it_is_closed_if_its_host_is_gone(opened: Opened, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = opened("of gone", host="gone"), opened("of another")
    assert cli.main(["sync", "--gone", "gone"]) == 0
    assert "of gone: its process on gone is gone, closed as KILLED" in capsys.readouterr().out
    found = kept(uri, run)
    assert (found.status, found.tags["failure"]) == ("KILLED", "vanished")
    assert kept(uri, other).status == "RUNNING"
    other.close(Status.FINISHED)


def test_nobody_else_closes_it(opened: Opened, uri: str) -> None:
    """From here nobody can see whether its process runs."""
    run = opened("left alone")
    assert cli.main(["sync"]) == 0
    assert kept(uri, run).status == "RUNNING"
    run.close(Status.FINISHED)


def test_one_whose_journal_is_here_is_its_journals_matter(opened: Opened, uri: str, journals_root: Path) -> None:
    run = opened("here")
    Journal(journals_root / "here", new=True).release()
    (journals_root / "here" / "journal.jsonl").write_bytes(b"damaged\n")
    assert cli.main(["sync", "--gone", "there"]) == 1, "it cannot be read"
    assert kept(uri, run).status == "RUNNING"
    run.close(Status.FINISHED)


def test_one_of_another_program_is_none_of_ours(uri: str) -> None:
    client = connect(uri)
    run = client.create_run("0")
    assert cli.main(["sync"]) == 0
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


SWEEP = {"kind": "sweep", "sweep.keys": "seed", "sweep.jobs": "3"}


def test_a_sweep_is_closed_and_ranked_with_its_runs(opened: Opened, uri: str) -> None:
    parent = opened("sweep", **SWEEP)
    opened("done", parent=parent.run_id).close(Status.FINISHED)
    opened("open", parent=parent.run_id)
    assert cli.main(["sync", "--gone", "there"]) == 0
    found = kept(uri, parent)
    assert (found.status, found.tags["failure"]) == ("KILLED", "vanished")
    counted = {name: found.metrics[f"jobs/{name}"] for name in ("finished", "failed", "killed", "never_begun")}
    assert counted == {"finished": 1, "failed": 0, "killed": 1, "never_begun": 1}


def test_a_sweep_waits_for_a_run_of_a_host_that_is_not_gone(opened: Opened, uri: str) -> None:
    parent = opened("waits", **SWEEP)
    run = opened("goes on", parent=parent.run_id, host="another")
    assert cli.main(["sync", "--gone", "there"]) == 0
    assert kept(uri, parent).status == "RUNNING"
    with pytest.raises(Postponed, match=r"1 of its runs go on on another. If that is gone: mnist-exp sync --gone HOST"):
        finalize.close(Sweep("waits", uri, ("seed",), 3), parent, interrupted=True, time_ms=1)
    run.close(Status.FINISHED)
    parent.close(Status.FINISHED)


class TestTakenForVanished:
    """A run that ended while its server was away is RUNNING there: somebody takes its host for gone."""

    @pytest.mark.parametrize("status", Status)
    def test_what_its_own_host_sends_later_is_what_counts(self, uri: str, journals_root: Path, status: Status) -> None:
        key = f"ended while away: {status}"
        opening = new_opening(key, uri, "mnist", None, {"kind": "run", "host": "there"})
        journal = Journal(journals_root / opening.key, new=True)
        journal.open(opening)
        run_id = open_backend(uri).open_run(opening).run_id
        if status is not Status.FINISHED:
            journal.append("tags", {"failure": "its own reason"})
        journal.append("close", {"status": status.value})
        journal.release()

        away = journals_root.rename(journals_root.with_name("on the other host"))
        assert cli.main(["sync", "--gone", "there"]) == 0
        assert open_backend(uri).find(run_id).tags["failure"] == "vanished"
        away.rename(journals_root)
        assert cli.main(["sync"]) == 0
        found = open_backend(uri).find(run_id)
        assert found.status == status
        assert found.tags.get("failure") == (None if status is Status.FINISHED else "its own reason")

    def test_a_reason_that_it_gave_itself_stays(self, opened: Opened, uri: str) -> None:
        run = opened("reasonable", failure="diverged")
        assert cli.main(["sync", "--gone", "there"]) == 0
        assert (kept(uri, run).status, kept(uri, run).tags["failure"]) == ("KILLED", "diverged")
