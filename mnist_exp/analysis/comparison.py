"""Runs compared: grouped into configurations, ranked, and judged together over their replicates.

Runs that differ in nothing but ``replicate`` and seeds are one configuration. Selecting by test scores is refused: if
the best of many is picked by its test score, no test of it is left.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mnist_exp.analysis import looks, samples
from mnist_exp.analysis.looks import Looks
from mnist_exp.analysis.ranking import Measure, differing_keys
from mnist_exp.analysis.samples import Config, Coverage
from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics import estimates
from mnist_exp.statistics.components import Components, components
from mnist_exp.statistics.conclusion import Against, turned
from mnist_exp.statistics.estimates import Spread
from mnist_exp.statistics.verdicts import Verdicts, judge
from mnist_exp.tracking.mlflow.records import Record


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        params: what all its runs have in common.
        finished: the runs that count: finished, with a value, each replicate once.
        others: runs that failed, were killed, are running, or have no such value.
        values: by run id, what each finished run is ranked by.
        spread: of the values that were compared; None where no run finished.
        is_judged: whether it has enough replicates for a verdict, and one could be given.
        is_best: whether it cannot be ruled out as best.
        against_first: None for the first itself, and where there is nothing to compare.
    """

    params: Mapping[str, str]
    finished: list[Record]
    others: list[Record]
    values: Mapping[str, float]
    spread: Spread | None = None
    is_judged: bool = False
    is_best: bool = False
    against_first: Against | None = None

    def label(self, keys: Sequence[str]) -> str:
        """``model.units=4 optimizer.lr=0.01``: the keys that tell it from the others."""
        return " ".join(f"{key}={self.params[key]}" for key in keys if key in self.params) or "all runs"

    def in_best_set(self) -> str:
        """``yes``, ``no``, or that it was not judged."""
        return ("yes" if self.is_best else "no") if self.is_judged else "not judged"

    def how_others_ended(self) -> str:
        """``1 diverged, 2 KILLED``: every run that gave no value, by reason."""
        reasons = [record.tags.get("failure", record.status) for record in self.others]
        reasons = ["finished without a number for it" if reason == "FINISHED" else reason for reason in reasons]
        return ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))


@dataclass(frozen=True)
class Comparison:
    """Configurations in order: those judged by their mean, then the others by theirs; without a finished run last.

    Attributes:
        keys: the params in which configurations differ.
        datasets: names of the data sets that were used.
        verdicts: on all pairs, and the best set; in the order of ``rows``.
        coverage: which sources of variance the replicates vary.
        looks: what each look at a sweep that may be extended found; None for one that is judged once.
        components: where the spread comes from, of a sweep that crosses seeds; None for others.
        notes: which runs were left out and why, a sentence each.
    """

    measure: Measure
    keys: list[str]
    rows: list[Row]
    datasets: list[str]
    verdicts: Verdicts
    coverage: Coverage
    looks: Looks | None = None
    components: Components | None = None
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Row | None:
        """The first row, which has the best mean of those judged; None where nothing finished."""
        return self.rows[0] if self.rows and self.rows[0].spread else None

    @property
    def has_replicates(self) -> bool:
        """Whether any configuration has several runs."""
        return any(len(row.finished) + len(row.others) > 1 for row in self.rows)

    @property
    def best_set(self) -> list[Row]:
        """The judged configurations that cannot be ruled out as best."""
        return [row for row in self.rows if row.is_judged and row.is_best]

    def conclusion(self) -> str:
        """What is best and how sure that is, what the runs cover, and what did not finish, in a few sentences."""
        left_out = sum(len(row.others) for row in self.rows)
        total = left_out + sum(len(row.finished) for row in self.rows)
        said = [self.verdicts.words(), *(self.looks.sentences() if self.looks else [])]
        if self.components:
            said.append(self.components.sentence())
        elif self.coverage.crossed:
            said.append("Components of the variance need every combination of the seeds once, which these runs lack.")
        elif self.has_replicates and self.first:
            said.append(self.coverage.sentence())
        if left_out:
            said.append(f"{left_out} of {total} runs gave no value.")
        return " ".join([*said, *self.notes])


def compare(
    records: Sequence[Record],
    epochs: pd.DataFrame,
    by: Measure,
    *,
    across_datasets: bool = False,
    worth: float | None = None,
    planned: Sequence[str] = (),
) -> Comparison:
    """Group, rank and judge.

    Args:
        records: the runs.
        epochs: their epochs, as ``analysis.frames`` gives them.
        by: what they are compared by.
        across_datasets: whether runs on different data may be ranked together.
        worth: the smallest difference that matters.
        planned: ids of the sweeps that were planned as one, which is looked at as it grows (``looks=true``), in order.

    Raises:
        ConfigError: there are no runs, none has the metric, or they used several data sets.
    """
    if not records:
        raise ConfigError("there are no runs to compare")
    datasets = {record.tags.get("dataset.digest", ""): record.tags.get("dataset", "unknown") for record in records}
    if len(datasets) > 1 and not across_datasets:
        raise ConfigError(
            f"these runs used {len(datasets)} data sets ({', '.join(sorted(datasets.values()))}), and scores on "
            "different data do not compare: choose runs of one, or add --across-datasets"
        )
    notes: list[str] = []
    ranked = [record for record in records if by.covers(record)]
    if left_out := len(records) - len(ranked):
        tests = "1 range test is" if left_out == 1 else f"{left_out} range tests are"
        notes.append(f"{tests} not ranked among models: the result of one is its suggested rate.")
    found = by.values(ranked, epochs)
    finished = [record for record in ranked if record.status == "FINISHED"]
    if finished and not found and not any(by.metric in record.metrics for record in finished):
        known = sorted({name for record in ranked for name in record.metrics if not name.startswith("system/")})
        raise ConfigError(f"no run has a metric {by.metric!r}. There are: {', '.join(known)}")
    counted = samples.distinct([record for record in ranked if record.run_id in found], across_datasets=across_datasets)
    repeated = {record.run_id for record in ranked if record.run_id in found} - {run.run_id for run in counted.runs}
    grouped: dict[Config, list[Record]] = {}
    for record in ranked:
        if record.run_id not in repeated:
            grouped.setdefault(samples.config_of(record, across_datasets=across_datasets), []).append(record)
    rows = {config: _unjudged(config, members, found) for config, members in grouped.items()}
    return _judged(by, rows, [*datasets.values()], worth, planned, (*notes, *counted.sentences()))


def _judged(
    by: Measure,
    rows: Mapping[Config, Row],
    datasets: list[str],
    worth: float | None,
    planned: Sequence[str],
    notes: tuple[str, ...],
) -> Comparison:
    keys = differing_keys([row.params for row in rows.values()])
    finished = {config: row for config, row in rows.items() if row.finished}
    runs = [record for row in finished.values() for record in row.finished]
    called = samples.replicate_names(runs)
    values = {
        config: {called[samples.seeds_of(record)]: row.values[record.run_id] for record in row.finished}
        for config, row in finished.items()
    }
    names = {config: row.label(keys) for config, row in finished.items()}
    coverage = samples.coverage({config: row.finished for config, row in finished.items()})
    images = samples.validation_images(runs) if by.is_validation_share else None
    resolution = 1 / images if images else 0.0
    parts: Components | None = None
    seen: Looks | None = None
    if coverage.crossed:
        by_seeds = [
            {samples.seeds_of(record): row.values[record.run_id] for record in row.finished}
            for row in finished.values()
        ]
        parts = components(by_seeds, is_share=by.is_validation_share, images=images)
    options: dict[str, Any] = {"higher": by.higher, "worth": worth, "resolution": resolution}
    sweeps = samples.sweeps_of(runs)
    if runs and not coverage.crossed and set(sweeps) <= set(planned):
        verdicts, seen = looks.judge_looks(values, names, samples.order_of_replicates(runs, called, planned), **options)
    else:
        verdicts = judge(values, names, **options, refusal=_refusal(coverage, sweeps))
    ordered = [
        _row(rows[config], verdicts, place, by, independent=not coverage.crossed)
        for place, config in enumerate(verdicts.configs)
    ]
    ordered += [row for config, row in rows.items() if config not in finished]
    return Comparison(by, keys, ordered, datasets, verdicts, coverage, seen, parts, notes)


def _unjudged(config: Config, members: Sequence[Record], found: Mapping[str, float]) -> Row:
    own = dict(config)
    order = dict.fromkeys([*members[0].params, *own])
    finished = [record for record in members if record.run_id in found]
    return Row(
        params={key: own[key] for key in order if key in own},
        finished=finished,
        others=[record for record in members if record.run_id not in found],
        values={record.run_id: found[record.run_id] for record in finished},
    )


def _refusal(coverage: Coverage, sweeps: Sequence[str]) -> str:
    """Why no verdict may be given, however many replicates there are; empty if one may."""
    if coverage.crossed:
        return "runs share seeds of a source that varies, so they are no independent replicates"
    if len(sweeps) > 1:
        which = f"belong to {len(sweeps)} sweeps" if all(sweeps) else "do not all belong to one sweep"
        return f"these runs {which} and were not planned as one (looks=true)"
    return ""


def _row(row: Row, verdicts: Verdicts, place: int, by: Measure, *, independent: bool) -> Row:
    """The row with what was found out about it."""
    sample = [*verdicts.samples[place].values()]
    found = estimates.spread(sample, share=by.is_share, resolution=verdicts.resolution)
    return replace(
        row,
        # Runs that share seeds are no independent sample: a t interval of their mean would be too narrow.
        spread=found if independent else replace(found, low=math.nan, high=math.nan),
        is_judged=place < verdicts.judged,
        is_best=bool(verdicts.in_best_set[place]),
        against_first=turned({name: column[place - 1] for name, column in verdicts.with_first.items()})
        if place
        else None,
    )
