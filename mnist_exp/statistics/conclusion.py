"""Verdicts in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_exp.statistics import estimates
from mnist_exp.statistics.verdicts import BETTER, EQUIVALENT, UNDECIDED, WORSE

if TYPE_CHECKING:
    from mnist_exp.statistics.verdicts import Verdicts

_MOST_NAMED = 5  # configurations in a sentence
_MOST_NEEDED = 3  # sentences on how many replicates it takes; the table of pairs has all

PROMISE = (
    "Among all pairs of a comparison, the chance of any false difference is {level} where the setting does not matter, "
    "or where runs scatter evenly about their mean, however unequally. No method can promise it for every shape."
)


def promise(level: float, looks: int = 1) -> str:
    """Return what verdicts at ``level`` promise, at each of so many ``looks``."""
    together = f" at each look, {percent(level * looks)} over all looks," if looks > 1 else ""
    return PROMISE.format(level=percent(level) + together)


def percent(share: float) -> str:
    """``5 %``."""
    return f"{100 * share:g} %"


def sentences(verdicts: Verdicts) -> Iterator[str]:
    """Yield what the verdicts say, the main thing first."""
    names = verdicts.names
    if not names:
        yield "There is no usable value, so there is nothing to compare."
    elif len(names) == 1:
        yield "There is one configuration with a value, so there is nothing to compare it with."
    elif verdicts.result is None:
        yield from _without_verdict(verdicts)
    else:
        yield from _best(verdicts)
        yield _basis(verdicts)
        yield from _ruled_out_late(verdicts)
        yield from _without_spread(verdicts)
        yield from _near_the_first(verdicts)
    yield from _too_few(verdicts)
    yield from _far_off(verdicts)
    yield from verdicts.notes


def joined(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def listed(names: Sequence[str]) -> str:
    """``a; b; c``, the first few of many."""
    more = len(names) - _MOST_NAMED
    return "; ".join(names[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _without_verdict(verdicts: Verdicts) -> Iterator[str]:
    counts = [len(sample) for sample in verdicts.samples]
    seen = _from_to(counts)
    if verdicts.refusal:
        yield f"No verdict, effect and spread only: {verdicts.refusal}."
    elif max(counts) < verdicts.fewest:
        yield f"No verdict: {seen} of at least {verdicts.fewest} replicates, so effect and spread only."
    else:
        yield (
            f"No verdict: fewer than two configurations have at least {verdicts.fewest} replicates (there are {seen}), "
            "so effect and spread only."
        )
    means = [math.fsum(sample.values()) / len(sample) for sample in verdicts.samples]
    first = [name for name, mean in zip(verdicts.names, means, strict=True) if mean == means[0]]
    if len(first) == len(means):
        yield "All configurations have the same mean."
    else:
        doubt = "; another replicate may turn the order round" if max(counts) == 1 else ""
        yield f"{listed(first)} {'has' if len(first) == 1 else 'have'} the best mean{doubt}."


def _best(verdicts: Verdicts) -> Iterator[str]:
    judged = [verdicts.names[at] for at in np.flatnonzero(verdicts.in_best_set[: verdicts.judged])]
    others = verdicts.judged - len(judged)
    of_those = "" if verdicts.judged == len(verdicts.names) else f" of the {verdicts.judged} that were judged"
    out = "the other is" if others == 1 else f"the other {others} are"
    if others == 0:
        yield f"None{of_those} can be ruled out as best: {listed(judged)}."
    elif len(judged) == 1:
        yield f"{judged[0]} is best{of_those}: {out} ruled out."
    else:
        yield f"{len(judged)} configurations{of_those} cannot be ruled out as best: {listed(judged)}."
        yield f"{out.capitalize()} ruled out."


def _basis(verdicts: Verdicts) -> str:
    counts = [len(sample) for sample in verdicts.samples[: verdicts.judged]]
    pairs = verdicts.judged * (verdicts.judged - 1) // 2
    over = _from_to(counts)
    how = "replicates that they share" if verdicts.is_paired else "replicates each, unpaired"
    if verdicts.looked_at:
        return f"Each pair was judged at {percent(verdicts.level)}, at the last look that both took part in."
    what = "The pair was" if pairs == 1 else f"All {pairs:,} pairs were"
    return f"{what} judged {'' if pairs == 1 else 'together '}at {percent(verdicts.level)} over {over} {how}."


def _from_to(counts: Sequence[int]) -> str:
    """``8``, or ``6 to 8``."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _without_spread(verdicts: Verdicts) -> Iterator[str]:
    """Which differences from the first are the same in all replicates, so that their interval is rounding alone."""
    assert verdicts.result is not None
    if verdicts.resolution == 0:
        return
    result = verdicts.result
    alike = (result.first == 0) & (result.spread == 0)
    if names := [verdicts.names[at] for at in result.second[alike]]:
        yield (
            f"The difference from {verdicts.names[0]} does not vary: {listed(names)}. The width of that interval is "
            "rounding, one validation image to either side."
        )


def _ruled_out_late(verdicts: Verdicts) -> Iterator[str]:
    """Of those ruled out, which differ from nobody by the intervals, and why."""
    assert verdicts.result is not None
    result, best = verdicts.result, verdicts.in_best_set
    loses = np.zeros(verdicts.judged, dtype=np.bool_)
    loses[np.where((result.difference > 0) == verdicts.higher, result.second, result.first)[result.differs]] = True
    late = [verdicts.names[at] for at in np.flatnonzero(~best[: verdicts.judged] & ~loses)]
    if late:
        yield (
            f"Ruled out although no interval of its pairs leaves out 0: {listed(late)}. Intervals must hold for large "
            "differences, too, and allow for all pairs; ruling out allows for those that are left."
        )


def _near_the_first(verdicts: Verdicts) -> Iterator[str]:
    """Of the others that may be best: which are equivalent to the first, and what would decide the rest."""
    rest = np.arange(1, verdicts.judged)
    columns = verdicts.with_first
    first = verdicts.names[0]
    alike = [at for at in rest if columns["verdict"][at - 1] == EQUIVALENT]
    if alike:
        shown = [verdicts.names[at] for at in alike if columns["differs"][at - 1]]
        yield f"Equivalent to {first}, within {verdicts.worth:g}: {listed([verdicts.names[at] for at in alike])}."
        if shown:
            yield f"Of these, {listed(shown)} {'differs' if len(shown) == 1 else 'differ'}, by less than matters."
    undecided = [at for at in rest if columns["verdict"][at - 1] == UNDECIDED and verdicts.in_best_set[at]]
    for at in undecided[:_MOST_NEEDED]:
        seen = columns["difference"][at - 1]
        needed = [
            (columns["replicates_for_worth"][at - 1], f"a difference of {verdicts.worth or 0:g}"),
            (
                columns["replicates_for_difference"][at - 1],
                f"the difference seen ({abs(seen):.2g}), if it is the true one,",
            ),
        ]
        takes = [f"{count:,.0f} replicates would show {what}" for count, what in needed if not math.isnan(count)]
        said = (
            f": {' and '.join(takes)} with 80 % probability" if takes else ", with the same mean" if seen == 0 else ""
        )
        yield f"Undecided between {first} and {verdicts.names[at]}{said}."


def _too_few(verdicts: Verdicts) -> Iterator[str]:
    if verdicts.result is None:
        return
    for name, sample in [*zip(verdicts.names, verdicts.samples, strict=True)][verdicts.judged :][:_MOST_NAMED]:
        yield f"{name} has {len(sample)} of at least {verdicts.fewest} replicates: no verdict on it."


def _far_off(verdicts: Verdicts) -> Iterator[str]:
    side = "below" if verdicts.higher else "above"
    for name, sample in [*zip(verdicts.names, verdicts.samples, strict=True)][:100]:
        found = estimates.far_off([*sample.values()], higher=verdicts.higher)
        if found is not None:
            runs = "1 run" if found.count == 1 else f"{found.count} runs"
            yield f"{name} now and then falls far off: {runs} of {len(sample)} {side} {found.bound:g}."


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
        ends = "" if math.isnan(self.low) else f" [{_signed(self.low)}, {_signed(self.high)}]"
        return f"{_signed(self.difference)}{ends}"

    def words(self) -> str:
        """``worse (p 0.008)``; ``too few replicates``."""
        return f"{self.verdict_in_words()} ({self.p_in_words()})" if self.p_in_words() else self.verdict

    def verdict_in_words(self) -> str:
        """The verdict; of what is equivalent, whether it differs all the same."""
        less = ", differs by less than matters" if self.verdict == EQUIVALENT and self.differs else ""
        return self.verdict + less

    def p_in_words(self) -> str:
        """``p 0.008``; nothing where there is no verdict."""
        return "" if math.isnan(self.p) else "p < 0.001" if self.p < 0.001 else f"p {self.p:.3f}"


def turned(pair: Mapping[str, Any]) -> Against:
    """Return a row of ``Verdicts.of`` whose first is the first in the ranking, as seen from its second."""
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


def _signed(number: float) -> str:
    """Four decimals with a sign; what they would show as 0 and is not, with two digits."""
    return f"{number:+.1e}" if 0 < abs(number) < 0.00005 else f"{number + 0.0:+.4f}"
