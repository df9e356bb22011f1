"""Verdicts as text: sentences on a whole comparison, and the cells of a table's row on one configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_exp.statistics import estimates
from mnist_exp.statistics.verdicts import BETTER, EQUIVALENT, UNDECIDED, WORSE, Verdicts

_MAX_LISTED = 5  # configurations in a sentence
_MAX_UNDECIDED = 3  # sentences on undecided pairs; the table of pairs has them all
_MAX_SEARCHED = 100  # configurations searched for outliers

_PROMISE = (
    "Among all pairs of a comparison, the chance of any false difference is {level} if the setting does not matter, or "
    "if runs scatter symmetrically about their mean, even with unequal variances. No method can promise it for every "
    "distribution."
)


def sentences(verdicts: Verdicts) -> Iterator[str]:
    """Yield the conclusion of a comparison in sentences, the best configurations first."""
    names = verdicts.names
    if not names:
        yield "There is no usable value, so there is nothing to compare."
    elif len(names) == 1:
        yield "There is one configuration with a value, so there is nothing to compare it with."
    elif verdicts.result is None:
        yield from _no_verdict(verdicts)
    else:
        yield from _best_set(verdicts)
        yield _basis(verdicts)
        yield from _ruled_out_without_interval(verdicts)
        yield from _constant_differences(verdicts)
        yield from _equivalent_or_undecided(verdicts)
    yield from _too_few_replicates(verdicts)
    yield from _outliers(verdicts)
    yield from verdicts.notes


@dataclass(frozen=True)
class AgainstFirst:
    """A configuration compared with the first in the ranking.

    Attributes:
        difference: its mean minus that of the first, over the replicates that were compared.
        low, high: simultaneous interval of ``difference``; NaN if there is no verdict.
        low90, high90: the narrower simultaneous interval that decides equivalence.
        p: p-value adjusted for all pairs; NaN if there is no verdict.
        differs: whether ``low`` to ``high`` excludes 0.
        verdict: on this configuration, as in :attr:`Verdicts.pairs`.
        chance, chance_low, chance_high: probability that one more run of it is better than one more run of the first.
        needed: replicates with which a difference of ``worth``, or else one as large as observed, would be significant;
            NaN if unknown.
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

    @classmethod
    def from_pair(cls, pair: Mapping[str, Any]) -> AgainstFirst:
        """Reverse a row of :attr:`Verdicts.pairs`, whose ``a`` is the first and ``b`` this configuration."""
        needed = pair["replicates_for_worth"]
        return cls(
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

    def interval(self) -> str:
        """Return ``-0.0305 [-0.0591, -0.0019]``, or ``-0.0305`` if there is no verdict."""
        ends = "" if math.isnan(self.low) else f" [{_signed(self.low)}, {_signed(self.high)}]"
        return f"{_signed(self.difference)}{ends}"

    def words(self) -> str:
        """Return verdict and p-value: ``worse (p 0.008)``; without a p-value ``too few replicates``."""
        return f"{self.verdict_in_words()} ({self.p_in_words()})" if self.p_in_words() else self.verdict

    def verdict_in_words(self) -> str:
        """Return the verdict; ``equivalent`` with a note if the difference is significant all the same."""
        note = ", differs by less than matters" if self.verdict == EQUIVALENT and self.differs else ""
        return self.verdict + note

    def p_in_words(self) -> str:
        """Return ``p 0.008``, or an empty text if there is no verdict."""
        return p_in_words(self.p)


def p_in_words(p: float) -> str:
    """Return a p-value as people read it: ``p 0.008``, ``p < 0.001``; an empty text for NaN."""
    return "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def promise(level: float, looks: int = 1) -> str:
    """Return the sentence on how often verdicts are false.

    Args:
        level: probability of any false difference at one look.
        looks: number of planned looks.
    """
    in_total = f" at each look, {percent(level * looks)} over all looks," if looks > 1 else ""
    return _PROMISE.format(level=percent(level) + in_total)


def percent(share: float) -> str:
    """Return ``5 %`` for 0.05."""
    return f"{100 * share:g} %"


def joined(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def listed(names: Sequence[str]) -> str:
    """Return ``a; b; c``; of more than five names the first five and the number of the rest."""
    more = len(names) - _MAX_LISTED
    return "; ".join(names[:_MAX_LISTED]) + (f"; and {more} more" if more > 0 else "")


def _no_verdict(verdicts: Verdicts) -> Iterator[str]:
    counts = [len(sample) for sample in verdicts.samples]
    replicates = _min_to_max(counts)
    if verdicts.refusal:
        yield f"No verdict, effect and spread only: {verdicts.refusal}."
    elif max(counts) < verdicts.min_replicates:
        yield f"No verdict: {replicates} of at least {verdicts.min_replicates} replicates, so effect and spread only."
    else:
        yield (
            f"No verdict: fewer than two configurations have at least {verdicts.min_replicates} replicates (there are "
            f"{replicates}), so effect and spread only."
        )
    means = [math.fsum(sample.values()) / len(sample) for sample in verdicts.samples]
    first = [name for name, mean in zip(verdicts.names, means, strict=True) if mean == means[0]]
    if len(first) == len(means):
        yield "All configurations have the same mean."
    else:
        doubt = "; another replicate may reverse the order" if max(counts) == 1 else ""
        yield f"{listed(first)} {'has' if len(first) == 1 else 'have'} the best mean{doubt}."


def _best_set(verdicts: Verdicts) -> Iterator[str]:
    best = [verdicts.names[index] for index in np.flatnonzero(verdicts.in_best_set[: verdicts.judged_count])]
    rest = verdicts.judged_count - len(best)
    of_judged = (
        "" if verdicts.judged_count == len(verdicts.names) else f" of the {verdicts.judged_count} that were judged"
    )
    the_rest_is = "the other is" if rest == 1 else f"the other {rest} are"
    if rest == 0:
        yield f"None{of_judged} can be ruled out as best: {listed(best)}."
    elif len(best) == 1:
        yield f"{best[0]} is best{of_judged}: {the_rest_is} ruled out."
    else:
        yield f"{len(best)} configurations{of_judged} cannot be ruled out as best: {listed(best)}."
        yield f"{the_rest_is.capitalize()} ruled out."


def _basis(verdicts: Verdicts) -> str:
    """Say which pairs were judged, at which level, over how many replicates."""
    if verdicts.combines_looks:
        return f"Each pair was judged at {percent(verdicts.level)}, at the last look that both took part in."
    pairs = verdicts.judged_count * (verdicts.judged_count - 1) // 2
    replicates = _min_to_max([len(sample) for sample in verdicts.samples[: verdicts.judged_count]])
    sharing = "replicates that they share" if verdicts.is_paired else "replicates each, unpaired"
    subject = "The pair was judged" if pairs == 1 else f"All {pairs:,} pairs were judged together"
    return f"{subject} at {percent(verdicts.level)} over {replicates} {sharing}."


def _min_to_max(counts: Sequence[int]) -> str:
    """Return ``6 to 8``, or ``8`` if all are equal."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _ruled_out_without_interval(verdicts: Verdicts) -> Iterator[str]:
    """Name configurations that are ruled out although none of their intervals shows that they are worse."""
    assert verdicts.result is not None
    result, best = verdicts.result, verdicts.in_best_set
    loses = np.zeros(verdicts.judged_count, dtype=np.bool_)
    loses[np.where((result.difference > 0) == verdicts.higher, result.second, result.first)[result.differs]] = True
    without = [verdicts.names[index] for index in np.flatnonzero(~best[: verdicts.judged_count] & ~loses)]
    if without:
        yield (
            f"Ruled out although no interval of its pairs excludes 0: {listed(without)}. Intervals must hold for large "
            "differences, too, and allow for all pairs; ruling out allows for those that are left."
        )


def _constant_differences(verdicts: Verdicts) -> Iterator[str]:
    """Name configurations whose difference from the first is the same in all replicates."""
    assert verdicts.result is not None
    if verdicts.resolution == 0:
        return
    result = verdicts.result
    is_constant = (result.first == 0) & (result.sd == 0)
    if names := [verdicts.names[index] for index in result.second[is_constant]]:
        yield (
            f"The difference from {verdicts.names[0]} does not vary: {listed(names)}. The width of that interval is "
            "rounding, one validation image to either side."
        )


def _equivalent_or_undecided(verdicts: Verdicts) -> Iterator[str]:
    """Name what is equivalent to the first, then what would decide the undecided members of the best set."""
    rest = np.arange(1, verdicts.judged_count)
    columns = verdicts.against_first
    first = verdicts.names[0]
    if equivalent := [index for index in rest if columns["verdict"][index - 1] == EQUIVALENT]:
        names = [verdicts.names[index] for index in equivalent]
        yield f"Equivalent to {first}, within {verdicts.worth:g}: {listed(names)}."
        if differs := [verdicts.names[index] for index in equivalent if columns["differs"][index - 1]]:
            yield f"Of these, {listed(differs)} {'differs' if len(differs) == 1 else 'differ'}, by less than matters."
    undecided = [i for i in rest if columns["verdict"][i - 1] == UNDECIDED and verdicts.in_best_set[i]]
    for index in undecided[:_MAX_UNDECIDED]:
        pair = {name: column[index - 1] for name, column in columns.items()}
        yield f"Undecided between {first} and {verdicts.names[index]}{_what_would_decide(verdicts, pair)}."


def _what_would_decide(verdicts: Verdicts, pair: Mapping[str, Any]) -> str:
    observed = pair["difference"]
    needed = [
        (pair["replicates_for_worth"], f"a difference of {verdicts.worth or 0:g}"),
        (pair["replicates_for_difference"], f"the difference seen ({abs(observed):.2g}), if it is the true one,"),
    ]
    parts = [f"{count:,.0f} replicates would show {effect}" for count, effect in needed if not math.isnan(count)]
    if parts:
        return f": {' and '.join(parts)} with 80 % probability"
    return ", with the same mean" if observed == 0 else ""


def _too_few_replicates(verdicts: Verdicts) -> Iterator[str]:
    if verdicts.result is None:
        return
    named_samples = [*zip(verdicts.names, verdicts.samples, strict=True)]
    for name, sample in named_samples[verdicts.judged_count :][:_MAX_LISTED]:
        yield f"{name} has {len(sample)} of at least {verdicts.min_replicates} replicates: no verdict on it."


def _outliers(verdicts: Verdicts) -> Iterator[str]:
    side = "below" if verdicts.higher else "above"
    for name, sample in [*zip(verdicts.names, verdicts.samples, strict=True)][:_MAX_SEARCHED]:
        found = estimates.bad_outliers([*sample.values()], higher=verdicts.higher)
        if found is not None:
            runs = "1 run" if found.count == 1 else f"{found.count} runs"
            yield f"{name} has bad outliers: {runs} of {len(sample)} {side} {found.bound:g}."


def _signed(number: float) -> str:
    """Return a number with a sign and four decimals; with two digits if these decimals would all be 0."""
    return f"{number:+.1e}" if 0 < abs(number) < 0.00005 else f"{number + 0.0:+.4f}"
