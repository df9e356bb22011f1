"""The two requests that a record of reviews stands on: a param that is written once, and the login of the user."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.tracking.mlflow.backend import MlflowBackend, open_backend
from mnist_exp.tracking.protocols import MAX_PARAM, Backend, Opening


@pytest.fixture
def backend(uri: str) -> Backend:
    return open_backend(uri)


@pytest.fixture
def run_id(backend: Backend) -> str:
    return backend.open_run(Opening(uuid.uuid4().hex, "a run", backend.uri, "reviews", None, {}, 1_000, "host")).run_id


class TestWriteOnce:
    def test_a_param_without_a_value_gets_one(self, backend: Backend, run_id: str) -> None:
        assert backend.write_once(run_id, "review.0000", "first")
        assert backend.find(run_id).params["review.0000"] == "first"

    def test_another_value_is_not_written(self, backend: Backend, run_id: str) -> None:
        backend.write_once(run_id, "review.0000", "first")
        assert not backend.write_once(run_id, "review.0000", "second")
        assert backend.find(run_id).params["review.0000"] == "first"

    def test_the_same_again_is_safe_as_after_an_answer_that_was_lost(self, backend: Backend, run_id: str) -> None:
        assert backend.write_once(run_id, "review.0000", "first")
        assert backend.write_once(run_id, "review.0000", "first")

    @pytest.mark.parametrize(
        "text", ["", "token=ghp_" + "a" * 36, '{"a": "größer? 李 \\n"}', " two\nlines\t", "x" * MAX_PARAM]
    )
    def test_exactly_the_text_is_kept(self, backend: Backend, run_id: str, text: str) -> None:
        assert backend.write_once(run_id, "review.0000", text)
        assert backend.find(run_id).params["review.0000"] == text

    @pytest.mark.parametrize("text", ["x" * (MAX_PARAM + 1), "nul \0", "half \ud800"])
    def test_a_text_that_would_not_be_kept_exactly_is_not_written(
        self, backend: Backend, run_id: str, text: str
    ) -> None:
        with pytest.raises(ValueError, match="6,000|surrogates"):
            backend.write_once(run_id, "review.0000", text)
        assert "review.0000" not in backend.find(run_id).params

    def test_a_run_that_does_not_exist_is_refused(self, backend: Backend) -> None:
        with pytest.raises(Refused, match="not found"):
            backend.write_once("0" * 32, "review.0000", "first")

    def test_a_deleted_run_is_refused(self, uri: str, run_id: str) -> None:
        backend = MlflowBackend(uri)
        backend.client.delete_run(run_id)
        with pytest.raises(Refused, match="deleted"):
            backend.write_once(run_id, "review.0000", "first")

    def test_a_name_that_mlflow_does_not_allow_is_refused(self, backend: Backend, run_id: str) -> None:
        with pytest.raises(Refused, match="Names may only contain"):
            backend.write_once(run_id, "review!", "first")


class TestSeveralAtOnce:
    def test_nothing_is_lost_and_each_writer_keeps_its_order(
        self, new_store: Callable[[Path], str], tmp_path: Path
    ) -> None:
        backend = MlflowBackend(new_store(tmp_path))
        opening = Opening(uuid.uuid4().hex, "a run", backend.uri, "reviews", None, {}, 1_000, "host")
        run_id = backend.open_run(opening).run_id

        def append_ten(writer: int) -> None:
            number = 0
            for event in range(10):
                while not backend.write_once(run_id, f"review.{number:04d}", f"{writer} {event}"):
                    number += 1

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(append_ten, range(4)))
        params = backend.find(run_id).params
        kept = [params[f"review.{number:04d}"] for number in range(40)]
        for writer in range(4):
            assert [each for each in kept if each.startswith(str(writer))] == [
                f"{writer} {event}" for event in range(10)
            ]


class Server(BaseHTTPRequestHandler):
    """Answers as MLflow's server with basic-auth does: what matters here, and a list of experiments to connect to."""

    who: tuple[int, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self._answer(*self.who)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/log-parameter"):
            self._answer(403, b"Permission denied")
        else:
            self._answer(200, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


Serve = Callable[[int, bytes], tuple[MlflowBackend, list[str]]]


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Serve:
    """Starts a server that answers in one way who is logged in; gives its store and the addresses that were asked."""

    def start(status: int, body: bytes) -> tuple[MlflowBackend, list[str]]:
        asked: list[str] = []
        handler = type("Answering", (Server,), {"who": (status, body), "asked": asked})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        request.addfinalizer(stop)
        return MlflowBackend(f"http://127.0.0.1:{server.server_port}"), asked

    return start


class TestLogin:
    def test_a_database_has_no_logins(self, backend: Backend) -> None:
        assert backend.login() is None

    def test_a_server_with_basic_auth_reports_the_login_and_is_asked_once(self, serve: Serve) -> None:
        backend, asked = serve(200, b'{"is_basic_auth":true,"user":{"id":2,"is_admin":false,"username":"ann"}}')
        assert [backend.login(), backend.login(), MlflowBackend(backend.uri).login()] == ["ann"] * 3
        assert asked == ["/api/2.0/mlflow/users/current"]

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_a_server_without_such_an_address_has_no_logins(self, serve: Serve, status: int) -> None:
        assert serve(status, b"<!doctype html><title>404 Not Found</title>")[0].login() is None

    @pytest.mark.parametrize("body", [b"{}", b'{"user": null}', b'{"user": {"username": 7}}', b'{"user": "ann"}'])
    def test_an_answer_without_a_name_is_no_login(self, serve: Serve, body: bytes) -> None:
        assert serve(200, body)[0].login() is None

    @pytest.mark.parametrize(("status", "body"), [(401, b"You are not authenticated."), (200, b"<!doctype html>")])
    def test_any_other_answer_is_an_error_not_a_missing_login(self, serve: Serve, status: int, body: bytes) -> None:
        with pytest.raises(StoreError, match="cannot be used"):
            serve(status, body)[0].login()


class TestReadOnlyUser:
    def test_is_refused_in_one_line_that_names_the_missing_permission(self, serve: Serve) -> None:
        backend, _ = serve(404, b"")
        with pytest.raises(Refused, match=r"does not let this user write to run 0+: that needs EDIT"):
            backend.write_once("0" * 32, "review.0000", "first")
