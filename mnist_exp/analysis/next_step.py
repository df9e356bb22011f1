"""What would decide an undecided sweep: the command of the sweep that comes next."""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.analysis.looks import Looks
from mnist_exp.config.replicate import REPLICATE, SOURCES
from mnist_exp.statistics.verdicts import UNDECIDED, natural
from mnist_exp.tracking.mlflow.records import Record

_FIRST_SWEEP = 8  # replicates, where there was no verdict yet: two more than a verdict takes
_MOST = 1000  # replicates: a longer sweep is not proposed
_PLAIN = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class NextStep:
    """A sweep that would decide.

    Attributes:
        why: what it is for, in a few words that end in a colon.
        command: to paste.
    """

    why: str
    command: str


def next_step(parent: Record, result: Comparison) -> NextStep | None:
    """Return the sweep that would decide what ``result`` leaves undecided; None if nothing is, or nothing would.

    Args:
        parent: the parent run of the sweep, or of the last of those that were looked at together.
        result: its comparison.
    """
    with_values = [row for row in result.rows if row.finished]
    command = parent.tags.get("command", "")
    if len(with_values) < 2 or result.verdicts.refusal or not _can_be_repeated(command, parent):
        return None
    if result.looks is not None and result.looks.next_n is not None:
        return _next_look(parent, result.looks, result)
    if result.verdicts.result is None:
        start = 0 if max(len(row.finished) for row in with_values) == 1 else _unused(with_values)
        why = f"For a verdict, at least {result.verdicts.fewest} replicates:"
        return NextStep(why, _command(command, parent, with_values, start, _FIRST_SWEEP))
    undecided = [
        row.against_first.needed
        for row in result.best_set
        if row.against_first is not None and row.against_first.verdict == UNDECIDED
    ]
    if not undecided or all(map(math.isnan, undecided)):
        return None
    finite = [each for each in undecided if not math.isnan(each)]
    count = int(max(finite) if result.verdicts.worth is not None else min(finite))
    if count > _MOST:
        return None
    why = f"A fresh sweep of {count} new replicates, judged alone:"
    left = [row for row in with_values if row.is_best]  # those without a verdict included
    return NextStep(why, _command(command, parent, left, _unused(with_values), count))


def _can_be_repeated(command: str, parent: Record) -> bool:
    """Whether replicates can be added to a command: it is one of ours, and does not decide every seed by itself."""
    given = {_key(word) for word in shlex.split(command)}
    swept = set(parent.tags.get("sweep.keys", "").split(", ")) & set(SOURCES)
    return " -m mnist_exp " in f"{command} " and swept <= given and not set(SOURCES) - swept <= given


def _next_look(parent: Record, looks: Looks, result: Comparison) -> NextStep:
    assert looks.next_n is not None
    left = [row for row, config in zip(result.rows, result.verdicts.configs, strict=False) if config in looks.left]
    have = max(len(row.finished) for row in left)
    command = _command(parent.tags["command"], parent, left, _unused(result.rows), max(1, looks.next_n - have))
    return NextStep("For the next look, with all configurations that are left:", f"{command} looks={parent.run_id}")


def _unused(rows: Sequence[Row]) -> int:
    """The first replicate that no run has yet, nor any after it."""
    numbers = [record.params.get(REPLICATE, "") for row in rows for record in (*row.finished, *row.others)]
    return max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1


def _command(command: str, parent: Record, rows: Sequence[Row], start: int, count: int) -> str:
    """The command of a sweep over these rows, or over the smallest grid that holds them, with other replicates."""
    swept = parent.tags.get("sweep.keys", "").split(", ")
    given = [
        _narrowed(each, swept, rows)
        for each in shlex.split(command)
        if _key(each) not in (REPLICATE, "looks", "resume") and not (_key(each) in SOURCES and _key(each) in swept)
    ]
    replicates = f"range({start},{start + count})" if start else f"range({count})"
    if "-m" not in given[3:] and "--multirun" not in given:  # an experiment that is a sweep of its own
        given.insert(3, "-m")
    return shlex.join([*given, f"{REPLICATE}={replicates}"])


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+") if "=" in word else ""


def _narrowed(word: str, swept: Sequence[str], rows: Sequence[Row]) -> str:
    """An override with the values that are left; as it was given where those cannot be told from the params."""
    key = _key(word)
    values = sorted({row.params[key] for row in rows if key in row.params}, key=natural)
    if key not in swept or not values or not all(map(_PLAIN.fullmatch, values)):
        return word
    return f"{key}={','.join(values)}"
