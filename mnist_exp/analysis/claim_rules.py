"""The rules by which a published figure or comparison is judged.

A published figure comes from one run; a replicate is one run of each model. The rules:

- a figure (``reaches``): reproduced if a quarter of the runs reach it, allowing for its rounding to whole percents;
  reproduced and exceeded if every run lies above it, beyond its rounding; lucky if any run reaches it or it lies within
  the 95 % prediction interval of one more run; else not reproduced.
- a comparison (``higher``): its direction is shown if the 95 % interval of the mean difference lies above 0. It is then
  reproduced, unless its size is part of the claim: in that case, reproduced if the interval overlaps the published
  difference, allowing for its rounding; else larger or smaller than claimed. Not reproduced if the interval lies below
  0. If the interval contains 0: lucky if it also contains the published difference or any replicate has one as large;
  else not reproduced.
- no difference (``same``): reproduced if the 90 % interval of the mean difference lies within the margin (two one-sided
  tests at 5 %); not reproduced if the 95 % interval lies outside of it; else lucky.
- a range (``within``): reproduced if half of the finished runs lie in it; lucky if any does; else not reproduced.
- Fewer than 6 replicates leave a check open.

The intervals and p-values of comparisons are simultaneous: :mod:`mnist_exp.analysis.claims`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from mnist_exp.analysis.ranking import is_share
from mnist_exp.statistics import inference

_ROUNDING = 0.005  # published figures are whole percents; a difference of two has twice that
_TOLERANCE = 1e-9  # of floating-point arithmetic: 0.95 - 0.005
_COMMON = 0.25  # share of the runs that reach a reproduced figure
_MOSTLY = 0.5  # share of the runs that lie in a reproduced range


class Verdict(StrEnum):
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
        """The CSS class that colours it: ``reproduced``, ``lucky``, ``not`` or ``open``."""
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
        """The lowest figure that is published as this one."""
        return self.published - self._rounding

    @property
    def highest(self) -> float:
        """The highest figure that is published as this one."""
        return self.published + self._rounding

    @property
    def _rounding(self) -> float:
        return (2 * _ROUNDING if self.than else _ROUNDING) + _TOLERANCE

    @property
    def share(self) -> bool:
        """Whether the values lie in 0..1: accuracies and recalls do, differences and learning rates do not."""
        return not self.than and is_share(self.metric)

    def words(self) -> str:
        """``model_2 minus model_1, accuracy``."""
        return f"{self.model}{f' minus {self.than}' if self.than else ''}, {self.metric}"

    def meets(self, value: float) -> bool:
        """Whether a single value is what was published: in the range, within the margin, or as high."""
        match self.kind:
            case "within":
                return self.low <= value <= self.high
            case "same":
                return abs(value) <= self.margin + _TOLERANCE
            case _:
                return value >= self.lowest


@dataclass(frozen=True)
class Difference:
    """The mean difference of two models, judged together with all other comparisons.

    Attributes:
        n: replicates that it was judged over.
        low, high: simultaneous 95 % interval.
        low90, high90: simultaneous 90 % interval.
        p: adjusted for all comparisons.
    """

    n: int
    mean: float
    low: float
    high: float
    low90: float
    high90: float
    p: float


def judge(check: Check, ours: Sequence[float], difference: Difference | None, met: int, runs: int) -> Verdict:
    """Return the verdict on a check.

    Args:
        check: what was published.
        ours: our figures, or differences.
        difference: of two models; None if they were not judged.
        met: how many of ``ours`` are what was published.
        runs: of how many.
    """
    if check.than:
        if difference is None:
            return Verdict.OPEN
        return _same(check, difference) if check.kind == "same" else _higher(check, difference, met)
    if runs < inference.fewest():
        return Verdict.OPEN
    if check.kind == "reaches" and min(ours) > check.highest:
        return Verdict.EXCEEDED
    if met >= runs * (_MOSTLY if check.kind == "within" else _COMMON):
        return Verdict.REPRODUCED
    next_may = check.kind == "reaches" and _next_run(ours) >= check.lowest
    return Verdict.LUCKY if met or next_may else Verdict.NOT


def _higher(check: Check, difference: Difference, met: int) -> Verdict:
    if difference.high < 0:
        return Verdict.NOT
    if difference.low <= 0:
        return Verdict.LUCKY if met or difference.high >= check.lowest else Verdict.NOT
    if not check.size or (difference.low <= check.highest and difference.high >= check.lowest):
        return Verdict.REPRODUCED
    return Verdict.LARGER if difference.low > check.highest else Verdict.SMALLER


def _same(check: Check, difference: Difference) -> Verdict:
    if -check.margin <= difference.low90 and difference.high90 <= check.margin:
        return Verdict.REPRODUCED
    outside = difference.low > check.margin or difference.high < -check.margin
    return Verdict.NOT if outside else Verdict.LUCKY


def _next_run(ours: Sequence[float]) -> float:
    """Return the upper end of the 95 % prediction interval of one more value from the same normal distribution."""
    n, sample = len(ours), np.asarray(ours)
    return float(sample.mean() + stats.t.ppf(0.975, n - 1) * sample.std(ddof=1) * math.sqrt(1 + 1 / n))
