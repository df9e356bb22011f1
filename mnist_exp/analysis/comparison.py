"""Runs compared: grouped into configurations, ranked, and judged together over their replicates.

Runs that differ in nothing but ``replicate`` and seeds are one configuration. Selecting by test scores is refused: if
the best of many is picked by its test score, no test of it is left.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mnist_exp.analysis import looks, samples, statistics
from mnist_exp.analysis.components import Components, components
from mnist_exp.analysis.leaderboard import differing_keys
from mnist_exp.analysis.looks import Looks
from mnist_exp.analysis.measure import Measure
from mnist_exp.analysis.records import Record
from mnist_exp.analysis.samples import Config, Coverage
from mnist_exp.analysis.statistics import FarOff, Spread
from mnist_exp.analysis.verdicts import BETTER, WORSE, Verdicts, judge
from mnist_exp.errors import ConfigError


@dataclass(frozen=True)
class Against:
    """A configuration minus the first in the ranking, and the verdict on it.

    Attributes:
        difference: of their means, over the replicates that were compared.
        low, high: simultaneous interval of that; NaN where there is no verdict.
        low90, high90: the narrower simultaneous interval by which equivalence goes.
        p: adjusted for all pairs; NaN where there is no verdict.
        chance, chance_low, chance_high: probability that one more run of it beats one of the first.
        needed: replicates that would show a difference of ``worth``, or one as large as seen; NaN where unknown.
    """

    difference: float
    low: float
    high: float
    low90: float
    high90: float
    p: float
    differs: bool
    verdict: str
    chance: float
    chance_low: float
    chance_high: float
    needed: float

    def interval(self) -> str:
        """``-0.0305 [-0.0591, -0.0019]``; the difference alone where there is no verdict."""
        ends = "" if math.isnan(self.low) else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.difference:+.4f}{ends}"

    def words(self) -> str:
        """``worse (p 0.008)``; ``too few replicates``."""
        p = "" if math.isnan(self.p) else " (p < 0.001)" if self.p < 0.001 else f" (p {self.p:.3f})"
        less = ", differs by less than matters" if self.verdict == "equivalent" and self.differs else ""
        return f"{self.verdict}{less}{p}"


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        params: what all its runs have in common.
        finished: the runs that count: finished, with a value, each replicate once.
        others: runs that failed, were killed, are running, or have no such value.
        values: by run id, what each finished run is ranked by.
        spread: of the values that were compared; None where no run finished.
        far_off: the runs that fall far off the others, if there are some.
        is_best: whether it cannot be ruled out as best.
        against_first: None for the first itself, and where there is nothing to compare.
    """

    params: Mapping[str, str]
    finished: list[Record]
    others: list[Record]
    values: Mapping[str, float]
    spread: Spread | None = None
    far_off: FarOff | None = None
    is_best: bool = False
    against_first: Against | None = None

    def label(self, keys: Sequence[str]) -> str:
        """``model.units=4 optimizer.lr=0.01``: the keys that tell it from the others."""
        return " ".join(f"{key}={self.params[key]}" for key in keys if key in self.params) or "all runs"

    def how_others_ended(self) -> str:
        """``1 diverged, 2 KILLED``: every run that gave no value, by reason."""
        reasons = [record.tags.get("failure", record.status) for record in self.others]
        reasons = ["finished without a number for it" if reason == "FINISHED" else reason for reason in reasons]
        return ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))


@dataclass(frozen=True)
class Comparison:
    """Configurations in order, the best mean first; those without a finished run last.

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
        """The row with the best mean; None where nothing finished."""
        return self.rows[0] if self.rows and self.rows[0].spread else None

    @property
    def has_replicates(self) -> bool:
        """Whether any configuration has several runs."""
        return any(len(row.finished) + len(row.others) > 1 for row in self.rows)

    @property
    def best_set(self) -> list[Row]:
        """The configurations that cannot be ruled out as best."""
        return [row for row in self.rows if row.is_best]

    def conclusion(self) -> str:
        """What is best and how sure that is, what the runs cover, and what did not finish, in a few sentences."""
        left_out = sum(len(row.others) for row in self.rows)
        total = left_out + sum(len(row.finished) for row in self.rows)
        said = [self.verdicts.words(), *(self.looks.sentences() if self.looks else [])]
        if self.components:
            said.append(self.components.sentence())
        elif self.has_replicates and self.first:
            said.append(self.coverage.sentence())
        if left_out:
            said.append(f"{left_out} of {total} runs did not finish with a figure.")
        return " ".join([*said, *self.notes])


def compare(
    records: Sequence[Record],
    epochs: pd.DataFrame,
    by: Measure,
    *,
    across_datasets: bool = False,
    worth: float | None = None,
) -> Comparison:
    """Group, rank and judge.

    Args:
        records: the runs.
        epochs: their epochs, as ``analysis.frames`` gives them.
        across_datasets: whether runs on different data may be ranked together.
        worth: the smallest difference that matters.

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
    rows = {
        config: Row(
            {
                key: dict(config)[key]
                for key in dict.fromkeys([*members[0].params, *dict(config)])
                if key in dict(config)
            },
            [record for record in members if record.run_id in found],
            [record for record in members if record.run_id not in found],
            {record.run_id: found[record.run_id] for record in members if record.run_id in found},
        )
        for config, members in grouped.items()
    }
    return _judged(by, rows, [*datasets.values()], worth, (*notes, *counted.sentences()))


def _judged(
    by: Measure, rows: Mapping[Config, Row], datasets: list[str], worth: float | None, notes: tuple[str, ...]
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
    if runs and not coverage.crossed and all(record.tags.get("looks") for record in runs):
        order = samples.order_of_replicates(runs, called)
        verdicts, seen = looks.judge_looks(values, names, order, higher=by.higher, worth=worth, resolution=resolution)
    else:
        refusal = _refusal(coverage, runs)
        verdicts = judge(values, names, higher=by.higher, worth=worth, resolution=resolution, refusal=refusal)
    rest = np.arange(1, len(verdicts.configs))
    pairs = verdicts.of(np.zeros_like(rest), rest)
    ordered = [_row(rows[config], verdicts, place, pairs, by) for place, config in enumerate(verdicts.configs)]
    ordered += [row for config, row in rows.items() if config not in finished]
    return Comparison(by, keys, ordered, datasets, verdicts, coverage, seen, parts, notes)


def _refusal(coverage: Coverage, runs: Sequence[Record]) -> str:
    """Why no verdict may be given on runs, however many there are; empty if one may."""
    if coverage.crossed:
        return "runs share seeds of a source that varies, so they are no independent replicates"
    sweeps = samples.sweeps_of(runs)
    if len(sweeps) > 1:
        return f"these runs come from {len(sweeps)} sweeps that were not planned as one (looks=true)"
    return ""


def _row(row: Row, verdicts: Verdicts, place: int, pairs: Mapping[str, Any], by: Measure) -> Row:
    """The row with what was found out about it; ``pairs`` are those of the first with each other."""
    sample = [*verdicts.samples[place].values()]
    return replace(
        row,
        spread=statistics.spread(sample, share=by.is_share),
        far_off=statistics.far_off(sample, higher=by.higher),
        is_best=bool(verdicts.in_best_set[place]),
        against_first=_turned({name: column[place - 1] for name, column in pairs.items()}) if place else None,
    )


def _turned(pair: Mapping[str, Any]) -> Against:
    """A pair whose first is the first in the ranking, as seen from its second."""
    needed = pair["replicates_for_worth"]
    return Against(
        difference=-float(pair["difference"]),
        low=-float(pair["high"]),
        high=-float(pair["low"]),
        low90=-float(pair["high90"]),
        high90=-float(pair["low90"]),
        p=float(pair["p"]),
        differs=bool(pair["differs"]),
        verdict={BETTER: WORSE, WORSE: BETTER}.get(pair["verdict"], pair["verdict"]),
        chance=1 - float(pair["chance"]),
        chance_low=1 - float(pair["chance_high"]),
        chance_high=1 - float(pair["chance_low"]),
        needed=float(pair["replicates_for_difference"] if math.isnan(needed) else needed),
    )
