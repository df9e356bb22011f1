"""A real MLflow server, the ways to it, and a SQLite store that nobody stands in front of."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from faults.proxy import Proxy
from mnist_exp.tracking import store, ui

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a store of its own, which serves artifacts too; one for all tests."""
    folder = tmp_path_factory.mktemp("server")
    with contextlib.ExitStack() as stack:
        with contextlib.chdir(folder):  # it keeps artifacts where it was started
            address = stack.enter_context(ui.serve(f"sqlite:///{folder / 'mlflow.db'}", port=0))
        yield address


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a SQLite store; one for all tests, as creating one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('database') / 'mlflow.db'}"


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    """A proxy in front of the server, which passes until it is told otherwise."""
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def truth(server: str) -> "MlflowClient":
    """A client of the server itself: what it says is so."""
    return store.connect(server)


@pytest.fixture
def client(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """A client that knows only the proxy, and gives up at the first failure."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowClient(proxy.address)


@pytest.fixture
def experiment(server: str, truth: "MlflowClient", request: pytest.FixtureRequest) -> str:
    """The id of an experiment on the server that is the test's own."""
    return store.experiment_id(truth, server, request.node.nodeid)
