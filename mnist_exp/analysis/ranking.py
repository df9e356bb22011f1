"""What runs are compared by, the value of each run, and the ranking of a sweep's runs."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from mnist_exp import metrics
from mnist_exp.base.errors import ConfigError
from mnist_exp.config.replicate import without_drawn
from mnist_exp.tracking.protocols import Record


@dataclass(frozen=True)
class Measure:
    """What runs are compared by.

    Attributes:
        metric: its name, such as ``val_accuracy``.
        by: at which epoch: the one whose weights were ``kept``, each run's ``best``, or its ``last``.
        higher: whether more is better.
    """

    metric: str
    by: str
    higher: bool

    @property
    def is_share(self) -> bool:
        """Whether it is a share of images, 0..1."""
        return metrics.is_share(self.metric)

    @property
    def is_validation_share(self) -> bool:
        """Whether it is a share of the validation images."""
        return self.is_share and self.metric in metrics.validated()

    @property
    def name(self) -> str:
        """``kept val_accuracy``; the name alone of a time, and of a metric of the whole run, which have no epoch."""
        return f"{self.by} {self.metric}" if self.metric in metrics.per_epoch() and not self._is_time else self.metric

    def words(self) -> str:
        """Return ``kept val_accuracy, higher is better``."""
        return f"{self.name}, {'higher' if self.higher else 'lower'} is better"

    def covers(self, record: Record) -> bool:
        """Return whether a run is ranked by it: range tests are not ranked among models."""
        return self.metric.startswith("range_test/") or not record.is_range_test

    def values(self, records: Sequence[Record], epochs: pd.DataFrame) -> dict[str, float]:
        """Return the value of each finished run that has a finite one, by run id.

        Times leave out the first epoch, which includes compiling.

        Args:
            records: the runs.
            epochs: as ``analysis.frames`` gives them.
        """
        done = [record for record in records if record.status == "FINISHED"]
        if self._is_time:
            found = steady_seconds(done, epochs, whole_run=self.metric not in metrics.per_epoch())
        elif self.metric not in metrics.per_epoch() or self.metric not in epochs.columns:
            found = {record.run_id: record.metrics[self.metric] for record in done if self.metric in record.metrics}
        else:
            found = self._of_epochs(done, epochs)
        return {run_id: float(value) for run_id, value in found.items() if math.isfinite(value)}

    @property
    def _is_time(self) -> bool:
        known = metrics.find(self.metric)
        return known is not None and known.unit == "s"

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
    """Check what to compare by.

    Args:
        metric: a metric's name; ``best/`` or ``kept/`` before it say the same as ``by``.
        by: ``kept``, ``best`` or ``last``.
        direction: ``max`` or ``min``; None for a metric in the table of ``metrics``, which says it.
        allow_test: whether it may be a score on the test images.

    Raises:
        ConfigError: it is a test score, or it is not known whether more or less of it is better.
    """
    for section in ("best", "kept"):
        if (name := metric.removeprefix(f"{section}/")) != metric and name in metrics.per_epoch():
            metric, by = name, section
    if metric.startswith("test/") and not allow_test:
        raise ConfigError(
            f"--metric {metric} would choose by test scores, and leave no test of the choice. Rank by val_accuracy or "
            "val_loss and report the test score of what that chose; --allow-test ranks by it all the same"
        )
    known = metrics.find(metric)
    if direction is not None:
        return Measure(metric, by, direction == "max")
    if known is None or known.higher is None:
        raise ConfigError(f"--metric {metric} is not known to be better high or low: add --direction max, or min")
    return Measure(metric, by, known.higher)


RANKED_BY = f"kept/{metrics.OBJECTIVE}"

_MEASURED = metrics.OBJECTIVE.removeprefix("val_")

COLUMNS = tuple(
    (name, metrics.heading(name))
    for name in (
        RANKED_BY,
        "kept/epoch",
        *(f"kept/{name}" for name in metrics.validated() if name != metrics.OBJECTIVE),
        _MEASURED,
        f"best/{metrics.OBJECTIVE}",
        f"test/{_MEASURED}",
    )
)
"""What a ranking shows of each run besides its params: metrics and their headings. No run is ranked by test scores."""


@dataclass(frozen=True)
class Leaderboard:
    """Runs in order of their rank.

    Attributes:
        keys: the params in which the runs differ, in the order of the config.
        ranked: finished runs, the best first; equal ones in the order they ran in.
        range_tests: finished runs that have no rank, as they tested learning rates and trained no model to keep.
        others: runs that did not finish, or have no value of ``RANKED_BY``.
    """

    keys: list[str]
    ranked: list[Record]
    others: list[Record]
    range_tests: list[Record] = field(default_factory=list)

    @property
    def finished(self) -> int:
        """The number of runs that finished."""
        return len(self.ranked) + len(self.range_tests)

    def csv(self) -> str:
        """Return a CSV table, a line for each run: rank, status, run id, name, the keys that differ and ``COLUMNS``."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["rank", "status", "run_id", "name", *self.keys, *(metric for metric, _ in COLUMNS)])
        without_rank = [*self.range_tests, *self.others]
        for rank, record in [*enumerate(self.ranked, 1), *(("", record) for record in without_rank)]:
            params = [record.params.get(key, "") for key in self.keys]
            figures = [record.figure(metric) for metric, _ in COLUMNS]
            metrics = ["" if figure is None else figure for figure in figures]
            writer.writerow([rank, record.status, record.run_id, record.name, *params, *metrics])
        return buffer.getvalue()


def rank(records: Sequence[Record]) -> Leaderboard:
    """Rank the finished runs. Range tests and runs that did not finish get no rank."""
    figures = {record.run_id: record.figure(RANKED_BY) for record in records if record.status == "FINISHED"}
    range_tests = [record for record in records if record.status == "FINISHED" and record.is_range_test]
    without_rank = {record.run_id for record in range_tests}
    finished = [each for each in records if figures.get(each.run_id) is not None and each.run_id not in without_rank]
    ended_well = without_rank | {record.run_id for record in finished}
    return Leaderboard(
        keys=without_drawn(differing_keys([record.params for record in records])),
        ranked=sorted(finished, key=lambda record: -(figures[record.run_id] or 0.0)),
        range_tests=range_tests,
        others=[record for record in records if record.run_id not in ended_well],
    )


def differing_keys(params: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys whose value is not the same in the params of all runs or configurations.

    A key that only some choices have (``optimizer.momentum`` with ``optimizer=sgd``) is left out if that choice
    differs anyway and all runs with the key have the same value.
    """

    def differs(key: str) -> bool:
        values = {each.get(key) for each in params}
        section = key.partition(".")[0]
        comes_with_choice = section != key and None in values and differs(section)
        return len(values - {None} if comes_with_choice else values) > 1

    return [key for key in dict.fromkeys(key for each in params for key in each) if differs(key)]
