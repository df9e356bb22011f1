"""Any table of runs compared: ``mnist_exp.compare``. Imports neither TensorFlow nor MLflow."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics.conclusion import listed
from mnist_exp.statistics.inference import LEVEL
from mnist_exp.statistics.verdicts import Verdicts, judge

if TYPE_CHECKING:
    import pandas as pd

_NO_REPLICATE = "none"
_LOWEST_LEVEL = 0.005  # below it, the draws for many pairs are too few to show anything


def compare(
    table: pd.DataFrame,
    value: str = "val_accuracy",
    config: Sequence[str] = (),
    replicate: str | None = "replicate",
    higher: bool = True,
    *,
    worth: float | None = None,
    level: float = LEVEL,
) -> Verdicts:
    """Compare the configurations in a table with one row for each run.

    Configurations that have the same replicates are compared pair by pair; where replicates differ, over those that all
    have if they are enough, else as independent samples. Equal rows of one configuration and replicate count once;
    unequal ones leave that replicate out. Rows whose value is not finite are left out. All of that is said in
    ``notes``. The order of rows changes nothing.

    Args:
        table: the runs.
        value: the column of figures to compare.
        config: the columns that make a configuration.
        replicate: the column that numbers repetitions; rows of the same replicate share what the settings do not
            decide, such as data split and batch order. None: rows share nothing.
        higher: whether more is better.
        worth: the smallest difference that matters, in units of ``value``; adds the verdict ``equivalent``.
        level: chance of any false difference among all pairs.

    Returns:
        Verdicts with ``best_set`` (configurations as tuples of values of ``config``), ``pairs`` (a table) and
        ``words()``.

    Raises:
        ConfigError: a column is missing, the values are no numbers, or ``worth`` or ``level`` breaks its rule.
    """
    keys = [config] if isinstance(config, str) else list(config)
    figures = _checked(table, value, keys, replicate, worth, level)
    configs = [tuple(map(_plain, row)) for row in table[keys].itertuples(index=False)] if keys else [()] * len(table)
    replicates = [_NO_REPLICATE] * len(table) if replicate is None else [_plain(each) for each in table[replicate]]
    unusable: list[str] = []
    values: dict[tuple[Hashable, ...], dict[Hashable, list[float]]] = {}
    for own, number, figure in zip(configs, replicates, figures, strict=True):
        by_replicate = values.setdefault(own, {})
        if math.isfinite(figure) and number is not None:
            by_replicate.setdefault(number, []).append(figure)
        else:
            which = "no replicate" if number is None else f"replicate {number}: {figure}"
            unusable.append(
                f"{_name(keys, own)}, {which}" if replicate is not None else f"{_name(keys, own)}: {figure}"
            )
    notes = []
    if unusable:
        notes.append(f"Left out, as {value} is not finite or the replicate missing: {listed(sorted(unusable))}.")
    if replicate is None:
        samples = {own: _numbered(own, found.get(_NO_REPLICATE, [])) for own, found in values.items()}
    else:
        samples, more = _one_each(keys, values, value)
        notes += more
    if empty := sorted(_name(keys, own) for own, sample in samples.items() if not sample):
        notes.append(f"No usable value of: {listed(empty)}.")
    usable = {own: sample for own, sample in samples.items() if sample}
    names = {own: _name(keys, own) for own in usable}
    return judge(usable, names, higher=higher, worth=worth, level=level, notes=notes)


def _numbered(config: tuple[Hashable, ...], figures: Sequence[float]) -> dict[Hashable, float]:
    """Number the sorted values under keys of this configuration alone, so that it is compared unpaired."""
    return {(*config, number): figure for number, figure in enumerate(sorted(figures))}


def _one_each(
    keys: Sequence[str], values: Mapping[tuple[Hashable, ...], Mapping[Hashable, Sequence[float]]], value: str
) -> tuple[dict[tuple[Hashable, ...], dict[Hashable, float]], list[str]]:
    """One value for each replicate of each configuration, and what was merged or left out for that."""
    samples = {
        own: {number: figures[0] for number, figures in found.items() if len(set(figures)) == 1}
        for own, found in values.items()
    }
    every = [(own, number, figures) for own, found in values.items() for number, figures in found.items()]
    merged = sum(len(figures) - 1 for _, _, figures in every if len(set(figures)) == 1)
    unequal = sorted(
        f"{_name(keys, own)}, replicate {number}" for own, number, figures in every if len(set(figures)) > 1
    )
    notes = []
    if merged:
        notes.append(
            "1 row repeats another and counts once." if merged == 1 else f"{merged} rows repeat others and count once."
        )
    if unequal:
        notes.append(f"Left out, as several rows have the same replicate and unequal {value}: {listed(unequal)}.")
    return samples, notes


def _checked(
    table: pd.DataFrame, value: str, keys: Sequence[str], replicate: str | None, worth: float | None, level: float
) -> list[float]:
    """The values to compare, once everything about the arguments is right."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ConfigError.rule("table", "must be a pandas DataFrame", type(table).__name__)
    for key in [value, *keys, *([] if replicate is None else [replicate])]:
        if (found := list(table.columns).count(key)) != 1:
            there = "no column" if not found else f"{found} columns"
            raise ConfigError(f"table has {there} {key!r}. There are: {', '.join(map(str, table.columns))}")
    if not len(table):
        raise ConfigError("table has no rows: there is nothing to compare")
    for name, number in (("worth", worth), ("level", level)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, numbers.Real)):
            raise ConfigError.rule(name, "must be a number", number)
    if worth is not None and not (math.isfinite(worth) and worth > 0):
        raise ConfigError.rule("worth", "must be greater than 0", worth)
    if not _LOWEST_LEVEL <= level < 0.5:
        raise ConfigError.rule("level", f"must lie in {_LOWEST_LEVEL} to 0.5: 0.05 gives 95 % intervals", level)
    found_values = []
    for cell in table[value].tolist():
        if isinstance(cell, bool) or not (_plain(cell) is None or isinstance(cell, numbers.Real)):
            raise ConfigError.rule(f"column {value!r}", "must hold numbers", cell)
        found_values.append(math.nan if _plain(cell) is None else float(cell))
    return found_values


def _plain(cell: Any) -> Hashable:
    """A cell as a key: what is missing (None, NaN, NA, NaT) as None, which equals itself."""
    import pandas as pd

    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return None
    if hasattr(cell, "item"):
        cell = cell.item()
    return cell if isinstance(cell, Hashable) else str(cell)


def _name(keys: Sequence[str], config: Sequence[Hashable]) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(keys, config, strict=True)) or "all rows"
