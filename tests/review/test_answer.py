"""The answer to a sweep's question: which setting is better and by how much, or what would tell."""

import math
import re

import pytest
from some_runs import compared, run, runs

from mnist_exp.review.answer import Kind, answer_of, decided_keys


def test_one_setting_is_better_by_so_much() -> None:
    answer = answer_of(compared(*runs(0.8, model__units=4), *runs(0.87, model__units=10, uneven=0.001)))
    assert answer.kind is Kind.DECIDED
    assert answer.short == "model.units=10 +0.0700"
    assert re.fullmatch(
        r"model.units=10 is better: \+0.0700 \(\+0.06\d\d to \+0.07\d\d\), 8 replicates, p 0.008", answer.text
    )
    assert answer.sentences[1:] == ("against model.units=4, the best of the others",)
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low < 0.07 < answer.high
    assert answer.difference == pytest.approx(0.07)
    assert (answer.replicates, answer.more) == (8, None)


def test_a_difference_is_that_to_the_best_of_the_others() -> None:
    widths = {2: 0.7, 4: 0.8, 10: 0.87}
    result = compared(*(each for units, mean in widths.items() for each in runs(mean, model__units=units)))
    assert answer_of(result).difference == pytest.approx(0.07)
    assert answer_of(result).sentences[1] == "against model.units=4, the best of the others"


def test_what_all_of_the_best_have_in_common_is_decided_though_they_are_not() -> None:
    result = compared(
        *runs(0.87, model__units=10, optimizer__lr=0.001),
        *runs(0.8701, model__units=10, optimizer__lr=0.01, uneven=0.004),
        *runs(0.8, model__units=4, optimizer__lr=0.001),
        *runs(0.8, model__units=4, optimizer__lr=0.01, uneven=0.002),
    )
    answer = answer_of(result)
    assert decided_keys(result) == ["model.units"]
    assert (answer.kind, answer.short.split()[0]) == (Kind.DECIDED, "model.units=10")
    assert answer.more is not None
    assert (
        answer.sentences[2]
        == f"undecided between optimizer.lr=0.01 and 0.001: {answer.more} fresh replicates would tell"
    )


def test_one_best_configuration_of_a_grid_says_what_each_of_its_keys_gives() -> None:
    """Who asks for the width must not get the small gain over the same width at another rate."""
    means = {(10, 0.01): 0.88, (10, 0.001): 0.87, (4, 0.01): 0.81, (4, 0.001): 0.8}
    result = compared(
        *(each for (units, lr), mean in means.items() for each in runs(mean, model__units=units, optimizer__lr=lr))
    )
    answer = answer_of(result)
    assert answer.kind is Kind.DECIDED
    assert answer.difference == pytest.approx(0.01)
    assert [re.sub(r" \(.*?\)", "", each) for each in answer.sentences[1:]] == [
        "model.units=10: +0.0700 over model.units=4 optimizer.lr=0.01",
        "optimizer.lr=0.01: +0.0100 over model.units=10 optimizer.lr=0.001",
    ]


def test_what_makes_no_difference_that_matters_does_not_hide_what_does() -> None:
    means = {(10, 0.01): 0.875, (10, 0.001): 0.87, (4, 0.01): 0.81}
    rows = (each for (units, lr), mean in means.items() for each in runs(mean, model__units=units, optimizer__lr=lr))
    answer = answer_of(compared(*rows, worth=0.02))
    assert (answer.kind, answer.short) == (Kind.DECIDED, "model.units=10 +0.0650")
    assert answer.sentences[1:] == (
        "against model.units=4 optimizer.lr=0.01, the best of the others",
        "no difference worth 0.02 between optimizer.lr=0.01 and 0.001",
    )


def test_a_difference_that_does_not_matter_is_none() -> None:
    answer = answer_of(compared(*runs(0.87, model__units=4), *runs(0.871, model__units=10, uneven=0.002), worth=0.02))
    assert (answer.kind, answer.short) == (Kind.EQUIVALENT, "no difference")
    assert answer.text == "no difference worth 0.02 between model.units=10 and 4, 8 replicates"


def test_a_difference_that_is_certain_and_does_not_matter_is_shown_with_its_size() -> None:
    answer = answer_of(compared(*runs(0.87, model__units=4), *runs(0.875, model__units=10, uneven=0.0001), worth=0.02))
    assert answer.kind is Kind.EQUIVALENT
    assert answer.text.startswith("no difference worth 0.02: model.units=10 by +0.0050 (+0.004")


def test_a_difference_that_does_not_matter_hides_no_worse_setting() -> None:
    answer = answer_of(
        compared(
            *runs(0.87, model__units=4),
            *runs(0.875, model__units=10, uneven=0.0001),
            *runs(0.7, model__units=2),
            worth=0.02,
        )
    )
    assert answer.kind is Kind.EQUIVALENT
    assert answer.sentences[1:] == (
        "against model.units=4, the best of the others",
        "1 of 3 configurations are worse than that",
    )


def test_what_is_undecided_says_how_many_replicates_would_tell() -> None:
    answer = answer_of(compared(*runs(0.87, model__units=4), *runs(0.871, model__units=10, uneven=0.003)))
    assert answer.kind is Kind.UNDECIDED
    assert answer.text == "undecided between model.units=10 and 4, 8 replicates"
    assert answer.more is not None
    assert answer.more > 8
    assert answer.short == f"{answer.more} more"
    assert answer.sentences[1] == f"{answer.more} fresh replicates would tell, most probably"


def test_too_few_replicates_give_no_answer() -> None:
    answer = answer_of(compared(*runs(0.8, range(4), model__units=4), *runs(0.87, range(4), model__units=10)))
    assert (answer.kind, answer.short, answer.more) == (Kind.UNDECIDED, "2 more", 2)
    assert answer.text == "too few replicates: 4 of at least 6"


def test_enough_replicates_of_one_configuration_alone_are_too_few() -> None:
    answer = answer_of(compared(*runs(0.8, range(8), model__units=4), *runs(0.87, range(2), model__units=10)))
    assert (answer.kind, answer.short, answer.more) == (Kind.UNDECIDED, "4 more", 4)
    assert answer.text == "too few replicates: 2 of at least 6"


def test_a_configuration_that_failed_altogether_leaves_nothing_to_compare() -> None:
    answer = answer_of(compared(*runs(0.8, model__units=4), *(run(each, None, model__units=10) for each in range(8))))
    assert answer.kind is Kind.FAILED
    assert answer.text == "failed: one of 2 configurations has a result"


def test_one_configuration_leaves_nothing_to_compare() -> None:
    answer = answer_of(compared(*runs(0.8, model__units=4)))
    assert (answer.kind, answer.short) == (Kind.FAILED, "one configuration")


def test_without_a_finished_run_it_failed() -> None:
    answer = answer_of(compared(*(run(each, None, model__units=4) for each in range(8))))
    assert (answer.kind, answer.text) == (Kind.FAILED, "failed: no run finished")


def test_what_could_not_be_compared_says_why() -> None:
    assert answer_of(None, "there are no runs to compare").text == "failed: there are no runs to compare"


def test_runs_that_share_seeds_give_no_verdict() -> None:
    crossed = [
        run(number, 0.8 + 0.01 * (units == 10) + number / 1000, model__units=units, seed=number % 3)
        for units in (4, 10)
        for number in range(9)
    ]
    answer = answer_of(compared(*crossed))
    assert (answer.kind, answer.short) == (Kind.UNDECIDED, "no verdict")
    assert "share seeds" in answer.text


def test_a_difference_without_any_noise_is_decided() -> None:
    """Its interval has no width, or none is known: neither is an error."""
    same = [run(number, 0.8, model__units=4) for number in range(8)]
    better = [run(number, 0.9, model__units=10) for number in range(8)]
    answer = answer_of(compared(*same, *better))
    assert answer.kind is Kind.DECIDED
    assert answer.text.startswith("model.units=10 is better: +0.1000")
    assert "nan" not in " ".join(answer.sentences)


def test_many_settings_that_are_alike_are_counted_not_listed() -> None:
    alike = [each for units in range(2, 9) for each in runs(0.87, model__units=units, uneven=units / 1000)]
    answer = answer_of(compared(*alike))
    assert answer.text == "undecided between 7 settings, 8 replicates"


def test_an_answer_has_numbers_only_where_they_are_known() -> None:
    answer = answer_of(compared(*runs(0.8, range(4), model__units=4), *runs(0.87, range(4), model__units=10)))
    assert (answer.difference, answer.low, answer.high, answer.p) == (None, None, None, None)
    decided = answer_of(compared(*runs(0.8, model__units=4), *runs(0.87, model__units=10, uneven=0.001)))
    assert all(math.isfinite(each) for each in (decided.low or 0, decided.high or 0, decided.p or 0))
