"""The command of the sweep that would decide what a comparison leaves undecided."""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_exp.analysis import samples
from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.analysis.looks import Looks
from mnist_exp.config.overrides import key_of
from mnist_exp.config.replicate import REPLICATE, SOURCES
from mnist_exp.statistics.verdicts import UNDECIDED, natural_key
from mnist_exp.tracking.protocols import Record

_FIRST_SWEEP = 8  # replicates if there is no verdict yet: two more than a verdict takes
_MAX_REPLICATES = 1000  # a longer sweep is not proposed
_PLAIN_VALUE = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class NextStep:
    """A sweep that would decide.

    Attributes:
        why: its purpose, a phrase that ends in a colon.
        command: quoted for a shell.
    """

    why: str
    command: str


def next_step(parent: Record, result: Comparison) -> NextStep | None:
    """Propose the sweep that would decide what ``result`` leaves undecided.

    Args:
        parent: the parent run of the sweep, or of the last of several sweeps that were planned as one.
        result: its comparison.

    Returns:
        None if everything is decided, or if no sweep would decide it.
    """
    with_value = [row for row in result.rows if row.finished]
    command = parent.tags.get("command", "")
    if len(with_value) < 2 or result.verdicts.refusal or not _takes_replicates(command, parent):
        return None
    if result.looks is not None and result.looks.next_n is not None:
        return _next_look(parent, result.looks, result)
    if result.verdicts.result is None:
        start = 0 if max(len(row.finished) for row in with_value) == 1 else _first_unused(with_value)
        why = f"For a verdict, at least {result.verdicts.min_replicates} replicates:"
        return NextStep(why, _command(command, parent, with_value, start, _FIRST_SWEEP))
    count = replicates_needed(result)
    if count is None or count > _MAX_REPLICATES:
        return None
    why = f"A fresh sweep of {count} new replicates, judged alone:"
    remaining = [row for row in with_value if row.in_best_set]  # including those without a verdict
    return NextStep(why, _command(command, parent, remaining, _first_unused(with_value), count))


def replicates_needed(result: Comparison) -> int | None:
    """Return how many fresh replicates would decide between the first configuration and the rest of the best set.

    Returns:
        The number for a difference of ``worth``, or else for the largest difference seen; None if nothing is undecided,
        or no number is known.
    """
    needed = [
        row.against_first.needed
        for row in result.best_set
        if row.against_first is not None and row.against_first.verdict == UNDECIDED
    ]
    finite = [each for each in needed if math.isfinite(each)]
    if not finite:
        return None
    return int(max(finite) if result.verdicts.worth is not None else min(finite))


def confirming(parent: Record, result: Comparison) -> NextStep | None:
    """Propose the sweep that tests a result again: the same configurations with as many new replicates.

    Args:
        parent: the parent run of the sweep.
        result: its comparison.

    Returns:
        None if there is no verdict to test, or if replicates cannot be added to the sweep's command.
    """
    with_value = [row for row in result.rows if row.finished]
    command = parent.tags.get("command", "")
    if result.verdicts.result is None or result.first is None or not _takes_replicates(command, parent):
        return None
    count = len(result.first.finished)
    words = _command(command, parent, with_value, _first_unused(result.rows), count)
    return NextStep("Confirmed on fresh replicates by:", f"{words} follows={parent.run_id}")


def _takes_replicates(command: str, parent: Record) -> bool:
    """Return whether replicates can be added to a command: it is one of ours, and leaves a seed for them to draw."""
    given = {key_of(word) for word in shlex.split(command)}
    swept = set(parent.tags.get("sweep.keys", "").split(", ")) & set(SOURCES)
    return " -m mnist_exp " in f"{command} " and swept <= given and not set(SOURCES) - swept <= given


def _next_look(parent: Record, looks: Looks, result: Comparison) -> NextStep:
    assert looks.next_n is not None
    configs = zip(result.rows, result.verdicts.configs, strict=False)  # rows without a finished run come last
    remaining = [row for row, config in configs if config in looks.remaining]
    finished = max(len(row.finished) for row in remaining)
    count = max(1, looks.next_n - finished)
    command = _command(parent.tags["command"], parent, remaining, _first_unused(result.rows), count)
    return NextStep("For the next look, with all configurations that are left:", f"{command} looks={parent.run_id}")


def _first_unused(rows: Sequence[Row]) -> int:
    """Return the number after the largest replicate number of any run of the configurations."""
    return samples.next_replicate(record for row in rows for record in (*row.finished, *row.without_value))


def _command(command: str, parent: Record, rows: Sequence[Row], start: int, count: int) -> str:
    """Return the command of a sweep with new replicates over ``rows``, or over the smallest grid that contains them.

    Args:
        command: the command of the sweep so far.
        parent: its parent run.
        rows: the configurations to repeat.
        start: the first replicate.
        count: number of replicates.
    """
    swept = parent.tags.get("sweep.keys", "").split(", ")
    given = [
        _with_values_of(rows, word, swept)
        for word in shlex.split(command)
        if key_of(word) not in (REPLICATE, "looks", "resume", "follows")
        and not (key_of(word) in SOURCES and key_of(word) in swept)
    ]
    replicates = f"range({start},{start + count})" if start else f"range({count})"
    if "-m" not in given[3:] and "--multirun" not in given:  # an experiment file that is itself a sweep
        given.insert(3, "-m")
    return shlex.join([*given, f"{REPLICATE}={replicates}"])


def _with_values_of(rows: Sequence[Row], override: str, swept: Sequence[str]) -> str:
    """Return a swept override with the values of ``rows`` alone; as given if params do not show how to write them."""
    key = key_of(override)
    values = sorted({row.params[key] for row in rows if key in row.params}, key=natural_key)
    if key not in swept or not values or not all(map(_PLAIN_VALUE.fullmatch, values)):
        return override
    return f"{key}={','.join(values)}"
