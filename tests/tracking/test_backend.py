"""A store of runs, asked: every page of an answer, epochs read fast or through MLflow's client, errors as outcomes."""

import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mnist_exp.base.errors import Refused, StoreAway, StoreError
from mnist_exp.tracking.mlflow import backend as backends
from mnist_exp.tracking.mlflow import client, sqlite
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import store_errors
from mnist_exp.tracking.protocols import Backend, Measurement, Opening, Status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

METRICS = ("loss", "val_loss", "top 3")


@pytest.fixture
def backend(uri: str) -> Backend:
    return open_backend(uri)


def began(backend: Backend, experiment: str, key: str = "", parent: str | None = None) -> str:
    opening = Opening(key or uuid.uuid4().hex, "a run", backend.uri, experiment, parent, {}, 1_000, "host")
    return backend.open_run(opening).run_id


class TestPages:
    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backends, "_PAGE", 2)

    def test_runs_are_found_in_more_experiments_than_one_page_holds(self, backend: Backend) -> None:
        runs = {began(backend, f"experiment {number}") for number in range(5)}
        assert runs <= {record.run_id for record in backend.search("attributes.run_name = 'a run'")}

    def test_an_experiment_has_more_runs_than_one_page_holds(self, backend: Backend) -> None:
        runs = [began(backend, "many runs") for _ in range(5)]
        own = backend.experiment("many runs")
        assert sorted(runs) == sorted(each.run_id for each in backend.search() if each.experiment_id == own)


class TestHistory:
    @pytest.fixture
    def run_id(self, backend: Backend) -> str:
        tracker = backend.open_run(Opening(uuid.uuid4().hex, "epochs", backend.uri, "history", None, {}, 1_000, "host"))
        tracker.log_metrics(
            Measurement({"loss": 0.5, "val_loss": float("nan"), "top 3": 0.75}, 1),
            Measurement({"loss": float("inf"), "test/loss": 0.1}, 2),
            Measurement({"loss": 0.25}, 0),
        )
        tracker.close(Status.FINISHED)
        return tracker.run_id

    @pytest.fixture(params=["from the table", "of another revision"])
    def read(self, request: pytest.FixtureRequest, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
        if request.param == "of another revision":
            monkeypatch.setattr(sqlite, "REVISION", "another")
        return backend

    def test_a_row_an_epoch_and_a_column_a_metric(self, read: Backend, run_id: str) -> None:
        epochs = read.history([run_id], METRICS)
        expected = pd.DataFrame(
            {
                "run_id": [run_id] * 2,
                "epoch": [1, 2],
                "loss": [0.5, np.inf],
                "val_loss": [np.nan] * 2,
                "top 3": [0.75, np.nan],
            }
        )
        pd.testing.assert_frame_equal(epochs, expected)

    def test_no_runs_have_no_epochs(self, read: Backend) -> None:
        assert read.history([], METRICS).empty

    def test_the_schema_is_of_the_revision_that_the_queries_were_written_for(self, uri: str, run_id: str) -> None:
        database = sqlite.database_file(uri)
        assert database is not None
        with closing(sqlite3.connect(database)) as connection:
            assert sqlite.revision(connection) == sqlite.REVISION
        assert sqlite.history(database, [run_id], METRICS) is not None

    def test_a_database_without_mlflows_tables_has_no_revision(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "empty.db")) as connection:
            assert sqlite.revision(connection) == ""


class TestHistoryOfAServer:
    """MLflow's own server, in a thread, with the store that the runs were written to."""

    @pytest.fixture
    def asked(self) -> list[str]:
        """The paths that the server was asked for."""
        return []

    @pytest.fixture
    def server(self, uri: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
        monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", uri)
        from mlflow.server import app, handlers
        from werkzeug.serving import WSGIRequestHandler, make_server

        def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            asked.append(environ["PATH_INFO"])
            return app(environ, start_response)

        monkeypatch.setattr(handlers, "_tracking_store", None)
        monkeypatch.setattr(WSGIRequestHandler, "log", lambda *_: None)
        with make_server("127.0.0.1", 0, application, threaded=True) as listening:
            thread = threading.Thread(target=listening.serve_forever)
            thread.start()
            yield open_backend(f"http://127.0.0.1:{listening.server_port}")
            listening.shutdown()
            thread.join()

    @pytest.fixture
    def run_ids(self, backend: Backend) -> list[str]:
        found = []
        for number in range(3):
            tracker = backend.tracker(began(backend, "history"))
            for epoch in (1, 2):
                tracker.log_metrics(Measurement({"loss": number + epoch / 4, "val_loss": float("inf")}, epoch))
            found.append(tracker.run_id)
        return found

    def test_one_request_tells_a_metric_of_many_runs(
        self, backend: Backend, server: Backend, run_ids: list[str], asked: list[str]
    ) -> None:
        read = server.history(run_ids, METRICS)
        pd.testing.assert_frame_equal(read, backend.history(run_ids, METRICS))
        assert sum("history" in path for path in asked) == len(METRICS)

    def test_more_values_than_one_answer_holds_are_read_run_by_run(
        self, backend: Backend, server: Backend, run_ids: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "_MAX_VALUES", 4)
        pd.testing.assert_frame_equal(server.history(run_ids, METRICS), backend.history(run_ids, METRICS))


class TestArtifacts:
    def test_a_file_is_read_and_a_missing_one_is_none(self, backend: Backend) -> None:
        run_id = began(backend, "artifacts")
        backend.tracker(run_id).log_artifact("evaluation/table.csv", b"1,2")
        backend.tracker(run_id).log_artifact("note.txt", b"a note")
        assert backend.artifact(run_id, "evaluation/table.csv") == b"1,2"
        assert backend.artifact(run_id, "note.txt") == b"a note"
        assert backend.artifact(run_id, "evaluation/other.csv") is None
        assert backend.artifact(run_id, "other.txt") is None


class TestErrors:
    """By type, HTTP status and MLflow's code, never by the text of an error."""

    def test_a_server_that_does_not_answer_is_away(self) -> None:
        with pytest.raises(StoreAway, match="no server answers there"):
            open_backend("http://127.0.0.1:9").connect()

    @pytest.mark.parametrize(
        ("cause", "outcome"),
        [
            (requests.exceptions.ReadTimeout("slow"), StoreAway),
            (requests.exceptions.RetryError("503 again and again"), StoreAway),
            (requests.exceptions.SSLError("an expired certificate"), StoreError),
            (requests.exceptions.InvalidURL("no address"), StoreError),
        ],
        ids=lambda each: getattr(each, "__name__", type(each).__name__),
    )
    def test_what_mlflows_client_wraps_is_known_by_its_cause(self, cause: Exception, outcome: type[StoreError]) -> None:
        with pytest.raises(StoreError) as raised, store_errors("http://host"):  # noqa: PT012
            try:
                raise cause
            except requests.exceptions.RequestException as error:
                raise MlflowException(f"Max retries exceeded: {error}")  # noqa: B904  as MLflow raises it
        assert type(raised.value) is outcome

    @pytest.mark.parametrize(("status", "outcome"), [(413, Refused), (403, StoreError), (502, StoreError)])
    def test_a_response_is_known_by_its_status(self, status: int, outcome: type[StoreError]) -> None:
        response = requests.Response()
        response.status_code = status
        with pytest.raises(StoreError) as raised, store_errors("http://host"):
            response.raise_for_status()
        assert type(raised.value) is outcome

    def test_words_in_an_error_do_not_decide(self) -> None:
        with (
            pytest.raises(StoreError, match="cannot be used: Max retries exceeded") as raised,
            store_errors("http://h"),
        ):
            raise OSError("Max retries exceeded")
        assert type(raised.value) is StoreError

    def test_an_error_while_another_was_handled_has_nothing_of_its_code(self) -> None:
        """As a database that is locked, asked whether a tag that could not be deleted is there."""
        with pytest.raises(StoreError) as raised, store_errors("http://h"):  # noqa: PT012
            try:
                raise MlflowException("no such tag", databricks_pb2.RESOURCE_DOES_NOT_EXIST)
            except MlflowException:
                raise MlflowException("database is locked")  # noqa: B904  as a library would
        assert type(raised.value) is StoreError
