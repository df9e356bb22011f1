"""Configurations compared: their runs over seeds taken together, ranked, each held against the winner.

Runs that differ in nothing but ``seed`` are one configuration. Selecting by test scores is refused: whoever
picks the best of many by their test scores no longer has a test set.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from mnist_exp.analysis import statistics
from mnist_exp.analysis.frames import EPOCH_METRICS
from mnist_exp.analysis.leaderboard import differing_keys
from mnist_exp.analysis.records import Record
from mnist_exp.analysis.statistics import Difference, Spread
from mnist_exp.errors import ConfigError

SEED = "seed"

# What two runs must have in common, beside their seed, for their figures to be compared as a pair.
_SHARED = ("seed", "training.order_seed", "data.split_seed", "data.limit", "data.validation", "data.stratify")

_HIGHER_IS_BETTER = ("accuracy", "recall")
_LOWER_IS_BETTER = ("loss", "seconds", "parameters")


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Attributes:
        metric: its name, such as ``val_accuracy``.
        by: ``best`` epoch of each run, or its ``last``.
        higher: whether more is better.
    """

    metric: str
    by: str
    higher: bool

    def words(self) -> str:
        """``best val_accuracy, higher is better``."""
        return f"{self.by} {self.metric}, {'higher' if self.higher else 'lower'} is better"


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        params: what all its runs have in common.
        finished, others: its runs; ``others`` failed, were killed, are running, or have no such metric.
        best, last: by run id, the measured metric of each finished run, in its best and its last epoch.
        spread: of the values that it is ranked by; None where no run finished.
        other_spread: of the other of ``best`` and ``last``.
        against_winner: None for the winner itself, and where there is nothing to compare.
    """

    params: Mapping[str, str]
    finished: list[Record]
    others: list[Record]
    best: Mapping[str, float]
    last: Mapping[str, float]
    spread: Spread | None
    other_spread: Spread | None
    against_winner: Difference | None = None

    def label(self, keys: Sequence[str]) -> str:
        """``model.units=4 optimizer.lr=0.01``: the keys that tell it from the others."""
        return " ".join(f"{key}={self.params[key]}" for key in keys if key in self.params) or "all runs"

    def how_others_ended(self) -> str:
        """``1 diverged, 2 KILLED``: nothing that did not finish goes unsaid."""
        reasons = [record.tags.get("failure", record.status) for record in self.others]
        reasons = ["finished without a number for it" if reason == "FINISHED" else reason for reason in reasons]
        return ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))


@dataclass(frozen=True)
class Comparison:
    """Configurations in order, the best mean first; those without a finished run last.

    Attributes:
        keys: the params in which configurations differ.
        datasets: names of the data sets that were used.
    """

    measure: Measure
    keys: list[str]
    rows: list[Row]
    datasets: list[str]

    @property
    def winner(self) -> Row | None:
        """The row with the best mean; None where nothing finished."""
        return self.rows[0] if self.rows and self.rows[0].spread else None

    @property
    def has_seeds(self) -> bool:
        """Whether any configuration was run with several seeds."""
        return any(len(row.finished) + len(row.others) > 1 for row in self.rows)

    def conclusion(self) -> str:
        """How sure it is that the first is the best, and what did not finish, in a few sentences."""
        left_out = sum(len(row.others) for row in self.rows)
        total = left_out + sum(len(row.finished) for row in self.rows)
        return self._winner() + (f" {left_out} of {total} runs did not finish with a figure." if left_out else "")

    def _winner(self) -> str:
        if self.winner is None:
            return "No run finished with this metric, so there is nothing to rank."
        name = self.winner.label(self.keys)
        differences = [(row, row.against_winner) for row in self.rows[1:] if row.against_winner]
        if not differences:
            return f"{name}: the only configuration with results."
        if all(math.isnan(each.p) for _, each in differences):
            whose = "" if self.winner.spread and self.winner.spread.n == 1 else " against others with one seed"
            return f"{name} has the best figure{whose or ', from one seed'}: another seed may turn the order round."
        level = [row.label(self.keys) for row, each in differences if not each.shown]
        if not level:
            others = f"each of the other {len(differences)}" if len(differences) > 1 else "the other"
            return f"{name} is best: its difference to {others} is shown."
        names = "; ".join(level[:5]) + ("; ..." if len(level) > 5 else "")
        share = f"{len(level)} of the other {len(differences)}" if len(differences) > 1 else "the other"
        return f"{name} has the best mean, but no difference is shown to {share}: {names}."


def measure(metric: str, by: str = "best", *, direction: str | None = None, allow_test: bool = False) -> Measure:
    """What to compare by, checked.

    Raises:
        ConfigError: it is a test score, or nobody knows which way it is better.
    """
    metric = metric.removeprefix("best/") if metric.removeprefix("best/") in EPOCH_METRICS else metric
    if metric.startswith("test/") and not allow_test:
        raise ConfigError(
            f"--metric {metric} would choose by test scores, and leave no test of the choice. Rank by val_accuracy or "
            "val_loss and report the test score of what that chose; --allow-test ranks by it all the same"
        )
    higher = any(word in metric for word in _HIGHER_IS_BETTER)
    if direction is None and not higher and not any(word in metric for word in _LOWER_IS_BETTER):
        raise ConfigError(f"--metric {metric} is not known to be better high or low: add --direction max, or min")
    return Measure(metric, by, higher if direction is None else direction == "max")


def compare(
    records: Sequence[Record], epochs: pd.DataFrame, by: Measure, *, across_datasets: bool = False
) -> Comparison:
    """Group, rank and test.

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
    best, last = _values(records, epochs, by)
    if not any(by.metric in record.metrics for record in records) and any(
        record.status == "FINISHED" for record in records
    ):
        known = sorted({name for record in records for name in record.metrics if not name.startswith("system/")})
        raise ConfigError(f"no run has a metric {by.metric!r}. There are: {', '.join(known)}")
    grouped: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in records:
        config = tuple(sorted((key, value) for key, value in record.params.items() if key != SEED))
        grouped.setdefault(config, []).append(record)
    rows = [_row(dict(config), members, best, last, by) for config, members in grouped.items()]
    rows.sort(key=lambda row: (row.spread is None, _cost(row.spread, by)))
    return Comparison(
        by, [key for key in differing_keys(records) if key != SEED], _tested(rows, by), [*datasets.values()]
    )


def _values(records: Sequence[Record], epochs: pd.DataFrame, by: Measure) -> tuple[dict[str, float], dict[str, float]]:
    """The metric of each finished run, by run id, in its best and its last epoch; only finite ones count."""
    done = [record for record in records if record.status == "FINISHED"]
    last = {record.run_id: record.metrics[by.metric] for record in done if by.metric in record.metrics}
    if by.metric not in epochs.columns:
        found = {run_id: value for run_id, value in last.items() if math.isfinite(value)}
        return found, found
    per_run = epochs.groupby("run_id")[by.metric]
    extremes = (per_run.max() if by.higher else per_run.min()).dropna().to_dict()
    best = {run_id: float(extremes[run_id]) for run_id in last if math.isfinite(extremes.get(run_id, math.nan))}
    return best, {run_id: value for run_id, value in last.items() if run_id in best and math.isfinite(value)}


def _row(
    params: dict[str, str], members: list[Record], best: dict[str, float], last: dict[str, float], by: Measure
) -> Row:
    chosen, other = (best, last) if by.by == "best" else (last, best)
    finished = [record for record in members if record.run_id in chosen]
    ids = [record.run_id for record in finished]
    others = [other[run_id] for run_id in ids if run_id in other]
    return Row(
        params=params,
        finished=finished,
        others=[record for record in members if record.run_id not in chosen],
        best={run_id: best[run_id] for run_id in ids if run_id in best},
        last={run_id: last[run_id] for run_id in ids if run_id in last},
        spread=statistics.spread([chosen[run_id] for run_id in ids]) if ids else None,
        other_spread=statistics.spread(others) if others else None,
    )


def _tested(rows: list[Row], by: Measure) -> list[Row]:
    """Each row with its difference from the first, corrected for their number."""
    if not rows or rows[0].spread is None:
        return rows
    differences = [difference(row, rows[0], by) if row.spread else None for row in rows[1:]]
    corrected = iter(statistics.holm([each.p for each in differences if each]))
    return [
        rows[0],
        *(
            replace(row, against_winner=each and replace(each, corrected=next(corrected)))
            for row, each in zip(rows[1:], differences, strict=True)
        ),
    ]


def difference(a: Row, b: Row, by: Measure) -> Difference:
    """Row ``a`` minus row ``b``: pair by pair where every run of the smaller has its counterpart, else Welch's way."""
    values_a, values_b = (
        {_pairing(record): values(row, by)[record.run_id] for record in row.finished} for row in (a, b)
    )
    common = [key for key in values_a if key in values_b]
    repeated = len(values_a) < len(a.finished) or len(values_b) < len(b.finished)
    if len(common) == min(len(values_a), len(values_b)) and not repeated:
        return statistics.paired([values_a[key] for key in common], [values_b[key] for key in common])
    return statistics.unpaired(*([values(row, by)[each.run_id] for each in row.finished] for row in (a, b)))


def values(row: Row, by: Measure) -> Mapping[str, float]:
    """By run id, what the row is ranked by."""
    return row.best if by.by == "best" else row.last


def _pairing(record: Record) -> tuple[str | None, ...]:
    return tuple(record.params.get(key) for key in _SHARED)


def _cost(spread: Spread | None, by: Measure) -> float:
    if spread is None:
        return 0.0
    return -spread.mean if by.higher else spread.mean
