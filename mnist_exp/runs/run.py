"""One run, from a prepared job to a closed tracker: prepare, train, conclude."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras

from mnist_exp import metrics
from mnist_exp.base.errors import Diverged, MnistExpError, RunFailed, first_line
from mnist_exp.base.imports import interrupted
from mnist_exp.base.text import redact
from mnist_exp.metrics import Epoch, History
from mnist_exp.runs import artifacts
from mnist_exp.runs.job import Job, PreparedJob
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.protocols import Measurement, Status, Tracker
from mnist_exp.training import checkpoint, engine, range_test
from mnist_exp.training.callback import TrackingCallback
from mnist_exp.training.checkpoint import Checkpoint, Checkpoints
from mnist_exp.training.range_test import RangeTest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a finished run reached.

    Attributes:
        best: the epoch with the highest validation accuracy.
        kept: the epoch whose weights are evaluated and saved: the last one, or ``best`` with ``training.keep=best``.
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
    """How far a run has got that can be resumed.

    Attributes:
        checkpoint: the file from which it goes on if there is one, and which it writes.
        logged: number of epochs that its tracker has.
    """

    checkpoint: Path
    logged: int = 0


@dataclass(frozen=True, eq=False)
class PreparedRun:
    """A run that is ready to be trained.

    Attributes:
        callback: logs each epoch to ``tracker``, and holds the epochs so far.
        writer: writes checkpoints; None for a run that cannot be resumed.
        done: the checkpoint to go on from; None for a run that begins.
    """

    job: PreparedJob
    tracker: Tracker
    callback: TrackingCallback
    writer: Checkpoints | None = None
    done: Checkpoint | None = None

    @property
    def history(self) -> History:
        """The completed epochs."""
        return self.callback.history


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run whose model is trained.

    Attributes:
        seconds: training time, that of earlier processes included.
    """

    run: PreparedRun
    model: keras.Model
    seconds: float


def run(
    job: PreparedJob, tracker: Tracker, on_epoch: Callable[[Epoch], None], progress: Progress | None = None
) -> Result:
    """Train and evaluate the model of a job, log everything to ``tracker``, and close it.

    Args:
        job: what to train, on which data.
        tracker: the open run.
        on_epoch: called with each completed epoch.
        progress: for a run that can be resumed, how far it has got.

    Raises:
        RunFailed: the run could not finish. The tracker is closed as FAILED, with the reason as a tag.
    """
    with _closing(job.job, tracker):
        (trained,) = train([prepare(job, tracker, on_epoch, progress)])
        return conclude(trained)


def prepare(
    job: PreparedJob, tracker: Tracker, on_epoch: Callable[[Epoch], None], progress: Progress | None = None
) -> PreparedRun:
    """Log everything that is known before training, and find the checkpoint to go on from. Arguments as for run()."""
    artifacts.run_inputs(job, tracker)
    if not job.job.in_sweep:
        artifacts.command_inputs(job.dataset, job.job.command, tracker)
    callback = TrackingCallback(
        tracker,
        on_epoch,
        on_divergence="stop" if job.config.lr.name == "range_test" else "raise",
        already_logged=progress.logged if progress else 0,
    )
    if progress is None:
        return PreparedRun(job, tracker, callback)
    done = checkpoint.load(progress.checkpoint)
    if done is not None:
        callback.history.epochs[:] = done.epochs
        tracker.set_tags({"resumed": f"after epoch {len(done.epochs)}"})
        for epoch in done.epochs[progress.logged :]:  # in the checkpoint, but lost from the journal
            tracker.log_metrics(Measurement(epoch.metrics(), step=epoch.number))
        log.info("training goes on after epoch %d", len(done.epochs))
    return PreparedRun(job, tracker, callback, Checkpoints(progress.checkpoint, callback.history), done)


def train(runs: Sequence[PreparedRun]) -> list[TrainedRun]:
    """Train each run's model, one after another.

    Raises:
        Diverged: a loss is not finite; the last good weights are kept with the run.
    """
    return [_train(run) for run in runs]


def conclude(trained: TrainedRun) -> Result:
    """Evaluate a trained model on the test images, and log scores, figures and the model."""
    run, job, tracker, history = trained.run, trained.run.job, trained.run.tracker, trained.run.history
    best = history.best()
    kept = best if job.config.training.keep == "best" else history.epochs[-1]
    test = metrics.evaluate(job.split.test.labels, engine.predict(trained.model, job.split.test.images))
    parameters = trained.model.count_params()
    tracker.log_metrics(Measurement(artifacts.summary(history, kept, test, trained.seconds, parameters)))
    artifacts.evaluation_files(test, tracker)
    reading = _read_range_test(run)
    if reading:
        artifacts.range_test_reading(reading, job.job, tracker)
    artifacts.pictures(job.job, job.split, history, test, tracker)
    tracker.log_model(partial(model_artifact.save, trained.model, job.split.test.images[:5]))
    note = artifacts.note(job, best, test, trained.seconds, reading)
    tracker.set_tags({"mlflow.note.content": note})
    return Result(tracker.run_id, best, kept, test.accuracy, trained.seconds)


def _train(run: PreparedRun) -> TrainedRun:
    earlier = sum(run.history.series("epoch_seconds"))
    callbacks = [run.callback, run.writer] if run.writer else [run.callback]
    began = time.perf_counter()
    try:
        model = engine.train(run.job.config, run.job.split, callbacks, run.done)
        seconds = time.perf_counter() - began
    except Diverged:
        if run.writer:
            run.writer.finish()
            _log_last_good(run.writer.file, len(run.history.epochs) - 1, run.tracker)
        raise
    finally:
        if run.writer:
            run.writer.finish()
    return TrainedRun(run, model, earlier + seconds)


@contextmanager
def _closing(job: Job, tracker: Tracker) -> Iterator[None]:
    """Close the tracker as the run ends: FINISHED, KILLED by an interruption, or FAILED with a reason."""
    try:
        log.info("run %s (%s) begins: %s", tracker.run_id, job.name, " ".join(job.overrides) or "no overrides")
        yield
        log.info("run %s finished", tracker.run_id)
        artifacts.log_files(job, tracker)
        tracker.close(Status.FINISHED)
    except (KeyboardInterrupt, Exception) as error:
        # A C extension may turn the interruption into an error of its own.
        if isinstance(error, KeyboardInterrupt) or interrupted.is_set():
            _close(job, tracker, Status.KILLED, {"failure": "interrupted"})
            raise KeyboardInterrupt from error
        log.exception("run %s failed", tracker.run_id)
        reason = getattr(error, "reason", type(error).__name__)
        _close(job, tracker, Status.FAILED, {"failure": reason, "failure.message": _one_line(error)}, error)
        if isinstance(error, RunFailed):
            raise
        raise RunFailed(_one_line(error)) from error


def _log_last_good(file: Path, last_good: int, tracker: Tracker) -> None:
    """Keep the last weights before a loss was not finite."""
    tracker.set_tags({"last_good_epoch": str(last_good)})
    if (last := checkpoint.load(file)) is not None:
        tracker.set_tags({"checkpoint_epoch": str(len(last.epochs))})
        tracker.log_artifact("checkpoint/last_good.npz", file.read_bytes())


def _read_range_test(run: PreparedRun) -> RangeTest | None:
    """Find the rates that a range test suggests; None for another run."""
    if run.job.config.lr.name != "range_test":
        return None
    return range_test.read(run.history.series("lr"), run.history.series("loss"))


def _close(job: Job, tracker: Tracker, status: Status, reason: dict[str, str], error: Exception | None = None) -> None:
    """Record why a run did not finish, then close it. A step that fails does not keep the next from being tried."""
    steps: list[Callable[[], None]] = [
        lambda: tracker.set_tags(reason),
        lambda: artifacts.log_files(job, tracker),
        lambda: tracker.close(status),
    ]
    if error is not None:
        text = redact("".join(traceback.format_exception(error))).encode(errors="backslashreplace")
        steps.insert(1, lambda: tracker.log_artifact("log/traceback.txt", text))
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("run %s could not be closed in full", tracker.run_id)


def _one_line(error: Exception) -> str:
    text = first_line(error)
    return text if isinstance(error, MnistExpError) else f"{type(error).__name__}: {text}"
