"""The tutorial's claims (published.yaml), each judged over many replicates.

A published figure comes from one run; here a replicate is one run of each model. The kinds of checks and their rules:

- ``reaches``, a figure: reproduced if a quarter of the runs reach it, allowing for its rounding to whole percents;
  reproduced and exceeded if every run lies above it, beyond its rounding; lucky if any run reaches it or it lies within
  the 95 % prediction interval of one more run; else not reproduced.
- ``higher``, a comparison: its direction is shown if the 95 % interval of the mean difference lies above 0. It is then
  reproduced, unless its size is part of the claim: in that case, reproduced if the interval overlaps the published
  difference, allowing for its rounding; else larger or smaller than claimed. Not reproduced if the interval lies below
  0. If the interval contains 0: lucky if it also contains the published difference or any replicate has one as large;
  else not reproduced.
- ``same``, no difference: reproduced if the 90 % interval of the mean difference lies within the margin (two one-sided
  tests at 5 %); not reproduced if the 95 % interval lies outside of it; else lucky.
- ``within``, a range: reproduced if half of the finished runs lie in it; lucky if any does; else not reproduced.
- Fewer than 6 replicates leave a check open.

All comparisons are tested together by :func:`mnist_exp.statistics.inference.contrasts`, over the replicates that all of
their models have finished, so that their intervals and p-values are simultaneous. An open comparison is left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from scipy import stats

from mnist_exp.metrics import is_share
from mnist_exp.statistics import estimates, inference
from mnist_exp.statistics.estimates import Spread

_ROUNDING = 0.005  # published figures are whole percents; a difference of two has twice that
_TOLERANCE = 1e-9  # of floating-point arithmetic: 0.95 - 0.005
_QUARTER = 0.25  # share of the runs that reach a reproduced figure
_HALF = 0.5  # share of the runs that lie in a reproduced range

Values = Mapping[str, Mapping[str, float]]
"""The values of one metric: by model, by replicate."""


class ClaimVerdict(StrEnum):
    """Judgement of a published figure or claim, from best to worst."""

    REPRODUCED = "reproduced"
    EXCEEDED = "reproduced, and exceeded"
    LARGER = "direction reproduced, size larger than claimed"
    SMALLER = "direction reproduced, size smaller than claimed"
    LUCKY = "plausible but lucky"
    NOT = "not reproduced"
    OPEN = "open: too few replicates"

    @property
    def style(self) -> str:
        """CSS class of its colour: ``reproduced``, ``lucky``, ``not`` or ``open``."""
        same = {"EXCEEDED": "reproduced", "LARGER": "lucky", "SMALLER": "lucky"}
        return same.get(self.name, self.name.lower())


@dataclass(frozen=True)
class Check:
    """A published figure and what it is compared with; the fields are those of published.yaml."""

    kind: str
    model: str
    metric: str
    published: float
    than: str = ""
    low: float = math.nan
    high: float = math.nan
    margin: float = math.nan
    size: bool = False

    @property
    def lowest(self) -> float:
        """The smallest figure that rounds to the published one."""
        return self.published - self._rounding

    @property
    def highest(self) -> float:
        """The largest figure that rounds to the published one."""
        return self.published + self._rounding

    @property
    def _rounding(self) -> float:
        return (2 * _ROUNDING if self.than else _ROUNDING) + _TOLERANCE

    @property
    def share(self) -> bool:
        """Whether the values lie in 0..1: accuracies and recalls do, differences and learning rates do not."""
        return not self.than and is_share(self.metric)

    def words(self) -> str:
        """Return ``model_2 minus model_1, accuracy``."""
        return f"{self.model}{f' minus {self.than}' if self.than else ''}, {self.metric}"

    def meets(self, value: float) -> bool:
        """Return whether one value is as published: in the range, within the margin, or as high."""
        match self.kind:
            case "within":
                return self.low <= value <= self.high
            case "same":
                return abs(value) <= self.margin + _TOLERANCE
            case _:
                return value >= self.lowest


@dataclass(frozen=True)
class Difference:
    """The mean difference of two models, tested together with all other comparisons.

    Attributes:
        n: number of replicates.
        mean: of the differences.
        low, high: simultaneous 95 % interval.
        low90, high90: simultaneous 90 % interval.
        p: p-value adjusted for all comparisons.
    """

    n: int
    mean: float
    low: float
    high: float
    low90: float
    high90: float
    p: float


@dataclass(frozen=True)
class CheckResult:
    """A check and its result.

    Attributes:
        values: our figures, one for each replicate; differences if two models are compared.
        spread: summary of ``values``; None if there are none. ``low`` and ``high`` are the t interval of the mean; of
            differences, the simultaneous interval, NaN if the check is open.
        percentile: of the published figure among ``values``, 0..100; NaN if there are none.
        met: number of values that are as published.
        runs: number of values; of a range, finished runs without a value count, too.
        difference: of two models; None if the check is open or concerns one model.
    """

    check: Check
    values: tuple[float, ...]
    spread: Spread | None
    percentile: float
    met: int
    runs: int
    difference: Difference | None
    verdict: ClaimVerdict

    @property
    def approximate(self) -> bool:
        """Whether the interval is a t interval of fewer than 16 values."""
        return self.spread is not None and self.spread.n > 1 and self.spread.approximate and not self.check.than

    def reason(self) -> str:
        """Return what the verdict follows from: ``5 of 16 runs reach it``. Empty if the check is open."""
        if self.verdict is ClaimVerdict.OPEN:
            return ""
        of = f"{self.met} of {self.runs}"
        match self.check.kind:
            case "within":
                return f"{of} runs lie in {self.check.low:g} to {self.check.high:g}"
            case "same":
                assert self.difference is not None
                margin = f"±{self.check.margin:g}"
                if self.verdict is ClaimVerdict.NOT:
                    return f"95 % interval outside of {margin}"
                ends = f"90 % interval {self.difference.low90:+.4f} to {self.difference.high90:+.4f}"
                if self.verdict is ClaimVerdict.REPRODUCED:
                    return f"{ends} within {margin}"
                return f"{ends} not within {margin}, 95 % interval overlaps it"
            case "higher":
                assert self.difference is not None
                return f"adjusted p {self.difference.p:.2g}; {of} replicates differ by as much"
            case _:
                if self.verdict is ClaimVerdict.EXCEEDED:
                    return f"all {self.runs} runs lie above it"
                may = ", one more may" if self.verdict is ClaimVerdict.LUCKY and not self.met else ""
                return f"{of} runs reach it{may}"


@dataclass(frozen=True)
class ClaimResult:
    """A claim and the results of its checks. The first check, and others of that kind, decide it."""

    says: str
    checks: tuple[CheckResult, ...]

    @property
    def verdict(self) -> ClaimVerdict:
        """The worst verdict of the checks that decide the claim."""
        kind, order = self.checks[0].check.kind, list(ClaimVerdict)
        return max((each.verdict for each in self.checks if each.check.kind == kind), key=order.index)


def published() -> list[tuple[str, list[Check]]]:
    """Return the text of each claim, and its checks."""
    text = files("mnist_exp.analysis").joinpath("published.yaml").read_text()
    claims: list[dict[str, Any]] = yaml.safe_load(text)["claims"]
    return [(claim["says"], [Check(**check) for check in claim["checks"]]) for claim in claims]


def judge_claims(values: Mapping[str, Values], finished: Mapping[str, int] | None = None) -> list[ClaimResult]:
    """Judge every claim.

    Args:
        values: our figures, finite: by metric, by model, by replicate.
        finished: number of finished runs of each model; those without a metric count as outside of a range.
    """
    claims = published()
    ours = {check: _ours(check, values.get(check.metric, {})) for _, checks in claims for check in checks}
    differences, shared = _differences({check: each for check, each in ours.items() if check.than})
    for check in differences:
        ours[check] = {replicate: ours[check][replicate] for replicate in shared}

    def result(check: Check) -> CheckResult:
        return _result(check, [*ours[check].values()], differences.get(check), (finished or {}).get(check.model, 0))

    return [ClaimResult(says, tuple(map(result, checks))) for says, checks in claims]


def _ours(check: Check, values: Values) -> Mapping[str, float]:
    """Return our figures by replicate; of a comparison, the differences over the replicates of both models."""
    model, other = values.get(check.model, {}), values.get(check.than, {})
    return {each: model[each] - other[each] for each in model if each in other} if check.than else model


def _differences(differences: Mapping[Check, Mapping[str, float]]) -> tuple[dict[Check, Difference], list[str]]:
    """Test all comparisons with enough replicates together, and return the replicates that they share."""
    minimum = inference.min_replicates()
    enough = {check: each for check, each in differences.items() if len(each) >= minimum}
    shared = set.intersection(*map(set, enough.values())) if enough else set()
    if len(shared) < minimum:
        return {}, []
    replicates = sorted(shared, key=lambda each: (len(each), each))
    result = inference.contrasts(np.array([[each[name] for name in replicates] for each in enough.values()]))
    columns = (result.difference, result.low, result.high, result.equivalence_low, result.equivalence_high, result.p)
    rows = zip(enough, *(column.tolist() for column in columns), strict=True)
    return {check: Difference(len(replicates), *figures) for check, *figures in rows}, replicates


def _result(check: Check, ours: Sequence[float], difference: Difference | None, finished: int) -> CheckResult:
    spread = estimates.spread(ours, share=check.share) if ours else None
    if spread and check.than:
        low, high = (difference.low, difference.high) if difference else (math.nan, math.nan)
        spread = replace(spread, low=low, high=high)
    met = sum(map(check.meets, ours))
    runs = max(finished, len(ours)) if check.kind == "within" else len(ours)
    percentile = float(stats.percentileofscore(ours, check.published, kind="mean")) if ours else math.nan
    verdict = _verdict(check, ours, difference, met, runs)
    return CheckResult(check, tuple(ours), spread, percentile, met, runs, difference, verdict)


def _verdict(check: Check, ours: Sequence[float], difference: Difference | None, met: int, runs: int) -> ClaimVerdict:
    """Apply the rule of the check's kind."""
    if check.than:
        if difference is None:
            return ClaimVerdict.OPEN
        return (
            _verdict_on_same(check, difference) if check.kind == "same" else _verdict_on_higher(check, difference, met)
        )
    if runs < inference.min_replicates():
        return ClaimVerdict.OPEN
    if check.kind == "reaches" and min(ours) > check.highest:
        return ClaimVerdict.EXCEEDED
    if met >= runs * (_HALF if check.kind == "within" else _QUARTER):
        return ClaimVerdict.REPRODUCED
    next_may = check.kind == "reaches" and _prediction_limit(ours) >= check.lowest
    return ClaimVerdict.LUCKY if met or next_may else ClaimVerdict.NOT


def _verdict_on_higher(check: Check, difference: Difference, met: int) -> ClaimVerdict:
    if difference.high < 0:
        return ClaimVerdict.NOT
    if difference.low <= 0:
        return ClaimVerdict.LUCKY if met or difference.high >= check.lowest else ClaimVerdict.NOT
    if not check.size or (difference.low <= check.highest and difference.high >= check.lowest):
        return ClaimVerdict.REPRODUCED
    return ClaimVerdict.LARGER if difference.low > check.highest else ClaimVerdict.SMALLER


def _verdict_on_same(check: Check, difference: Difference) -> ClaimVerdict:
    if -check.margin <= difference.low90 and difference.high90 <= check.margin:
        return ClaimVerdict.REPRODUCED
    outside = difference.low > check.margin or difference.high < -check.margin
    return ClaimVerdict.NOT if outside else ClaimVerdict.LUCKY


def _prediction_limit(values: Sequence[float]) -> float:
    """Return the upper end of the 95 % prediction interval of one more value from the same normal distribution."""
    n, sample = len(values), np.asarray(values)
    return float(sample.mean() + stats.t.ppf(0.975, n - 1) * sample.std(ddof=1) * math.sqrt(1 + 1 / n))
