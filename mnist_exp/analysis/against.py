"""A configuration against the first in the ranking."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnist_exp.analysis.verdicts import BETTER, EQUIVALENT, WORSE


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
