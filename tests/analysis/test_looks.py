"""Sweeps that may be extended: judged at planned numbers of replicates, at 5 % over all looks."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from some_runs import compared, runs

from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.analysis.looks import LEVEL, SCHEDULE, Looks, sequential_verdicts
from mnist_exp.statistics.inference import min_replicates
from mnist_exp.tracking.protocols import Record


def four(numbers: Iterable[int] = range(8), sweep: str = "a") -> list[Record]:
    return runs(0.9, numbers, model__units=4, sweep=sweep)


def like_four(numbers: Iterable[int] = range(8), sweep: str = "a") -> list[Record]:
    return runs(0.9005, numbers, model__units=10, uneven=0.002, sweep=sweep)


def far_worse(numbers: Iterable[int] = range(8), sweep: str = "a") -> list[Record]:
    return runs(0.8, numbers, model__units=16, uneven=0.001, sweep=sweep)


def looked(*records: Record, planned: Sequence[str] = ("a", "b"), worth: float | None = None) -> Comparison:
    """Runs of sweeps that were planned as one."""
    return compared(*records, planned=planned, worth=worth)


def row_of(result: Comparison, units: int) -> Row:
    (found,) = [row for row in result.rows if row.params["model.units"] == str(units)]
    return found


def looks_of(result: Comparison) -> Looks:
    assert result.looks is not None
    return result.looks


def taken(result: Comparison) -> list[int]:
    return [look.n for look in looks_of(result).taken]


def test_the_looks_share_five_percent() -> None:
    assert LEVEL * len(SCHEDULE) == pytest.approx(0.05)
    assert min_replicates(LEVEL) == SCHEDULE[0] == 8, "the first look can show a difference"
    assert looked(*four(), *like_four()).verdicts.level == 0.01


def test_before_the_first_look_there_is_no_verdict() -> None:
    result = looked(*four(range(5)), *far_worse(range(5)))
    assert taken(result) == []
    assert looks_of(result).next_n == 8
    assert "No verdict: 5 of at least 8 replicates" in result.conclusion()
    assert "The next look is at 8 replicates." in result.conclusion()
    assert [row.best_set_in_words() for row in result.rows] == ["not judged"] * 2


@pytest.mark.parametrize("count", [8, 9, 11])
def test_replicates_between_two_looks_wait_for_the_next(count: int) -> None:
    result, at_eight = looked(*four(range(count)), *like_four(range(count))), looked(*four(), *like_four())
    assert taken(result) == [8]
    assert (looks_of(result).next_n, looks_of(result).pending) == (12, count - 8)
    assert [row.spread.n for row in result.rows if row.spread] == [8, 8]
    assert result.rows[1].against_first == at_eight.rows[1].against_first
    assert [len(row.finished) for row in result.rows] == [count, count]


def test_a_configuration_ruled_out_keeps_that_verdict_without_more_runs() -> None:
    at_eight = looked(*four(), *like_four(), *far_worse())
    at_twelve = looked(*four(range(12)), *like_four(range(12)), *far_worse())
    assert taken(at_twelve) == [8, 12]
    assert [look.ruled_out for look in looks_of(at_twelve).taken] == [("model.units=16",), ()]
    assert looks_of(at_twelve).taken[1].compared == ("model.units=10", "model.units=4")
    before, after = (row_of(result, 16).against_first for result in (at_eight, at_twelve))
    assert before is not None
    assert after is not None
    assert (after.words(), after.interval()) == (before.words(), before.interval())
    assert after.verdict == "worse"
    assert [row_of(at_twelve, units).in_best_set for units in (4, 10, 16)] == [True, True, False]
    assert [row.spread.n for row in at_twelve.rows if row.spread] == [12, 12, 8]
    assert "Ruled out with 8 replicates: model.units=16." in at_twelve.conclusion()


def test_a_configuration_ruled_out_keeps_that_verdict_whatever_its_later_runs_reach() -> None:
    recovered = [*far_worse(), *runs(0.99, range(8, 12), model__units=16, sweep="a")]
    result = looked(*four(range(12)), *like_four(range(12)), *recovered)
    assert not row_of(result, 16).in_best_set
    spread = row_of(result, 16).spread
    assert spread is not None
    assert spread.max < 0.9


def test_a_configuration_with_too_few_replicates_at_one_look_is_judged_at_the_next() -> None:
    at_eight = looked(*four(), *like_four(), *far_worse(range(6)))
    assert looks_of(at_eight).taken[0].compared == ("model.units=10", "model.units=4")
    assert row_of(at_eight, 16).best_set_in_words() == "not judged"
    at_twelve = looked(*four(range(12)), *like_four(range(12)), *far_worse([*range(6), *range(8, 12)]))
    assert looks_of(at_twelve).taken[1].ruled_out == ("model.units=16",)


def test_a_pair_that_no_look_judged_has_no_verdict() -> None:
    """16 was ruled out at a look in which 10 had too few replicates to take part; both have eight of them now."""
    result = looked(*four(range(12)), *far_worse(), *like_four([*range(6), *range(8, 12)]))
    names = dict(zip(result.verdicts.configs, result.verdicts.names, strict=True))
    pairs = result.verdicts.pairs
    unjudged = pairs[pairs["p"].isna()]
    assert [{names[pair.a], names[pair.b]} for pair in unjudged.itertuples()] == [{"model.units=10", "model.units=16"}]
    assert unjudged["verdict"].tolist() == ["no verdict"]
    assert "All 3 pairs" not in result.conclusion()


def test_a_sweep_with_one_configuration_left_is_decided() -> None:
    result = looked(*four(), *far_worse())
    assert looks_of(result).next_n is None
    assert "look is" not in result.conclusion()
    assert result.conclusion().startswith("model.units=4 is best: the other is ruled out.")


def test_a_sweep_whose_best_configurations_are_equivalent_is_decided() -> None:
    result = looked(*four(), *like_four(), worth=0.1)
    assert "Equivalent to model.units=10, within 0.1: model.units=4." in result.conclusion()
    assert looks_of(result).next_n is None


def test_after_the_last_look_only_a_fresh_sweep_can_decide() -> None:
    for count in (32, 40):
        result = looked(*four(range(count)), *like_four(range(count)))
        assert taken(result) == list(SCHEDULE)
        assert looks_of(result).next_n is None
        assert "only a fresh sweep can decide" in result.conclusion()
        assert [row.spread.n for row in result.rows if row.spread] == [32, 32]


def test_sweeps_that_were_planned_together_are_judged_together() -> None:
    first = [*four(sweep="a"), *like_four(sweep="a"), *far_worse(sweep="a")]
    added = [*four(range(8, 12), sweep="b"), *like_four(range(8, 12), sweep="b")]
    result = looked(*first, *added)
    assert taken(result) == [8, 12]
    assert row_of(result, 10).spread == row_of(looked(*four(range(12)), *like_four(range(12))), 10).spread


def test_the_first_look_is_at_the_first_sweep_whatever_its_replicate_numbers() -> None:
    earlier = [*four(range(20, 28), sweep="a"), *far_worse(range(20, 28), sweep="a")]
    later = [*four(range(4), sweep="b"), *far_worse(range(4), sweep="b")]
    result = looked(*later, *earlier)
    assert taken(result) == [8]
    assert result.verdicts.samples[0].keys() == {f"replicate {number}" for number in range(20, 28)}


def test_sweeps_without_looks_give_effect_and_spread_but_no_verdict() -> None:
    both = [
        *four(sweep="a"),
        *far_worse(sweep="a"),
        *four(range(8, 12), sweep="b"),
        *far_worse(range(8, 12), sweep="b"),
    ]
    for planned in ([], ["a"], ["b"]):  # one that was planned does not make up for one that was not
        result = looked(*both, planned=planned)
        assert result.looks is None
        assert result.verdicts.result is None
        assert "not planned as one (looks=true)" in result.conclusion()
        assert [row.spread.n for row in result.rows if row.spread] == [12, 12]
        assert {row.against_first.verdict for row in result.rows if row.against_first} == {"no verdict"}
        assert result.best_set == []


def test_one_sweep_without_looks_is_judged_once_at_five_percent() -> None:
    result = looked(*four(range(12)), *far_worse(range(12)), planned=[])
    assert (result.looks, result.verdicts.level) == (None, 0.05)


def test_a_false_difference_at_any_look_is_at_most_5_percent_likely() -> None:
    random, order = np.random.default_rng(0), [f"replicate {number}" for number in range(32)]
    false = 0
    for _ in range(200):
        values = {name: dict(zip(order, random.normal(0.9, 0.01, 32), strict=True)) for name in "abc"}
        names = {name: name for name in values}
        _, seen = sequential_verdicts(values, names, order, higher=True, worth=None, resolution=0.0)
        false += len(seen.remaining) < 3
    assert false / 200 <= 0.05
