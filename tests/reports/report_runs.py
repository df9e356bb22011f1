"""Runs and epochs for the tests of reports."""

import zlib
from collections.abc import Sequence

import pandas as pd

from mnist_exp.analysis.comparison import Comparison, compare
from mnist_exp.analysis.ranking import Measure, measure
from mnist_exp.tracking.protocols import Record

BY = measure("val_accuracy")
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')


def a_run(seed: int = 1, score: float = 0.9, status: str = "FINISHED", **params: str) -> Record:
    """A run of one epoch; ``model__units`` is the key ``model.units``."""
    given = {key.replace("__", "."): value for key, value in params.items()}
    run_id = f"{zlib.crc32(repr((seed, given, status)).encode()):032x}"
    metrics = {"val_accuracy": score, "test/accuracy": score - 0.01, "parameters": 100.0, "train_seconds": 2.0}
    finished = status == "FINISHED"
    return Record(run_id, "1", f"run {seed}", status, {**given, "seed": str(seed)}, metrics if finished else {}, {})


def epochs_of(runs: Sequence[Record], count: int = 3) -> pd.DataFrame:
    """Accuracy climbs to the run's score by 0.1 an epoch, the loss falls to 1 - score."""
    rows = [
        {
            "run_id": run.run_id,
            "epoch": epoch,
            "val_accuracy": run.metrics["val_accuracy"] - 0.1 * (count - epoch),
            "val_loss": 1 - run.metrics["val_accuracy"] + 0.1 * (count - epoch),
        }
        for run in runs
        if run.metrics
        for epoch in range(1, count + 1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "val_accuracy", "val_loss"])


def compared(runs: Sequence[Record], by: Measure = BY) -> Comparison:
    return compare(runs, epochs_of(runs), by)


def grid_of_runs(units: Sequence[str], rates: Sequence[str], seeds: Sequence[int]) -> list[Record]:
    """More units are much better, a higher rate is slightly worse, the seed is next to nothing."""
    return [
        a_run(
            seed,
            0.5 + 0.04 * place - 0.005 * other + 0.0003 * ((7 * seed + 5 * place + 3 * other) % 11),
            model__units=unit,
            optimizer__lr=rate,
        )
        for place, unit in enumerate(units)
        for other, rate in enumerate(rates)
        for seed in seeds
    ]
