"""A run that fails or is interrupted ends as what it is, with its reason."""

import dataclasses
import logging
from collections.abc import Callable

import pytest
from prepared import prepared

from mnist_exp.base.errors import RunFailed
from mnist_exp.config.schema import RunConfig
from mnist_exp.metrics import Epoch
from mnist_exp.runs.job import Job
from mnist_exp.runs.run import run
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Status
from mnist_exp.training import networks
from runs.conftest import Broken

pytestmark = pytest.mark.usefixtures("unchanged_checkout")

Composed = Callable[..., RunConfig]


def test_a_run_that_diverges_ends_failed_with_its_reason(composed: Composed, job: Job) -> None:
    config, tracker = (
        composed("data.limit=300", "optimizer=sgd", "optimizer.lr=1e30", "training.epochs=3"),
        MemoryTracker(),
    )
    with pytest.raises(RunFailed, match="the loss of epoch 1 is nan"):
        run(prepared(config, job), tracker, lambda _: None)
    assert tracker.status == Status.FAILED
    assert tracker.tags["failure"] == "diverged"
    assert list(tracker.metrics["loss"]) == [1]
    assert "Diverged" in tracker.artifacts["log/traceback.txt"].decode()


def test_a_mistake_of_ours_ends_failed_too(
    composed: Composed, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake\nof two lines")

    monkeypatch.setattr(networks, "build_model", broken)
    tracker = MemoryTracker()
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed, match="^RuntimeError: a mistake$"):
        run(prepared(composed(), job), tracker, lambda _: None)
    assert (tracker.status, tracker.tags["failure"]) == (Status.FAILED, "RuntimeError")


def test_of_a_failure_no_secret_is_kept(
    composed: Composed, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    (job.output / "mnist_exp.log").write_text("http://me:pass1@host refused hunter2\n")
    (job.output / ".hydra" / "overrides.yaml").write_text("- tracking.uri=http://me:pass1@host\n")
    job = dataclasses.replace(job, overrides=(*job.overrides, "tracking.uri=http://me:pass1@host"))

    def broken(_: Epoch) -> None:
        raise ConnectionError("http://me:pass1@host refused hunter2")

    tracker = MemoryTracker()
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed):
        run(prepared(composed("data.limit=100"), job), tracker, broken)
    assert {"log/traceback.txt", "log/mnist_exp.log", "config/overrides.yaml"} <= set(tracker.artifacts)
    text = b"\n".join(tracker.artifacts.values())
    assert (b"pass1" in text, b"hunter2" in text) == (False, False)
    assert b"ConnectionError: http://***@host refused ***" in tracker.artifacts["log/traceback.txt"]


def test_a_store_that_takes_no_files_leaves_no_run_open(
    composed: Composed, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    config, tracker = composed("training.epochs=1", "data.limit=100"), Broken()
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunFailed, match="disk full"):
        run(prepared(config, job), tracker, lambda _: None)
    assert (tracker.status, tracker.tags["failure"]) == (Status.FAILED, "StoreError")


def test_ctrl_c_ends_a_run_as_killed(composed: Composed, job: Job) -> None:
    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    tracker = MemoryTracker()
    with pytest.raises(KeyboardInterrupt):
        run(prepared(composed("data.limit=100"), job), tracker, interrupt)
    assert tracker.status == Status.KILLED
