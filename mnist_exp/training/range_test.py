"""Evaluating a learning-rate range test: the rate and the band of rates that it suggests, if it suggests any.

The test is that of L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017), with one rate per
epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

FEWEST = 8
"""The number of rates with a finite loss that are needed."""

NOISE_FACTOR = 5
"""The number of standard deviations of the noise that the loss must fall. Of simulated tests that were only noise,
about one in 50 passed with 8 epochs, about one in 500 with 80."""

LEAST_FALL = 0.05
"""The share of its first value that the loss must fall, however little noise there is."""


@dataclass(frozen=True)
class Suggestion:
    """What a range test suggests.

    Attributes:
        rate: the suggested rate.
        steepest_rate: where the smoothed loss falls fastest on its way to the lowest point.
        lowest_rate: where the smoothed loss is lowest.
        lowest_loss: the smoothed loss there, in nats.
        still_falling: whether that was the test's last epoch, so that higher rates may do better.
    """

    rate: float
    steepest_rate: float
    lowest_rate: float
    lowest_loss: float
    still_falling: bool

    @property
    def band(self) -> tuple[float, float]:
        """The suggested rates, from a tenth of the rate with the lowest loss up to it, as in the tutorial."""
        return self.lowest_rate / 10, self.lowest_rate

    def metrics(self) -> dict[str, float]:
        """Return everything of it that is logged, by metric name."""
        low, high = self.band
        return {
            "range_test/suggested_rate": self.rate,
            "range_test/steepest_rate": self.steepest_rate,
            "range_test/lowest_rate": self.lowest_rate,
            "range_test/lowest_loss": self.lowest_loss,
            "range_test/band_low": low,
            "range_test/band_high": high,
        }

    def __str__(self) -> str:
        low, high = self.band
        if self.rate == self.steepest_rate:
            why = "where the loss falls fastest"
        else:
            why = (
                f"a tenth of the lowest point's; the loss falls fastest at {self.steepest_rate:.2g}, but as training "
                "begins it does so at any rate"
            )
        beyond = "; it still falls at the last rate, so higher ones may do better" if self.still_falling else ""
        return (
            f"Suggested rate: {self.rate:.2g} ({why}); suggested band: {low:.2g} to {high:.2g} (up to the lowest loss, "
            f"{self.lowest_loss:.3f}{beyond})."
        )


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Loss against learning rate, and the suggestion that follows from it.

    Attributes:
        rates: float64 [epochs], the rate of each epoch, rising.
        losses: float64 [epochs], the training loss of that epoch, in nats; not finite where it diverged.
        smoothed: float64 [epochs], the losses without their noise; NaN for one that was left out.
        suggestion: None if the losses suggest nothing.
        sentence: the suggestion as a sentence, or why there is none.
    """

    rates: Floats
    losses: Floats
    smoothed: Floats
    suggestion: Suggestion | None
    sentence: str


def read(rates: Sequence[float] | Floats, losses: Sequence[float] | Floats) -> RangeTest:
    """Smooth the losses, and find the lowest point and the steepest descent before it.

    Losses that are not finite are left out, and so are all but the first of equal rates. The others are smoothed over
    log10(rate): through each point and its neighbours, a twentieth of the points on either side and at least two, the
    Theil-Sen line is fitted, whose slope is the median of their pairwise slopes (P. K. Sen, "Estimates of the
    regression coefficient based on Kendall's tau", JASA 63, 1968). It gives the smoothed loss and the slope at the
    point; a single outlier changes neither much.

    The suggested band reaches from a tenth of the rate with the lowest smoothed loss up to that rate. The suggested
    rate is the one with the steepest descent up to there. The last points are left out, as they have fewer neighbours
    above them and the loss may rise sharply right after them. If the first epoch is among the neighbours of the
    steepest point, a tenth of the rate with the lowest loss is suggested instead, if that is higher: the loss of an
    untrained network falls fast at the first rates, high or low.

    Nothing is suggested by fewer than ``FEWEST`` losses, nor by a loss that never falls: one whose fall, from the first
    smoothed point to the lowest, is within ``NOISE_FACTOR`` standard deviations of the noise, or within the share
    ``LEAST_FALL`` of its first value.

    Args:
        rates: the learning rate of each epoch.
        losses: the training loss of each epoch.
    """
    all_rates, all_losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    finite = np.flatnonzero(np.isfinite(all_losses) & np.isfinite(all_rates) & (all_rates > 0))
    used = finite[np.unique(all_rates[finite], return_index=True)[1]]
    smoothed = np.full(all_losses.shape, np.nan)
    if len(used) < FEWEST:
        sentence = f"No rate suggested: a reading takes finite losses at {FEWEST} rates, and had them at {len(used)}."
        return RangeTest(all_rates, all_losses, smoothed, None, sentence)

    neighbours = max(2, len(used) // 20)
    losses_used = all_losses[used]
    smoothed[used], slopes = _smooth(np.log10(all_rates[used]), losses_used, neighbours)
    lowest = int(np.argmin(smoothed[used]))
    first, last = smoothed[used][0], smoothed[used][lowest]
    # Beyond the lowest point the loss may vary wildly, which says nothing about the noise of the fall.
    must_fall = max(NOISE_FACTOR * _noise(losses_used[: max(lowest + 1, FEWEST)]), LEAST_FALL * abs(first))
    if first - last <= must_fall:
        sentence = f"No rate suggested: the loss never falls (by {first - last:.2g}, over {must_fall:.2g} would count)."
        return RangeTest(all_rates, all_losses, smoothed, None, sentence)

    steepest = int(np.argmin(slopes[: min(lowest + 1, len(used) - neighbours)]))
    steepest_rate, lowest_rate = float(all_rates[used[steepest]]), float(all_rates[used[lowest]])
    suggestion = Suggestion(
        rate=max(steepest_rate, lowest_rate / 10) if steepest <= neighbours else steepest_rate,
        steepest_rate=steepest_rate,
        lowest_rate=lowest_rate,
        lowest_loss=float(last),
        still_falling=bool(used[lowest] == len(all_losses) - 1),
    )
    return RangeTest(all_rates, all_losses, smoothed, suggestion, str(suggestion))


def _smooth(x: Floats, y: Floats, neighbours: int) -> tuple[Floats, Floats]:
    """Return the value and the slope, at each point, of the Theil-Sen line through it and its neighbours."""
    values, slopes = np.empty_like(y), np.empty_like(y)
    for at in range(len(x)):
        window = slice(max(0, at - neighbours), at + neighbours + 1)
        slopes[at], values[at], *_ = stats.theilslopes(y[window], x[window] - x[at], method="joint")
    return values, slopes


def _noise(y: Floats) -> float:
    """Estimate the standard deviation of the noise, from second differences, to which a smooth curve adds little.

    After T. Gasser, L. Sroka and C. Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear regression",
    Biometrika 73, 1986, but with the median, which outliers do not change. A second difference has six times the
    variance of a point; the standard deviation of a normal distribution is 1.4826 times its median distance from the
    mean.
    """
    return float(1.4826 * np.median(np.abs(np.diff(y, 2))) / np.sqrt(6))
