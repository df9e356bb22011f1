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
from mnist_exp.statistics.conclusion import joined
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
    if len(best) == 1 or decided_keys(result):
        return _decided(result, best, n)
    return _open(result, best, n)


def decided_keys(result: Comparison) -> list[str]:
    """Return the keys that have one value in the whole best set, and another in a configuration that is ruled out."""
    judged = [row for row in result.rows if row.is_judged]
    best = result.best_set
    found = []
    for key in result.keys:
        in_best = {row.params.get(key) for row in best}
        if len(in_best) == 1 and {row.params.get(key) for row in judged} != in_best:
            found.append(key)
    return found


def _decided(result: Comparison, best: Sequence[Row], n: int) -> Answer:
    """Return the answer where the best set has one setting in common that the ruled-out configurations lack."""
    keys = result.keys if len(best) == 1 else decided_keys(result)
    winner = best[0].label(keys)
    rest = [row for row in result.rows if row.is_judged and row.label(keys) != winner]
    runner_up = rest[0]
    against = runner_up.against_first
    assert against is not None, "the first row is in the best set"
    difference, low, high = -against.difference, -against.high, -against.low
    versus = f"against {runner_up.label(result.keys)}, the best of the others"
    if against.verdict == EQUIVALENT:
        headline = f"no difference worth {result.verdicts.worth:g}: {winner} by {_change(difference, low, high)}"
        worse = [row for row in rest if row.against_first and row.against_first.verdict != EQUIVALENT]
        others = [f"{len(worse)} of {_judged(result)} configurations are worse than that"] if worse else []
        sentences = [headline, versus, *others]
        return Answer(
            Kind.EQUIVALENT, "no difference", tuple(sentences), difference, low, high, against.p, n,
            replicates_needed(result),
        )  # fmt: skip
    chance = f", {against.p_in_words()}" if against.p_in_words() else ""
    first = f"{winner} is better: {_change(difference, low, high)}, {n} replicates{chance}"
    sentences = [first, versus, *_among(result, best)]
    return Answer(
        Kind.DECIDED, f"{winner} {difference:+.4f}", tuple(sentences), difference, low, high, against.p, n,
        replicates_needed(result),
    )  # fmt: skip


def _open(result: Comparison, best: Sequence[Row], n: int) -> Answer:
    """Return the answer where no setting is decided: equivalent or undecided."""
    verdicts = [row.against_first.verdict for row in best[1:] if row.against_first]
    if verdicts and all(each == EQUIVALENT for each in verdicts) and len(best) == _judged(result):
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
    if all(row.against_first and row.against_first.verdict == EQUIVALENT for row in best[1:]):
        return [f"no difference worth {result.verdicts.worth:g} between {names}"]
    more = replicates_needed(result)
    would = f": {more} fresh replicates would tell" if more is not None else ""
    return [f"undecided between {names}{would}"]


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


def _change(difference: float, low: float, high: float) -> str:
    """Return ``+0.0693 (+0.0581 to +0.0804)``."""
    if not math.isfinite(low):
        return f"{difference:+.4f}"
    return f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
