"""Runs compared: grouped into configurations, ranked, and judged together over their replicates.

Runs that differ in nothing but ``replicate`` and seeds are one configuration. The verdicts are decided in
:mod:`mnist_exp.statistics.verdicts`; for a sweep that may be extended, :mod:`mnist_exp.analysis.looks` decides when.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mnist_exp.analysis import samples
from mnist_exp.analysis.looks import Looks, sequential_verdicts
from mnist_exp.analysis.ranking import Measure, differing_keys
from mnist_exp.analysis.samples import Config, Coverage
from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics import estimates
from mnist_exp.statistics.components import Components, components
from mnist_exp.statistics.conclusion import AgainstFirst, sentences
from mnist_exp.statistics.estimates import Spread
from mnist_exp.statistics.verdicts import Verdicts, judge
from mnist_exp.tracking.protocols import Record


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        params: what all its runs have in common.
        finished: the runs that count: finished, with a value, each replicate once.
        without_value: runs that failed, were killed, are running, or have no finite value.
        values: the value of each run in ``finished``, by run id.
        spread: summary of the values that were compared; None if no run finished.
        is_judged: whether there is a verdict on it, which takes enough replicates.
        in_best_set: whether it cannot be ruled out as best; a finished configuration without a verdict never is.
        against_first: comparison with the first row; None for the first itself, and if no run finished.
    """

    params: Mapping[str, str]
    finished: list[Record]
    without_value: list[Record]
    values: Mapping[str, float]
    spread: Spread | None = None
    is_judged: bool = False
    in_best_set: bool = False
    against_first: AgainstFirst | None = None

    def label(self, keys: Sequence[str]) -> str:
        """Return ``model.units=4 optimizer.lr=0.01`` for these keys."""
        return " ".join(f"{key}={self.params[key]}" for key in keys if key in self.params) or "all runs"

    def best_set_in_words(self) -> str:
        """Return ``yes`` or ``no``, or ``not judged`` if there is no verdict."""
        return ("yes" if self.in_best_set else "no") if self.is_judged else "not judged"

    def failures_in_words(self) -> str:
        """Return ``1 diverged, 2 KILLED``: the number of runs without a value, by reason."""
        reasons = [record.tags.get("failure", record.status) for record in self.without_value]
        reasons = ["finished without a finite value" if reason == "FINISHED" else reason for reason in reasons]
        return ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))


@dataclass(frozen=True)
class Comparison:
    """Configurations in order: those judged by their mean, then the rest by theirs; without a finished run last.

    Attributes:
        measure: what the runs are compared by.
        keys: the params in which configurations differ.
        rows: the configurations.
        datasets: names of the data sets that were used.
        verdicts: on all pairs, and the best set; in the order of ``rows``.
        coverage: which sources of variance the replicates vary.
        looks: the looks at a sweep that may be extended; None for one that is judged once.
        components: variance components of a sweep that crosses seeds; None otherwise.
        notes: which runs were left out and why, one sentence each.
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
        """The first row, which has the best mean of those judged; None if no run finished."""
        return self.rows[0] if self.rows and self.rows[0].spread else None

    @property
    def has_replicates(self) -> bool:
        """Whether any configuration has several runs, finished or not."""
        return any(len(row.finished) + len(row.without_value) > 1 for row in self.rows)

    @property
    def best_set(self) -> list[Row]:
        """The judged configurations that cannot be ruled out as best."""
        return [row for row in self.rows if row.is_judged and row.in_best_set]

    def conclusion(self) -> str:
        """Return a few sentences: the best configurations, the basis of that, and the runs that were left out."""
        without_value = sum(len(row.without_value) for row in self.rows)
        total = without_value + sum(len(row.finished) for row in self.rows)
        text = [*sentences(self.verdicts), *(self.looks.sentences() if self.looks else [])]
        if self.components:
            text.append(self.components.sentence())
        elif self.coverage.crossed:
            text.append("Components of the variance need every combination of the seeds once, which these runs lack.")
        elif self.has_replicates and self.first:
            text.append(self.coverage.sentence())
        if without_value:
            text.append(f"{without_value} of {total} runs gave no value.")
        return " ".join([*text, *self.notes])


def compare(
    records: Sequence[Record],
    epochs: pd.DataFrame,
    by: Measure,
    *,
    across_datasets: bool = False,
    worth: float | None = None,
    planned: Sequence[str] = (),
) -> Comparison:
    """Group runs into configurations, rank them and judge them together.

    Args:
        records: the runs.
        epochs: their epochs, as ``analysis.frames`` returns them.
        by: what they are compared by.
        across_datasets: whether runs on different data may be ranked together.
        worth: the smallest difference that matters.
        planned: ids of the sweeps that were planned as one sweep with several looks (``looks=true``), in order.

    Returns:
        The configurations with their verdicts.

    Raises:
        ConfigError: there are no runs, none has the metric, or they used several data sets.
    """
    if not records:
        raise ConfigError("there are no runs to compare")
    datasets = {record.tags.get("dataset.digest", ""): record.tags.get("dataset", "unknown") for record in records}
    if len(datasets) > 1 and not across_datasets:
        raise ConfigError(
            f"these runs used {len(datasets)} data sets ({', '.join(sorted(datasets.values()))}), and scores on "
            "different data are not comparable: choose runs of one, or add --across-datasets"
        )
    notes: list[str] = []
    ranked = [record for record in records if by.covers(record)]
    if range_tests := len(records) - len(ranked):
        subject = "1 range test is" if range_tests == 1 else f"{range_tests} range tests are"
        notes.append(f"{subject} not ranked among models: the result of one is its suggested rate.")
    values = by.values(ranked, epochs)
    finished = [record for record in ranked if record.status == "FINISHED"]
    if finished and not values and not any(by.metric in record.metrics for record in finished):
        known = sorted({name for record in ranked for name in record.metrics if not name.startswith("system/")})
        raise ConfigError(f"no run has a metric {by.metric!r}. There are: {', '.join(known)}")
    with_value = [record for record in ranked if record.run_id in values]
    distinct = samples.distinct(with_value, across_datasets=across_datasets)
    repeats = {record.run_id for record in with_value} - {record.run_id for record in distinct.runs}
    grouped: dict[Config, list[Record]] = {}
    for record in ranked:
        if record.run_id not in repeats:
            grouped.setdefault(samples.config_of(record, across_datasets=across_datasets), []).append(record)
    rows = {config: _row(config, members, values) for config, members in grouped.items()}
    return _with_verdicts(by, rows, [*datasets.values()], worth, planned, (*notes, *distinct.sentences()))


def _row(config: Config, records: Sequence[Record], values: Mapping[str, float]) -> Row:
    """Return the row of a configuration, without its verdict."""
    own = dict(config)
    order = dict.fromkeys([*records[0].params, *own])
    finished = [record for record in records if record.run_id in values]
    return Row(
        params={key: own[key] for key in order if key in own},
        finished=finished,
        without_value=[record for record in records if record.run_id not in values],
        values={record.run_id: values[record.run_id] for record in finished},
    )


def _with_verdicts(
    by: Measure,
    rows: Mapping[Config, Row],
    datasets: list[str],
    worth: float | None,
    planned: Sequence[str],
    notes: tuple[str, ...],
) -> Comparison:
    """Judge configurations at once, or at the planned looks, and put the rows in order."""
    keys = differing_keys([row.params for row in rows.values()])
    finished = {config: row for config, row in rows.items() if row.finished}
    runs = [record for row in finished.values() for record in row.finished]
    replicate_names = samples.replicate_names(runs)
    by_seeds = {
        config: {samples.seeds_of(record): row.values[record.run_id] for record in row.finished}
        for config, row in finished.items()
    }
    values = {
        config: {replicate_names[seeds]: value for seeds, value in found.items()} for config, found in by_seeds.items()
    }
    names = {config: row.label(keys) for config, row in finished.items()}
    coverage = samples.coverage({config: row.finished for config, row in finished.items()})
    images = samples.validation_images(runs) if by.is_validation_share else None
    parts: Components | None = None
    if coverage.crossed:
        parts = components([*by_seeds.values()], is_share=by.is_validation_share, images=images)
    options: dict[str, Any] = {"higher": by.higher, "worth": worth, "resolution": 1 / images if images else 0.0}
    sweeps = samples.sweeps_of(runs)
    taken: Looks | None = None
    if runs and not coverage.crossed and set(sweeps) <= set(planned):
        order = samples.order_of_replicates(runs, replicate_names, planned)
        verdicts, taken = sequential_verdicts(values, names, order, **options)
    else:
        verdicts = judge(values, names, **options, refusal=_refusal(coverage, sweeps))
    ordered = [
        _judged_row(rows[config], verdicts, index, by, independent=not coverage.crossed)
        for index, config in enumerate(verdicts.configs)
    ]
    ordered += [row for config, row in rows.items() if config not in finished]
    return Comparison(by, keys, ordered, datasets, verdicts, coverage, taken, parts, notes)


def _refusal(coverage: Coverage, sweeps: Sequence[str]) -> str:
    """Return why no verdict may be given, however many replicates there are; empty if one may."""
    if coverage.crossed:
        return "runs share seeds of a source that varies, so they are no independent replicates"
    if len(sweeps) > 1:
        which = f"belong to {len(sweeps)} sweeps" if all(sweeps) else "do not all belong to one sweep"
        return f"these runs {which} and were not planned as one (looks=true)"
    return ""


def _judged_row(row: Row, verdicts: Verdicts, index: int, by: Measure, *, independent: bool) -> Row:
    """Return the row with its summary and its verdict, which is number ``index`` in ``verdicts``."""
    sample = [*verdicts.samples[index].values()]
    spread = estimates.spread(sample, share=by.is_share, resolution=verdicts.resolution)
    pair = {name: column[index - 1] for name, column in verdicts.against_first.items()} if index else None
    return replace(
        row,
        # Runs that share seeds are not independent: a t interval of their mean would be too narrow.
        spread=spread if independent else replace(spread, low=math.nan, high=math.nan),
        is_judged=index < verdicts.judged_count,
        in_best_set=bool(verdicts.in_best_set[index]),
        against_first=AgainstFirst.from_pair(pair) if pair else None,
    )
