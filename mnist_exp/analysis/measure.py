"""What runs are compared by, and the value that each run has of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mnist_exp.analysis.frames import EPOCH_METRICS
from mnist_exp.analysis.records import Record
from mnist_exp.errors import ConfigError

_SHARES = ("accuracy", "recall")
_LOWER_IS_BETTER = ("loss", "seconds", "parameters")
_TIMES = ("train_seconds", "epoch_seconds")


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Attributes:
        metric: its name, such as ``val_accuracy``.
        by: of the epoch whose weights were ``kept``, of each run's ``best`` epoch, or of its ``last``.
        higher: whether more is better.
    """

    metric: str
    by: str
    higher: bool

    @property
    def is_share(self) -> bool:
        """Whether it lies in 0..1."""
        return is_share(self.metric)

    @property
    def is_validation_share(self) -> bool:
        """Whether it is a share of the validation images."""
        return self.metric == "val_accuracy"

    @property
    def name(self) -> str:
        """``kept val_accuracy``; a metric of the whole run has no epoch to name."""
        return f"{self.by} {self.metric}" if self.metric in EPOCH_METRICS and self.metric not in _TIMES else self.metric

    def words(self) -> str:
        """``kept val_accuracy, higher is better``."""
        return f"{self.name}, {'higher' if self.higher else 'lower'} is better"

    def covers(self, record: Record) -> bool:
        """Whether a run is ranked by it: range tests are not ranked among models."""
        return self.metric.startswith("range_test/") or not record.is_range_test

    def values(self, records: Sequence[Record], epochs: pd.DataFrame) -> dict[str, float]:
        """Return the value of each finished run that has a finite one, by run id.

        Times leave out the first epoch, which includes compiling.

        Args:
            records: the runs.
            epochs: as ``analysis.frames`` gives them.
        """
        done = [record for record in records if record.status == "FINISHED"]
        if self.metric in _TIMES:
            found = steady_seconds(done, epochs, whole_run=self.metric == "train_seconds")
        elif self.metric not in EPOCH_METRICS or self.metric not in epochs.columns:
            found = {record.run_id: record.metrics[self.metric] for record in done if self.metric in record.metrics}
        else:
            found = self._of_epochs(done, epochs)
        return {run_id: float(value) for run_id, value in found.items() if math.isfinite(value)}

    def _of_epochs(self, done: Sequence[Record], epochs: pd.DataFrame) -> dict[str, float]:
        ids = {record.run_id for record in done}
        mine = epochs[epochs["run_id"].isin(ids)]
        last = {record.run_id: record.metrics[self.metric] for record in done if self.metric in record.metrics}
        if self.by == "last":
            return last
        if self.by == "best":
            per_run = mine.groupby("run_id")[self.metric]
            best = (per_run.max() if self.higher else per_run.min()).dropna()
            return last | {str(run_id): float(value) for run_id, value in best.items()}
        kept = {record.run_id: record.metrics["kept/epoch"] for record in done if "kept/epoch" in record.metrics}
        at_kept = mine[mine["epoch"] == mine["run_id"].map(kept)].set_index("run_id")[self.metric]
        logged = {
            record.run_id: record.metrics[f"kept/{self.metric}"]
            for record in done
            if f"kept/{self.metric}" in record.metrics
        }
        return last | {str(run_id): float(value) for run_id, value in at_kept.items()} | logged


def is_share(metric: str) -> bool:
    """Return whether a metric lies in 0..1; of these, more is better."""
    return any(word in metric for word in _SHARES)


def steady_seconds(records: Sequence[Record], epochs: pd.DataFrame, *, whole_run: bool) -> dict[str, float]:
    """Return the median seconds of each run's epochs but its first, times their number for the ``whole_run``.

    Runs of one epoch have none.
    """
    ids = {record.run_id for record in records}
    if "epoch_seconds" not in epochs.columns:
        return {}
    mine = epochs[epochs["run_id"].isin(ids)]
    median = mine[mine["epoch"] > 1].groupby("run_id")["epoch_seconds"].median().dropna()
    count = mine.groupby("run_id")["epoch"].max().to_dict()
    return {str(run_id): float(value) * (count[run_id] if whole_run else 1) for run_id, value in median.items()}


def measure(metric: str, by: str = "kept", *, direction: str | None = None, allow_test: bool = False) -> Measure:
    """What to compare by, checked.

    Raises:
        ConfigError: it is a test score, or it is not known which way it is better.
    """
    for section in ("best", "kept"):
        if (name := metric.removeprefix(f"{section}/")) != metric and name in EPOCH_METRICS:
            metric, by = name, section
    if metric.startswith("test/") and not allow_test:
        raise ConfigError(
            f"--metric {metric} would choose by test scores, and leave no test of the choice. Rank by val_accuracy or "
            "val_loss and report the test score of what that chose; --allow-test ranks by it all the same"
        )
    higher = is_share(metric)
    if direction is None and not higher and not any(word in metric for word in _LOWER_IS_BETTER):
        raise ConfigError(f"--metric {metric} is not known to be better high or low: add --direction max, or min")
    return Measure(metric, by, higher if direction is None else direction == "max")
