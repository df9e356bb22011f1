"""Runs and their epochs as pandas data frames."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import pandas as pd

from mnist_exp import metrics
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_existing
from mnist_exp.tracking.mlflow.client import uri_from_cli
from mnist_exp.tracking.protocols import Backend, Record


class Runs(NamedTuple):
    """Runs in two tables.

    Attributes:
        runs: one row a run: ``run_id``, ``name``, ``status``, ``sweep`` (the parent's id), ``replicate`` (None of
            runs that have none), ``seed``, and a column for each ``params.KEY`` (numbers and booleans as such),
            ``metrics.NAME`` (the last value) and ``tags.NAME``.
        epochs: one row for each completed epoch of each run: ``run_id``, ``epoch`` (from 1), and the metrics of
            ``metrics.per_epoch()``, NaN where nothing was logged.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame


def load_runs(*which: str, uri: str | None = None) -> Runs:
    """Read runs of a store.

    ``which`` names sweeps or runs by id or name, or is an MLflow filter (``params.model = 'cnn'``); nothing means
    every run there is. ``uri`` is the store's, by default the one that runs go to.

    Raises:
        StoreError: there is no store, it cannot be opened, or it has nothing of that name.
    """
    backend = open_existing(uri_from_cli(uri))
    found = queries.select(backend, which) if which else queries.everything(backend)
    return Runs(runs_frame(found), epochs_frame(backend, [record.run_id for record in found]))


def runs_frame(found: Sequence[Record]) -> pd.DataFrame:
    """The first of :class:`Runs`."""
    return pd.DataFrame(
        [
            {
                "run_id": record.run_id,
                "name": record.name,
                "status": record.status,
                "sweep": record.tags.get("sweep"),
                "replicate": typed(record.params.get("replicate", "null")),
                "seed": typed(record.params.get("seed", "null")),
                **{f"params.{key}": typed(value) for key, value in record.params.items()},
                **{f"metrics.{key}": value for key, value in record.metrics.items()},
                **{f"tags.{key}": value for key, value in record.tags.items() if not key.startswith("mlflow.")},
            }
            for record in found
        ],
        columns=None if found else ["run_id", "name", "status", "sweep", "replicate", "seed"],
    )


def epochs_frame(backend: Backend, run_ids: Sequence[str]) -> pd.DataFrame:
    """Return the second of :class:`Runs`."""
    return backend.history(run_ids, metrics.per_epoch())


def typed(text: str) -> object:
    """A param's text as the number, truth value or nothing that it stands for."""
    words = {"null": None, "true": True, "false": False}
    if text in words:
        return words[text]
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text
