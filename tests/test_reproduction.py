"""The published claims: what counts as reproduced, as luck, as not reproduced."""

import pytest

from mnist_exp.errors import ConfigError
from mnist_exp.reproduction import claims
from mnist_exp.reproduction.claims import Verdict

SEEDS = [str(seed) for seed in range(8)]


def values(**models: list[float]) -> dict[str, dict[str, dict[str, float]]]:
    """Training accuracies of each model, one a seed; nothing else was measured."""
    return {"accuracy": {name: dict(zip(SEEDS, numbers, strict=False)) for name, numbers in models.items()}}


def around(middle: float, width: float = 0.02) -> list[float]:
    return [middle + width * (step - 3.5) / 3.5 for step in range(8)]


def verdict(number: int, found: dict[str, dict[str, dict[str, float]]], check: int = 0) -> Verdict:
    return claims.answer(found)[number - 1].answers[check].verdict


def test_the_six_claims_are_those_of_the_tutorial() -> None:
    said = claims.published()
    assert len(said) == 6
    models = {check.model for _, checks in said for check in checks}
    assert models == {f"model_{number}" for number in range(1, 7)}
    assert {check.kind for _, checks in said for check in checks} == {"higher", "same", "within", "reaches"}


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (around(0.95), Verdict.REPRODUCED),
        ([0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.95], Verdict.LUCKY),
        ([*around(0.93, 0.012)], Verdict.LUCKY),
        (around(0.85), Verdict.NOT),
        ([0.95], Verdict.OPEN),
        ([], Verdict.OPEN),
    ],
    ids=["most reach it", "one reaches it", "the next one may", "far below", "one seed", "none finished"],
)
def test_a_figure_is_reproduced_where_a_quarter_of_the_runs_reach_it(ours: list[float], expected: Verdict) -> None:
    assert verdict(5, values(model_6=ours)) == expected


def test_whole_percents_are_read_as_such() -> None:
    assert verdict(5, values(model_6=[0.9451] * 4 + [0.9455] * 4)) == Verdict.REPRODUCED


def test_the_percentile_is_where_the_published_figure_lies_among_ours() -> None:
    answer = claims.answer(values(model_6=around(0.92)))[4].answers[0]
    assert answer.percentile == 100
    assert claims.answer(values(model_6=around(0.95)))[4].answers[0].percentile == 50


@pytest.mark.parametrize(
    ("better", "expected"),
    [(around(0.88), Verdict.REPRODUCED), (around(0.84), Verdict.NOT), ([0.89, 0.83] * 4, Verdict.LUCKY)],
    ids=["shown", "the other way", "in single seeds only"],
)
def test_a_beats_b_by_the_paired_test(better: list[float], expected: Verdict) -> None:
    assert verdict(3, values(model_4=better, model_2=around(0.86))) == expected


@pytest.mark.parametrize(
    ("normalised", "expected"),
    [(around(0.86), Verdict.REPRODUCED), (around(0.70), Verdict.NOT), ([0.86, *around(0.70)[1:]], Verdict.LUCKY)],
    ids=["by 20 points", "by 4 points, each of them", "by 20 points once"],
)
def test_where_the_size_is_part_of_the_claim_it_counts(normalised: list[float], expected: Verdict) -> None:
    assert verdict(1, values(model_2=normalised, model_1=around(0.66))) == expected


def test_runs_that_suggest_no_rate_lie_outside_of_the_range() -> None:
    found = {"range_test/lowest_rate": {"model_3": dict.fromkeys(SEEDS[:4], 0.004)}}
    assert claims.answer(found, {"model_3": 8})[1].verdict == Verdict.REPRODUCED
    assert claims.answer(found, {"model_3": 16})[1].verdict == Verdict.LUCKY


@pytest.mark.parametrize(
    ("longer", "expected"),
    [
        (around(0.88, 0.021), Verdict.REPRODUCED),
        (around(0.93), Verdict.NOT),
        ([0.95, 0.81] * 4, Verdict.LUCKY),
    ],
    ids=["within a point", "clearly better", "too wide to tell"],
)
def test_no_difference_is_shown_by_an_interval_within_a_point(longer: list[float], expected: Verdict) -> None:
    assert verdict(4, values(model_5=longer, model_4=around(0.88))) == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [([0.004] * 8, Verdict.REPRODUCED), ([0.004] + [0.05] * 7, Verdict.LUCKY), ([0.05] * 8, Verdict.NOT)],
)
def test_the_best_rate_lies_in_the_published_range(rates: list[float], expected: Verdict) -> None:
    found = {"range_test/lowest_rate": {"model_3": dict(zip(SEEDS, rates, strict=True))}}
    assert verdict(2, found) == expected


def test_only_seeds_that_both_models_finished_make_pairs() -> None:
    answer = claims.answer(values(model_4=around(0.88)[:5], model_2=around(0.86)))[2].answers[0]
    assert len(answer.values) == 5


def test_a_claim_of_two_figures_is_as_good_as_the_worse() -> None:
    recalls = {
        f"test/recall_{digit}": {"model_6": dict.fromkeys(SEEDS, share)} for digit, share in ((0, 0.97), (7, 0.8))
    }
    assert [each.verdict for each in claims.answer(recalls)[5].answers] == [Verdict.REPRODUCED, Verdict.NOT]
    assert claims.answer(recalls)[5].verdict == Verdict.NOT


def test_a_claims_background_does_not_decide_it() -> None:
    found = values(model_2=around(0.99), model_1=around(0.5))
    assert [each.verdict for each in claims.answer(found)[0].answers] == [
        Verdict.REPRODUCED,
        Verdict.NOT,
        Verdict.REPRODUCED,
    ]
    assert claims.answer(found)[0].verdict == Verdict.REPRODUCED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1. Received: 0"),
        (["optimizer.lr=0.1,0.01"], "reproduce runs each model once per seed"),
        (["seed=range(3)"], "reproduce runs each model once per seed"),
        (["experiment=model_2"], "Received: experiment=model_2"),
    ],
)
def test_what_makes_no_reproduction_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mnist_exp import cli

    assert cli.main(["reproduce", *arguments]) == ConfigError.exit_code
    assert message in " ".join(capsys.readouterr().err.split())
