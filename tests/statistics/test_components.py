"""Where the spread between runs comes from, in sweeps that cross the seeds of its sources."""

import itertools
import math
import re
from collections.abc import Mapping

import numpy as np
import pytest
from some_runs import compared, run

from mnist_exp.config.replicate import Seeds
from mnist_exp.statistics.components import INTERACTIONS, Components, components
from mnist_exp.tracking.protocols import Record

WEIGHTS, ORDER, SPLIT = "initial weights", "batch order", "train/validation split"
BY_HAND: dict[Seeds, float] = {
    ("1", "1", "17"): 0.0,
    ("1", "2", "17"): 1.0,
    ("2", "1", "17"): 2.0,
    ("2", "2", "17"): 5.0,
}


def found(*runs: Mapping[Seeds, float], is_share: bool = False, images: int | None = None) -> Components:
    parts = components(runs, is_share=is_share, images=images)
    assert parts is not None
    return parts


def simulated(random: np.random.Generator, levels: int, **sd: float) -> dict[Seeds, float]:
    """A configuration whose effects of weights, order, split, weights x split and the rest are normal."""
    weights, order, split = (random.normal(0, sd[name], levels) for name in ("weights", "order", "split"))
    both = random.normal(0, sd["both"], (levels, levels))
    return {
        (str(w), str(o), str(s)): 0.9 + weights[w] + order[o] + split[s] + both[w, s] + random.normal(0, sd["rest"])
        for w, o, s in itertools.product(range(levels), repeat=3)
    }


def crossed() -> list[Record]:
    """Three seeds of the weights by two of the batch order."""
    return [
        run(0, 0.9 + 0.01 * seed + 0.001 * order, seed=seed, training__order_seed=order)
        for seed in range(3)
        for order in range(2)
    ]


def test_components_of_a_two_by_two_design_by_hand() -> None:
    """Means of rows 0.5 and 3.5, of columns 1 and 3, of all 2: mean squares 9, 4 and 1."""
    parts = found(BY_HAND)
    assert parts.variances == pytest.approx({WEIGHTS: (9 - 1) / 2, ORDER: (4 - 1) / 2, INTERACTIONS: 1.0})
    assert parts.levels == {WEIGHTS: 2, ORDER: 2}
    assert parts.total == pytest.approx(6.5)
    assert parts.rows()[0] == pytest.approx((WEIGHTS, 2.0, 4 / 6.5))


def test_a_component_is_never_below_zero() -> None:
    saddle = dict(zip(BY_HAND, (0.0, 1.0, 1.0, 0.0), strict=True))
    assert found(saddle).variances == pytest.approx({WEIGHTS: 0.0, ORDER: 0.0, INTERACTIONS: 1.0})


def test_known_components_are_recovered() -> None:
    random = np.random.default_rng(20261124)
    sd = {"weights": 0.004, "order": 0.002, "split": 0.003, "both": 0.002, "rest": 0.001}
    parts = found(*(simulated(random, 5, **sd) for _ in range(200)))
    expected = {WEIGHTS: 0.004, ORDER: 0.002, SPLIT: 0.003, INTERACTIONS: math.hypot(0.002, 0.001)}
    assert {name: math.sqrt(each) for name, each in parts.variances.items()} == pytest.approx(expected, rel=0.08)
    assert parts.configurations == 200


def test_a_source_without_effect_has_no_share() -> None:
    random = np.random.default_rng(1)
    sd = {"weights": 0.004, "order": 0.0, "split": 0.0, "both": 0.0, "rest": 0.0}
    shares = {name: share for name, _, share in found(simulated(random, 5, **sd)).rows()}
    assert shares == pytest.approx({WEIGHTS: 1.0, ORDER: 0.0, SPLIT: 0.0, INTERACTIONS: 0.0}, abs=1e-9)


def test_a_design_with_a_gap_has_no_components() -> None:
    gap = dict(list(BY_HAND.items())[:3])
    whole = simulated(np.random.default_rng(0), 3, weights=1, order=1, split=1, both=0, rest=0)
    assert components([gap]) is None
    assert components([dict(list(whole.items())[1:])]) is None
    assert components([whole, BY_HAND]) is None, "they cross other sources"
    assert components([BY_HAND, gap]) is None
    assert components([]) is None


def test_equal_runs_do_not_vary() -> None:
    assert found(dict.fromkeys(BY_HAND, 0.9)).sentence() == "The runs do not vary."


def over_splits(scale: float) -> dict[Seeds, float]:
    """The case by hand with splits in place of batch orders, around 0.9."""
    return {(weights, "17", other): 0.9 + scale * value for (weights, other, _), value in BY_HAND.items()}


def test_the_sentence_names_each_source_and_the_share_of_the_choice_of_images() -> None:
    parts = found(over_splits(0.002), is_share=True, images=12_000)
    assert parts.sampling == pytest.approx(0.904 * 0.096 / 12_000)
    text = parts.sentence()
    assert re.match(
        r"Of the variance between runs, 62 ?% comes from initial weights \(sd 0.004\), "
        r"23 ?% comes from train/validation split \(sd 0.0024\), 15 ?% comes from interactions",
        text,
    )
    assert text.endswith(
        " The choice of the 12,000 validation images accounts for up to 28 % of it (binomial sd 0.0027), as part of "
        "the split and of its interactions."
    )


def test_images_account_for_at_most_all_of_the_variance() -> None:
    text = found(over_splits(0.001), is_share=True, images=12_000).sentence()
    assert "accounts for up to 100 % of it" in text


def test_images_account_for_nothing_if_all_runs_have_the_same_split() -> None:
    """Seeds of weights and batch order were crossed, and the split was one."""
    text = found(
        {seeds: 0.9 + value / 500 for seeds, value in BY_HAND.items()}, is_share=True, images=12_000
    ).sentence()
    assert "validation images" not in text


@pytest.mark.parametrize(("is_share", "images"), [(False, 12_000), (True, None)])
def test_sampling_variance_needs_a_share_and_the_number_of_images(is_share: bool, images: int | None) -> None:
    parts = found(BY_HAND, is_share=is_share, images=images)
    assert (parts.sampling, parts.images) == (None, None)
    assert "validation images" not in parts.sentence()


def test_a_crossed_sweep_gets_components_and_no_verdict() -> None:
    tags = {"dataset.validation_images": "12000"}
    given = [
        run(0, accuracy + 0.01 * seed + 0.001 * split, seed=seed, data__split_seed=split, tags=tags, units=units)
        for units, accuracy in ((4, 0.8), (10, 0.9))
        for seed in range(3)
        for split in range(3)
    ]
    result = compared(*given)
    assert result.verdicts.result is None
    assert result.components is not None
    assert (result.components.configurations, result.components.images) == (2, 12_000)
    assert list(result.components.levels) == [WEIGHTS, SPLIT]
    text = result.conclusion()
    assert "No verdict, effect and spread only: runs share seeds of a source that varies" in text
    assert re.search(r"99 ?% comes from initial weights", text)
    assert "The choice of the 12,000 validation images" in text
    assert "Covers" not in text
    assert {row.against_first.words() for row in result.rows if row.against_first} == {"no verdict"}
    assert all(math.isnan(row.spread.low) for row in result.rows if row.spread), "runs are no independent sample"
    assert result.best_set == []


def test_a_crossed_sweep_with_a_failed_run_gets_neither() -> None:
    result = compared(*crossed()[1:])
    assert result.components is None
    assert result.verdicts.result is None
    assert "need every combination of the seeds once, which these runs lack" in result.conclusion()
    assert compared(*crossed()).components is not None


def test_replicates_are_no_crossed_design() -> None:
    assert compared(*(run(number, 0.9 + number / 1000) for number in range(8))).components is None
