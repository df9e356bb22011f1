"""The published claims: what counts as reproduced, as luck, as not reproduced."""

import itertools
import json
import math

import numpy as np
import pytest

from mnist_exp.analysis import claims
from mnist_exp.analysis.claim_rules import Check, Difference, Verdict
from mnist_exp.analysis.claims import Answer
from mnist_exp.base.errors import ConfigError
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


def answered(number: int, found: Found, check: int = 0) -> Answer:
    return claims.answer(found)[number - 1].answers[check]


def test_the_six_claims_are_those_of_the_tutorial() -> None:
    checks = [check for _, some in claims.published() for check in some]
    assert len(claims.published()) == 6
    assert {check.model for check in checks} == {f"model_{number}" for number in range(1, 7)}
    assert {check.kind for check in checks} == {"higher", "same", "within", "reaches"}


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (around(0.95), Verdict.REPRODUCED),
        ([*around(0.98), 0.955], Verdict.REPRODUCED),
        (around(0.98), Verdict.EXCEEDED),
        ([0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.95], Verdict.LUCKY),
        ([*around(0.93, 0.012)], Verdict.LUCKY),
        (around(0.85), Verdict.NOT),
        (around(0.95)[:5], Verdict.OPEN),
        ([], Verdict.OPEN),
    ],
    ids=["some", "all but one above", "all above", "one", "the next may", "far below", "five runs", "none"],
)
def test_a_figure_is_reproduced_where_a_quarter_of_the_runs_reach_it(ours: list[float], expected: Verdict) -> None:
    assert answered(5, values(model_6=ours)).verdict == expected


@pytest.mark.parametrize(
    ("lowest", "expected"), [(0.9449, Verdict.LUCKY), (0.945, Verdict.REPRODUCED), (0.9551, Verdict.EXCEEDED)]
)
def test_whole_percents_are_read_as_such(lowest: float, expected: Verdict) -> None:
    assert answered(5, values(model_6=[lowest] * 9 + [0.98])).verdict == expected


def test_the_percentile_is_where_the_published_figure_lies_among_ours() -> None:
    assert [answered(5, values(model_6=around(middle))).percentile for middle in (0.92, 0.95)] == [100, 50]


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        (around(0.88, 0.01), Verdict.REPRODUCED),
        (around(0.84, 0.01), Verdict.NOT),
        ([0.89, 0.83] * 4, Verdict.LUCKY),
        (around(0.86, 0.009), Verdict.NOT),
        ([0.86] * 8, Verdict.NOT),
    ],
    ids=["shown", "the other way", "in single replicates only", "never by as much", "equal"],
)
def test_a_beats_b_if_the_interval_lies_above_zero(better: list[float], expected: Verdict) -> None:
    assert answered(3, values(model_4=better, model_2=[0.86] * 8)).verdict == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (around(0.20, 0.05, 16), Verdict.REPRODUCED),
        (around(0.04, 0.03, 16), Verdict.SMALLER),
        (around(-0.20, 0.05, 16), Verdict.NOT),
        ([0.25, *around(-0.01, 0.09, 15)], Verdict.LUCKY),
        (around(0.0, 0.05, 16), Verdict.NOT),
        ([0.209] * 16, Verdict.REPRODUCED),
        ([0.191] * 16, Verdict.REPRODUCED),
        ([0.211] * 16, Verdict.LARGER),
        ([0.189] * 16, Verdict.SMALLER),
    ],
)
def test_where_the_size_is_part_of_the_claim_the_interval_holds_it(differences: list[float], expected: Verdict) -> None:
    found = values(model_2=apart(differences, 0.4), model_1=[0.4] * 16)
    assert answered(1, found).verdict == expected
    assert claims.answer(found)[0].verdict == expected


def test_47_points_instead_of_20_are_larger_than_claimed() -> None:
    difference = answered(1, values(model_2=apart(around(0.47, 0.28, 16), 0.38), model_1=[0.38] * 16)).difference
    assert difference is not None
    assert [round(each, 2) for each in (difference.low, difference.mean, difference.high)] == [0.37, 0.47, 0.57]
    assert Verdict.LARGER.value == "direction reproduced, size larger than claimed"


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (around(0.0, 0.01), Verdict.REPRODUCED),
        (around(-0.005, 0.004), Verdict.REPRODUCED),
        (around(0.05), Verdict.NOT),
        (around(-0.05), Verdict.NOT),
        ([0.07, -0.07] * 4, Verdict.LUCKY),
        (around(0.012, 0.01), Verdict.LUCKY),
    ],
    ids=["none", "less than a point", "clearly better", "clearly worse", "too wide to tell", "about a point"],
)
def test_no_difference_is_shown_by_an_interval_within_a_point(differences: list[float], expected: Verdict) -> None:
    assert answered(4, values(model_5=apart(differences), model_4=[0.8] * 8)).verdict == expected


def test_no_difference_goes_by_the_90_percent_interval() -> None:
    """Two one-sided tests at 5 %: the 95 % interval may reach out of the margin."""
    for width in np.linspace(0.01, 0.05, 81):
        answer = answered(4, values(model_5=apart(around(0.0, float(width))), model_4=[0.8] * 8))
        assert answer.difference is not None
        if answer.difference.high90 <= 0.01 < answer.difference.high:
            assert (answer.verdict, answer.reason()[:13]) == (Verdict.REPRODUCED, "90 % interval")
            return
    pytest.fail("no width lies between the two intervals")


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([0.004] * 8, Verdict.REPRODUCED),
        ([0.004] * 4 + [0.05] * 4, Verdict.REPRODUCED),
        ([0.004] + [0.05] * 7, Verdict.LUCKY),
        ([0.05] * 8, Verdict.NOT),
        ([0.0005] * 8, Verdict.NOT),
        ([0.004] * 5, Verdict.OPEN),
    ],
)
def test_the_best_rate_lies_in_the_published_range(ours: list[float], expected: Verdict) -> None:
    assert answered(2, rates(ours)).verdict == expected


@pytest.mark.parametrize(("with_rate", "expected"), [(8, Verdict.REPRODUCED), (4, Verdict.LUCKY), (0, Verdict.NOT)])
def test_runs_that_suggest_no_rate_lie_outside_of_the_range(with_rate: int, expected: Verdict) -> None:
    assert claims.answer(rates([0.004] * with_rate), {"model_3": 16})[1].verdict == expected


def test_comparisons_are_judged_together_over_the_replicates_that_all_models_finished() -> None:
    rng = np.random.default_rng(4)
    models = {f"model_{number}": [float(each) for each in rng.normal(0.8, 0.02, 16)] for number in (1, 2, 4, 5)}
    models["model_5"] = models["model_5"][:9]
    answers = [each.answers[0] for each in claims.answer(values(**models)) if each.answers[0].check.than]
    assert [answer.check.model for answer in answers] == ["model_2", "model_4", "model_5"]
    pairs = inference.contrasts(np.array([answer.values for answer in answers]))
    columns = (pairs.difference, pairs.low, pairs.high, pairs.equivalence_low, pairs.equivalence_high, pairs.p)
    for at, answer in enumerate(answers):
        assert len(answer.values) == 9
        assert answer.difference == Difference(9, *(float(column[at]) for column in columns))
        assert answer.spread is not None
        assert (answer.spread.low, answer.spread.high) == (answer.difference.low, answer.difference.high)
        assert not answer.approximate


def test_a_comparison_with_too_few_replicates_is_open_and_keeps_no_other_from_a_verdict() -> None:
    found = values(model_4=around(0.90), model_2=[0.86] * 8, model_5=around(0.9)[:5])
    few, enough = answered(4, found), answered(3, found)
    assert (few.verdict, enough.verdict) == (Verdict.OPEN, Verdict.REPRODUCED)
    assert few.difference is None
    assert few.spread is not None
    assert few.spread.n == 5
    assert math.isnan(few.spread.low)


def test_intervals_of_shares_stay_in_0_to_1_and_are_approximate_below_16() -> None:
    few, many = (answered(5, values(model_6=[1.0] * (count - 1) + [0.8])) for count in (8, 16))
    assert (few.approximate, many.approximate) == (True, False)
    rate = answered(2, rates([0.0001] * 7 + [0.01]))
    assert few.spread is not None
    assert rate.spread is not None
    assert (few.spread.high, rate.spread.low < 0) == (1.0, True)


def holds(check: Check, difference: Difference, verdict: Verdict) -> bool:
    """Whether a verdict agrees with the interval that is shown beside it."""
    low, high = difference.low, difference.high
    if verdict in (Verdict.REPRODUCED, Verdict.LARGER, Verdict.SMALLER) and check.kind == "higher":
        claimed = low <= check.highest and high >= check.lowest
        return low > 0 and (not check.size or claimed == (verdict is Verdict.REPRODUCED))
    if check.kind == "higher":
        return low <= 0 and not (verdict is Verdict.NOT and high >= check.lowest)
    overlaps = low <= check.margin and high >= -check.margin
    within = -check.margin <= difference.low90 and difference.high90 <= check.margin
    return {Verdict.REPRODUCED: within, Verdict.LUCKY: overlaps and not within, Verdict.NOT: not overlaps}[verdict]


def test_no_verdict_contradicts_its_interval() -> None:
    rng, seen = np.random.default_rng(11), set()
    for count, scale, middle in itertools.product((6, 7, 12), (0.005, 0.03, 0.2), (-0.3, -0.02, 0.0, 0.02, 0.2, 0.4)):
        models = {f"model_{number}": rng.normal(0.5, scale, count) for number in (1, 2, 3, 4, 5)}
        models["model_2"] += middle
        models["model_4"] = models["model_2"] + rng.normal(middle / 4, scale, count)
        models["model_5"] = models["model_4"] + rng.normal(middle / 4, scale / 4, count)
        found = values(**{name: [float(each) for each in sample] for name, sample in models.items()})
        for answer in (each for claim in claims.answer(found) for each in claim.answers if each.difference):
            assert answer.difference is not None
            seen.add((answer.check.kind, answer.verdict))
            assert holds(answer.check, answer.difference, answer.verdict), answer
            assert (answer.difference.p <= 0.05) == (answer.difference.low > 0 or answer.difference.high < 0)
    assert {verdict for kind, verdict in seen if kind == "same"} == {Verdict.REPRODUCED, Verdict.LUCKY, Verdict.NOT}
    assert {verdict for kind, verdict in seen if kind == "higher"} == set(Verdict) - {Verdict.EXCEEDED, Verdict.OPEN}


def test_a_claim_of_two_figures_is_as_good_as_the_worse() -> None:
    recalls = {
        f"test/recall_{digit}": {"model_6": dict.fromkeys(REPLICATES, share)} for digit, share in ((0, 0.97), (7, 0.8))
    }
    assert [each.verdict for each in claims.answer(recalls)[5].answers] == [Verdict.REPRODUCED, Verdict.NOT]
    assert claims.answer(recalls)[5].verdict == Verdict.NOT


def test_a_claims_background_does_not_decide_it() -> None:
    found = values(model_2=around(0.70), model_1=[0.5] * 8)
    assert [answered(1, found, check).verdict for check in range(3)] == [Verdict.REPRODUCED, Verdict.NOT, Verdict.NOT]
    assert claims.answer(found)[0].verdict == Verdict.REPRODUCED


def test_page_and_terminal_show_what_a_verdict_follows_from(capsys: pytest.CaptureFixture[str]) -> None:
    from mnist_exp.reports import reproduction
    from mnist_exp.statistics.conclusion import promise
    from mnist_exp.terminal import tables

    found = values(model_2=around(0.90), model_1=[0.4] * 8) | rates([0.004] * 8)
    answers = claims.answer(found)
    page = reproduction.html(answers, [], 24, ["mnist"])
    assert promise(0.05) in page
    assert {verdict.style for verdict in Verdict} == {"reproduced", "lucky", "not", "open"}
    assert (
        '<span class="verdict lucky" style="white-space: normal">direction reproduced, size larger than claimed' in page
    )
    tables.verdicts(answers, ["a caveat"])
    shown = capsys.readouterr().out
    for each in (answers[0].answers[0], answers[1].answers[0]):
        assert each.reason() in page
        assert each.reason() in " ".join(shown.split())
    assert "~ approximate: fewer than 16 replicates." in shown
    assert "seed" not in page[page.index('<section id="verdicts">') : page.index('<section class="note">')]


def test_values_are_keyed_by_replicate_or_else_by_seed_and_kept_as_json() -> None:
    from mnist_exp.commands import reproduce
    from mnist_exp.tracking.mlflow.records import Record

    def run(status: str, **params: str) -> Record:
        return Record("id", "0", "name", status, {"experiment": "model_6", **params}, {"accuracy": 0.9}, {})

    runs = [run("FINISHED", replicate="3", seed="99"), run("FINISHED", seed="17"), run("FAILED", replicate="4")]
    assert reproduce.values(runs) == {"accuracy": {"model_6": {"3": 0.9, "17": 0.9}}}
    plain = json.dumps(reproduce._plain(claims.answer(reproduce.values(runs)), []), allow_nan=False)
    assert json.loads(plain)["claims"][4]["checks"][0]["spread"]["mean"] == 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicates", "0"], "--replicates must be at least 1. Received: 0"),
        (["--seeds", "0"], "--replicates must be at least 1. Received: 0"),
        (["optimizer.lr=0.1,0.01"], "reproduce runs each model once per replicate"),
        (["replicate=range(3)"], "reproduce runs each model once per replicate"),
        (["seed=3", "training.order_seed=3"], "Received: seed=3 training.order_seed=3"),
        (["+data.split_seed=3"], "Received: +data.split_seed=3"),
        (["experiment=model_2"], "Received: experiment=model_2"),
    ],
)
def test_what_makes_no_reproduction_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mnist_exp.commands import cli

    assert cli.main(["reproduce", *arguments]) == ConfigError.exit_code
    assert message in " ".join(capsys.readouterr().err.split())
