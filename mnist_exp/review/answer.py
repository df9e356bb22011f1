"""The answer to a sweep's question, computed from the comparison of its configurations.

The question is free text, which no program can be trusted to read. So the answer does not say yes or no: it names the
setting that is better and by how much, and a reader sees at once whether that is what was asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.analysis.next_step import replicates_needed
from mnist_exp.statistics.conclusion import AgainstFirst, joined
from mnist_exp.statistics.verdicts import EQUIVALENT

_MAX_LISTED = 4  # configurations in a sentence


class Kind(StrEnum):
    """What is known."""

    DECIDED = "decided"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"
    FAILED = "failed"


@dataclass(frozen=True)
class Answer:
    """What a sweep says.

    Attributes:
        kind: whether one setting is better, no difference matters, more replicates are needed, or nothing can be said.
        short: a few words for a table: ``model.units=10 +0.0693``.
        sentences: the whole answer; the first sentence is the headline.
        difference: mean of the best configuration minus that of the best one with another setting; None unless decided
            or equivalent.
        low, high: its simultaneous interval.
        p: its p-value, adjusted for all pairs.
        replicates: number of replicates that were compared.
        more: replicates of a fresh sweep that would decide; None if that is unknown or everything is decided.
    """

    kind: Kind
    short: str
    sentences: tuple[str, ...]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    replicates: int = 0
    more: int | None = None

    @property
    def text(self) -> str:
        """The headline."""
        return self.sentences[0]


def answer_of(result: Comparison | None, problem: str = "") -> Answer:
    """Return the answer that a comparison gives.

    Args:
        result: the configurations of a sweep, compared; None if they could not be.
        problem: why they could not be compared.
    """
    if result is None or result.first is None:
        reason = problem or "no run finished"
        return Answer(Kind.FAILED, "failed", (f"failed: {reason}",))
    n = result.first.spread.n if result.first.spread else 0
    verdicts = result.verdicts
    if verdicts.result is None:
        if len(result.rows) == 1:
            return Answer(Kind.FAILED, "one configuration", ("one configuration: there is nothing to compare",))
        counts = sorted((row.spread.n for row in result.rows if row.spread), reverse=True)
        if len(counts) == 1:
            return Answer(Kind.FAILED, "failed", (f"failed: one of {len(result.rows)} configurations has a result",))
        if verdicts.refusal:
            return Answer(Kind.UNDECIDED, "no verdict", (f"no verdict: {verdicts.refusal}",), replicates=n)
        fewest, second = verdicts.min_replicates, counts[1]  # a verdict takes two configurations that have enough
        more = max(1, fewest - second)
        headline = f"too few replicates: {second} of at least {fewest}"
        return Answer(Kind.UNDECIDED, f"{more} more", (headline,), replicates=second, more=more)
    best = result.best_set
    decided = decided_keys(result)
    if decided or len(best) == 1:
        return _decided(result, decided or result.keys, n)
    return _open(result, best, n)


def contenders(result: Comparison) -> list[Row]:
    """Return the configurations that may be the best, and those that are as good for all that matters."""
    return [row for row in result.rows if row.is_judged and (row.in_best_set or _is_equivalent(row))]


def decided_keys(result: Comparison) -> list[str]:
    """Return the keys that have one value in all contenders, and another in a configuration that is ruled out."""
    judged = [row for row in result.rows if row.is_judged]
    best = contenders(result)
    found = []
    for key in result.keys:
        in_best = {row.params.get(key) for row in best}
        if len(in_best) == 1 and {row.params.get(key) for row in judged} != in_best:
            found.append(key)
    return found


def _decided(result: Comparison, keys: Sequence[str], n: int) -> Answer:
    """Return the answer where all contenders have one value of ``keys``, or where one configuration is the best."""
    first = result.rows[0]
    winner = first.label(keys)
    runner_up = _best_other(result, first, keys)
    against = runner_up.against_first
    assert against is not None, "the first row is in the best set"
    change = _change(against)
    if len(keys) == 1:
        versus = [f"against {runner_up.label(result.keys)}, the best of the others"]
    else:
        versus = [_of_key(result, first, key) for key in keys]
    if _is_equivalent(runner_up):
        kind, short = Kind.EQUIVALENT, "no difference"
        headline = f"no difference worth {result.verdicts.worth:g}: {winner} by {change}"
        worse = _judged(result) - len(contenders(result))
        rest = [f"{worse} of {_judged(result)} configurations are worse than that"] if worse else []
    else:
        kind, short = Kind.DECIDED, f"{winner} {-against.difference:+.4f}"
        chance = f", {against.p_in_words()}" if against.p_in_words() else ""
        headline = f"{winner} is better: {change}, {n} replicates{chance}"
        rest = _among(result, contenders(result))
    return Answer(
        kind, short, (headline, *versus, *rest), -against.difference, -against.high, -against.low, against.p, n,
        replicates_needed(result),
    )  # fmt: skip


def _best_other(result: Comparison, first: Row, keys: Sequence[str]) -> Row:
    """Return the best of the configurations whose values of ``keys`` differ from those of the first."""
    return next(row for row in result.rows if row.is_judged and row.label(keys) != first.label(keys))


def _of_key(result: Comparison, first: Row, key: str) -> str:
    """Say what one of several decided keys gives: ``model.units=10: +0.0693 (+0.0581 to +0.0804) over ...``."""
    other = _best_other(result, first, [key])
    assert other.against_first is not None, "it is judged, and not the first"
    small = f", not worth {result.verdicts.worth:g}" if _is_equivalent(other) else ""
    return f"{first.label([key])}: {_change(other.against_first)} over {other.label(result.keys)}{small}"


def _open(result: Comparison, best: Sequence[Row], n: int) -> Answer:
    """Return the answer where no setting is decided: equivalent or undecided."""
    if all(map(_is_equivalent, best[1:])) and len(best) == _judged(result):
        headline = f"no difference worth {result.verdicts.worth:g} between {_listed(result, best)}, {n} replicates"
        return Answer(Kind.EQUIVALENT, "no difference", (headline,), replicates=n)
    more = replicates_needed(result)
    headline = f"undecided between {_listed(result, best)}, {n} replicates"
    sentences = [headline]
    if more is not None:
        sentences.append(f"{more} fresh replicates would tell, most probably")
    if out := _judged(result) - len(best):
        sentences.append(f"{out} of {_judged(result)} configurations are ruled out as best")
    return Answer(
        Kind.UNDECIDED, f"{more} more" if more is not None else "undecided", tuple(sentences), replicates=n, more=more
    )


def _among(result: Comparison, best: Sequence[Row]) -> list[str]:
    """Say what is open within the best set: equivalent, or undecided with the number of replicates that would tell."""
    if len(best) < 2:
        return []
    names = _listed(result, best)
    if all(map(_is_equivalent, best[1:])):
        return [f"no difference worth {result.verdicts.worth:g} between {names}"]
    more = replicates_needed(result)
    would = f": {more} fresh replicates would tell" if more is not None else ""
    return [f"undecided between {names}{would}"]


def _is_equivalent(row: Row) -> bool:
    return row.against_first is not None and row.against_first.verdict == EQUIVALENT


def _judged(result: Comparison) -> int:
    return sum(row.is_judged for row in result.rows)


def _listed(result: Comparison, rows: Sequence[Row]) -> str:
    """Return the values of the rows by key: ``optimizer.lr=0.001 or 0.01``, or their names if several keys differ."""
    varied = [key for key in result.keys if len({row.params.get(key) for row in rows}) > 1]
    if len(varied) == 1:
        values = list(dict.fromkeys(row.params.get(varied[0], "") for row in rows))
        return f"{varied[0]}={joined(values[:_MAX_LISTED])}" if len(values) <= _MAX_LISTED else f"{len(rows)} settings"
    if len(rows) > _MAX_LISTED:
        return f"{len(rows)} configurations"
    return joined([row.label(result.keys) for row in rows])


def _change(against: AgainstFirst) -> str:
    """Return what the first gains over another: ``+0.0693 (+0.0581 to +0.0804)``."""
    gain = f"{-against.difference:+.4f}"
    return f"{gain} ({-against.high:+.4f} to {-against.low:+.4f})" if math.isfinite(against.low) else gain
