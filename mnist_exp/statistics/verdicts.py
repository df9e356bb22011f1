"""Verdicts on configurations: the set that may hold the best one, and better, worse or equivalent for every pair.

:func:`judge` runs the inference of :mod:`mnist_exp.statistics.inference`, :func:`verdict_labels` turns its intervals
into verdicts, and :mod:`mnist_exp.statistics.conclusion` puts them into sentences.
"""

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
from mnist_exp.statistics.inference import LEVEL, Pairs, pair_index
from mnist_exp.statistics.resampling import Floats, Indices

if TYPE_CHECKING:
    import pandas as pd

Sample = Mapping[Any, float]
"""The values of one configuration, by replicate."""

BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "undecided"
TOO_FEW, NO_VERDICT = "too few replicates", "no verdict"

# The fields of ``Pairs`` that fill a column of the table of pairs.
_FIELDS = {name: name for name in ("difference", "low", "high", "p")}
_FIELDS |= {"low90": "equivalence_low", "high90": "equivalence_high"}
_MAX_LISTED = 8  # replicates in a sentence
_MAX_PAIRS = 4_000_000  # in a table, which takes gigabytes then


@dataclass(frozen=True)
class Verdicts:
    """Configurations judged together: first those with enough replicates for a verdict, each part by its mean.

    ``pairs`` and ``against_first`` are computed, and the verdicts decided, when they are first read.

    Attributes:
        configs: k configurations, as they were given to :func:`judge`.
        names: name of each configuration in sentences.
        samples: the values that were compared, by replicate.
        higher: whether more is better.
        level: probability of any false difference among all pairs.
        worth: the smallest difference that matters; None if none was given.
        is_paired: whether all configurations were compared over the same replicates.
        result: inference on the configurations with enough replicates; None if those are fewer than two.
        notes: what was left out or merged, one sentence each.
        refusal: why no verdict is given although there are enough replicates; empty if one is.
        combines_looks: whether the pairs' verdicts are of different looks (:mod:`mnist_exp.analysis.looks`).
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
    combines_looks: bool = False
    resolution: float = 0.0

    @property
    def min_replicates(self) -> int:
        """The smallest number of replicates that a verdict takes."""
        return inference.min_replicates(self.level)

    @property
    def judged_count(self) -> int:
        """Number of configurations with a verdict; they are the first of ``configs``."""
        return 0 if self.result is None else len(self.result.best)

    @property
    def in_best_set(self) -> NDArray[np.bool_]:
        """bool [k]: the configurations that cannot be ruled out as best. All those without a verdict belong to it."""
        best = np.ones(len(self.configs), dtype=np.bool_)
        if self.result is not None:
            best[: self.judged_count] = self.result.best
        return best

    @property
    def best_set(self) -> list[Any]:
        """The configurations that cannot be ruled out as best."""
        return [config for config, best in zip(self.configs, self.in_best_set, strict=True) if best]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row for every pair of configurations; ``a`` comes before ``b`` in ``configs``. NaN is an unknown number.

        Columns:
            a, b: the configurations.
            n: replicates of both, or of the smaller sample.
            difference: mean of a minus mean of b, in units of the value.
            low, high: simultaneous interval of ``difference`` at 1 - level.
            p: p-value adjusted for all pairs.
            differs: whether the interval excludes 0.
            verdict: on a, by :func:`verdict_labels`.
            low90, high90: simultaneous interval at 1 - 2 level (90 % by default), which decides equivalence.
            chance, chance_low, chance_high: probability that one more run of a is better than one more run of b, and
                its interval at 95 %, of each pair alone.
            replicates_for_worth, replicates_for_difference: of undecided pairs, the number of replicates with which a
                true difference of ``worth``, or one as large as observed, is significant with 80 % probability.

        Raises:
            ConfigError: there are more than four million pairs.
        """
        import pandas as pd

        k = len(self.configs)
        if k * (k - 1) // 2 > _MAX_PAIRS:
            raise ConfigError(f"a table of pairs takes at most {_MAX_PAIRS:,} rows. {k:,} configurations make more")
        a, b = np.triu_indices(k, 1)
        configs = np.empty(k, dtype=object)
        configs[:] = self.configs
        return pd.DataFrame({"a": configs[a], "b": configs[b], **self.pair_columns(a, b)})

    @cached_property
    def against_first(self) -> dict[str, NDArray[Any]]:
        """:meth:`pair_columns` of the first configuration and each other one, in the order of ``configs``."""
        rest = np.arange(1, len(self.configs))
        return self.pair_columns(np.zeros_like(rest), rest)

    def pair_columns(self, a: Indices, b: Indices) -> dict[str, NDArray[Any]]:
        """Compute the columns of :attr:`pairs` except the first two.

        Args:
            a, b: int [m], indices in ``configs``; a < b.

        Returns:
            Arrays of length m, by column.
        """
        counts = np.array([len(sample) for sample in self.samples])
        figures = {name: np.full(len(a), math.nan) for name in _FIELDS}
        means = np.array([_mean(sample) for sample in self.samples])
        figures["difference"] = means[a] - means[b]
        is_judged = b < self.judged_count
        if self.result is not None:
            index = pair_index(a[is_judged], b[is_judged], self.judged_count)
            for name, field in _FIELDS.items():
                found = getattr(self.result, field)[index]
                figures[name][is_judged] = np.where(np.isnan(found), figures[name][is_judged], found)
        verdict = verdict_labels(figures, higher=self.higher, worth=self.worth)
        without = np.isnan(figures["low"])
        verdict[without] = np.where(is_judged[without] | bool(self.refusal), NO_VERDICT, TOO_FEW)
        chances = self._chances(a, b)
        columns = {"n": np.minimum(counts[a], counts[b]), **figures}
        columns["differs"] = (figures["low"] > 0) | (figures["high"] < 0)
        columns |= {"verdict": verdict, "low90": columns.pop("low90"), "high90": columns.pop("high90")}
        columns |= {"chance": chances.estimate, "chance_low": chances.low, "chance_high": chances.high}
        return columns | self._replicates_needed(a, b, figures["difference"], verdict)

    def _chances(self, a: Indices, b: Indices) -> estimates.Chances:
        if self.refusal:  # runs that are no independent replicates do not predict the next one
            return estimates.Chances(*(np.full(len(a), math.nan) for _ in range(3)))
        if self.is_paired:
            replicates = sorted({each for sample in self.samples for each in sample}, key=repr)
            values = np.array([[sample.get(each, math.nan) for each in replicates] for sample in self.samples])
            advantage = (values[a] - values[b]) * (1 if self.higher else -1)
            n = np.isfinite(advantage).sum(axis=1)
            return estimates.chances_paired((advantage > 0).sum(axis=1), (advantage == 0).sum(axis=1), n)
        arrays = [np.array([*sample.values()], dtype=np.float64) for sample in self.samples]
        shares = [estimates.mann_whitney(arrays[i], arrays[j], higher=self.higher) for i, j in zip(a, b, strict=True)]
        sizes = np.array([len(each) for each in arrays], dtype=np.float64)
        return estimates.chances_unpaired(np.array(shares, dtype=np.float64), sizes[a], sizes[b])

    def _replicates_needed(
        self, a: Indices, b: Indices, difference: Floats, verdict: NDArray[np.object_]
    ) -> dict[str, Floats]:
        """Return ``replicates_for_worth`` and ``replicates_for_difference``."""
        needed = {name: np.full(len(a), math.nan) for name in ("replicates_for_worth", "replicates_for_difference")}
        undecided = np.flatnonzero(verdict == UNDECIDED)
        if self.result is None or not len(undecided):
            return needed
        index = pair_index(a[undecided], b[undecided], self.judged_count)
        observed = self.result.sd[index], self.result.critical[index], self.result.df[index]
        effects = {"replicates_for_difference": np.abs(difference[undecided])}
        if self.worth is not None:
            effects["replicates_for_worth"] = np.full(len(undecided), float(self.worth))
        arms = 1 if self.is_paired else 2
        for name, effect in effects.items():
            needed[name][undecided] = estimates.replicates_needed(effect, *observed, self.min_replicates, arms=arms)
        return needed


def verdict_labels(intervals: Mapping[str, Floats], *, higher: bool, worth: float | None) -> NDArray[np.object_]:
    """Decide the verdict on the first configuration of each pair from the intervals of the difference.

    Args:
        intervals: the columns ``low``, ``high``, ``low90`` and ``high90`` of :attr:`Verdicts.pairs`: float [m].
        higher: whether more is better.
        worth: the smallest difference that matters; None if none was given.

    Returns:
        object [m]: ``EQUIVALENT`` if ``low90`` and ``high90`` lie within ``worth`` of 0; else ``BETTER`` or ``WORSE``
        if ``low`` to ``high`` excludes 0; else ``UNDECIDED``.
    """
    verdict = np.full(len(intervals["low"]), UNDECIDED, dtype=object)
    verdict[intervals["low"] > 0] = BETTER if higher else WORSE
    verdict[intervals["high"] < 0] = WORSE if higher else BETTER
    if worth is not None:
        verdict[(intervals["low90"] > -worth) & (intervals["high90"] < worth)] = EQUIVALENT
    return verdict


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
    """Compare all configurations that have enough replicates in one simultaneous procedure.

    They are compared as paired samples if all have the same replicates, or at least
    ``inference.min_replicates(level)`` in common, and then over these replicates only; else as independent samples.

    Args:
        samples: finite values of each configuration, by replicate.
        names: name of each configuration in sentences.
        higher, worth: whether more is better; the smallest difference that matters.
        level: probability of any false difference among all pairs.
        resolution: smallest step of a value.
        notes: sentences to keep with the verdicts.
        refusal: the reason if no verdict may be given.

    Returns:
        Verdicts on all configurations, in the order described there.
    """
    min_replicates, notes = inference.min_replicates(level), [*notes]
    enough = {} if refusal else {config: sample for config, sample in samples.items() if len(sample) >= min_replicates}
    if len(enough) < 2:
        enough = {}
    used: dict[Any, Sample] = dict(samples)
    common = set.intersection(*map(set, enough.values())) if enough else set()
    replicates = {each for sample in enough.values() for each in sample}
    is_paired = len(common) >= min_replicates
    if is_paired and len(common) < len(replicates):
        excluded = sorted((_replicate_name(each) for each in replicates - common), key=natural_key)
        listed = ", ".join(excluded[:_MAX_LISTED]) + (", ..." if len(excluded) > _MAX_LISTED else "")
        notes.append(f"Only the {len(common)} replicates that all have are compared; left out: {listed}.")
        used |= {config: {each: sample[each] for each in common} for config, sample in enough.items()}
    if not enough:  # without a verdict, only the chances are paired, which takes the same replicates everywhere
        is_paired = len({frozenset(sample) for sample in samples.values()}) == 1
    sign = -1 if higher else 1
    order = sorted(
        used, key=lambda each: (each not in enough, sign * _mean(used[each]), natural_key(names[each]), names[each])
    )
    ordered = [dict(sorted(used[config].items(), key=_replicate_key)) for config in order]
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
        notes=tuple(notes),
        refusal=refusal,
        resolution=resolution,
    )


def natural_key(text: str) -> list[tuple[int, float, str]]:
    """Return a sort key that orders the numbers in a text by size: ``a2`` before ``a10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts)]


def _mean(sample: Sample) -> float:
    return math.fsum(sample.values()) / len(sample) if sample else math.nan


def _replicate_name(replicate: Hashable) -> str:
    """Return ``replicate 3`` for 3; a name of several words as it is."""
    return str(replicate) if " " in str(replicate) else f"replicate {replicate}"


def _replicate_key(item: tuple[Hashable, float]) -> tuple[Any, ...]:
    return natural_key(repr(item[0])), repr(item[0])
