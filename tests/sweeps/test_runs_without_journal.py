"""Runs whose journals are not here: those of other hosts, and those whose journals somebody deleted."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_exp.commands import cli
from mnist_exp.sweeps import finalize
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import SILENT_S, Measurement, Record, Status
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import new_opening

pytestmark = pytest.mark.usefixtures("journals_root")

NOW_S = int(time.time())
LONG_AGO_S = NOW_S - 10 * SILENT_S


@pytest.fixture(autouse=True)
def the_store_of_this_environment(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)


Opened = Callable[..., MlflowTracker]


@pytest.fixture
def opened(uri: str, request: pytest.FixtureRequest) -> Opened:
    """Begins a run that gave its last sign of life at a time, in seconds since 1970, on a host."""
    client = connect(uri)
    experiment = open_backend(uri).experiment(request.node.name)

    def make(key: str, last_sign_s: int, parent: str | None = None, host: str = "there", **tags: str) -> MlflowTracker:
        own = {"kind": "run", "dataset": "mnist", "dataset.digest": "d", "host": host, "heartbeat": str(last_sign_s)}
        tracker = MlflowTracker.open(client, uri, experiment, key, parent=parent, tags={"journal": key, **own, **tags})
        tracker.log_metrics(Measurement({"val_accuracy": 0.5}, 1), Measurement({"kept/val_accuracy": 0.5}))
        return tracker

    return make


def kept(uri: str, tracker: MlflowTracker) -> Record:
    return open_backend(uri).find(tracker.run_id)


def test_one_that_fell_silent_is_closed_as_of_its_last_sign_of_life(
    opened: Opened, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened("silent", LONG_AGO_S)
    assert cli.main(["sync"]) == 0
    assert "silent: its process on there vanished, closed as KILLED" in capsys.readouterr().out
    found = kept(uri, run)
    assert (found.status, found.tags["failure"], found.ended_ms) == ("KILLED", "vanished", LONG_AGO_S * 1000)


def test_one_that_gives_signs_of_life_is_left_alone(opened: Opened, uri: str) -> None:
    run = opened("alive", NOW_S)
    assert cli.main(["sync"]) == 0
    assert kept(uri, run).status == "RUNNING"
    run.close(Status.FINISHED)


def test_unless_its_host_is_gone(opened: Opened, uri: str) -> None:
    run, other = opened("gone", NOW_S, host="gone"), opened("not gone", NOW_S)
    assert cli.main(["sync", "--gone", "gone"]) == 0
    assert [kept(uri, each).status for each in (run, other)] == ["KILLED", "RUNNING"]
    other.close(Status.FINISHED)


def test_one_whose_journal_is_here_is_its_journals_matter(opened: Opened, uri: str, journals_root: Path) -> None:
    run = opened("here", LONG_AGO_S)
    Journal(journals_root / "here", new=True).release()
    (journals_root / "here" / "journal.jsonl").write_bytes(b"damaged\n")
    assert cli.main(["sync"]) == 1, "it cannot be read"
    assert kept(uri, run).status == "RUNNING"
    run.close(Status.FINISHED)


def test_one_of_another_program_is_none_of_ours(uri: str) -> None:
    client = connect(uri)
    run = client.create_run("0")
    assert cli.main(["sync"]) == 0
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_one_that_was_only_cut_off_goes_on(opened: Opened, uri: str) -> None:
    """Its sender gives a sign of life before it sends what gathered meanwhile."""
    run = opened("cut off", LONG_AGO_S)
    assert cli.main(["sync"]) == 0
    run.alive()
    found = kept(uri, run)
    assert (found.status, "failure" in found.tags, found.goes_on) == ("RUNNING", False, True)
    run.close(Status.FINISHED)


def test_one_that_was_killed_stays_so(opened: Opened, uri: str) -> None:
    """A sign of life that comes late takes nothing back that the run said itself."""
    run = opened("killed", NOW_S)
    run.set_tags({"failure": "interrupted"})
    run.close(Status.KILLED)
    run.alive()
    assert (kept(uri, run).status, kept(uri, run).tags["failure"]) == ("KILLED", "interrupted")


SWEEP = {"kind": "sweep", "sweep.keys": "seed", "sweep.jobs": "3"}


def test_a_sweep_is_closed_and_ranked_with_its_runs(opened: Opened, uri: str) -> None:
    parent = opened("sweep", LONG_AGO_S, **SWEEP)
    done = opened("done", LONG_AGO_S, parent=parent.run_id)
    done.close(Status.FINISHED, LONG_AGO_S * 1000)
    opened("open", LONG_AGO_S, parent=parent.run_id)
    assert cli.main(["sync"]) == 0
    found = kept(uri, parent)
    assert (found.status, found.tags["failure"]) == ("KILLED", "vanished")
    counted = {name: found.metrics[f"jobs/{name}"] for name in ("finished", "failed", "killed", "never_begun")}
    assert counted == {"finished": 1, "failed": 0, "killed": 1, "never_begun": 1}


def test_a_sweep_waits_for_a_run_that_goes_on(opened: Opened, uri: str) -> None:
    parent = opened("waits", LONG_AGO_S, **SWEEP)
    run = opened("goes on", NOW_S, parent=parent.run_id)
    assert cli.main(["sync"]) == 0
    assert kept(uri, parent).status == "RUNNING"
    run.close(Status.FINISHED)


def test_a_silent_run_is_killed_also_where_its_sweep_is_closed_first(opened: Opened, uri: str) -> None:
    parent = opened("sweep of silent ones", LONG_AGO_S, **SWEEP)
    opened("silent one", LONG_AGO_S, parent=parent.run_id)
    sweep = Sweep("sweep of silent ones", uri, ("seed",), 1)
    finalize.close(sweep, parent, interrupted=True, time_ms=LONG_AGO_S * 1000)
    assert (kept(uri, parent).metrics["jobs/failed"], kept(uri, parent).metrics["jobs/killed"]) == (0, 1)
    assert cli.main(["sync"]) == 0


class TestTakenForVanished:
    """A run that ended while its server was away is RUNNING there, and silent: another host takes it for vanished."""

    @pytest.mark.parametrize("status", Status)
    def test_what_its_own_host_sends_later_is_what_counts(self, uri: str, journals_root: Path, status: Status) -> None:
        key = f"ended while away: {status}"
        opening = new_opening(key, uri, "mnist", None, {"kind": "run", "heartbeat": str(LONG_AGO_S)})
        journal = Journal(journals_root / opening.key, new=True)
        journal.open(opening)
        run_id = open_backend(uri).open_run(opening).run_id
        if status is not Status.FINISHED:
            journal.append("tags", {"failure": "its own reason"})
        journal.append("close", {"status": status.value})
        journal.release()

        away = journals_root.rename(journals_root.with_name("on the other host"))
        assert cli.main(["sync"]) == 0
        assert open_backend(uri).find(run_id).tags["failure"] == "vanished"
        away.rename(journals_root)
        assert cli.main(["sync"]) == 0
        found = open_backend(uri).find(run_id)
        assert found.status == status
        assert found.tags.get("failure") == (None if status is Status.FINISHED else "its own reason")

    def test_a_reason_that_it_gave_itself_stays(self, opened: Opened, uri: str) -> None:
        run = opened("reasonable", LONG_AGO_S, failure="diverged")
        assert cli.main(["sync"]) == 0
        assert (kept(uri, run).status, kept(uri, run).tags["failure"]) == ("KILLED", "diverged")
