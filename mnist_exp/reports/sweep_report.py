"""The report of a sweep: one HTML page that opens without a network, from a mail, on a phone, on paper."""

import csv
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

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
from mnist_exp.tracking.protocols import Backend, Record

_CONFUSION_FILE = "evaluation/confusion_matrix.csv"


@dataclass(frozen=True)
class ReviewBlock:
    """The review of a sweep, at the head of its report.

    Attributes:
        headline: what was decided, by whom, when, for which content.
        question: what the sweep was asked; empty if nothing.
        asked: when, and which difference matters; may be empty.
        answer: sentences.
        holds, missing, fails: checks, by how they came out.
        text: what was said with the decision; may be empty.
        despite: why it was approved although checks failed; empty if none did.
    """

    headline: str
    question: str
    asked: str
    answer: Sequence[str]
    holds: Sequence[str] = ()
    missing: Sequence[str] = ()
    fails: Sequence[str] = ()
    text: str = ""
    despite: str = ""

    def parts(self) -> list[tuple[str, Sequence[str]]]:
        """Return the checks under their headings."""
        return [("Holds", self.holds), ("Missing", self.missing), ("Fails", self.fails)]


@dataclass(frozen=True)
class SweepReport:
    """The content of a report.

    Attributes:
        title: name of the sweep.
        command: the one that started it; empty if unknown.
        comparison: its configurations.
        epochs: as ``analysis.frames`` returns them.
        confusion: confusion matrices of some finished runs, by run id: int [classes, classes], images by true (row) and
            predicted (column) class.
        links: address in the MLflow UI, by run id; may be empty.
        next_step: the sweep that would decide what is undecided; None if there is none.
        unfinished: whether the sweep still runs; the page says so.
        review: its review; None if the runs are no sweep.
    """

    title: str
    command: str
    comparison: Comparison
    epochs: pd.DataFrame
    confusion: Mapping[str, NDArray[np.int64]]
    links: Mapping[str, str]
    next_step: NextStep | None = None
    unfinished: bool = False
    review: ReviewBlock | None = None


def gather(
    backend: Backend,
    comparison: Comparison,
    epochs: pd.DataFrame,
    parent: Record | None,
    step: NextStep | None = None,
    review: ReviewBlock | None = None,
) -> SweepReport:
    """Collect the content of a report, with the confusion matrices that its runs logged.

    Args:
        backend: the store that has the runs.
        comparison: the configurations.
        epochs: as ``analysis.frames`` returns them.
        parent: the sweep's parent run; None if the runs were not chosen as a sweep.
        step: the sweep that would decide what is undecided.
        review: the sweep's review.

    Returns:
        The content, to be passed to :func:`html`.
    """
    runs = [record for row in comparison.rows for record in (*row.finished, *row.without_value)]
    # One run of each configuration comes first, then a second one of each.
    in_turns = [each for runs in zip_longest(*(row.finished for row in comparison.rows)) for each in runs if each]
    return SweepReport(
        title=parent.name if parent else "comparison",
        command=parent.tags.get("command", "") if parent else "",
        comparison=comparison,
        epochs=epochs,
        confusion=dict(_confusion_matrices(backend, in_turns[: charts.MAX_MATRICES])),
        links={each.run_id: backend.link(each) for each in runs},
        next_step=step,
        unfinished=any(each.status == "RUNNING" for each in runs),
        review=review,
    )


def _confusion_matrices(backend: Backend, runs: Sequence[Record]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield run id and confusion matrix of each run that logged one."""
    for run in runs:
        if (content := backend.artifact(run.run_id, _CONFUSION_FILE)) is not None:
            lines = content.decode().splitlines()
            yield run.run_id, np.array([row[1:] for row in csv.reader(lines[1:])], dtype=np.int64)


def html(report: SweepReport) -> str:
    """Return the page, about 5 MB with plotly inside."""
    comparison = report.comparison
    records = [record for row in comparison.rows for record in [*row.finished, *row.without_value]]
    differing = differing_keys([record.params for record in records])
    page = Page()
    level = comparison.verdicts.level
    return page.render(
        "sweep.html.j2",
        report=report,
        comparison=comparison,
        swept=_swept_keys(records, [*comparison.keys, *_replicate_keys(differing)]),
        has_verdicts=comparison.verdicts.result is not None,
        confidence=percent(1 - level),
        equivalence=percent(1 - 2 * level),
        promise=promise(level, len(SCHEDULE) if comparison.looks else 1),
        min_replicates=comparison.verdicts.min_replicates,
        ranking=[_RankingRow(rank, row, report, differing) for rank, row in enumerate(comparison.rows, 1)],
        sections=Sections(comparison, report.epochs, report.confusion, page).all(),
        total=len(records),
        finished=sum(len(row.finished) for row in comparison.rows),
    )


def rerun_command(record: Record, keys: Sequence[str]) -> str:
    """Return the shell command that repeats a run: the one recorded with it, else one that sets ``keys``."""
    if record.tags.get("rerun"):
        return record.tags["rerun"]
    given = [shlex.quote(f"{key}={record.params[key]}") for key in keys if key in record.params]
    return " ".join(["python -m mnist_exp", *given])


@dataclass(frozen=True)
class _SweptKey:
    """A swept key, its values, and the number of runs with each."""

    key: str
    values: list[tuple[str, int]]


def _swept_keys(records: Sequence[Record], keys: Sequence[str]) -> list[_SweptKey]:
    found = []
    for key in keys:
        texts = [record.params.get(key, MISSING) for record in records]
        found.append(_SweptKey(key, [(text, texts.count(text)) for text in charts.ordered(texts)]))
    return found


def _replicate_keys(differing: Sequence[str]) -> list[str]:
    """Return the keys of ``differing`` in which runs of one configuration may differ."""
    shown = without_drawn(differing)
    return [key for key in NOT_OF_A_CONFIGURATION if key in shown]


@dataclass(frozen=True)
class _RunEntry:
    """A run in the page's list; ``value`` and ``test`` are None if it has none."""

    record: Record
    value: float | None
    test: float | None
    replicate: str
    command: str
    link: str


class _RankingRow:
    """A configuration in the page's ranking and in its list of runs.

    Args:
        rank: from 1.
        row: the configuration.
        report: the content of the page.
        differing: the keys in which any two runs differ, for commands that repeat a run.
    """

    def __init__(self, rank: int, row: Row, report: SweepReport, differing: Sequence[str]) -> None:
        comparison = report.comparison
        tests = charts.numbers(row.finished, "test/accuracy")
        self.rank = rank if row.spread else None
        self.row = row
        self.label = row.label(comparison.keys)
        self.test = float(np.mean(tests)) if tests else None
        self.against_first = row.against_first
        self.keys = self._with_values_of_first(row, comparison)
        replicates = replicate_names([*row.finished, *row.without_value])
        self.finished, self.without_value = (
            [
                _RunEntry(
                    record,
                    row.values.get(record.run_id),
                    record.metrics.get("test/accuracy"),
                    replicates[seeds_of(record)],
                    rerun_command(record, differing),
                    _web_address(report.links.get(record.run_id, "")),
                )
                for record in records
            ]
            for records in (row.finished, row.without_value)
        )

    @staticmethod
    def _with_values_of_first(row: Row, comparison: Comparison) -> list[tuple[str, str, str | None]]:
        """Return key, value, and the value of the first in the ranking; None for the latter if both are equal."""
        first = comparison.first
        found = []
        for key in comparison.keys:
            value = row.params.get(key, MISSING)
            first_value = first.params.get(key, MISSING) if first else value
            found.append((key, value, None if value == first_value else first_value))
        return found


def _web_address(link: str) -> str:
    """Return a link that is a web address; an empty text for one that would run as a script."""
    return link if link.startswith(("http://", "https://")) else ""
