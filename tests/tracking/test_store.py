"""The store: where it is, created once however many come at once, found again after a move."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mnist_exp.base import paths
from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.config.schema import TrackingConfig
from mnist_exp.tracking.mlflow import sqlite
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import (
    connect,
    experiment_name,
    store_errors,
    uri_from_config,
    without_credentials,
)
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
        assert uri_from_config(None) == f"sqlite:///{paths.root() / 'mlruns' / 'mlflow.db'}"

    def test_a_relative_database_is_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert uri_from_config("sqlite:///runs.db") == f"sqlite:///{tmp_path / 'runs.db'}"

    def test_the_environment_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
        assert uri_from_config("sqlite:///runs.db") == "http://server:5000"
        assert experiment_name(tracking(experiment="configured"), "mnist") == "ours"

    def test_an_experiment_is_named_after_its_data_unless_told(self) -> None:
        assert experiment_name(tracking(), "digits") == "digits"
        assert experiment_name(tracking(experiment="configured"), "digits") == "configured"

    @pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://host/x"])
    def test_what_mlflow_cannot_write_to_is_refused(self, uri: str) -> None:
        with pytest.raises(StoreError, match=r"tracking\.uri must be a database or a server.*Received"):
            uri_from_config(uri)

    def test_a_password_is_never_shown(self) -> None:
        assert without_credentials("https://me:secret@host:5000/x") == "https://host:5000/x"

    def test_a_server_that_is_away_is_said_so(self) -> None:
        with pytest.raises(StoreError, match="cannot be used: no server answers there"):
            connect("http://127.0.0.1:9")


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

    def test_a_run_that_is_not_there_is_refused_by_the_real_one(self, uri: str) -> None:
        with pytest.raises(Refused, match="not found"):
            MlflowTracker(connect(uri), uri, "0" * 32).set_tags({"note": "to nobody"})


def storing() -> AbstractContextManager[None]:
    return store_errors("http://me:secret@host")


OneRun = Callable[..., str]


@pytest.fixture
def one_run(new_store: Callable[[Path], str]) -> OneRun:
    """Makes a store in a folder with a run that has an artifact; gives the run's id."""

    def make(folder: Path, experiment: str = "mnist") -> str:
        uri = new_store(folder)
        tracker = MlflowTracker.open(connect(uri), uri, open_backend(uri).experiment(experiment), "a run")
        tracker.log_artifact("loss.png", b"picture")
        tracker.close(Status.FINISHED)
        return tracker.run_id

    return make


def artifact(folder: Path, run_id: str, scratch: Path) -> bytes:
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    scratch.mkdir()
    return Path(client.download_artifacts(run_id, "loss.png", str(scratch))).read_bytes()


class TestMoving:
    @pytest.mark.parametrize("experiment", ["mnist", "née à/la 50% #1"])
    def test_a_moved_project_shows_its_artifacts(self, tmp_path: Path, one_run: OneRun, experiment: str) -> None:
        run_id = one_run(tmp_path / "my old place", experiment)
        place = "new 'place'"
        shutil.move(tmp_path / "my old place", tmp_path / place)
        assert artifact(tmp_path / place, run_id, tmp_path / "scratch") == b"picture"
        uri = f"sqlite:///{tmp_path / place / 'mlflow.db'}"
        client = connect(uri)
        second = MlflowTracker.open(client, uri, open_backend(uri).experiment(experiment), "after the move")
        second.log_artifact("loss.png", b"new picture")
        assert artifact(tmp_path / place, second.run_id, tmp_path / "scratch 2") == b"new picture"
        assert not (tmp_path / "my old place").exists()

    def test_a_copy_has_its_own_artifacts_and_leaves_the_original_alone(self, tmp_path: Path, one_run: OneRun) -> None:
        run_id = one_run(tmp_path / "original")
        shutil.copytree(tmp_path / "original", tmp_path / "copy")
        (tmp_path / "copy" / "artifacts" / "mnist" / run_id / "artifacts" / "loss.png").write_bytes(b"copied")
        assert artifact(tmp_path / "copy", run_id, tmp_path / "a") == b"copied"
        assert artifact(tmp_path / "original", run_id, tmp_path / "b") == b"picture"

    def test_a_database_copied_alone_still_points_to_where_the_artifacts_stayed(
        self, tmp_path: Path, one_run: OneRun
    ) -> None:
        run_id = one_run(tmp_path / "original")
        (tmp_path / "backup").mkdir()
        shutil.copy(tmp_path / "original" / "mlflow.db", tmp_path / "backup")
        assert artifact(tmp_path / "backup", run_id, tmp_path / "a") == b"picture"

    def test_nothing_is_touched_where_nothing_moved(self, tmp_path: Path, one_run: OneRun) -> None:
        one_run(tmp_path / "original")
        assert not sqlite.mend(tmp_path / "original" / "mlflow.db")
