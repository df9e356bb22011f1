"""A real MLflow server, the ways to it, a SQLite store that nobody stands in front of, and an undisturbed sweep."""

import compileall
import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Checkout, copy_project

from faults import ledger
from faults.ledger import KeptSweep
from faults.program import Program
from faults.proxy import Proxy
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow import ui
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCHS = 100
NAMES = ("seed=1", "seed=2", "seed=3")
SWEEP = ("-m", "data=digits", f"training.epochs={EPOCHS}", "seed=1,2,3")
"""A sweep of three short runs on the embedded digits."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a store of its own, which serves artifacts too; one for all tests."""
    folder = tmp_path_factory.mktemp("server")
    with contextlib.ExitStack() as stack:
        with contextlib.chdir(folder):  # it keeps artifacts where it was started
            address = stack.enter_context(ui.serve(f"sqlite:///{folder / 'mlflow.db'}", port=0))
        yield address


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    """The URI of a SQLite store; one for all tests."""
    return new_store(tmp_path_factory.mktemp("database"))


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    """A proxy in front of the server, which passes until it is told otherwise."""
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def truth(server: str) -> "MlflowClient":
    """A client of the server itself: what it says is so."""
    return connect(server)


@pytest.fixture
def client(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """A client that knows only the proxy, and gives up at the first failure."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowClient(proxy.address)


@pytest.fixture
def experiment(server: str, truth: "MlflowClient", request: pytest.FixtureRequest) -> str:
    """The id of an experiment on the server that is the test's own."""
    return open_backend(server).experiment(request.node.nodeid)


@pytest.fixture
def run_names(truth: "MlflowClient", experiment: str) -> Callable[[], list[str]]:
    """Which runs the server has, however the client fared."""
    return lambda: sorted(run.info.run_name for run in truth.search_runs([experiment]))


@pytest.fixture
def in_another_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool


@pytest.fixture(scope="session")
def new_checkout(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Callable[[], Checkout]:
    """Makes copies of the project, each with an empty store of its own."""
    template = copy_project(tmp_path_factory.mktemp("template") / "my project")
    compileall.compile_dir(template.root / "mnist_exp", quiet=1)

    def make() -> Checkout:
        target = tmp_path_factory.mktemp("checkout") / "my project"
        shutil.copytree(template.root, target)
        new_store(target / "mlruns")
        return Checkout(target)

    return make


@pytest.fixture
def checkout(new_checkout: Callable[[], Checkout]) -> Iterator[Checkout]:
    """A copy of the project with an empty store; a space in its path, as people have."""
    made = new_checkout()
    yield made
    shutil.rmtree(made.root, ignore_errors=True)


def sweep_in(checkout: Checkout) -> KeptSweep:
    """The last sweep in the store of a checkout."""
    client = connect(checkout.uri)
    parent = queries.latest_sweep(open_backend(client.tracking_uri))
    assert parent is not None
    return ledger.read(client, parent.run_id)


@dataclass(frozen=True)
class Undisturbed:
    """The sweep that nothing happened to, which all others must equal.

    Attributes:
        first_epoch_s, ended_s: seconds from its start to its first epoch and to its end.
    """

    kept: KeptSweep
    first_epoch_s: float
    ended_s: float


@pytest.fixture(scope="session")
def undisturbed(new_checkout: Callable[[], Checkout]) -> Undisturbed:
    checkout = new_checkout()
    with Program(checkout, *SWEEP) as program:
        assert program.end() == 0, program.said
    assert program.first_epoch_s is not None
    assert program.ended_s is not None
    kept = sweep_in(checkout)
    assert not ledger.wrong(kept, NAMES, EPOCHS).everything()
    return Undisturbed(kept, program.first_epoch_s, program.ended_s)


@dataclass(frozen=True)
class Killed:
    """A sweep whose process got kill -9 while its second run trained.

    Attributes:
        program: that process.
        journals: its journals as they were then; a copy.
    """

    checkout: Checkout
    program: Program
    journals: Path


@pytest.fixture(scope="session")
def killed(new_checkout: Callable[[], Checkout], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    checkout = new_checkout()
    with Program(checkout, *SWEEP) as program:
        program.wait_for("run 2 of 3", f"epoch {EPOCHS // 2}/")
        assert program.strike(signal.SIGKILL) == -signal.SIGKILL
    copy = tmp_path_factory.mktemp("killed") / "journal"
    shutil.copytree(checkout.root / "mlruns" / "journal", copy)
    return Killed(checkout, program, copy)
