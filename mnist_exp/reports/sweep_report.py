"""A sweep as one HTML page, which opens without a network: from a mail, on a phone, on paper."""

import csv
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.analysis.looks import SCHEDULE
from mnist_exp.analysis.next_step import NextStep
from mnist_exp.analysis.ranking import differing_keys
from mnist_exp.analysis.samples import NOT_OF_A_CONFIGURATION, replicate_names, seeds_of
from mnist_exp.config.replicate import without_drawn
from mnist_exp.reports import charts
from mnist_exp.reports.charts import MISSING
from mnist_exp.reports.page import Page
from mnist_exp.reports.sections import Sections
from mnist_exp.statistics.conclusion import percent, promise
from mnist_exp.tracking.mlflow import store, ui
from mnist_exp.tracking.mlflow.records import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class SweepReport:
    """What a report tells of.

    Attributes:
        title: the sweep's name.
        command: that started it; empty if unknown.
        epochs: as ``analysis.frames`` gives them.
        confusion: by run id, of some finished runs: int [10, 10], images by true (row) and predicted (column) digit.
        links: by run id, its address in the MLflow UI; may be empty.
        next_step: the sweep that would decide what is undecided; None if there is none.
        unfinished: whether the sweep still runs; the page says so.
    """

    title: str
    command: str
    comparison: Comparison
    epochs: pd.DataFrame
    confusion: Mapping[str, NDArray[np.int64]]
    links: Mapping[str, str]
    next_step: NextStep | None = None
    unfinished: bool = False


def html(report: SweepReport) -> str:
    """The whole page, with plotly inside: about 5 MB."""
    comparison = report.comparison
    records = [record for row in comparison.rows for record in [*row.finished, *row.others]]
    differing = differing_keys([record.params for record in records])
    page = Page()
    level = comparison.verdicts.level
    return page.render(
        "sweep.html.j2",
        report=report,
        comparison=comparison,
        swept=_swept(records, [*comparison.keys, *_repeated(differing)]),
        judged=comparison.verdicts.result is not None,
        confidence=percent(1 - level),
        equivalence=percent(1 - 2 * level),
        promise=promise(level, len(SCHEDULE) if comparison.looks else 1),
        fewest=comparison.verdicts.fewest,
        ranking=[_Ranked(place, row, report, differing) for place, row in enumerate(comparison.rows, 1)],
        sections=Sections(comparison, report.epochs, report.confusion, page).all(),
        total=len(records),
        finished=sum(len(row.finished) for row in comparison.rows),
    )


def rerun_command(record: Record, keys: Sequence[str]) -> str:
    """The command to run it again: the one kept with it, else one made of ``keys`` for a shell."""
    if record.tags.get("rerun"):
        return record.tags["rerun"]
    given = [shlex.quote(f"{key}={record.params[key]}") for key in keys if key in record.params]
    return " ".join(["python -m mnist_exp", *given])


@dataclass(frozen=True)
class _Swept:
    """A swept key and how many runs had each of its values."""

    key: str
    values: list[tuple[str, int]]


def _swept(records: Sequence[Record], keys: Sequence[str]) -> list[_Swept]:
    found = []
    for key in keys:
        texts = [record.params.get(key, MISSING) for record in records]
        found.append(_Swept(key, [(text, texts.count(text)) for text in charts.ordered(texts)]))
    return found


def _repeated(differing: Sequence[str]) -> list[str]:
    """The keys in which runs of one configuration differ."""
    shown = without_drawn(differing)
    return [key for key in NOT_OF_A_CONFIGURATION if key in shown]


@dataclass(frozen=True)
class _Run:
    """A run as the page lists it; ``value`` and ``test`` are None where it has none."""

    record: Record
    value: float | None
    test: float | None
    replicate: str
    command: str
    link: str


class _Ranked:
    """A row as the page lists it."""

    def __init__(self, place: int, row: Row, report: SweepReport, differing: Sequence[str]):
        comparison = report.comparison
        tests = charts.numbers(row.finished, "test/accuracy")
        self.place = place if row.spread else None
        self.row = row
        self.label = row.label(comparison.keys)
        self.test = float(np.mean(tests)) if tests else None
        self.against = row.against_first
        self.differences = self._from_first(row, comparison)
        called = replicate_names([*row.finished, *row.others])
        self.finished, self.others = (
            [
                _Run(
                    record,
                    row.values.get(record.run_id),
                    record.metrics.get("test/accuracy"),
                    called[seeds_of(record)],
                    rerun_command(record, differing),
                    _web_address(report.links.get(record.run_id, "")),
                )
                for record in records
            ]
            for records in (row.finished, row.others)
        )

    @staticmethod
    def _from_first(row: Row, comparison: Comparison) -> list[tuple[str, str, str | None]]:
        """Key, value and, where it is another, the value of the first in the ranking."""
        first = comparison.first
        found = []
        for key in comparison.keys:
            own = row.params.get(key, MISSING)
            best = first.params.get(key, MISSING) if first else own
            found.append((key, own, None if own == best else best))
        return found


def _web_address(link: str) -> str:
    """The link, unless it would run as a script."""
    return link if link.startswith(("http://", "https://")) else ""


# How many confusion matrices are fetched: more do not fit side by side.
_MATRICES = 6

# Where `mnist-exp ui` answers unless told otherwise: a local store has no address of its own.
_LOCAL_UI = "http://127.0.0.1:5000"

_FILE = "evaluation/confusion_matrix.csv"


def gather(
    client: "MlflowClient",
    uri: str,
    comparison: Comparison,
    epochs: pd.DataFrame,
    parent: Record | None,
    step: NextStep | None = None,
) -> SweepReport:
    """The report of ``comparison``; ``parent`` is the sweep's own run, None where runs were chosen otherwise."""
    address = store.without_credentials(uri) if uri.startswith("http") else _LOCAL_UI
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
