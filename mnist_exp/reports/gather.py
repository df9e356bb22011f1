"""What a sweep's report shows, gathered from the store."""

import csv
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.next_step import NextStep
from mnist_exp.analysis.records import Record
from mnist_exp.reports.sweep import SweepReport
from mnist_exp.tracking import store, ui

if TYPE_CHECKING:
    from mlflow import MlflowClient

# How many confusion matrices are fetched: more do not fit side by side.
_MATRICES = 6

# Where `mnist-exp ui` answers unless told otherwise: a local store has no address of its own.
_LOCAL_UI = "http://127.0.0.1:5000"

_FILE = "evaluation/confusion_matrix.csv"


def sweep(
    client: "MlflowClient",
    uri: str,
    comparison: Comparison,
    epochs: pd.DataFrame,
    parent: Record | None,
    step: NextStep | None = None,
) -> SweepReport:
    """The report of ``comparison``; ``parent`` is the sweep's own run, None where runs were chosen otherwise."""
    address = store.redact(uri) if uri.startswith("http") else _LOCAL_UI
    runs = [record for row in comparison.rows for record in (*row.finished, *row.others)]
    # One run of each configuration, then a second of each.
    in_turns = [each for runs in zip_longest(*(row.finished for row in comparison.rows)) for each in runs if each]
    with store.storing(uri):
        confusion = dict(_confusion(client, in_turns[:_MATRICES]))
    return SweepReport(
        title=parent.name if parent else "comparison",
        command=parent.tags.get("command", "") if parent else "",
        comparison=comparison,
        epochs=epochs,
        confusion=confusion,
        links={each.run_id: ui.run_link(address, each.experiment_id, each.run_id) for each in runs},
        next_step=step,
        unfinished=any(each.status == "RUNNING" for each in runs),
    )


def _confusion(client: "MlflowClient", runs: list[Record]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The counts that each run logged; runs without them are passed over."""
    for run in runs:
        if all(file.path != _FILE for file in client.list_artifacts(run.run_id, "evaluation")):
            continue
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(client.download_artifacts(run.run_id, _FILE, folder)).read_text().splitlines()
        yield run.run_id, np.array([row[1:] for row in csv.reader(lines[1:])], dtype=np.int64)
