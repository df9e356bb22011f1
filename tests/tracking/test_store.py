"""The store: where it is, created once however many come at once, found again after a move."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mnist_exp.base import paths
from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.config.schema import TrackingConfig
from mnist_exp.tracking.mlflow import store
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Status


def tracking(**changes: str) -> TrackingConfig:
    defaults = {"uri": None, "experiment": None, "system_metrics": False, "git_diff": True}
    return TrackingConfig(**{**defaults, **changes})  # type: ignore[arg-type]


class TestWhere:
    def test_by_default_sqlite_in_the_project_from_any_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert store.resolve(None) == f"sqlite:///{paths.root() / 'mlruns' / 'mlflow.db'}"

    def test_a_relative_database_is_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert store.resolve("sqlite:///runs.db") == f"sqlite:///{tmp_path / 'runs.db'}"

    def test_the_environment_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
        assert store.resolve("sqlite:///runs.db") == "http://server:5000"
        assert store.experiment_name(tracking(experiment="configured"), "mnist") == "ours"

    def test_an_experiment_is_named_after_its_data_unless_told(self) -> None:
        assert store.experiment_name(tracking(), "digits") == "digits"
        assert store.experiment_name(tracking(experiment="configured"), "digits") == "configured"

    @pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://host/x"])
    def test_what_mlflow_cannot_write_to_is_refused(self, uri: str) -> None:
        with pytest.raises(StoreError, match=r"tracking\.uri must be a database or a server.*Received"):
            store.resolve(uri)

    def test_a_password_is_never_shown(self) -> None:
        assert store.without_credentials("https://me:secret@host:5000/x") == "https://host:5000/x"

    def test_a_server_that_is_away_is_said_so(self) -> None:
        with pytest.raises(StoreError, match="cannot be used: no server answers there"):
            store.connect("http://127.0.0.1:9")


class TestErrors:
    """Whoever sends a journal tries again after any error but a refusal."""

    @pytest.mark.parametrize("code", ["INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"])
    def test_what_no_further_attempt_changes_is_refused(self, code: str) -> None:
        with pytest.raises(Refused, match="the tracking store http://host refused it: no$"), storing():
            raise MlflowException("no\nand why", getattr(databricks_pb2, code))

    @pytest.mark.parametrize(
        "error",
        [
            MlflowException("a server that starts", databricks_pb2.TEMPORARILY_UNAVAILABLE),
            MlflowException("a mistake of the server's", databricks_pb2.INTERNAL_ERROR),
            sqlite3.OperationalError("database is locked"),
            OSError("No space left on device"),
        ],
        ids=lambda error: str(error),
    )
    def test_anything_else_may_pass(self, error: Exception) -> None:
        with pytest.raises(StoreError, match=f"cannot be used: {error}") as raised, storing():
            raise error
        assert not isinstance(raised.value, Refused)

    def test_a_run_that_is_not_there_is_refused_by_the_real_one(self, tmp_path: Path) -> None:
        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        with pytest.raises(Refused, match="not found"):
            MlflowTracker(store.connect(uri), uri, "0" * 32).set_tags({"note": "to nobody"})


def storing() -> AbstractContextManager[None]:
    return store.storing("http://me:secret@host")


def one_run(folder: Path, experiment: str = "mnist") -> tuple[str, str]:
    """A store in ``folder`` with a run that has an artifact; its URI and the run's id."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = store.connect(uri)
    tracker = MlflowTracker.open(client, uri, store.experiment_id(client, uri, experiment), "a run")
    tracker.log_artifact("loss.png", b"picture")
    tracker.close(Status.FINISHED)
    return uri, tracker.run_id


def artifact(folder: Path, run_id: str, scratch: Path) -> bytes:
    client = store.connect(f"sqlite:///{folder / 'mlflow.db'}")
    scratch.mkdir()
    return Path(client.download_artifacts(run_id, "loss.png", str(scratch))).read_bytes()


class TestMoving:
    @pytest.mark.parametrize("experiment", ["mnist", "née à/la 50% #1"])
    def test_a_moved_project_shows_its_artifacts(self, tmp_path: Path, experiment: str) -> None:
        _, run_id = one_run(tmp_path / "my old place", experiment)
        place = "new 'place'"
        shutil.move(tmp_path / "my old place", tmp_path / place)
        assert artifact(tmp_path / place, run_id, tmp_path / "scratch") == b"picture"
        uri = f"sqlite:///{tmp_path / place / 'mlflow.db'}"
        client = store.connect(uri)
        second = MlflowTracker.open(client, uri, store.experiment_id(client, uri, experiment), "after the move")
        second.log_artifact("loss.png", b"new picture")
        assert artifact(tmp_path / place, second.run_id, tmp_path / "scratch 2") == b"new picture"
        assert not (tmp_path / "my old place").exists()

    def test_a_copy_has_its_own_artifacts_and_leaves_the_original_alone(self, tmp_path: Path) -> None:
        _, run_id = one_run(tmp_path / "original")
        shutil.copytree(tmp_path / "original", tmp_path / "copy")
        (tmp_path / "copy" / "artifacts" / "mnist" / run_id / "artifacts" / "loss.png").write_bytes(b"copied")
        assert artifact(tmp_path / "copy", run_id, tmp_path / "a") == b"copied"
        assert artifact(tmp_path / "original", run_id, tmp_path / "b") == b"picture"

    def test_a_database_copied_alone_still_points_to_where_the_artifacts_stayed(self, tmp_path: Path) -> None:
        _, run_id = one_run(tmp_path / "original")
        (tmp_path / "backup").mkdir()
        shutil.copy(tmp_path / "original" / "mlflow.db", tmp_path / "backup")
        assert artifact(tmp_path / "backup", run_id, tmp_path / "a") == b"picture"

    def test_nothing_is_touched_where_nothing_moved(self, tmp_path: Path) -> None:
        one_run(tmp_path / "original")
        assert not store.mend(tmp_path / "original" / "mlflow.db")


WORKER = """
import sys
from mnist_exp.tracking import store
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status
uri, name = sys.argv[1:]
client = store.connect(uri)
tracker = MlflowTracker.open(client, uri, store.experiment_id(client, uri, "mnist"), name)
for step in range(1, 31):
    tracker.log_metrics(Measurement({"loss": 1 / step, "accuracy": step / 30}, step=step))
tracker.close(Status.FINISHED)
"""


@pytest.mark.slow
def test_processes_that_meet_at_a_store_that_is_not_there_yet_lose_nothing(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, uri, f"run {number}"]) for number in range(4)]
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    client = store.connect(uri)
    experiment = client.get_experiment_by_name("mnist")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["run 0", "run 1", "run 2", "run 3"]
    for run in runs:
        assert run.info.status == "FINISHED"
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        assert sorted(steps) == list(range(1, 31))
