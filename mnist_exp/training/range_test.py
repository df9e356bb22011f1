"""Reading a learning-rate range test, as the tutorial does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Loss against learning rate.

    Attributes:
        rates: float64 [epochs], the rate of each epoch, rising.
        losses: float64 [epochs], the training loss of that epoch, in nats.
        lowest_rate: the rate with the lowest loss.
        lowest_loss: that loss.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    lowest_rate: float
    lowest_loss: float

    @property
    def band(self) -> tuple[float, float]:
        """The suggested rates, lowest and highest: from a decade below the lowest point up to it."""
        return self.lowest_rate / 10, self.lowest_rate


def read(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """Find the lowest point; losses that are NaN are passed over."""
    lowest = int(np.nanargmin(losses))
    return RangeTest(np.asarray(rates), np.asarray(losses), float(rates[lowest]), float(losses[lowest]))
