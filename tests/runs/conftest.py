"""A job, a run that has finished, a store that takes no files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import clean_environment
from prepared import prepared

from mnist_exp.base.errors import StoreError
from mnist_exp.config.schema import RunConfig
from mnist_exp.runs import checkout
from mnist_exp.runs.checkout import Code
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import run
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Content

Composed = Callable[..., RunConfig]


def leave_checkout_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the code under test is committed changes no test."""
    monkeypatch.setattr(checkout, "code", lambda: Code("abc", False))
    monkeypatch.setattr(checkout, "changes", lambda: b"")


@pytest.fixture
def unchanged_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that runs is that of a commit."""
    leave_checkout_unchanged(monkeypatch)


def a_job(folder: Path) -> Job:
    """A job whose output, with what Hydra and logging wrote, is in ``folder``."""
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text("seed: 17\n")
    (folder / "mnist_exp.log").write_text("a line\n")
    return Job("a run", "a configuration", ("model.units=6", "optimizer.lr=0.01"), folder)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return a_job(tmp_path)


def finished(config: RunConfig, job: Job) -> MemoryTracker:
    tracker = MemoryTracker()
    run(prepared(config, job), tracker, lambda _: None)
    return tracker


@pytest.fixture(scope="session")
def whole_run(composed: Composed, tmp_path_factory: pytest.TempPathFactory) -> MemoryTracker:
    """What a run of three epochs wrote; tests only look at it."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, folder)
        leave_checkout_unchanged(patch)
        return finished(composed("model.units=6", "optimizer.lr=0.01", "training.epochs=3"), a_job(folder))


class Broken(MemoryTracker):
    """A store that takes no files."""

    def log_artifact(self, path: str, content: Content) -> None:  # noqa: ARG002
        raise StoreError("disk full")
