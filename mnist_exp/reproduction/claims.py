"""The tutorial's claims, each held against many seeds.

A published figure comes from one run. It is *reproduced* where runs of ours commonly do as well, *plausible but lucky*
where few do or where the next one well might, and *not reproduced* where none does. The rules:

- a figure (``reaches``): reproduced if a quarter of the runs reach it, allowing for its rounding to whole percents;
  lucky if any does, or if it lies within the 95 % prediction interval of one more run.
- a comparison (``higher``): reproduced if the paired t-test over the seeds shows it and, where its size is part of the
  claim, a quarter of the seeds have a difference as large; lucky if only single seeds have one.
- no difference (``same``): reproduced if the 95 % interval of the mean difference lies within the margin; lucky if it
  only reaches into it.
- a range (``within``): reproduced if half of the finished runs lie in it; lucky if any does.

The p-values of all comparisons are corrected together (Holm).
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

from mnist_exp.analysis import statistics
from mnist_exp.analysis.statistics import Difference, Spread

_ROUNDING = 0.005  # published figures are whole percents; a difference has twice that
_COMMON = 0.25  # of the runs
_FEWEST = 4  # runs, for a verdict

Values = Mapping[str, Mapping[str, float]]
"""Of one metric: by model, by seed."""


class Verdict(StrEnum):
    """What became of a published figure or claim, from best to worst."""

    REPRODUCED = "reproduced"
    LUCKY = "plausible but lucky"
    NOT = "not reproduced"
    OPEN = "open: too few seeds"


@dataclass(frozen=True)
class Check:
    """A published figure and what it is held against; as in published.yaml."""

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
    def rounded(self) -> float:
        """The lowest figure that is published as this one."""
        return self.published - (2 * _ROUNDING if self.than else _ROUNDING)

    def words(self) -> str:
        """``model_2 minus model_1, accuracy``."""
        return f"{self.model}{f' minus {self.than}' if self.than else ''}, {self.metric}"


@dataclass(frozen=True)
class Answer:
    """A check, answered.

    Attributes:
        values: our figures, one a seed; differences, where two models are compared.
        spread: of those; None where there are none.
        percentile: where the published figure lies among them, 0..100; NaN where there are none.
        difference: of the models compared; None for a single one.
    """

    check: Check
    values: tuple[float, ...]
    spread: Spread | None
    percentile: float
    difference: Difference | None
    verdict: Verdict


@dataclass(frozen=True)
class ClaimAnswer:
    """A claim, answered. Its first check, and others of that kind, are the claim itself; the rest is background."""

    says: str
    answers: tuple[Answer, ...]

    @property
    def verdict(self) -> Verdict:
        """The claim's: the worst of the checks that it consists of."""
        order = list(Verdict)
        return max(
            (each.verdict for each in self.answers if each.check.kind == self.answers[0].check.kind), key=order.index
        )


def published() -> list[tuple[str, list[Check]]]:
    """What each claim says, and its checks."""
    text = files("mnist_exp.reproduction").joinpath("published.yaml").read_text()
    claims: list[dict[str, Any]] = yaml.safe_load(text)["claims"]
    return [(claim["says"], [Check(**check) for check in claim["checks"]]) for claim in claims]


def answer(values: Mapping[str, Values], finished: Mapping[str, int] | None = None) -> list[ClaimAnswer]:
    """Every claim, held against ``values``: by metric, by model, by seed.

    ``finished`` counts each model's finished runs: those without a metric count as outside of a range.
    """
    asked = published()
    differences = {
        check: _difference(check, values.get(check.metric, {})) for _, checks in asked for check in checks if check.than
    }
    corrected = statistics.holm([each.p if each else math.nan for each in differences.values()])
    tested = {
        check: each and replace(each, corrected=p)
        for (check, each), p in zip(differences.items(), corrected, strict=True)
    }
    return [
        ClaimAnswer(
            says,
            tuple(
                _answer(check, values.get(check.metric, {}), tested.get(check), (finished or {}).get(check.model, 0))
                for check in checks
            ),
        )
        for says, checks in asked
    ]


def _difference(check: Check, values: Values) -> Difference | None:
    pairs = _pairs(check, values)
    return statistics.paired(*zip(*pairs, strict=True)) if pairs else None


def _pairs(check: Check, values: Values) -> list[tuple[float, float]]:
    """Both models' values of every seed that both have finished."""
    one, other = values.get(check.model, {}), values.get(check.than, {})
    return [(one[seed], other[seed]) for seed in one if seed in other]


def _answer(check: Check, values: Values, difference: Difference | None, finished: int) -> Answer:
    single = list(values.get(check.model, {}).values())
    ours = [a - b for a, b in _pairs(check, values)] if check.than else single
    return Answer(
        check=check,
        values=tuple(ours),
        spread=statistics.spread(ours) if ours else None,
        percentile=float(stats.percentileofscore(ours, check.published, kind="mean")) if ours else math.nan,
        difference=difference,
        verdict=_verdict(check, ours, difference, max(finished, len(ours))),
    )


def _verdict(check: Check, ours: Sequence[float], difference: Difference | None, runs: int) -> Verdict:
    if len(ours) < _FEWEST:
        return Verdict.OPEN
    reached = float(np.mean(np.asarray(ours) >= check.rounded))
    match check.kind:
        case "higher":
            assert difference is not None
            if difference.shown and (difference.mean < 0 or not check.size):
                return Verdict.REPRODUCED if difference.mean > 0 else Verdict.NOT
            return _by_share(reached, common=_COMMON if difference.shown else math.inf)
        case "same":
            assert difference is not None
            if -check.margin <= difference.low and difference.high <= check.margin:
                return Verdict.REPRODUCED
            apart = difference.low > check.margin or difference.high < -check.margin
            return Verdict.NOT if apart else Verdict.LUCKY
        case "within":
            inside = sum(check.low <= value <= check.high for value in ours)
            return _by_share(inside / runs, common=0.5)
        case _:
            if reached == 0 and check.rounded <= _next_run(ours):
                return Verdict.LUCKY
            return _by_share(reached, _COMMON)


def _by_share(share: float, common: float) -> Verdict:
    if share >= common:
        return Verdict.REPRODUCED
    return Verdict.LUCKY if share > 0 else Verdict.NOT


def _next_run(ours: Sequence[float]) -> float:
    """The upper end of the 95 % prediction interval of one more value from the same normal distribution."""
    n, sample = len(ours), np.asarray(ours)
    return float(sample.mean() + stats.t.ppf(0.975, n - 1) * sample.std(ddof=1) * math.sqrt(1 + 1 / n))
