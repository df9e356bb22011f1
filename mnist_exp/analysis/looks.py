"""Sequential testing of a sweep that may be extended: verdicts at planned looks, each at a fifth of 5 %.

Adding replicates to an undecided comparison and testing it at 5 % again makes false differences far more likely than
5 %. With ``looks=true`` the looks are planned: at 8, 12, 16, 24 and 32 replicates, each at 1 % (Bonferroni), so that
the probability of any false difference at any look is 5 %. A configuration that is ruled out at a look stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_exp.statistics.conclusion import joined, listed, percent
from mnist_exp.statistics.inference import Pairs, pair_index
from mnist_exp.statistics.verdicts import EQUIVALENT, Sample, Verdicts, judge

SCHEDULE = (8, 12, 16, 24, 32)
"""Numbers of replicates at the planned looks."""

LEVEL = 0.01
"""Probability of any false difference at one look."""

# Fields of ``Pairs``. For a pair in reverse order, those of ``_REVERSED`` are the negative of another field.
_REVERSED = {
    "difference": "difference",
    "low": "high",
    "high": "low",
    "equivalence_low": "equivalence_high",
    "equivalence_high": "equivalence_low",
}
_FIELDS = (*_REVERSED, "p", "critical", "sd", "df")


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        n: number of replicates.
        compared: names of the configurations that were compared.
        ruled_out: those of them that cannot be best.
    """

    n: int
    compared: tuple[str, ...]
    ruled_out: tuple[str, ...]


@dataclass(frozen=True)
class Looks:
    """The looks at a sweep so far.

    Attributes:
        taken: in order.
        remaining: the configurations that may still be best.
        pending: number of finished replicates that will count from the next look on.
        equivalent: whether all remaining configurations are equivalent, so that nothing is left to decide.
    """

    taken: tuple[Look, ...]
    remaining: tuple[Any, ...]
    pending: int
    equivalent: bool = False

    @property
    def next_n(self) -> int | None:
        """Number of replicates at the next look; None if no look or nothing to decide is left."""
        reached = self.taken[-1].n if self.taken else 0
        later = [n for n in SCHEDULE if n > reached]
        return later[0] if later and len(self.remaining) > 1 and not self.equivalent else None

    def sentences(self) -> Iterator[str]:
        """Yield the looks taken, the configurations ruled out at each, and the next look."""
        planned = ", ".join(map(str, SCHEDULE))
        if self.taken:
            at = joined([str(look.n) for look in self.taken])
            yield (
                f"Looked at with {at} replicates, each look at {percent(LEVEL)}; planned are {planned}, together at "
                f"{percent(LEVEL * len(SCHEDULE))}."
            )
        for look in self.taken:
            if look.ruled_out:
                yield f"Ruled out with {look.n} replicates: {listed(look.ruled_out)}."
        if self.next_n is not None:
            pending = f"; {self.pending} of the replicates for it exist already" if self.pending else ""
            yield f"The next look is at {self.next_n} replicates{pending}."
        elif len(self.remaining) > 1 and not self.equivalent:
            yield "The last planned look is over: only a fresh sweep can decide."


def sequential_verdicts(
    samples: Mapping[Any, Sample],
    names: Mapping[Any, str],
    order: Sequence[str],
    *,
    higher: bool,
    worth: float | None,
    resolution: float,
) -> tuple[Verdicts, Looks]:
    """Judge the remaining configurations at each planned look that is reached, and combine the verdicts.

    Args:
        samples: finite values of each configuration, by replicate.
        names: name of each configuration in sentences.
        order: all replicates, in the order in which they were added.
        higher: whether more is better.
        worth: the smallest difference that matters.
        resolution: smallest step of a value.

    Returns:
        The verdict on each pair of the last look at which both were compared, and the looks taken.
    """
    options: dict[str, Any] = {"higher": higher, "worth": worth, "level": LEVEL, "resolution": resolution}
    remaining = dict.fromkeys(samples)
    found: list[Verdicts] = []
    taken: list[Look] = []
    reached = 0
    for n in (each for each in SCHEDULE if each <= len(order)):
        new, usable = set(order[reached:n]), set(order[:n])
        part = {
            config: {name: value for name, value in samples[config].items() if name in usable}
            for config in remaining
            if new & samples[config].keys()
        }
        if len(part) < 2:
            break
        verdicts = judge(part, names, **options)
        if verdicts.result is None:
            continue
        compared = verdicts.configs[: verdicts.judged_count]
        ruled_out = [config for config, is_best in zip(compared, verdicts.result.best, strict=True) if not is_best]
        for config in ruled_out:
            del remaining[config]
        found.append(verdicts)
        taken.append(Look(n, tuple(names[each] for each in compared), tuple(names[each] for each in ruled_out)))
        reached = n
    if not found:
        return judge(samples, names, **options), Looks((), tuple(remaining), 0)
    last = found[-1]
    best = np.flatnonzero(last.in_best_set)
    a, b = np.triu_indices(len(best), 1)
    labels = last.pair_columns(best[a], best[b])["verdict"]
    equivalent = len(labels) > 0 and bool((labels == EQUIVALENT).all())
    looks = Looks(tuple(taken), tuple(remaining), len(order) - reached, equivalent)
    return _combined(found, samples, names, remaining), looks


def _combined(
    found: Sequence[Verdicts], samples: Mapping[Any, Sample], names: Mapping[Any, str], remaining: Mapping[Any, None]
) -> Verdicts:
    """Combine the verdicts of several looks: each pair gets those of the last look at which both were compared."""
    indices = [{config: index for index, config in enumerate(each.configs[: each.judged_count])} for each in found]
    order = list(dict.fromkeys(config for each in reversed(indices) for config in each))
    rest = [config for config in samples if config not in order]
    used = {config: sample for each in found for config, sample in zip(each.configs, each.samples, strict=True)}
    first, second = np.triu_indices(len(order), 1)
    figures = {name: np.full(len(first), np.nan) for name in _FIELDS}
    for verdicts, index_of in zip(reversed(found), reversed(indices), strict=True):
        index = np.array([index_of.get(config, -1) for config in order])
        a, b = index[first], index[second]
        is_new = (a >= 0) & (b >= 0) & np.isnan(figures["difference"])  # later looks come first
        pair = pair_index(np.minimum(a, b)[is_new], np.maximum(a, b)[is_new], verdicts.judged_count)
        is_reversed = (a > b)[is_new]
        for name in _FIELDS:
            values = getattr(verdicts.result, name)[pair]
            reverse = -getattr(verdicts.result, _REVERSED[name])[pair] if name in _REVERSED else values
            figures[name][is_new] = np.where(is_reversed, reverse, values)
    last = found[-1]
    result = Pairs(first, second, **figures, best=np.array([config in remaining for config in order]))
    configs = [*order, *rest]
    return Verdicts(
        configs=tuple(configs),
        names=tuple(names[each] for each in configs),
        samples=tuple(used.get(each, samples[each]) for each in configs),
        higher=last.higher,
        level=last.level,
        worth=last.worth,
        is_paired=all(each.is_paired for each in found),
        result=result if len(order) > 1 else None,
        notes=tuple(dict.fromkeys(note for each in found for note in each.notes)),
        combines_looks=len(found) > 1,
        resolution=last.resolution,
    )
