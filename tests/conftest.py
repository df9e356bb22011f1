"""What the tests share: a clean environment, composed configs, a checkout of their own for the real command."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

from mnist_exp.base.imports import interrupted
from mnist_exp.config.schema import RunConfig
from mnist_exp.data.files import Arrays
from mnist_exp.tracking.protocols import Record

if TYPE_CHECKING:
    from mnist_exp.sweeps.sweep import Sweep

# The same examples every time, none of them kept on disk, however slow the machine; HYPOTHESIS_PROFILE=search looks
# for new ones.
settings.register_profile("same", derandomize=True, database=None, deadline=None, max_examples=200)
settings.register_profile("search", derandomize=False, database=None, deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

pytest_plugins = ["browser_fixture", "journal_fixtures"]

PROJECT = Path(__file__).resolve().parent.parent
OWN_VARIABLES = ("MNIST_EXP_", "MLFLOW_", "HYDRA_", "KERAS_HOME")


# Read before the tests take it out of their environment.
REAL_MNIST = Path(os.environ["MNIST_EXP_DATA"]) if os.environ.get("MNIST_EXP_DATA") else None
needs_real_mnist = pytest.mark.skipif(REAL_MNIST is None, reason="needs the real MNIST: set MNIST_EXP_DATA to its .npz")


def clean_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take every setting of the machine out of the environment; Keras's cache is in ``folder``."""
    for name in list(os.environ):
        if name.startswith(OWN_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and none of Keras's caches."""
    clean_environment(monkeypatch, tmp_path)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, once for all processes that run tests; they only read it, or copy from it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # which the workers share
    folder = root / "made once" / name
    folder.mkdir(parents=True, exist_ok=True)
    done = folder.with_name(f"{name}.done")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Makes an empty SQLite store in a folder, as a copy: MLflow needs seconds to create one. Gives its URI."""
    from mnist_exp.tracking.mlflow.client import connect

    def create(folder: Path) -> None:
        connect(f"sqlite:///{folder / 'mlflow.db'}")

    template = made_once(tmp_path_factory, "empty store", create)

    def make(folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template / "mlflow.db", folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    return make


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    """One SQLite store for all tests of this file."""
    return new_store(tmp_path_factory.mktemp("store"))


def parent_id(sweep: "Sweep") -> str:
    """The id of a sweep's parent run, which its own journal may not have brought to the store yet."""
    from mnist_exp.tracking.mlflow.backend import open_backend
    from mnist_exp.tracking.spool import journal

    if (there := sweep.parent()) is not None:
        return there.run_id
    opening = journal.read(journal.root() / sweep.key).opening
    assert opening is not None
    return open_backend(sweep.uri).open_run(opening).run_id


@pytest.fixture(scope="session")
def composed() -> Callable[..., RunConfig]:
    """Compose and check a config, on the embedded digits unless told otherwise."""
    from mnist_exp.app.compose import compose, to_run_config

    def make(*overrides: str) -> RunConfig:
        own = [] if any(each.startswith("data=") for each in overrides) else ["data=digits"]
        return to_run_config(compose([*own, *overrides]))

    return make


@pytest.fixture
def some_arrays() -> Arrays:
    """A small data set of somebody's own: 60 training and 20 test images, every label equally often."""
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "y_train": np.arange(60, dtype=np.uint8) % 10,
        "x_test": random.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in which the real command runs, with a store of its own."""

    root: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'mlruns' / 'mlflow.db'}"

    def run(self, *arguments: str, folder: str = ".", program: str = "mnist_exp", **environment: str) -> Outcome:
        """``python -m mnist_exp ARGUMENTS`` in one of its folders."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=self.root / folder,
            env={**kept, "PYTHONPATH": str(self.root), "KERAS_HOME": str(self.root / "keras"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


def copy_project(target: Path) -> Checkout:
    for folder in ("conf", "experiments", "mnist_exp"):
        shutil.copytree(PROJECT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Checkout(target)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh copy of the project; a space in its path, as people have."""
    return copy_project(tmp_path / "my project")


@dataclass(frozen=True)
class SweepStore:
    """The sweep of the README on the embedded digits, as the real command left it."""

    checkout: Checkout
    outcome: Outcome
    uri: str
    experiment_id: str
    parent: str
    children: list[Record]


@pytest.fixture(scope="session")
def sweep_store(tmp_path_factory: pytest.TempPathFactory) -> SweepStore:
    """Runs the README's sweep once for all tests that look at it, from a folder below the project."""
    from mnist_exp.tracking import queries
    from mnist_exp.tracking.mlflow.backend import open_backend
    from mnist_exp.tracking.mlflow.client import connect

    def run(folder: Path) -> None:
        sweep = ("-m", "model.units=4,10", "optimizer.lr=0.001,0.01", "data=digits")
        outcome = copy_project(folder / "my project").run(*sweep, folder="conf")
        (folder / "outcome.json").write_text(json.dumps(asdict(outcome)))

    folder = made_once(tmp_path_factory, "sweep", run)
    checkout, outcome = Checkout(folder / "my project"), Outcome(**json.loads((folder / "outcome.json").read_text()))
    assert outcome.code == 0, outcome.err
    client = connect(checkout.uri)
    parent = queries.latest_sweep(open_backend(client.tracking_uri))
    assert parent is not None
    children = queries.children(open_backend(client.tracking_uri), parent.run_id)
    return SweepStore(checkout, outcome, checkout.uri, parent.experiment_id, parent.run_id, children)


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """A command handles signals as long as its process lives: here, as long as its test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupted.clear()


def command_here(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> Outcome:
    """``mnist-exp ARGUMENTS`` in this process; its test uses ``signal_handlers``."""
    from mnist_exp.commands import cli

    capsys.readouterr()
    try:
        code = cli.main(arguments)
    except SystemExit as left:  # argparse
        code = int(str(left.code))
    return Outcome(code, *capsys.readouterr())


Program = Callable[..., Outcome]
Command = Callable[..., tuple[int, str]]


def run_here(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Make ``root`` the project's folder for commands that run in this process."""
    import absl.logging

    from mnist_exp.base import paths

    monkeypatch.setattr(paths, "root", lambda: root)
    # Hydra closes every log handler, and absl's closes its stream: where TensorFlow was imported before, pytest's own.
    absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    """The real main function in this process, with the test's folder for the project's."""
    from mnist_exp.app import application

    run_here(monkeypatch, tmp_path)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["mnist_exp", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capsys.readouterr()
        try:
            code = application.main(arguments)
        except SystemExit as left:
            code = int(str(left.code))
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def command(program: Program) -> Command:
    """The same; gives its exit code and what it wrote to standard error."""

    def call(*arguments: str) -> tuple[int, str]:
        outcome = program(*arguments)
        return outcome.code, outcome.err

    return call


# The folders whose tests take long. They come first, so that the processes that run tests end together.
LONG = ("app", "commands", "review", "sweeps", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out what was imported: a million objects that live as long as the tests."""
    gc.collect()
    gc.freeze()
