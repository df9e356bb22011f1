"""What is logged of a run: what it was given, what it reached, the pictures that a team compares."""

import csv
import io
import json
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import yaml
from matplotlib.figure import Figure

from mnist_exp.base.text import redact, redacted_file
from mnist_exp.data.datasets import Dataset, Split
from mnist_exp.metrics import Epoch, Evaluation, History, validated
from mnist_exp.runs import checkout, figures, provenance
from mnist_exp.runs.job import Job, PreparedJob
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Tracker
from mnist_exp.training.range_test import RangeTest

_EXPLORATION = {
    "data/samples.png": figures.samples,
    "data/class_counts.png": figures.class_counts,
    "data/pixels.png": figures.pixels,
}

# Which weights are evaluated on the test images, by ``training.keep``.
_JUDGED = {"last": "after the last epoch", "best": "with the weights of the best epoch"}


def run_inputs(prepared: PreparedJob, tracker: Tracker) -> None:
    """Log what every run keeps of what it was given: params, tags, data set, config, and how to run it again."""
    config, job, dataset = prepared.config, prepared.job, prepared.dataset
    code = checkout.code()
    diff = checkout.changes() if config.tracking.git_diff else b""
    rerun = provenance.rerun_command(config, dataset, job.overrides)
    if not job.resumed:  # it has its params, and they must not change
        tracker.log_params(
            {**config.params(), **({"data": dataset.name} if dataset.name in ("mnist", "digits") else {})}
        )
    tracker.set_tags(
        {
            "kind": "run",
            "group": job.group,
            "rerun": rerun,
            "dataset": dataset.name,
            "dataset.digest": dataset.digest,
            "dataset.source": dataset.source,
            "dataset.validation_images": str(len(prepared.split.validation)),
            **({"dataset.fallback": dataset.fallback} if dataset.fallback else {}),
            **provenance.run_tags(code),
        }
    )
    tracker.log_dataset(DatasetInput.of(dataset), "training")
    tracker.log_artifact("config/config.yaml", redact(yaml.safe_dump(config.plain(), sort_keys=False)).encode())
    for name in ("overrides.yaml", "hydra.yaml"):
        if (file := job.output / ".hydra" / name).exists():  # hydra.output_subdir=null writes none
            tracker.log_artifact(f"config/{name}", redacted_file(file.read_bytes()))
    tracker.log_artifact("provenance/rerun.sh", provenance.rerun_script(code, diff, rerun).encode())
    if diff:
        tracker.log_artifact("provenance/git.diff", diff)


def command_inputs(dataset: Dataset, command: str, tracker: Tracker) -> None:
    """Log what is the same for all runs of a command: pictures of the data, versions of libraries, environment.

    Args:
        dataset: what its runs learn from.
        command: the command line, without secrets.
        tracker: the parent run of a sweep, or the run of a command that is no sweep.
    """
    tracker.set_tags(provenance.command_tags(command))
    for path in _EXPLORATION:
        tracker.log_artifact(path, partial(_explored, dataset, path))
    tracker.log_artifact("provenance/environment.txt", lambda: provenance.environment().encode())


@cache
def _explored(dataset: Dataset, path: str) -> bytes:
    """Return a picture of a data set as PNG; drawn once per process."""
    return figures.png(_EXPLORATION[path](dataset))


def summary(history: History, kept: Epoch, test: Evaluation, seconds: float, parameters: int) -> dict[str, float]:
    """Return the metrics of a run as a whole, by name.

    Args:
        history: its epochs.
        kept: the epoch whose weights were evaluated.
        test: their scores on the test images.
        seconds: training time.
        parameters: number of the model's parameters.
    """
    best = history.best()
    return {
        "best/val_accuracy": best.scores["val_accuracy"],
        "best/val_loss": float(np.nanmin(history.series("val_loss"))),
        "best/epoch": best.number,
        **{f"kept/{name}": kept.scores[name] for name in validated()},
        "kept/epoch": kept.number,
        **{f"test/{name}": value for name, value in test.scores.items()},
        **{f"test/recall_{digit}": float(recall) for digit, recall in enumerate(test.recall)},
        "train_seconds": seconds,
        "parameters": parameters,
    }


def evaluation_files(test: Evaluation, tracker: Tracker) -> None:
    """Log the confusion matrix and the classification report of the test images."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["true \\ predicted", *range(len(test.confusion))])
    writer.writerows([digit, *row] for digit, row in enumerate(test.confusion.tolist()))
    tracker.log_artifact("evaluation/confusion_matrix.csv", table.getvalue().encode())
    tracker.log_artifact("evaluation/classification_report.json", json.dumps(test.report, indent=2).encode())


def range_test_reading(reading: RangeTest, job: Job, tracker: Tracker) -> None:
    """Log what a range test suggests: metrics, a tag and a picture."""
    if reading.suggestion:
        tracker.log_metrics(Measurement(reading.suggestion.metrics()))
    tracker.set_tags({"range_test": reading.sentence})
    tracker.log_artifact("lr_range.png", partial(_drawn, partial(figures.range_test, reading, job.name)))


def pictures(job: Job, split: Split, history: History, test: Evaluation, tracker: Tracker) -> None:
    """Log the pictures that a team compares: at the root, where MLflow's compare view finds them."""
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


def note(
    prepared: PreparedJob,
    best: Epoch,
    test: Evaluation,
    seconds: float,
    reading: RangeTest | None,
) -> str:
    """Return a run in a few lines of Markdown, for the top of its page in the MLflow UI."""
    config, job, dataset, split = prepared.config, prepared.job, prepared.dataset, prepared.split
    weakest = int(np.nanargmin(test.recall))
    lines = [
        f"**{test.accuracy:.2%}** of the test images right {_JUDGED[config.training.keep]}; best validation accuracy "
        f"**{best.scores['val_accuracy']:.2%}** after epoch {best.number} of {config.training.epochs}; "
        f"weakest digit: {weakest} ({test.recall[weakest]:.1%}). Trained in {seconds:.1f} s.",
        "",
        *((reading.sentence, "") if reading else ()),
        f"Data: **{dataset.name}**, {len(split.train):,} images to train on, {len(split.validation):,} to validate, "
        f"{len(split.test):,} to test, from {dataset.source}, sha256 {dataset.digest[:16]}.",
        "",
        "Run it again:",
        "",
        f"    {provenance.rerun_command(config, dataset, job.overrides)}",
    ]
    if dataset.fallback:
        lines += ["", f"Not MNIST: {dataset.fallback}"]
    return "\n".join(lines)


def log_files(job: Job, tracker: Tracker) -> None:
    """Log the run's log files; the log of an interrupted run stays beside that of its continuation."""
    for file in sorted(job.output.glob("*.log")):
        name = f"{file.stem}-{job.resumed}{file.suffix}" if job.resumed else file.name
        tracker.log_artifact(f"log/{name}", redacted_file(file.read_bytes()))
