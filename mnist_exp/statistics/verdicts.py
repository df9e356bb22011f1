"""Configurations judged together: the set that may hold the best, and a verdict on every pair."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics import estimates, inference
from mnist_exp.statistics.inference import LEVEL, Pairs, place
from mnist_exp.statistics.resampling import Floats, Places

if TYPE_CHECKING:
    import pandas as pd

Sample = Mapping[Any, float]
"""The values of one configuration, by replicate."""

BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "undecided"
TOO_FEW, NO_VERDICT = "too few replicates", "no verdict"

_JUDGED = {  # columns of a table of pairs, and where they come from
    "difference": "difference",
    "low": "low",
    "high": "high",
    "low90": "equivalence_low",
    "high90": "equivalence_high",
    "p": "p",
}
_MOST_NAMED = 8  # replicates in a sentence
_MOST_PAIRS = 4_000_000  # a table of more fills gigabytes


@dataclass(frozen=True)
class Verdicts:
    """Configurations judged together: those that were judged first, by their mean; then the others, by theirs.

    Attributes:
        configs: k of them, as they were given.
        names: what each is called in words.
        samples: the values that were judged, by replicate.
        higher: whether more is better.
        level: chance of any false difference among all pairs.
        worth: the smallest difference that matters; None if none was given.
        is_paired: whether all were compared over the same replicates.
        result: the pairs of the configurations with enough replicates; None if those are fewer than two.
        notes: what was left out or merged, a sentence each.
        refusal: why there is no verdict although there are replicates enough; empty if there is one.
        looked_at: whether the verdicts are of several looks, each pair's of the last look that both took part in.
        resolution: smallest step of a value.
    """

    configs: tuple[Any, ...]
    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    higher: bool
    level: float
    worth: float | None
    is_paired: bool
    result: Pairs | None
    notes: tuple[str, ...] = ()
    refusal: str = ""
    looked_at: bool = False
    resolution: float = 0.0

    @property
    def fewest(self) -> int:
        """The smallest number of replicates that a verdict takes."""
        return inference.fewest(self.level)

    @property
    def judged(self) -> int:
        """How many configurations, from the first, were judged."""
        return 0 if self.result is None else len(self.result.best)

    @property
    def in_best_set(self) -> NDArray[np.bool_]:
        """bool [k]: which cannot be ruled out as best; nothing without a verdict can be ruled out."""
        best = np.ones(len(self.configs), dtype=np.bool_)
        if self.result is not None:
            best[: self.judged] = self.result.best
        return best

    @property
    def best_set(self) -> list[Any]:
        """The configurations that cannot be ruled out as best."""
        return [config for config, best in zip(self.configs, self.in_best_set, strict=True) if best]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every pair of configurations, a row each; ``a`` stands before ``b`` in ``configs``.

        Columns: ``a``, ``b``; ``n``, replicates of both or of the smaller; ``difference``, a - b in units of the value;
        ``low``, ``high``, simultaneous interval of that at 1 - level; ``p``, adjusted for all pairs; ``differs``,
        whether the interval leaves out 0; ``verdict`` about a; ``low90``, ``high90``, simultaneous interval at
        1 - 2 level (90 % unless another level was given), by which equivalence goes; ``chance``, ``chance_low``,
        ``chance_high``, probability that one more run of a beats one of b, each interval at 95 % on its own;
        ``replicates_for_worth``, ``replicates_for_difference``, how many would show a difference of ``worth``, or one
        as large as seen, with 80 % probability, of undecided pairs. NaN where there is nothing to say.

        Raises:
            ConfigError: if there are more than four million pairs.
        """
        import pandas as pd

        k = len(self.configs)
        if k * (k - 1) // 2 > _MOST_PAIRS:
            raise ConfigError(f"a table of pairs takes at most {_MOST_PAIRS:,} rows. {k:,} configurations make more")
        a, b = np.triu_indices(k, 1)
        configs = np.empty(k, dtype=object)
        configs[:] = self.configs
        return pd.DataFrame({"a": configs[a], "b": configs[b], **self.of(a, b)})

    @cached_property
    def with_first(self) -> dict[str, NDArray[Any]]:
        """:meth:`of` the first configuration and each other, in order."""
        others = np.arange(1, len(self.configs))
        return self.of(np.zeros_like(others), others)

    def of(self, a: Places, b: Places) -> dict[str, NDArray[Any]]:
        """Return the columns of :attr:`pairs`, but the first two, for pairs of places ``a < b``."""
        counts = np.array([len(sample) for sample in self.samples])
        figures = {name: np.full(len(a), math.nan) for name in _JUDGED}
        means = np.array([_mean(sample) for sample in self.samples])
        figures["difference"] = means[a] - means[b]
        is_judged = b < self.judged
        if self.result is not None:
            at = place(a[is_judged], b[is_judged], self.judged)
            for name, source in _JUDGED.items():
                found = getattr(self.result, source)[at]
                figures[name][is_judged] = np.where(np.isnan(found), figures[name][is_judged], found)
        verdict = self._verdict(figures, is_judged)
        chances = self._chances(a, b)
        columns = {"n": np.minimum(counts[a], counts[b]), **figures}
        columns["differs"] = (figures["low"] > 0) | (figures["high"] < 0)
        columns |= {"verdict": verdict, "low90": columns.pop("low90"), "high90": columns.pop("high90")}
        columns |= {"chance": chances.estimate, "chance_low": chances.low, "chance_high": chances.high}
        return columns | self._needed(a, b, figures["difference"], verdict)

    def _verdict(self, figures: Mapping[str, Floats], is_judged: NDArray[np.bool_]) -> NDArray[np.object_]:
        verdict = np.full(len(figures["low"]), UNDECIDED, dtype=object)
        verdict[figures["low"] > 0] = BETTER if self.higher else WORSE
        verdict[figures["high"] < 0] = WORSE if self.higher else BETTER
        if self.worth is not None:
            verdict[(figures["low90"] > -self.worth) & (figures["high90"] < self.worth)] = EQUIVALENT
        unknown = np.isnan(figures["low"])
        verdict[unknown] = np.where(is_judged[unknown] | bool(self.refusal), NO_VERDICT, TOO_FEW)
        return verdict

    def _chances(self, a: Places, b: Places) -> estimates.Chances:
        if self.refusal:  # runs that are no independent replicates say nothing of the next one
            return estimates.Chances(*(np.full(len(a), math.nan) for _ in range(3)))
        sign = 1 if self.higher else -1
        if self.is_paired:
            replicates = sorted({each for sample in self.samples for each in sample}, key=repr)
            values = np.array([[sample.get(each, math.nan) for each in replicates] for sample in self.samples])
            apart = sign * (values[a] - values[b])
            both = np.isfinite(apart).sum(axis=1)
            return estimates.chances_paired((apart > 0).sum(axis=1), (apart == 0).sum(axis=1), both)
        arrays = [np.array([*sample.values()], dtype=np.float64) for sample in self.samples]
        shares = [estimates.mann_whitney(arrays[i], arrays[j], higher=self.higher) for i, j in zip(a, b, strict=True)]
        sizes = np.array([len(each) for each in arrays], dtype=np.float64)
        return estimates.chances_unpaired(np.array(shares, dtype=np.float64), sizes[a], sizes[b])

    def _needed(self, a: Places, b: Places, difference: Floats, verdict: NDArray[np.object_]) -> dict[str, Floats]:
        needed = {name: np.full(len(a), math.nan) for name in ("replicates_for_worth", "replicates_for_difference")}
        undecided = np.flatnonzero(verdict == UNDECIDED)
        if self.result is None or not len(undecided):
            return needed
        at = place(a[undecided], b[undecided], self.judged)
        seen = self.result.spread[at], self.result.critical[at], self.result.df[at], self.fewest
        effects = {"replicates_for_difference": np.abs(difference[undecided])}
        if self.worth is not None:
            effects["replicates_for_worth"] = np.full(len(undecided), float(self.worth))
        for name, effect in effects.items():
            needed[name][undecided] = estimates.replicates_needed(effect, *seen, arms=1 if self.is_paired else 2)
        return needed

    def words(self) -> str:
        """Return what the comparison says, in sentences."""
        from mnist_exp.statistics import conclusion

        return " ".join(conclusion.sentences(self))


def judge(
    samples: Mapping[Any, Sample],
    names: Mapping[Any, str],
    *,
    higher: bool = True,
    worth: float | None = None,
    level: float = LEVEL,
    resolution: float = 0.0,
    notes: Iterable[str] = (),
    refusal: str = "",
) -> Verdicts:
    """Judge configurations together.

    Args:
        samples: finite values by replicate, of each configuration. Paired where all have the same replicates, or at
            least ``inference.fewest(level)`` in common, which then count alone; else unpaired.
        names: what each configuration is called.
        higher: whether more is better.
        worth: the smallest difference that matters.
        level: chance of any false difference.
        resolution: smallest step of a value.
        notes: sentences to keep with the verdicts.
        refusal: why no verdict may be given.
    """
    least, sentences = inference.fewest(level), list(notes)
    enough = {} if refusal else {config: sample for config, sample in samples.items() if len(sample) >= least}
    if len(enough) < 2:
        enough = {}
    used: dict[Any, Sample] = dict(samples)
    common = set.intersection(*map(set, enough.values())) if enough else set()
    everywhere = {each for sample in enough.values() for each in sample}
    is_paired = len(common) >= least
    if is_paired and len(common) < len(everywhere):
        left_out = sorted((_called(each) for each in everywhere - common), key=natural)
        names_of = ", ".join(left_out[:_MOST_NAMED]) + (", ..." if len(left_out) > _MOST_NAMED else "")
        sentences.append(f"Only the {len(common)} replicates that all have are compared; left out: {names_of}.")
        used |= {config: {each: sample[each] for each in common} for config, sample in enough.items()}
    if not enough:  # chances alone are paired, where that is possible
        is_paired = len({frozenset(sample) for sample in samples.values()}) == 1
    sign = -1 if higher else 1
    order = sorted(
        used, key=lambda each: (each not in enough, sign * _mean(used[each]), natural(names[each]), names[each])
    )
    ordered = [dict(sorted(used[config].items(), key=_by_name)) for config in order]
    result = None
    if enough:
        values = [np.array([*sample.values()], dtype=np.float64) for sample in ordered[: len(enough)]]
        options: dict[str, Any] = {"higher": higher, "level": level, "resolution": resolution}
        result = inference.paired(np.array(values), **options) if is_paired else inference.unpaired(values, **options)
    return Verdicts(
        configs=tuple(order),
        names=tuple(names[config] for config in order),
        samples=tuple(ordered),
        higher=higher,
        level=level,
        worth=worth,
        is_paired=is_paired,
        result=result,
        notes=tuple(sentences),
        refusal=refusal,
        resolution=resolution,
    )


def _mean(sample: Sample) -> float:
    return math.fsum(sample.values()) / len(sample) if sample else math.nan


def _called(replicate: Hashable) -> str:
    return str(replicate) if " " in str(replicate) else f"replicate {replicate}"


def _by_name(item: tuple[Hashable, float]) -> tuple[Any, ...]:
    return natural(repr(item[0])), repr(item[0])


def natural(text: str) -> list[tuple[int, float, str]]:
    """A key that sorts numbers in a text by size."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if at % 2 else (1, 0.0, part) for at, part in enumerate(parts)]
