"""The tutorial's claims, each judged over many replicates by the rules of :mod:`mnist_exp.analysis.claim_rules`.

All comparisons are one family: they are judged together by :func:`mnist_exp.statistics.inference.contrasts`, over the
replicates that their models have all finished, and their intervals and p-values are simultaneous. A comparison of which
fewer than 6 replicates are finished is open and left out of the family.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from scipy import stats

from mnist_exp.analysis import claim_rules
from mnist_exp.analysis.claim_rules import Check, Difference, Verdict
from mnist_exp.statistics import estimates, inference
from mnist_exp.statistics.estimates import Spread

Values = Mapping[str, Mapping[str, float]]
"""The values of one metric: by model, by replicate."""


@dataclass(frozen=True)
class Answer:
    """A check and its result.

    Attributes:
        values: our figures, one of each replicate; differences, if two models are compared.
        spread: of those; None if there are none. ``low`` and ``high`` are the t interval of the mean; of differences,
            the simultaneous interval, NaN if they were not judged.
        percentile: of the published figure among them, 0..100; NaN if there are none.
        met: how many of the values are what was published.
        runs: of how many; of a range, finished runs without a value count.
        difference: of two models that were compared and judged; else None.
    """

    check: Check
    values: tuple[float, ...]
    spread: Spread | None
    percentile: float
    met: int
    runs: int
    difference: Difference | None
    verdict: Verdict

    @property
    def approximate(self) -> bool:
        """Whether the interval is a t interval of fewer than 16 values."""
        return self.spread is not None and self.spread.n > 1 and self.spread.approximate and not self.check.than

    def reason(self) -> str:
        """What the verdict follows from: ``5 of 16 runs reach it``. Empty if there is no verdict."""
        if self.verdict is Verdict.OPEN:
            return ""
        of = f"{self.met} of {self.runs}"
        match self.check.kind:
            case "within":
                return f"{of} runs lie in {self.check.low:g} to {self.check.high:g}"
            case "same":
                assert self.difference is not None
                margin = f"±{self.check.margin:g}"
                if self.verdict is Verdict.NOT:
                    return f"95 % interval outside of {margin}"
                ends = f"90 % interval {self.difference.low90:+.4f} to {self.difference.high90:+.4f}"
                if self.verdict is Verdict.REPRODUCED:
                    return f"{ends} within {margin}"
                return f"{ends} not within {margin}, 95 % interval overlaps it"
            case "higher":
                assert self.difference is not None
                return f"adjusted p {self.difference.p:.2g}; {of} replicates differ by as much"
            case _:
                if self.verdict is Verdict.EXCEEDED:
                    return f"all {self.runs} runs lie above it"
                return f"{of} runs reach it" + (
                    ", one more may" if self.verdict is Verdict.LUCKY and not self.met else ""
                )


@dataclass(frozen=True)
class ClaimAnswer:
    """A claim and its results. Its first check, and others of that kind, decide it; the rest is background."""

    says: str
    answers: tuple[Answer, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the checks that decide the claim."""
        order = list(Verdict)
        return max(
            (each.verdict for each in self.answers if each.check.kind == self.answers[0].check.kind), key=order.index
        )


def published() -> list[tuple[str, list[Check]]]:
    """Return what each claim says, and its checks."""
    text = files("mnist_exp.analysis").joinpath("published.yaml").read_text()
    claims: list[dict[str, Any]] = yaml.safe_load(text)["claims"]
    return [(claim["says"], [Check(**check) for check in claim["checks"]]) for claim in claims]


def answer(values: Mapping[str, Values], finished: Mapping[str, int] | None = None) -> list[ClaimAnswer]:
    """Judge every claim.

    Args:
        values: our figures, finite: by metric, by model, by replicate.
        finished: number of finished runs of each model; those without a metric count as outside of a range.
    """
    asked = published()
    ours = {check: _ours(check, values.get(check.metric, {})) for _, checks in asked for check in checks}
    judged, shared = _compared({check: each for check, each in ours.items() if check.than})
    for check in judged:
        ours[check] = {replicate: ours[check][replicate] for replicate in shared}
    return [
        ClaimAnswer(
            says,
            tuple(
                _answer(check, [*ours[check].values()], judged.get(check), (finished or {}).get(check.model, 0))
                for check in checks
            ),
        )
        for says, checks in asked
    ]


def _ours(check: Check, values: Values) -> Mapping[str, float]:
    """Return our figures by replicate; of a comparison, the differences over the replicates of both models."""
    one = values.get(check.model, {})
    if not check.than:
        return one
    other = values.get(check.than, {})
    return {replicate: one[replicate] - other[replicate] for replicate in one if replicate in other}


def _compared(differences: Mapping[Check, Mapping[str, float]]) -> tuple[dict[Check, Difference], list[str]]:
    """Judge all comparisons with enough replicates together, and return the replicates that they share."""
    fewest = inference.fewest()
    enough = {check: each for check, each in differences.items() if len(each) >= fewest}
    shared = set.intersection(*map(set, enough.values())) if enough else set()
    if len(shared) < fewest:
        return {}, []
    replicates = sorted(shared, key=lambda each: (len(each), each))
    result = inference.contrasts(np.array([[each[name] for name in replicates] for each in enough.values()]))
    columns = (result.difference, result.low, result.high, result.equivalence_low, result.equivalence_high, result.p)
    rows = zip(enough, *(column.tolist() for column in columns), strict=True)
    return {check: Difference(len(replicates), *figures) for check, *figures in rows}, replicates


def _answer(check: Check, ours: Sequence[float], difference: Difference | None, finished: int) -> Answer:
    spread = estimates.spread(ours, share=check.share) if ours else None
    if spread and check.than:
        low, high = (difference.low, difference.high) if difference else (math.nan, math.nan)
        spread = replace(spread, low=low, high=high)
    met = sum(map(check.meets, ours))
    runs = max(finished, len(ours)) if check.kind == "within" else len(ours)
    return Answer(
        check=check,
        values=tuple(ours),
        spread=spread,
        percentile=float(stats.percentileofscore(ours, check.published, kind="mean")) if ours else math.nan,
        met=met,
        runs=runs,
        difference=difference,
        verdict=claim_rules.judge(check, ours, difference, met, runs),
    )
