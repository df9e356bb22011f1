"""A sweep that may be extended: judged at planned numbers of replicates, each time at a fifth of 5 %.

Adding replicates to an undecided comparison and judging it at 5 % again makes false differences far more likely than
5 %. With ``looks=true`` the looks are planned: at 8, 12, 16, 24 and 32 replicates, each at 1 % (Bonferroni), so that
the chance of any false difference at any of them is 5 %. A configuration that is ruled out at a look keeps that
verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_exp.statistics.conclusion import joined, listed, percent
from mnist_exp.statistics.inference import Pairs, place
from mnist_exp.statistics.verdicts import EQUIVALENT, Sample, Verdicts, judge

SCHEDULE = (8, 12, 16, 24, 32)
LEVEL = 0.01

_COLUMNS = (
    *("difference", "low", "high", "equivalence_low", "equivalence_high"),  # of which the sign turns with the pair
    *("p", "critical", "spread", "df"),
)
_TURNED = {"difference": "difference", "low": "high", "high": "low"} | {
    "equivalence_low": "equivalence_high",
    "equivalence_high": "equivalence_low",
}


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        n: replicates that it took in.
        judged: names of the configurations that took part.
        ruled_out: of these, those that cannot be best.
    """

    n: int
    judged: tuple[str, ...]
    ruled_out: tuple[str, ...]


@dataclass(frozen=True)
class Looks:
    """The looks at a sweep so far.

    Attributes:
        taken: in order.
        left: the configurations that may still be best.
        waiting: replicates that are there already and count from the next look on.
        equivalent: whether those that are left differ by less than matters, so that nothing is left to decide.
    """

    taken: tuple[Look, ...]
    left: tuple[Any, ...]
    waiting: int
    equivalent: bool = False

    @property
    def next_n(self) -> int | None:
        """How many replicates the next look takes; None if there is none, or nothing is left to decide."""
        reached = self.taken[-1].n if self.taken else 0
        later = [n for n in SCHEDULE if n > reached]
        return later[0] if later and len(self.left) > 1 and not self.equivalent else None

    def sentences(self) -> Iterator[str]:
        """Yield when it was looked at, what was ruled out, and what comes next."""
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
            waiting = f"; {self.waiting} of those to come are there already" if self.waiting else ""
            yield f"The next look is at {self.next_n} replicates{waiting}."
        elif len(self.left) > 1 and not self.equivalent:
            yield "The last planned look is over: only a fresh sweep can decide."


def judge_looks(
    samples: Mapping[Any, Sample],
    names: Mapping[Any, str],
    order: Sequence[str],
    *,
    higher: bool,
    worth: float | None,
    resolution: float,
) -> tuple[Verdicts, Looks]:
    """Judge at each planned look that is reached, and put the verdicts of all of them together.

    Args:
        samples, names, higher, worth, resolution: as :func:`~mnist_exp.statistics.verdicts.judge` takes them.
        order: all replicates, in the order in which they were added.
    """
    options: dict[str, Any] = {"higher": higher, "worth": worth, "level": LEVEL, "resolution": resolution}
    left = dict.fromkeys(samples)
    found: list[Verdicts] = []
    taken: list[Look] = []
    before = 0
    for n in (each for each in SCHEDULE if each <= len(order)):
        new, reached = set(order[before:n]), set(order[:n])
        part = {
            config: {name: value for name, value in samples[config].items() if name in reached}
            for config in left
            if new & samples[config].keys()
        }
        if len(part) < 2:
            break
        verdicts = judge(part, names, **options)
        if verdicts.result is None:
            continue
        judged = verdicts.configs[: verdicts.judged]
        out = [config for config, is_best in zip(judged, verdicts.result.best, strict=True) if not is_best]
        for config in out:
            del left[config]
        found.append(verdicts)
        taken.append(Look(n, tuple(names[each] for each in judged), tuple(names[each] for each in out)))
        before = n
    waiting = len(order) - before
    if not found:
        return judge(samples, names, **options), Looks((), tuple(left), 0)
    last = found[-1]
    places = np.flatnonzero(last.in_best_set)
    first, second = np.triu_indices(len(places), 1)
    verdicts_left = last.of(places[first], places[second])["verdict"]
    equivalent = len(verdicts_left) > 0 and bool((verdicts_left == EQUIVALENT).all())
    return _together(found, samples, names, left), Looks(tuple(taken), tuple(left), waiting, equivalent)


def _together(
    found: Sequence[Verdicts], samples: Mapping[Any, Sample], names: Mapping[Any, str], left: Mapping[Any, None]
) -> Verdicts:
    """Each pair with the verdict of the last look that both took part in."""
    places = [{config: at for at, config in enumerate(each.configs[: each.judged])} for each in found]
    order = list(dict.fromkeys(config for each in reversed(places) for config in each))
    rest = [config for config in samples if config not in order]
    used = {config: sample for each in found for config, sample in zip(each.configs, each.samples, strict=True)}
    first, second = np.triu_indices(len(order), 1)
    columns = {name: np.full(len(first), np.nan) for name in _COLUMNS}
    for verdicts, places_of in zip(reversed(found), reversed(places), strict=True):
        at = np.array([places_of.get(config, -1) for config in order])
        a, b = at[first], at[second]
        here = (a >= 0) & (b >= 0) & np.isnan(columns["difference"])  # later looks come first
        own, turned = place(np.minimum(a, b)[here], np.maximum(a, b)[here], verdicts.judged), (a > b)[here]
        for name in _COLUMNS:
            as_it_is = getattr(verdicts.result, name)[own]
            other_way = -getattr(verdicts.result, _TURNED[name])[own] if name in _TURNED else as_it_is
            columns[name][here] = np.where(turned, other_way, as_it_is)
    last = found[-1]
    result = Pairs(first, second, **columns, best=np.array([config in left for config in order]))
    everyone = [*order, *rest]
    return Verdicts(
        configs=tuple(everyone),
        names=tuple(names[each] for each in everyone),
        samples=tuple(used.get(each, samples[each]) for each in everyone),
        higher=last.higher,
        level=last.level,
        worth=last.worth,
        is_paired=all(each.is_paired for each in found),
        result=result if len(order) > 1 else None,
        notes=tuple(dict.fromkeys(note for each in found for note in each.notes)),
        looked_at=len(found) > 1,
        resolution=last.resolution,
    )
