"""resume=true on the same command: what finished is kept, what failed runs again, what changed starts afresh."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Command, clean_environment, run_here

from mnist_exp.app import application
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.runs import provenance
from mnist_exp.runs.job import PreparedJob
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.runs.run import Result, run
from mnist_exp.sweeps import jobs
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Record
from mnist_exp.tracking.spool import journal as journals

Composed = Callable[..., RunConfig]


class TestIdentity:
    @pytest.fixture
    def of(self, composed: Composed) -> Callable[..., Fingerprint]:
        return lambda *overrides: provenance.fingerprint_of(composed(*overrides), datasets.load(composed().data))

    @pytest.mark.parametrize(
        "override",
        ["tracking.uri=sqlite:///elsewhere.db", "tracking.experiment=other", "resume=true", "tracking.git_diff=false"],
    )
    def test_where_a_run_is_kept_makes_it_no_other(self, of: Callable[..., Fingerprint], override: str) -> None:
        assert of(override).digest == of().digest

    @pytest.mark.parametrize("override", ["seed=18", "optimizer.lr=0.002", "training.engine=keras", "lr=cosine"])
    def test_what_changes_its_figures_does(self, of: Callable[..., Fingerprint], override: str) -> None:
        assert of(override).digest != of().digest
        assert of(override).differing(of().tags()) == ["config"]

    def test_an_experiment_is_itself_even_where_it_changes_nothing(self, of: Callable[..., Fingerprint]) -> None:
        """A sweep over experiments has a run of each, also where an override makes two of them the same."""
        assert of("experiment=model_2").digest != of().digest


SWEEP = ("-m", "data=digits", "data.limit=300", "training.epochs=2", "seed=1,2")


@pytest.fixture
def uri(tmp_path: Path, new_store: Callable[[Path], str]) -> str:
    """An empty store of the test's own."""
    return new_store(tmp_path / "store")


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Path:
    """The folder of a store in which the sweep has finished; to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, folder)
        run_here(patch, folder)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder / "store"))
        assert application.main(SWEEP) == 0
    return folder / "store"


@pytest.fixture
def finished(finished_store: Path, tmp_path: Path, uri: str) -> None:
    """The sweep has finished in the test's store."""
    shutil.copytree(finished_store, tmp_path / "store", dirs_exist_ok=True)


@pytest.fixture
def sweep(command: Command, uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str]]]:
    """The command line, on the test's store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    yield command
    assert journals.folders(journals.root()) == [], "nothing waits, nothing is left behind"


@pytest.fixture
def found(uri: str) -> Callable[[], tuple[list[Record], list[Record]]]:
    """The sweeps and the runs of the test, superseded ones included."""

    def read() -> tuple[list[Record], list[Record]]:
        client, backend = connect(uri), open_backend(uri)
        experiments = [each.experiment_id for each in client.search_experiments()]
        every = [backend.find(each.info.run_id) for each in client.search_runs(experiments)]
        sweeps = [record for record in every if record.tags.get("kind") == "sweep"]
        return sweeps, sorted((r for r in every if r not in sweeps), key=lambda r: r.tags["journal"])

    return read


Sweep = Callable[..., tuple[int, str]]
Found = Callable[[], tuple[list[Record], list[Record]]]


@pytest.mark.usefixtures("finished")
def test_what_finished_is_kept_and_shown_as_kept(
    sweep: Sweep, found: Found, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found()
    monkeypatch.setattr(jobs, "run", lambda *_: pytest.fail("nothing was to be run"))
    shown: list[str] = []
    monkeypatch.setattr("mnist_exp.terminal.messages.run_is_kept", lambda job, _: shown.append(job.name))
    assert sweep(*SWEEP, "resume=true")[0] == 0
    assert shown == ["seed=1", "seed=2"]
    (parent,), runs = found()
    assert [run.run_id for run in runs] == [run.run_id for run in before[1]]
    assert (parent.status, parent.metrics["jobs/finished"]) == ("FINISHED", 2)


def test_what_failed_runs_again_and_what_never_began_begins(
    sweep: Sweep, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:

    def failing(job: PreparedJob, *more: object) -> Result:
        def boom(_: object) -> None:
            raise RuntimeError("a fault that will be gone")

        tracker, _, progress = more
        return run(job, tracker, boom if job.config.seed == 2 else lambda _: None, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "run", failing)
    assert sweep(*SWEEP)[0] == 1
    (parent,), (good, bad) = found()
    assert (parent.status, good.status, bad.status) == ("FAILED", "FINISHED", "FAILED")
    monkeypatch.setattr(jobs, "run", run)
    assert sweep(*SWEEP, "resume=true")[0] == 0
    (parent,), (kept, superseded, again) = found()
    assert (parent.status, again.status) == ("FINISHED", "FINISHED")
    assert kept.run_id == good.run_id
    assert again.tags["supersedes"] == superseded.run_id
    assert (parent.metrics["jobs/finished"], parent.metrics["jobs/failed"]) == (2, 0)


@pytest.mark.parametrize("changed", ["code", "data"])
@pytest.mark.usefixtures("finished")
def test_what_changed_is_said_and_starts_a_sweep_of_its_own(
    sweep: Sweep, found: Found, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    real = provenance.fingerprint_of

    def other(*given: object) -> Fingerprint:
        same = real(*given)  # type: ignore[arg-type]
        return Fingerprint(**{**vars(same), changed: "another"})

    monkeypatch.setattr(provenance, "fingerprint_of", other)
    code, said = sweep(*SWEEP, "resume=true")
    assert code == 0
    assert f"not resumed: since then {changed} changed; the sweep starts afresh" in said
    sweeps, runs = found()
    assert (len(sweeps), len(runs)) == (2, 4)


def test_it_is_said_which_key_of_the_config_changed(sweep: Sweep, tmp_path: Path) -> None:
    """The command is the same: a file that it names is not."""
    (tmp_path / "experiments").mkdir()
    file = tmp_path / "experiments" / "model_2.yaml"  # hides the package's
    file.write_text("# @package _global_\noptimizer:\n  lr: 0.005\n")
    assert sweep(*SWEEP[1:4], "experiment=model_2")[0] == 0
    file.write_text("# @package _global_\noptimizer:\n  lr: 0.002\n")
    said = sweep(*SWEEP[1:4], "experiment=model_2", "resume=true")[1]
    assert "not resumed: since then config (optimizer.lr was '0.005', is '0.002') changed" in said


def test_a_job_is_named_once(sweep: Sweep, found: Found) -> None:
    """The same run twice would count as two samples of one configuration."""
    code, said = sweep(*SWEEP[:-1], "seed=1,2,1")
    assert code == 2
    assert "error: a sweep must have each job once. Received: 'seed=1'" in said
    assert found() == ([], [])


@pytest.mark.usefixtures("finished")
def test_another_command_is_another_sweep(sweep: Sweep, found: Found) -> None:
    code, said = sweep(*SWEEP, "optimizer.lr=0.01", "resume=true")
    assert code == 0
    assert "there is no sweep of this command yet" in said
    assert [len(each) for each in found()] == [2, 4]


@pytest.mark.usefixtures("finished")
def test_the_order_of_overrides_is_no_matter(sweep: Sweep, found: Found) -> None:
    assert sweep("-m", "resume=true", *reversed(SWEEP[1:]))[0] == 0
    assert [len(each) for each in found()] == [1, 2]


def test_a_single_run_is_kept_too(sweep: Sweep, found: Found) -> None:
    code, said = sweep(*SWEEP[1:4], "resume=true")
    assert (code, "there is no run of this command yet; the run starts afresh" in said) == (0, True)
    assert sweep(*SWEEP[1:4], "resume=true")[0] == 0
    assert [len(each) for each in found()] == [0, 1]
    assert sweep(*SWEEP[1:4])[0] == 0
    assert [len(each) for each in found()] == [0, 2], "without resume, a run is a run"


def test_of_a_single_run_it_is_said_what_changed(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep(*SWEEP[1:4])[0] == 0
    monkeypatch.setattr(provenance, "_code", lambda: "another")
    assert "not resumed: since then code changed; the run starts afresh" in sweep(*SWEEP[1:4], "resume=true")[1]
