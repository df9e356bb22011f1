"""Runs and their epochs as pandas data frames."""

import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from mnist_exp.tracking.mlflow import records, store
from mnist_exp.tracking.mlflow.records import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "epoch_seconds")


class Runs(NamedTuple):
    """Runs in two tables.

    Attributes:
        runs: one row a run: ``run_id``, ``name``, ``status``, ``sweep`` (the parent's id), ``replicate`` (None of
            runs that have none), ``seed``, and a column for each ``params.KEY`` (numbers and booleans as such),
            ``metrics.NAME`` (the last value) and ``tags.NAME``.
        epochs: one row for each completed epoch of each run: ``run_id``, ``epoch`` (from 1), and the metrics of
            ``EPOCH_METRICS``, NaN where nothing was logged.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame


def load_runs(*which: str, uri: str | None = None) -> Runs:
    """Read runs of a store.

    ``which`` names sweeps or runs by id or name, or is an MLflow filter (``params.model = 'cnn'``); nothing means
    every run there is. ``uri`` is the store's, by default the one that runs go to.

    Raises:
        StoreError: the store cannot be opened, or has nothing of that name.
    """
    where = store.named(uri)
    client = store.connect(where)
    with store.storing(where):
        found = records.select(client, which) if which else records.everything(client)
        return Runs(runs_frame(found), epochs_frame(client, where, [record.run_id for record in found]))


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


def epochs_frame(client: "MlflowClient", uri: str, run_ids: Sequence[str]) -> pd.DataFrame:
    """The second of :class:`Runs`; of a SQLite store straight from its tables: MLflow reads a metric at a time."""
    database = store.sqlite_file(uri)
    epochs = _through_client(client, run_ids) if database is None else _from_sqlite(database, run_ids)
    values = epochs[list(EPOCH_METRICS)].astype(float)
    epochs[list(EPOCH_METRICS)] = values.mask(values >= records.INFINITE, np.inf).mask(
        values <= -records.INFINITE, -np.inf
    )
    return epochs


def _from_sqlite(database: Path, run_ids: Sequence[str]) -> pd.DataFrame:
    picked = ", ".join(
        f"MAX(CASE WHEN key = '{metric}' AND NOT is_nan THEN value END) AS {metric}" for metric in EPOCH_METRICS
    )
    keys = ", ".join(f"'{metric}'" for metric in EPOCH_METRICS)
    query = f"""SELECT run_uuid AS run_id, step AS epoch, {picked} FROM metrics
                WHERE step > 0 AND key IN ({keys}) AND run_uuid IN (SELECT value FROM json_each(?))
                GROUP BY run_uuid, step ORDER BY run_uuid, step"""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(query, (json.dumps(list(run_ids)),)).fetchall()
    return pd.DataFrame(rows, columns=["run_id", "epoch", *EPOCH_METRICS])


def _through_client(client: "MlflowClient", run_ids: Sequence[str]) -> pd.DataFrame:
    def history(run_and_metric: tuple[str, str]) -> list[tuple[str, int, str, float]]:
        run_id, metric = run_and_metric
        return [(run_id, at.step, metric, at.value) for at in client.get_metric_history(run_id, metric) if at.step > 0]

    asked = [(run_id, metric) for run_id in run_ids for metric in EPOCH_METRICS]
    with ThreadPoolExecutor(8) as pool:
        rows = [row for rows in pool.map(history, asked) for row in rows]
    long = pd.DataFrame(rows, columns=["run_id", "epoch", "metric", "value"])
    wide = long.pivot_table(index=["run_id", "epoch"], columns="metric", values="value", aggfunc="last", dropna=False)
    return wide.reindex(columns=list(EPOCH_METRICS)).reset_index().rename_axis(columns=None)


def typed(text: str) -> object:
    """A param's text as the number, truth value or nothing that it stands for."""
    words = {"null": None, "true": True, "false": False}
    if text in words:
        return words[text]
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text
