"""Any table of runs compared: ``mnist_exp.compare``. Imports neither TensorFlow nor MLflow."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics.conclusion import listed, sentences
from mnist_exp.statistics.inference import LEVEL
from mnist_exp.statistics.verdicts import Verdicts, judge

if TYPE_CHECKING:
    import pandas as pd

_NO_REPLICATE = "none"
_MIN_LEVEL = 0.005  # below it, the draws for many pairs are too few for any significant difference

Config = tuple[Hashable, ...]
"""The values of a configuration in the columns that make one."""


@dataclass(frozen=True)
class TableVerdicts(Verdicts):
    """Verdicts on the configurations of a table; ``configs`` are tuples of the values of its columns."""

    def words(self) -> str:
        """Return the conclusion in sentences, the best configurations first."""
        return " ".join(sentences(self))


def compare(
    table: pd.DataFrame,
    value: str = "val_accuracy",
    config: Sequence[str] = (),
    replicate: str | None = "replicate",
    higher: bool = True,
    *,
    worth: float | None = None,
    level: float = LEVEL,
) -> TableVerdicts:
    """Compare the configurations in a table with one row for each run.

    Configurations with the same replicates are compared as paired samples; if replicates differ, over those that all
    have, provided they are enough, else as independent samples. Equal rows of one configuration and replicate count
    once; unequal ones exclude that replicate. Rows whose value is not finite are excluded. ``notes`` states all of
    this. The order of rows does not matter.

    Args:
        table: the runs.
        value: the column of values to compare.
        config: the columns that make a configuration.
        replicate: the column of replicate numbers; rows with the same number share what the settings do not decide,
            such as data split and batch order. None: rows are independent.
        higher: whether more is better.
        worth: the smallest difference that matters, in units of ``value``; adds the verdict ``equivalent``.
        level: probability of any false difference among all pairs.

    Returns:
        Verdicts with ``best_set`` (configurations as tuples of values of ``config``), ``pairs`` (a table) and
        ``words()``.

    Raises:
        ConfigError: a column is missing, a value is not a number, or ``worth`` or ``level`` breaks its rule.
    """
    keys = [config] if isinstance(config, str) else list(config)
    figures = _checked_values(table, value, keys, replicate, worth, level)
    configs = [tuple(map(_as_key, row)) for row in table[keys].itertuples(index=False)] if keys else [()] * len(table)
    replicates = [_NO_REPLICATE] * len(table) if replicate is None else [_as_key(each) for each in table[replicate]]
    excluded: list[str] = []
    values: dict[Config, dict[Hashable, list[float]]] = {}
    for own, number, figure in zip(configs, replicates, figures, strict=True):
        by_replicate = values.setdefault(own, {})
        if math.isfinite(figure) and number is not None:
            by_replicate.setdefault(number, []).append(figure)
        elif replicate is None:
            excluded.append(f"{_name(keys, own)}: {figure}")
        else:
            which = "no replicate" if number is None else f"replicate {number}: {figure}"
            excluded.append(f"{_name(keys, own)}, {which}")
    notes = []
    if excluded:
        notes.append(f"Left out, as {value} is not finite or the replicate missing: {listed(sorted(excluded))}.")
    if replicate is None:
        samples = {own: _independent(own, found.get(_NO_REPLICATE, [])) for own, found in values.items()}
    else:
        samples, more = _without_repeats(keys, values, value)
        notes += more
    if empty := sorted(_name(keys, own) for own, sample in samples.items() if not sample):
        notes.append(f"No usable value of: {listed(empty)}.")
    usable = {own: sample for own, sample in samples.items() if sample}
    names = {own: _name(keys, own) for own in usable}
    verdicts = judge(usable, names, higher=higher, worth=worth, level=level, notes=notes)
    return TableVerdicts(**{field.name: getattr(verdicts, field.name) for field in fields(verdicts)})


def _independent(config: Config, figures: Sequence[float]) -> dict[Hashable, float]:
    """Number sorted values with keys that no other configuration has, so that they are compared unpaired."""
    return {(*config, number): figure for number, figure in enumerate(sorted(figures))}


def _without_repeats(
    keys: Sequence[str], values: Mapping[Config, Mapping[Hashable, Sequence[float]]], value: str
) -> tuple[dict[Config, dict[Hashable, float]], list[str]]:
    """Return one value for each replicate of each configuration, and notes on the rows merged or excluded."""
    samples = {
        own: {number: figures[0] for number, figures in found.items() if len(set(figures)) == 1}
        for own, found in values.items()
    }
    cells = [(own, number, figures) for own, found in values.items() for number, figures in found.items()]
    merged = sum(len(figures) - 1 for _, _, figures in cells if len(set(figures)) == 1)
    unequal = sorted(
        f"{_name(keys, own)}, replicate {number}" for own, number, figures in cells if len(set(figures)) > 1
    )
    notes = []
    if merged:
        notes.append(
            "1 row repeats another and counts once." if merged == 1 else f"{merged} rows repeat others and count once."
        )
    if unequal:
        notes.append(f"Left out, as several rows have the same replicate and unequal {value}: {listed(unequal)}.")
    return samples, notes


def _checked_values(
    table: pd.DataFrame, value: str, keys: Sequence[str], replicate: str | None, worth: float | None, level: float
) -> list[float]:
    """Check the arguments of :func:`compare` and return the values to compare, NaN for missing ones."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ConfigError.rule("table", "must be a pandas DataFrame", type(table).__name__)
    for key in [value, *keys, *([] if replicate is None else [replicate])]:
        if (found := list(table.columns).count(key)) != 1:
            number = "no column" if not found else f"{found} columns"
            raise ConfigError(f"table has {number} {key!r}. There are: {', '.join(map(str, table.columns))}")
    if not len(table):
        raise ConfigError("table has no rows: there is nothing to compare")
    for name, option in (("worth", worth), ("level", level)):
        if option is not None and (isinstance(option, bool) or not isinstance(option, numbers.Real)):
            raise ConfigError.rule(name, "must be a number", option)
    if worth is not None and not (math.isfinite(worth) and worth > 0):
        raise ConfigError.rule("worth", "must be greater than 0", worth)
    if not _MIN_LEVEL <= level < 0.5:
        raise ConfigError.rule("level", f"must lie in {_MIN_LEVEL} to 0.5: 0.05 gives 95 % intervals", level)
    found_values = []
    for cell in table[value].tolist():
        if isinstance(cell, bool) or not (_as_key(cell) is None or isinstance(cell, numbers.Real)):
            raise ConfigError.rule(f"column {value!r}", "must hold numbers", cell)
        found_values.append(math.nan if _as_key(cell) is None else float(cell))
    return found_values


def _as_key(cell: Any) -> Hashable:
    """Return a cell as a hashable key; a missing one (None, NaN, NA, NaT) as None, which equals itself."""
    import pandas as pd

    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return None
    if hasattr(cell, "item"):
        cell = cell.item()
    return cell if isinstance(cell, Hashable) else str(cell)


def _name(keys: Sequence[str], config: Sequence[Hashable]) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(keys, config, strict=True)) or "all rows"
