"""One run, from a checked config to a closed tracker."""

import csv
import io
import json
import logging
import shlex
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from mnist_exp import evaluation, figures
from mnist_exp.config import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset, Split
from mnist_exp.errors import MnistExpError, RunFailed, first_line
from mnist_exp.evaluation import DIGITS, Evaluation
from mnist_exp.redaction import redact, redacted_file
from mnist_exp.tracking import provenance
from mnist_exp.tracking.tracker import Measurement, Status, Tracker
from mnist_exp.training import engine, range_test
from mnist_exp.training.callback import TrackingCallback
from mnist_exp.training.epochs import Epoch, History
from mnist_exp.training.range_test import RangeTest

log = logging.getLogger(__name__)

_EXPLORATION = {
    "data/samples.png": figures.samples,
    "data/class_counts.png": figures.class_counts,
    "data/pixels.png": figures.pixels,
}


@dataclass(frozen=True)
class Job:
    """A run's place in the command that started it.

    Attributes:
        name: what the run is called.
        group: what its configuration is called, which runs with other seeds share: MLflow's UI groups by it.
        overrides: the command line's overrides that make this run.
        output: Hydra's folder of the job, with ``.hydra/`` and the log in it.
        number, total: the how-manieth of how many runs, from 1.
    """

    name: str
    group: str
    overrides: tuple[str, ...]
    output: Path
    number: int = 1
    total: int = 1


@dataclass(frozen=True)
class Result:
    """What a finished run reached.

    Attributes:
        best: the epoch with the highest validation accuracy.
        test_accuracy: share of the test images predicted right after the last epoch, 0..1.
        seconds: training time.
    """

    run_id: str
    best: Epoch
    test_accuracy: float
    seconds: float


def run(config: RunConfig, job: Job, dataset: Dataset, tracker: Tracker, on_epoch: Callable[[Epoch], None]) -> Result:
    """Train and judge the model that ``config`` describes, telling ``tracker`` everything, and close it.

    Raises:
        RunFailed: the run could not finish; the tracker is closed as FAILED, with the reason as a tag.
    """
    try:
        log.info("run %s (%s) begins: %s", tracker.run_id, job.name, " ".join(job.overrides) or "no overrides")
        result = _run(config, job, dataset, tracker, on_epoch)
        log.info("run %s finished: test accuracy %.4f", tracker.run_id, result.test_accuracy)
        _log_files(job, tracker)
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


def _run(config: RunConfig, job: Job, dataset: Dataset, tracker: Tracker, on_epoch: Callable[[Epoch], None]) -> Result:
    split = datasets.split(dataset, config.data)
    _log_inputs(config, job, dataset, tracker)

    callback = TrackingCallback(tracker, on_epoch, may_diverge=config.lr.name == "range_test")
    began = time.perf_counter()
    model = engine.train(config, split, [callback])
    seconds = time.perf_counter() - began

    test = evaluation.evaluate(split.test.labels, engine.predict(model, split.test.images))
    tracker.log_metrics(Measurement(_summary_metrics(callback.history, test, seconds, model.count_params())))
    _log_evaluation(test, tracker)
    reading = _read_range_test(config, callback.history)
    if reading:
        _log_range_test(reading, job, tracker)
    _log_figures(job, split, callback.history, test, tracker)
    tracker.log_model(model, split.test.images[:5])
    best = callback.history.best()
    tracker.set_tags({"mlflow.note.content": _note(config, job, dataset, split, best, test, seconds, reading)})
    return Result(tracker.run_id, best, test.accuracy, seconds)


def _log_inputs(config: RunConfig, job: Job, dataset: Dataset, tracker: Tracker) -> None:
    """All that is known before training: params, tags, data set, config and provenance."""
    code = provenance.code()
    if not config.tracking.git_diff:
        code = replace(code, diff="")
    tracker.log_params({**config.params(), **({"data": dataset.name} if dataset.name in ("mnist", "digits") else {})})
    tracker.set_tags(
        {
            "kind": "run",
            "group": job.group,
            "rerun": _command(config, job),
            "dataset": dataset.name,
            "dataset.digest": dataset.digest,
            "dataset.source": dataset.source,
            **({"dataset.fallback": dataset.fallback} if dataset.fallback else {}),
            **provenance.tags(code),
        }
    )
    tracker.log_dataset(dataset, "training")
    for path in _EXPLORATION:
        tracker.log_artifact(path, partial(_explored, dataset, path))
    tracker.log_artifact("config/config.yaml", redact(yaml.safe_dump(config.plain(), sort_keys=False)).encode())
    for name in ("overrides.yaml", "hydra.yaml"):
        if (file := job.output / ".hydra" / name).exists():  # hydra.output_subdir=null writes none
            tracker.log_artifact(f"config/{name}", redacted_file(file.read_bytes()))
    tracker.log_artifact("provenance/environment.txt", lambda: provenance.environment().encode())
    tracker.log_artifact("provenance/rerun.sh", provenance.rerun_script(code, _command(config, job)).encode())
    tracker.log_artifact("provenance/git.diff", code.diff.encode())


def _command(config: RunConfig, job: Job) -> str:
    """The command line that makes this run again, whatever the environment says by then; without secrets."""
    overrides = list(job.overrides)
    if config.data.path is not None and not any(each.startswith("data.path=") for each in overrides):
        escaped = config.data.path.replace("\\", "\\\\").replace("'", "\\'")
        overrides.append(f"data.path='{escaped}'")
    return shlex.join(["python", "-m", "mnist_exp", *map(redact, overrides)])


@cache
def _explored(dataset: Dataset, path: str) -> bytes:
    """A picture of a data set; drawn once per process."""
    return figures.png(_EXPLORATION[path](dataset))


def _summary_metrics(history: History, test: Evaluation, seconds: float, parameters: int) -> dict[str, float]:
    best = history.best()
    return {
        "best/val_accuracy": best.scores["val_accuracy"],
        "best/val_loss": float(np.nanmin(history.series("val_loss"))),
        "best/epoch": best.number,
        "test/loss": test.loss,
        "test/accuracy": test.accuracy,
        **{f"test/recall_{digit}": float(test.recall[digit]) for digit in DIGITS},
        "train_seconds": seconds,
        "parameters": parameters,
    }


def _log_evaluation(test: Evaluation, tracker: Tracker) -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["true \\ predicted", *DIGITS])
    writer.writerows([digit, *row] for digit, row in zip(DIGITS, test.confusion.tolist(), strict=True))
    tracker.log_artifact("evaluation/confusion_matrix.csv", table.getvalue().encode())
    tracker.log_artifact("evaluation/classification_report.json", json.dumps(test.report, indent=2).encode())


def _read_range_test(config: RunConfig, history: History) -> RangeTest | None:
    """What the run's losses say of its rates; None for a run that was no range test."""
    if config.lr.name != "range_test":
        return None
    return range_test.read(history.series("lr"), history.series("loss"))


def _log_range_test(reading: RangeTest, job: Job, tracker: Tracker) -> None:
    if reading.suggestion:
        tracker.log_metrics(Measurement(reading.suggestion.metrics()))
    tracker.set_tags({"range_test": reading.sentence})
    tracker.log_artifact("lr_range.png", partial(_drawn, partial(figures.range_test, reading, job.name)))


def _log_figures(job: Job, split: Split, history: History, test: Evaluation, tracker: Tracker) -> None:
    """The pictures that a team compares; at the root, where MLflow's compare view finds them."""
    pictures: dict[str, Callable[[], Figure]] = {
        "loss.png": lambda: figures.loss(history.series("loss"), history.series("val_loss"), job.name),
        "accuracy.png": lambda: figures.accuracy(history.series("accuracy"), history.series("val_accuracy"), job.name),
        "lr.png": lambda: figures.learning_rate(history.series("lr"), job.name),
        "confusion_matrix.png": lambda: figures.confusion_matrix(test, job.name),
        "predictions.png": lambda: figures.predictions(split.test, test, job.name),
        "mistakes.png": lambda: figures.mistakes(split.test, test, job.name),
    }
    for path, draw in pictures.items():
        tracker.log_artifact(path, partial(_drawn, draw))


def _drawn(draw: Callable[[], Figure]) -> bytes:
    return figures.png(draw())


def _note(
    config: RunConfig,
    job: Job,
    dataset: Dataset,
    split: Split,
    best: Epoch,
    test: Evaluation,
    seconds: float,
    reading: RangeTest | None,
) -> str:
    """The run in a few lines of markdown, for the top of its page in the MLflow UI."""
    weakest = int(np.nanargmin(test.recall))
    lines = [
        f"**{test.accuracy:.2%}** of the test images right after the last epoch; best validation accuracy "
        f"**{best.scores['val_accuracy']:.2%}** after epoch {best.number} of {config.training.epochs}; "
        f"weakest digit: {weakest} ({test.recall[weakest]:.1%}). Trained in {seconds:.1f} s.",
        "",
        *((reading.sentence, "") if reading else ()),
        f"Data: **{dataset.name}**, {len(split.train):,} images to train on, {len(split.validation):,} to validate, "
        f"{len(split.test):,} to test, from {dataset.source}, sha256 {dataset.digest[:16]}.",
        "",
        "Run it again:",
        "",
        f"    {_command(config, job)}",
    ]
    if dataset.fallback:
        lines += ["", f"Not MNIST: {dataset.fallback}"]
    return "\n".join(lines)


def _log_files(job: Job, tracker: Tracker) -> None:
    for file in sorted(job.output.glob("*.log")):
        tracker.log_artifact(f"log/{file.name}", redacted_file(file.read_bytes()))


def _close(job: Job, tracker: Tracker, status: Status, reason: dict[str, str], error: Exception | None = None) -> None:
    """Record why a run did not finish, then close it; each step whatever became of the one before it."""
    steps: list[Callable[[], None]] = [
        lambda: tracker.set_tags(reason),
        lambda: _log_files(job, tracker),
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
