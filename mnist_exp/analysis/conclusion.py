"""Verdicts in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnist_exp.analysis import statistics
from mnist_exp.analysis.verdicts import EQUIVALENT, UNDECIDED

if TYPE_CHECKING:
    from mnist_exp.analysis.verdicts import Verdicts

_MOST_NAMED = 5  # configurations in a sentence

PROMISE = (
    "Among all pairs of a comparison, the chance of any false difference is {level} where the setting does not matter, "
    "or where runs scatter evenly about their mean, however unequally. No method can promise it for every shape."
)


def promise(level: float) -> str:
    """Return what the verdicts at ``level`` promise."""
    return PROMISE.format(level=percent(level))


def percent(share: float) -> str:
    """``5 %``."""
    return f"{100 * share:g} %"


def sentences(verdicts: Verdicts) -> Iterator[str]:
    """Yield what the verdicts say, the main thing first."""
    names = verdicts.names
    if not names:
        yield "No run has a finite value, so there is nothing to compare."
    elif len(names) == 1:
        yield "There is one configuration with a value, so there is nothing to compare it with."
    elif verdicts.result is None:
        yield from _without_verdict(verdicts)
    else:
        yield from _best(verdicts)
        yield _basis(verdicts)
        yield from _ruled_out_late(verdicts)
        yield from _near_the_first(verdicts)
    yield from _too_few(verdicts)
    yield from _far_off(verdicts)
    yield from verdicts.notes


def listed(names: Sequence[str]) -> str:
    """``a; b; c``, the first few of many."""
    more = len(names) - _MOST_NAMED
    return "; ".join(names[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _without_verdict(verdicts: Verdicts) -> Iterator[str]:
    counts = [len(sample) for sample in verdicts.samples]
    if verdicts.refusal:
        yield f"No verdict, effect and spread only: {verdicts.refusal}."
    else:
        seen = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        yield f"No verdict: {seen} of at least {verdicts.fewest} replicates, so effect and spread only."
    alike = {tuple(sample.values()) for sample in verdicts.samples}
    if len(alike) == 1:
        yield "All configurations have the same values."
    else:
        doubt = "; another replicate may turn the order round" if max(counts) == 1 else ""
        yield f"{verdicts.names[0]} has the best mean{doubt}."


def _best(verdicts: Verdicts) -> Iterator[str]:
    best = [name for name, is_in in zip(verdicts.names, verdicts.in_best_set, strict=True) if is_in]
    judged = [name for name in best if name in verdicts.names[: verdicts.judged]]
    others = verdicts.judged - len(judged)
    out = "the other is ruled out" if others == 1 else f"the other {others} are ruled out"
    if others == 0:
        yield f"None can be ruled out as best: {listed(judged)}."
    elif len(judged) == 1:
        yield f"{judged[0]} is best: {out}."
    else:
        yield f"{len(judged)} configurations cannot be ruled out as best, {out}: {listed(judged)}."


def _basis(verdicts: Verdicts) -> str:
    counts = [len(sample) for sample in verdicts.samples[: verdicts.judged]]
    pairs = verdicts.judged * (verdicts.judged - 1) // 2
    over = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    how = "replicates that they share" if verdicts.is_paired else "replicates each, unpaired"
    what = "The pair was" if pairs == 1 else f"All {pairs:,} pairs were"
    return f"{what} judged {'' if pairs == 1 else 'together '}at {percent(verdicts.level)} over {over} {how}."


def _ruled_out_late(verdicts: Verdicts) -> Iterator[str]:
    """Of those ruled out, which differ from nobody by the intervals, and why."""
    assert verdicts.result is not None
    result, best = verdicts.result, verdicts.in_best_set
    loses = np.zeros(verdicts.judged, dtype=np.bool_)
    loses[np.where((result.difference > 0) == verdicts.higher, result.second, result.first)[result.differs]] = True
    late = [verdicts.names[at] for at in np.flatnonzero(~best[: verdicts.judged] & ~loses)]
    if late:
        yield (
            f"Ruled out although no interval of its pairs leaves out 0: {listed(late)}. After others were ruled out, "
            "fewer pairs are left to allow for."
        )


def _near_the_first(verdicts: Verdicts) -> Iterator[str]:
    """Of the others that may be best: which are equivalent to the first, and what would decide the rest."""
    rest = np.arange(1, verdicts.judged)
    columns = verdicts.of(np.zeros_like(rest), rest)
    first = verdicts.names[0]
    alike = [at for at in rest if columns["verdict"][at - 1] == EQUIVALENT]
    if alike:
        shown = [verdicts.names[at] for at in alike if columns["differs"][at - 1]]
        yield f"Equivalent to {first}, within {verdicts.worth:g}: {listed([verdicts.names[at] for at in alike])}."
        if shown:
            yield f"Of these, {listed(shown)} {'differs' if len(shown) == 1 else 'differ'}, by less than matters."
    open_ = [at for at in rest if columns["verdict"][at - 1] == UNDECIDED and verdicts.in_best_set[at]]
    for at in open_[:2]:
        seen = columns["difference"][at - 1]
        if seen == 0:
            yield f"{first} and {verdicts.names[at]} have the same mean."
            continue
        needed = [
            (columns["replicates_for_worth"][at - 1], f"a difference of {verdicts.worth or 0:g}"),
            (columns["replicates_for_difference"][at - 1], f"the {abs(seen):.2g} seen, if that is the true one,"),
        ]
        takes = [f"{what} takes {count:,.0f} replicates" for count, what in needed if not math.isnan(count)]
        if takes:
            undecided = f"Undecided between {first} and {verdicts.names[at]}"
            yield f"{undecided}: to show {', '.join(takes)} (80 % power)."


def _too_few(verdicts: Verdicts) -> Iterator[str]:
    if verdicts.result is None:
        return
    for name, sample in [*zip(verdicts.names, verdicts.samples, strict=True)][verdicts.judged :][:_MOST_NAMED]:
        yield f"{name} has {len(sample)} of at least {verdicts.fewest} replicates: no verdict on it."


def _far_off(verdicts: Verdicts) -> Iterator[str]:
    side = "below" if verdicts.higher else "above"
    for name, sample in [*zip(verdicts.names, verdicts.samples, strict=True)][:100]:
        found = statistics.far_off([*sample.values()], higher=verdicts.higher)
        if found is not None:
            runs = "1 run" if found.count == 1 else f"{found.count} runs"
            yield f"{name} now and then falls far off: {runs} of {len(sample)} {side} {found.bound:g}."
