"""One run, from a checked config to a closed tracker."""

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras

from mnist_exp import metrics
from mnist_exp.base.errors import Diverged, MnistExpError, RunFailed, first_line
from mnist_exp.base.text import redact
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset, Split
from mnist_exp.metrics import Epoch, History
from mnist_exp.runs import artifacts
from mnist_exp.runs.artifacts import Job
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.protocols import Measurement, Status, Tracker
from mnist_exp.training import checkpoint, engine, range_test
from mnist_exp.training.callback import TrackingCallback
from mnist_exp.training.checkpoint import Checkpoints
from mnist_exp.training.range_test import RangeTest

__all__ = ["Job", "Progress", "Result", "run"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a finished run reached.

    Attributes:
        best: the epoch with the highest validation accuracy.
        kept: the epoch whose weights are judged and saved: the last one, or ``best`` with ``training.keep=best``.
        test_accuracy: share of the test images predicted right with the kept weights, 0..1.
        seconds: training time.
    """

    run_id: str
    best: Epoch
    kept: Epoch
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a run has got, for one that may be taken up again.

    Attributes:
        checkpoint: the file from which it goes on if there is one, and which it writes.
        told: how many epochs its tracker knows of.
    """

    checkpoint: Path
    told: int = 0


def run(
    config: RunConfig,
    job: Job,
    dataset: Dataset,
    tracker: Tracker,
    on_epoch: Callable[[Epoch], None],
    progress: Progress | None = None,
) -> Result:
    """Train and judge the model that ``config`` describes, telling ``tracker`` everything, and close it.

    With ``progress``, it goes on where an earlier process was interrupted, or can be taken up again itself.

    Raises:
        RunFailed: the run could not finish; the tracker is closed as FAILED, with the reason as a tag.
    """
    try:
        log.info("run %s (%s) begins: %s", tracker.run_id, job.name, " ".join(job.overrides) or "no overrides")
        result = _run(config, job, dataset, tracker, on_epoch, progress)
        log.info("run %s finished: test accuracy %.4f", tracker.run_id, result.test_accuracy)
        artifacts.log_files(job, tracker)
        tracker.close(Status.FINISHED)
    except KeyboardInterrupt:
        _close(job, tracker, Status.KILLED, {"failure": "interrupted"})
        raise
    except Exception as error:
        log.exception("run %s failed", tracker.run_id)
        reason = getattr(error, "reason", type(error).__name__)
        _close(job, tracker, Status.FAILED, {"failure": reason, "failure.message": _one_line(error)}, error)
        if isinstance(error, RunFailed):
            raise
        raise RunFailed(_one_line(error)) from error
    return result


def _run(
    config: RunConfig,
    job: Job,
    dataset: Dataset,
    tracker: Tracker,
    on_epoch: Callable[[Epoch], None],
    progress: Progress | None,
) -> Result:
    split = datasets.split(dataset, config.data)
    artifacts.inputs(config, job, dataset, split, tracker)

    callback = TrackingCallback(
        tracker, on_epoch, may_diverge=config.lr.name == "range_test", told=progress.told if progress else 0
    )
    model, seconds = _train(config, split, tracker, callback, progress)

    best = callback.history.best()
    kept = best if config.training.keep == "best" else callback.history.epochs[-1]
    test = metrics.evaluate(split.test.labels, engine.predict(model, split.test.images))
    tracker.log_metrics(Measurement(artifacts.summary(callback.history, kept, test, seconds, model.count_params())))
    artifacts.evaluation_files(test, tracker)
    reading = _read_range_test(config, callback.history)
    if reading:
        artifacts.range_test_reading(reading, job, tracker)
    artifacts.pictures(job, split, callback.history, test, tracker)
    tracker.log_model(partial(model_artifact.save, model, split.test.images[:5]))
    tracker.set_tags({"mlflow.note.content": artifacts.note(config, job, dataset, split, best, test, seconds, reading)})
    return Result(tracker.run_id, best, kept, test.accuracy, seconds)


def _train(
    config: RunConfig, split: Split, tracker: Tracker, callback: TrackingCallback, progress: Progress | None
) -> tuple[keras.Model, float]:
    """The trained model, and how many seconds that took, an earlier process's included."""
    if progress is None:
        began = time.perf_counter()
        return engine.train(config, split, [callback]), time.perf_counter() - began
    done = checkpoint.load(progress.checkpoint)
    if done is not None:
        callback.history.epochs[:] = done.epochs
        tracker.set_tags({"resumed": f"after epoch {len(done.epochs)}"})
        for epoch in done.epochs[progress.told :]:  # the checkpoint outlived what the journal said of them
            tracker.log_metrics(Measurement(epoch.metrics(), step=epoch.number))
        log.info("training goes on after epoch %d", len(done.epochs))
    earlier = sum(callback.history.series("epoch_seconds"))
    writer = Checkpoints(progress.checkpoint, callback.history)
    began = time.perf_counter()
    try:
        model = engine.train(config, split, [callback, writer], done)
        seconds = time.perf_counter() - began
    except Diverged:
        writer.finish()
        _log_last_good(progress.checkpoint, len(callback.history.epochs) - 1, tracker)
        raise
    finally:
        writer.finish()
    return model, earlier + seconds


def _log_last_good(file: Path, last_good: int, tracker: Tracker) -> None:
    """Keep the last weights that were looked at before a loss was no number any more."""
    tracker.set_tags({"last_good_epoch": str(last_good)})
    if (last := checkpoint.load(file)) is not None:
        tracker.set_tags({"checkpoint_epoch": str(len(last.epochs))})
        tracker.log_artifact("checkpoint/last_good.npz", file.read_bytes())


def _read_range_test(config: RunConfig, history: History) -> RangeTest | None:
    """What the run's losses say of its rates; None for a run that was no range test."""
    if config.lr.name != "range_test":
        return None
    return range_test.read(history.series("lr"), history.series("loss"))


def _close(job: Job, tracker: Tracker, status: Status, reason: dict[str, str], error: Exception | None = None) -> None:
    """Record why a run did not finish, then close it; each step whatever became of the one before it."""
    steps: list[Callable[[], None]] = [
        lambda: tracker.set_tags(reason),
        lambda: artifacts.log_files(job, tracker),
        lambda: tracker.close(status),
    ]
    if error is not None:
        told = redact("".join(traceback.format_exception(error))).encode(errors="backslashreplace")
        steps.insert(1, lambda: tracker.log_artifact("log/traceback.txt", told))
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("run %s could not be closed in full", tracker.run_id)


def _one_line(error: Exception) -> str:
    text = first_line(error)
    return text if isinstance(error, MnistExpError) else f"{type(error).__name__}: {text}"
