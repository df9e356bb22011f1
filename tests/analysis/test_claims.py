"""The published claims: what counts as reproduced, as luck, as not reproduced."""

import itertools
import math

import numpy as np
import pytest

from mnist_exp.analysis import claims
from mnist_exp.analysis.claims import Check, CheckResult, ClaimVerdict, Difference
from mnist_exp.statistics import inference

REPLICATES = [str(number) for number in range(16)]
Found = dict[str, dict[str, dict[str, float]]]


def values(**models: list[float]) -> Found:
    """Training accuracies of each model, one a replicate; nothing else was measured."""
    return {"accuracy": {name: dict(zip(REPLICATES, numbers, strict=False)) for name, numbers in models.items()}}


def rates(numbers: list[float]) -> Found:
    return {"range_test/lowest_rate": {"model_3": dict(zip(REPLICATES, numbers, strict=False))}}


def around(middle: float, width: float = 0.02, count: int = 8) -> list[float]:
    """``count`` values, evenly within ``middle`` plus and minus ``width``."""
    return [float(each) for each in np.linspace(middle - width, middle + width, count)]


def apart(differences: list[float], middle: float = 0.8) -> list[float]:
    return [middle + each for each in differences]


def result_of(number: int, found: Found, check: int = 0) -> CheckResult:
    return claims.judge_claims(found)[number - 1].checks[check]


def test_the_six_claims_are_those_of_the_tutorial() -> None:
    checks = [check for _, some in claims.published() for check in some]
    assert len(claims.published()) == 6
    assert {check.model for check in checks} == {f"model_{number}" for number in range(1, 7)}
    assert {check.kind for check in checks} == {"higher", "same", "within", "reaches"}


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (around(0.95), ClaimVerdict.REPRODUCED),
        ([*around(0.98), 0.955], ClaimVerdict.REPRODUCED),
        (around(0.98), ClaimVerdict.EXCEEDED),
        ([0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.95], ClaimVerdict.LUCKY),
        ([*around(0.93, 0.012)], ClaimVerdict.LUCKY),
        (around(0.85), ClaimVerdict.NOT),
        (around(0.95)[:5], ClaimVerdict.OPEN),
        ([], ClaimVerdict.OPEN),
    ],
    ids=["some", "all but one above", "all above", "one", "the next may", "far below", "five runs", "none"],
)
def test_a_figure_is_reproduced_if_a_quarter_of_the_runs_reach_it(ours: list[float], expected: ClaimVerdict) -> None:
    assert result_of(5, values(model_6=ours)).verdict == expected


@pytest.mark.parametrize(
    ("lowest", "expected"),
    [(0.9449, ClaimVerdict.LUCKY), (0.945, ClaimVerdict.REPRODUCED), (0.9551, ClaimVerdict.EXCEEDED)],
)
def test_published_figures_are_rounded_to_whole_percents(lowest: float, expected: ClaimVerdict) -> None:
    assert result_of(5, values(model_6=[lowest] * 9 + [0.98])).verdict == expected


def test_the_percentile_is_that_of_the_published_figure_among_ours() -> None:
    assert [result_of(5, values(model_6=around(middle))).percentile for middle in (0.92, 0.95)] == [100, 50]


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        (around(0.88, 0.01), ClaimVerdict.REPRODUCED),
        (around(0.84, 0.01), ClaimVerdict.NOT),
        ([0.89, 0.83] * 4, ClaimVerdict.LUCKY),
        (around(0.86, 0.009), ClaimVerdict.NOT),
        ([0.86] * 8, ClaimVerdict.NOT),
    ],
    ids=["shown", "the other way", "in single replicates only", "never by as much", "equal"],
)
def test_a_beats_b_if_the_interval_lies_above_zero(better: list[float], expected: ClaimVerdict) -> None:
    assert result_of(3, values(model_4=better, model_2=[0.86] * 8)).verdict == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (around(0.20, 0.05, 16), ClaimVerdict.REPRODUCED),
        (around(0.04, 0.03, 16), ClaimVerdict.SMALLER),
        (around(-0.20, 0.05, 16), ClaimVerdict.NOT),
        ([0.25, *around(-0.01, 0.09, 15)], ClaimVerdict.LUCKY),
        (around(0.0, 0.05, 16), ClaimVerdict.NOT),
        ([0.209] * 16, ClaimVerdict.REPRODUCED),
        ([0.191] * 16, ClaimVerdict.REPRODUCED),
        ([0.211] * 16, ClaimVerdict.LARGER),
        ([0.189] * 16, ClaimVerdict.SMALLER),
    ],
)
def test_the_interval_contains_the_size_if_that_is_part_of_the_claim(
    differences: list[float], expected: ClaimVerdict
) -> None:
    found = values(model_2=apart(differences, 0.4), model_1=[0.4] * 16)
    assert result_of(1, found).verdict == expected
    assert claims.judge_claims(found)[0].verdict == expected


def test_47_points_instead_of_20_are_larger_than_claimed() -> None:
    difference = result_of(1, values(model_2=apart(around(0.47, 0.28, 16), 0.38), model_1=[0.38] * 16)).difference
    assert difference is not None
    assert [round(each, 2) for each in (difference.low, difference.mean, difference.high)] == [0.37, 0.47, 0.57]
    assert ClaimVerdict.LARGER.value == "direction reproduced, size larger than claimed"


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (around(0.0, 0.01), ClaimVerdict.REPRODUCED),
        (around(-0.005, 0.004), ClaimVerdict.REPRODUCED),
        (around(0.05), ClaimVerdict.NOT),
        (around(-0.05), ClaimVerdict.NOT),
        ([0.07, -0.07] * 4, ClaimVerdict.LUCKY),
        (around(0.012, 0.01), ClaimVerdict.LUCKY),
    ],
    ids=["none", "less than a point", "clearly better", "clearly worse", "too wide to tell", "about a point"],
)
def test_no_difference_is_shown_by_an_interval_within_a_point(differences: list[float], expected: ClaimVerdict) -> None:
    assert result_of(4, values(model_5=apart(differences), model_4=[0.8] * 8)).verdict == expected


def test_no_difference_is_decided_by_the_90_percent_interval() -> None:
    """Two one-sided tests at 5 %: the 95 % interval may reach out of the margin."""
    for width in np.linspace(0.01, 0.05, 81):
        result = result_of(4, values(model_5=apart(around(0.0, float(width))), model_4=[0.8] * 8))
        assert result.difference is not None
        if result.difference.high90 <= 0.01 < result.difference.high:
            assert (result.verdict, result.reason()[:13]) == (ClaimVerdict.REPRODUCED, "90 % interval")
            return
    pytest.fail("no width lies between the two intervals")


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([0.004] * 8, ClaimVerdict.REPRODUCED),
        ([0.004] * 4 + [0.05] * 4, ClaimVerdict.REPRODUCED),
        ([0.004] + [0.05] * 7, ClaimVerdict.LUCKY),
        ([0.05] * 8, ClaimVerdict.NOT),
        ([0.0005] * 8, ClaimVerdict.NOT),
        ([0.004] * 5, ClaimVerdict.OPEN),
    ],
)
def test_the_best_rate_lies_in_the_published_range(ours: list[float], expected: ClaimVerdict) -> None:
    assert result_of(2, rates(ours)).verdict == expected


@pytest.mark.parametrize(
    ("with_rate", "expected"), [(8, ClaimVerdict.REPRODUCED), (4, ClaimVerdict.LUCKY), (0, ClaimVerdict.NOT)]
)
def test_runs_that_suggest_no_rate_lie_outside_of_the_range(with_rate: int, expected: ClaimVerdict) -> None:
    assert claims.judge_claims(rates([0.004] * with_rate), {"model_3": 16})[1].verdict == expected


def test_comparisons_are_judged_together_over_the_replicates_that_all_models_finished() -> None:
    rng = np.random.default_rng(4)
    models = {f"model_{number}": [float(each) for each in rng.normal(0.8, 0.02, 16)] for number in (1, 2, 4, 5)}
    models["model_5"] = models["model_5"][:9]
    results = [each.checks[0] for each in claims.judge_claims(values(**models)) if each.checks[0].check.than]
    assert [result.check.model for result in results] == ["model_2", "model_4", "model_5"]
    pairs = inference.contrasts(np.array([result.values for result in results]))
    columns = (pairs.difference, pairs.low, pairs.high, pairs.equivalence_low, pairs.equivalence_high, pairs.p)
    for at, result in enumerate(results):
        assert len(result.values) == 9
        assert result.difference == Difference(9, *(float(column[at]) for column in columns))
        assert result.spread is not None
        assert (result.spread.low, result.spread.high) == (result.difference.low, result.difference.high)
        assert not result.approximate


def test_a_comparison_with_too_few_replicates_is_open_and_the_rest_is_judged() -> None:
    found = values(model_4=around(0.90), model_2=[0.86] * 8, model_5=around(0.9)[:5])
    few, enough = result_of(4, found), result_of(3, found)
    assert (few.verdict, enough.verdict) == (ClaimVerdict.OPEN, ClaimVerdict.REPRODUCED)
    assert few.difference is None
    assert few.spread is not None
    assert few.spread.n == 5
    assert math.isnan(few.spread.low)


def test_intervals_of_shares_stay_in_0_to_1_and_are_approximate_below_16() -> None:
    few, many = (result_of(5, values(model_6=[1.0] * (count - 1) + [0.8])) for count in (8, 16))
    assert (few.approximate, many.approximate) == (True, False)
    rate = result_of(2, rates([0.0001] * 7 + [0.01]))
    assert few.spread is not None
    assert rate.spread is not None
    assert (few.spread.high, rate.spread.low < 0) == (1.0, True)


def agrees(check: Check, difference: Difference, verdict: ClaimVerdict) -> bool:
    """Whether a verdict agrees with the interval that is shown beside it."""
    low, high = difference.low, difference.high
    if verdict in (ClaimVerdict.REPRODUCED, ClaimVerdict.LARGER, ClaimVerdict.SMALLER) and check.kind == "higher":
        claimed = low <= check.highest and high >= check.lowest
        return low > 0 and (not check.size or claimed == (verdict is ClaimVerdict.REPRODUCED))
    if check.kind == "higher":
        return low <= 0 and not (verdict is ClaimVerdict.NOT and high >= check.lowest)
    overlaps = low <= check.margin and high >= -check.margin
    within = -check.margin <= difference.low90 and difference.high90 <= check.margin
    return {
        ClaimVerdict.REPRODUCED: within,
        ClaimVerdict.LUCKY: overlaps and not within,
        ClaimVerdict.NOT: not overlaps,
    }[verdict]


def test_no_verdict_contradicts_its_interval() -> None:
    rng, seen = np.random.default_rng(11), set()
    for count, scale, middle in itertools.product((6, 7, 12), (0.005, 0.03, 0.2), (-0.3, -0.02, 0.0, 0.02, 0.2, 0.4)):
        models = {f"model_{number}": rng.normal(0.5, scale, count) for number in (1, 2, 3, 4, 5)}
        models["model_2"] += middle
        models["model_4"] = models["model_2"] + rng.normal(middle / 4, scale, count)
        models["model_5"] = models["model_4"] + rng.normal(middle / 4, scale / 4, count)
        found = values(**{name: [float(each) for each in sample] for name, sample in models.items()})
        for result in (each for claim in claims.judge_claims(found) for each in claim.checks if each.difference):
            assert result.difference is not None
            seen.add((result.check.kind, result.verdict))
            assert agrees(result.check, result.difference, result.verdict), result
            assert (result.difference.p <= 0.05) == (result.difference.low > 0 or result.difference.high < 0)
    assert {verdict for kind, verdict in seen if kind == "same"} == {
        ClaimVerdict.REPRODUCED,
        ClaimVerdict.LUCKY,
        ClaimVerdict.NOT,
    }
    assert {verdict for kind, verdict in seen if kind == "higher"} == set(ClaimVerdict) - {
        ClaimVerdict.EXCEEDED,
        ClaimVerdict.OPEN,
    }


def test_a_claim_with_two_figures_has_the_worse_verdict() -> None:
    recalls = {
        f"test/recall_{digit}": {"model_6": dict.fromkeys(REPLICATES, share)} for digit, share in ((0, 0.97), (7, 0.8))
    }
    assert [each.verdict for each in claims.judge_claims(recalls)[5].checks] == [
        ClaimVerdict.REPRODUCED,
        ClaimVerdict.NOT,
    ]
    assert claims.judge_claims(recalls)[5].verdict == ClaimVerdict.NOT


def test_a_claims_background_does_not_decide_it() -> None:
    found = values(model_2=around(0.70), model_1=[0.5] * 8)
    assert [result_of(1, found, check).verdict for check in range(3)] == [
        ClaimVerdict.REPRODUCED,
        ClaimVerdict.NOT,
        ClaimVerdict.NOT,
    ]
    assert claims.judge_claims(found)[0].verdict == ClaimVerdict.REPRODUCED


def test_page_and_terminal_show_what_a_verdict_follows_from(capsys: pytest.CaptureFixture[str]) -> None:
    from mnist_exp.reports import reproduction
    from mnist_exp.statistics.conclusion import promise
    from mnist_exp.terminal import tables

    found = values(model_2=around(0.90), model_1=[0.4] * 8) | rates([0.004] * 8)
    results = claims.judge_claims(found)
    page = reproduction.html(results, [], 24, ["mnist"])
    assert promise(0.05) in page
    assert {verdict.style for verdict in ClaimVerdict} == {"reproduced", "lucky", "not", "open"}
    assert (
        '<span class="verdict lucky" style="white-space: normal">direction reproduced, size larger than claimed' in page
    )
    tables.claims(results, ["a caveat"])
    shown = capsys.readouterr().out
    for each in (results[0].checks[0], results[1].checks[0]):
        assert each.reason() in page
        assert each.reason() in " ".join(shown.split())
    assert "~ approximate: fewer than 16 replicates." in shown
    assert "seed" not in page[page.index('<section id="verdicts">') : page.index('<section class="note">')]
