"""Any table of runs compared: ``mnist_exp.compare``. Imports neither TensorFlow nor MLflow."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from mnist_exp.analysis.inference import LEVEL
from mnist_exp.analysis.verdicts import Verdicts, judge
from mnist_exp.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 5  # rows in a sentence


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
    _check(table, value, keys, replicate, worth, level)
    notes: list[str] = []
    samples: dict[tuple[Hashable, ...], dict[Hashable, float]] = {}
    conflicts: set[tuple[tuple[Hashable, ...], Hashable]] = set()
    merged = 0
    unusable: list[str] = []
    columns = [[_plain(each) for each in table[key].tolist()] for key in keys]
    replicates = list(range(len(table))) if replicate is None else [_plain(each) for each in table[replicate].tolist()]
    configs = list(zip(*columns, strict=True)) if keys else [()] * len(table)
    for own, number, figure in zip(configs, replicates, table[value].astype(float).tolist(), strict=True):
        sample = samples.setdefault(own, {})
        if not math.isfinite(figure) or number is None:
            which = "without a replicate" if number is None else f"replicate {number}: {figure}"
            unusable.append(f"{_name(keys, own)}, {which}")
        elif number not in sample:
            sample[number] = figure
        elif sample[number] == figure:
            merged += 1
        else:
            conflicts.add((own, number))
    for own, number in conflicts:
        del samples[own][number]
    if unusable:
        notes.append(f"Left out, as {value} is not finite or the replicate missing: {_listed(unusable)}.")
    if merged:
        notes.append(f"{merged} {'row repeats' if merged == 1 else 'rows repeat'} another and count once.")
    if conflicts:
        named = [f"{_name(keys, own)}, replicate {number}" for own, number in conflicts]
        notes.append(f"Left out, as rows with unequal {value} claim to be the same run: {_listed(named)}.")
    if empty := [_name(keys, own) for own, sample in samples.items() if not sample]:
        notes.append(f"No usable value of: {_listed(empty)}.")
    usable = {own: sample for own, sample in samples.items() if sample}
    names = {own: _name(keys, own) for own in usable}
    return judge(usable, names, higher=higher, worth=worth, level=level, notes=notes)


def _check(
    table: pd.DataFrame, value: str, keys: Sequence[str], replicate: str | None, worth: float | None, level: float
) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ConfigError.rule("table", "must be a pandas DataFrame", type(table).__name__)
    for key in [value, *keys, *([] if replicate is None else [replicate])]:
        if key not in table.columns:
            raise ConfigError(f"table has no column {key!r}. There are: {', '.join(map(str, table.columns))}")
    if not len(table):
        raise ConfigError("table has no rows: there is nothing to compare")
    column = table[value]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        raise ConfigError.rule(f"column {value!r}", "must hold numbers", column.iloc[0])
    if worth is not None and not (math.isfinite(worth) and worth > 0):
        raise ConfigError.rule("worth", "must be greater than 0", worth)
    if not 0 < level < 0.5:
        raise ConfigError.rule("level", "must lie between 0 and 0.5: 0.05 gives 95 % intervals", level)


def _plain(entry: Any) -> Hashable:
    """A cell as a key: NaN as None, which equals itself."""
    if isinstance(entry, float) and math.isnan(entry):
        return None
    return entry if isinstance(entry, Hashable) else str(entry)


def _name(keys: Sequence[str], config: Sequence[Hashable]) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(keys, config, strict=True)) or "all rows"


def _listed(texts: Sequence[str]) -> str:
    ordered = sorted(texts)
    more = len(ordered) - _MOST_NAMED
    return "; ".join(ordered[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
