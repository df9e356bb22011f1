"""Runs as a store would give them back, for the tests of how they are compared."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from mnist_exp.analysis.comparison import Comparison, compare
from mnist_exp.analysis.ranking import Measure, measure
from mnist_exp.config import replicate as replicates
from mnist_exp.tracking.protocols import Record

BY = measure("val_accuracy")
NOISE = (0.004, -0.003, 0.001, 0.0, -0.002, 0.003, -0.004, 0.002)
"""What replicates 0, 1, ... add to the accuracy of every configuration; it starts over after eight."""


def run(
    replicate: int = 0,
    accuracy: float | None = 0.9,
    *,
    sweep: str = "",
    ended_ms: int = 0,
    tags: dict[str, str] | None = None,
    metrics: dict[str, float] | None = None,
    **params: Any,
) -> Record:
    """A run of a replicate, which keys such as ``seed`` may pin otherwise; ``model__units`` is ``model.units``.

    Without an accuracy it failed.
    """
    own = {"replicate": replicate, **replicates.seeds(replicate)}
    own |= {key.replace("__", "."): value for key, value in params.items()}
    parent = {"mlflow.parentRunId": sweep} if sweep else {}
    return Record(
        run_id=" ".join([f"{key}={value}" for key, value in own.items()] + [sweep, str(ended_ms)]),
        experiment_id="1",
        name="a run",
        status="FAILED" if accuracy is None else "FINISHED",
        params={key: str(value) for key, value in own.items()},
        metrics={} if accuracy is None else _kept_and_last(accuracy) | (metrics or {}),
        tags={"dataset": "mnist", "dataset.digest": "d", **parent, **(tags or {})},
        ended_ms=ended_ms,
    )


def _kept_and_last(accuracy: float) -> dict[str, float]:
    return {"kept/val_accuracy": accuracy, "val_accuracy": accuracy}


def runs(accuracy: float, numbers: Iterable[int] = range(8), *, uneven: float = 0.0, **more: Any) -> list[Record]:
    """Replicates of one configuration, which share their noise with those of others.

    ``uneven`` adds noise of its own: replicates of two configurations then differ by more than their means.
    """
    return [
        run(number, accuracy + NOISE[number % 8] + uneven * (-1) ** (number * (number + 1) // 2), **more)
        for number in numbers
    ]


def epochs(records: Sequence[Record] = (), before: float = 0.01) -> pd.DataFrame:
    """Two epochs of each finished run, the first better by ``before``."""
    rows = [
        {"run_id": record.run_id, "epoch": epoch, "val_accuracy": record.metrics["val_accuracy"] + more}
        for record in records
        if record.metrics
        for epoch, more in ((1, before), (2, 0.0))
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "val_accuracy"])


def compared(*records: Record, by: Measure = BY, **options: Any) -> Comparison:
    return compare(records, epochs(records), by, **options)
