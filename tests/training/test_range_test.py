"""Reading a range test: the right rates where there is something to read, none where there is not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_exp.training import range_test
from mnist_exp.training.range_test import Suggestion

Floats = NDArray[np.float64]

RATES: Floats = 1e-4 * 10 ** (np.arange(80) / 20)
STEEPEST, LOWEST = 1e-3, 2e-2


def valley() -> Floats:
    """From 2.3 down to 0.4, fastest at ``STEEPEST``, lowest near ``LOWEST``, and up again."""
    x = np.log10(RATES)
    losses: Floats = 0.4 + 1.9 / (1 + np.exp(5 * (x + 3))) + 1.9 / (1 + np.exp(-8 * (x + 0.7)))
    return losses


def suggestion(losses: Floats) -> Suggestion:
    found = range_test.read(RATES, losses).suggestion
    assert found is not None
    return found


def decades(one: float, other: float) -> float:
    return abs(float(np.log10(one / other)))


def test_a_clean_valley_is_read_to_an_epoch_or_two() -> None:
    found = suggestion(valley())
    assert decades(found.steepest_rate, STEEPEST) <= 0.05
    assert decades(found.lowest_rate, LOWEST) <= 0.1
    assert found.rate == found.steepest_rate
    assert found.lowest_loss == pytest.approx(0.4, abs=0.01)
    assert not found.still_falling


def test_the_band_is_a_tenth_of_the_lowest_point_up_to_it() -> None:
    found = suggestion(valley())
    assert found.band == pytest.approx((found.lowest_rate / 10, found.lowest_rate))


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_the_reading_little(seed: int) -> None:
    found = suggestion(valley() + np.random.default_rng(seed).normal(0, 0.1, 80))
    assert decades(found.steepest_rate, STEEPEST) <= 0.3
    assert 0.3 <= found.lowest_loss <= 0.5
    assert 4e-3 <= found.lowest_rate <= 0.1, "somewhere on the floor of the valley"


@pytest.mark.parametrize("height", [-3, 3, 1e6])
@pytest.mark.parametrize("epoch", [0, 1, 5, 20, 21, 46, 60, 79])
def test_a_spike_does_not_win(epoch: int, height: float) -> None:
    spiked = valley()
    spiked[epoch] += height
    clean, found = suggestion(valley()), suggestion(spiked)
    assert decades(found.steepest_rate, clean.steepest_rate) <= 0.1
    assert decades(found.lowest_rate, clean.lowest_rate) <= 0.15
    assert found.lowest_loss == pytest.approx(clean.lowest_loss, abs=0.01)


def test_a_tail_that_diverged_is_passed_over() -> None:
    losses = valley()
    losses[70:] = np.nan
    losses[69] = np.inf
    test = range_test.read(RATES, losses)
    assert test.suggestion is not None
    assert decades(test.suggestion.steepest_rate, STEEPEST) <= 0.05
    assert np.array_equal(np.isfinite(test.smoothed), np.isfinite(losses))


def test_a_gap_in_the_middle_is_passed_over() -> None:
    losses = valley()
    losses[[10, 21, 22, 47]] = np.nan
    assert decades(suggestion(losses).steepest_rate, STEEPEST) <= 0.1


def test_how_wildly_a_test_diverges_is_no_noise_of_its_fall() -> None:
    """Here for more than half of the test."""
    losses = 0.4 + 1.9 / (1 + np.exp(np.arange(80) - 15))
    losses[30:] += np.abs(np.random.default_rng(0).normal(0, 1000, 50)) + 1
    assert suggestion(losses).steepest_rate == RATES[15]


def test_what_falls_fastest_as_training_begins_is_not_suggested() -> None:
    """As model_3 does: the first epochs fall because they are the first."""
    epochs = np.arange(80)
    found = suggestion(0.45 + 1.6 * np.exp(-epochs / 4) + 2 / (1 + np.exp(-(epochs - 60) / 4)))
    assert found.steepest_rate == RATES[0]
    assert found.rate == found.band[0]
    assert "as training begins" in str(found)


def test_the_start_is_suggested_rather_than_a_rate_that_was_not_tried() -> None:
    epochs = np.arange(80)
    found = suggestion(0.4 + 2 * np.exp(-epochs / 2) + 2 / (1 + np.exp(-(epochs - 25) / 3)))
    assert found.band[0] < RATES[0]
    assert found.rate == found.steepest_rate >= RATES[0]


def test_a_loss_that_still_falls_at_the_end_is_called_that() -> None:
    found = suggestion(0.4 + np.linspace(1.4, 0, 80) ** 2)
    assert found.still_falling
    assert "higher ones may do better" in str(found)
    assert found.rate < RATES[-1]


def test_the_edge_of_a_cliff_is_not_suggested() -> None:
    losses = 2.3 - 1.9 * np.linspace(0, 1, 80) ** 4
    assert suggestion(losses).rate <= RATES[-5]


def test_a_loss_that_diverged_behind_its_lowest_point_falls_no_more() -> None:
    losses = np.linspace(2.3, 0.4, 80)
    losses[60:] = np.nan
    assert not suggestion(losses).still_falling


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param(np.full(80, 2.3), id="flat"),
        pytest.param(2.3 - np.linspace(0, 0.05, 80), id="sinks by a fiftieth"),
        pytest.param(np.linspace(2.3, 9, 80), id="rises"),
        pytest.param(2.3 + np.random.default_rng(1).normal(0, 0.3, 80), id="noise"),
        pytest.param(np.linspace(2.3, 5, 80) + np.random.default_rng(2).normal(0, 0.3, 80), id="rises noisily"),
        pytest.param(np.where(np.arange(80) == 40, -5, 2.3), id="one spike"),
        pytest.param(np.where(np.arange(80) == 0, 50, 2.3), id="a high first epoch"),
    ],
)
def test_a_loss_that_never_falls_suggests_nothing_and_says_so(losses: Floats) -> None:
    test = range_test.read(RATES, losses)
    assert test.suggestion is None
    assert test.sentence.startswith("No rate suggested: the loss never falls (by ")


def test_noise_alone_is_rarely_taken_for_a_fall() -> None:
    random = np.random.default_rng(0)
    taken = [range_test.read(RATES, random.normal(2.3, 0.3, 80)).suggestion is not None for _ in range(100)]
    assert sum(taken) <= 2


@pytest.mark.parametrize(
    ("losses", "count"),
    [([2.0, 1.0, 0.5], 3), ([np.nan] * 20, 0), ([], 0), ([2.0, 1.0, 0.8, 0.5, 0.4, 0.3, 0.6] + [np.inf] * 9, 7)],
)
def test_too_few_losses_suggest_nothing_and_say_so(losses: list[float], count: int) -> None:
    test = range_test.read(list(RATES[: len(losses)]), losses)
    assert test.suggestion is None
    assert test.sentence == f"No rate suggested: a reading takes finite losses at 8 rates, and had them at {count}."
    assert np.isnan(test.smoothed).all()


def test_rates_that_have_no_logarithm_are_passed_over() -> None:
    rates = [0.0, *RATES[1:10], np.inf, np.inf]
    found = range_test.read(rates, list(np.linspace(2.3, 0.4, 12))).suggestion
    assert found is not None
    assert found.lowest_rate == RATES[9]


def test_equal_rates_are_one_rate() -> None:
    test = range_test.read([1e-3] * 20, list(np.linspace(2.3, 0.4, 20)))
    assert test.suggestion is None
    assert "had them at 1" in test.sentence
