"""``mnist_exp.compare``: any table of runs gives verdicts, or one clear sentence on why not."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_exp import compare
from mnist_exp.base.errors import ConfigError
from mnist_exp.statistics.table import TableVerdicts

NOISE = [0.004, -0.003, 0.001, 0.0, -0.002, 0.003, -0.004, 0.002]
WOBBLE = [0.001, 0.001, -0.001, -0.001, 0.001, -0.001, 0.001, -0.001]
COLUMNS = [
    *("a", "b", "n", "difference", "low", "high", "p", "differs", "verdict", "low90", "high90"),
    *("chance", "chance_low", "chance_high", "replicates_for_worth", "replicates_for_difference"),
]


def sample(mean: float, wobble: float = 1.0, numbers: Sequence[int] = range(8)) -> dict[int, float]:
    """Values by replicate: what all configurations share, and something of each one's own."""
    return {number: mean + NOISE[number % 8] + wobble * WOBBLE[number % 8] for number in numbers}


def table(samples: Mapping[Any, Mapping[Any, float]]) -> pd.DataFrame:
    """A row for each run: columns ``units``, ``replicate`` and ``accuracy``."""
    rows = [(units, number, value) for units, values in samples.items() for number, value in values.items()]
    return pd.DataFrame(rows, columns=["units", "replicate", "accuracy"])


def judged(samples: Mapping[Any, Mapping[Any, float]] | pd.DataFrame, **options: Any) -> TableVerdicts:
    rows = samples if isinstance(samples, pd.DataFrame) else table(samples)
    return compare(rows, "accuracy", ["units"], **options)


def rows_of(found: TableVerdicts) -> list[Any]:
    """The rows of its table of pairs, with the columns as attributes."""
    return list(found.pairs.itertuples())


FOUR, TEN, SIXTEEN = sample(0.86, 0), sample(0.93), sample(0.931, 5)
THREE = {4: FOUR, 10: TEN, 16: SIXTEEN}


# Verdicts


def test_every_pair_has_a_row_and_the_better_stands_first() -> None:
    found = judged(THREE)
    pairs = found.pairs
    assert list(pairs.columns) == COLUMNS
    assert list(zip(pairs["a"], pairs["b"], strict=True)) == [((16,), (10,)), ((16,), (4,)), ((10,), (4,))]
    assert pairs["difference"].tolist() == pytest.approx([0.001, 0.071, 0.07])
    assert pairs["n"].tolist() == [8, 8, 8]
    assert pairs["verdict"].tolist() == ["undecided", "better", "better"]
    assert pairs["differs"].tolist() == [False, True, True]
    assert found.best_set == [(16,), (10,)]
    assert found.words().startswith("2 configurations cannot be ruled out as best: units=16; units=10.")


def test_an_undecided_pair_has_numbers_of_replicates_that_would_decide_it() -> None:
    undecided, *decided = rows_of(judged(THREE, worth=0.002))
    assert 0 < undecided.replicates_for_worth < undecided.replicates_for_difference
    assert undecided.chance_low < 0.5 < undecided.chance_high
    assert all(math.isnan(pair.replicates_for_worth) for pair in decided)
    assert all(math.isnan(pair.replicates_for_difference) for pair in decided)
    assert [pair.chance for pair in decided] == [1, 1]


def test_losses_are_better_if_lower() -> None:
    losses = {units: {number: 1 - value for number, value in values.items()} for units, values in THREE.items()}
    up, down = judged(THREE), judged(losses, higher=False)
    assert down.best_set == up.best_set
    assert down.pairs["verdict"].tolist() == up.pairs["verdict"].tolist()
    assert down.pairs["difference"].tolist() == pytest.approx((-up.pairs["difference"]).tolist())
    assert down.pairs["chance"].tolist() == up.pairs["chance"].tolist()


def test_a_difference_within_worth_is_equivalent_even_if_significant() -> None:
    pairs = judged(THREE, worth=0.08).pairs
    assert pairs["verdict"].tolist() == ["equivalent"] * 3
    assert pairs["differs"].tolist() == [False, True, True]
    assert (pairs["low90"].abs() < 0.08).all()
    assert "units=4 differs, by less than matters." in judged(THREE, worth=0.08).words()


def test_too_few_replicates_give_effect_and_spread_alone() -> None:
    few = {units: dict(list(values.items())[:3]) for units, values in THREE.items()}
    found = judged(few)
    assert "3 of at least 6 replicates" in found.words()
    assert found.best_set == [(16,), (10,), (4,)], "none is ruled out"
    assert found.pairs["p"].isna().all()
    assert set(found.pairs["verdict"]) == {"too few replicates"}
    assert not found.pairs["differs"].any()
    assert found.pairs["difference"].notna().all()


def test_a_configuration_with_too_few_replicates_is_named_and_the_rest_is_judged() -> None:
    found = judged({**THREE, 32: sample(0.99, numbers=range(3))})
    assert found.configs == ((16,), (10,), (4,), (32,))
    assert found.best_set == [(16,), (10,), (32,)], "nothing rules out what has no verdict"
    assert "units=32 has 3 of at least 6 replicates: no verdict on it." in found.words()
    assert "All 3 pairs were judged together" in found.words()
    assert found.pairs[found.pairs["b"] == (32,)]["verdict"].tolist() == ["too few replicates"] * 3


# Replicates that some configurations lack


def test_six_replicates_in_common_are_enough_to_pair() -> None:
    found = judged({4: FOUR, 10: sample(0.93, numbers=range(2, 12)), 16: SIXTEEN})
    assert found.is_paired
    assert found.pairs["n"].tolist() == [6, 6, 6]
    assert re.search(
        r"Only the 6 replicates that all have are compared; left out: .*0, .*1, .*8, .*9, .*10, .*11\.", found.words()
    )


def test_fewer_in_common_make_the_whole_family_unpaired() -> None:
    found = judged({4: FOUR, 10: sample(0.93, numbers=range(3, 12)), 16: SIXTEEN})
    assert not found.is_paired
    assert found.pairs["n"].tolist() == [8, 8, 8]
    assert "All 3 pairs were judged together at 5 % over 8 to 9 replicates each, unpaired." in found.words()


def test_rows_without_replicates_are_independent() -> None:
    assert not judged(table(THREE).drop(columns="replicate"), replicate=None).is_paired


@pytest.mark.parametrize("dtype", ["float64", "Int64", "object"])
def test_a_row_without_its_replicate_is_left_out(dtype: Any) -> None:
    rows = table(THREE)
    missing = rows["replicate"].astype("Float64").mask(rows.index == 3).astype(dtype)
    text = judged(rows.assign(replicate=missing)).words()
    assert "replicate missing: units=4, no replicate." in text
    assert "Only the 7 replicates" in text


# Rows that are left out


@pytest.mark.parametrize(
    ("more", "text"), [(1, "1 row repeats another and counts once."), (2, "2 rows repeat others and count once.")]
)
def test_equal_rows_of_one_run_count_once(more: int, text: str) -> None:
    once, rows = judged(THREE), table(THREE)
    twice = judged(pd.concat([rows, rows.iloc[:more]]))
    pd.testing.assert_frame_equal(once.pairs, twice.pairs)
    assert text in twice.words()


def test_unequal_rows_of_one_run_leave_that_replicate_out_and_are_named() -> None:
    rows = table(THREE)
    found = judged(pd.concat([rows, rows.iloc[:1].assign(accuracy=0.5)]))
    assert found.pairs["n"].tolist() == [7, 7, 7]
    assert "the same replicate and unequal accuracy: units=4, replicate 0." in found.words()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_left_out_and_named(value: float) -> None:
    found = judged({4: FOUR | {5: value}, 10: TEN})
    assert found.pairs["n"].tolist() == [7]
    assert f"units=4, replicate 5: {value}" in found.words()


def test_a_configuration_without_a_usable_value_is_named() -> None:
    found = judged({4: dict.fromkeys(FOUR, math.nan), 10: TEN})
    assert found.configs == ((10,),)
    assert "No usable value of: units=4." in found.words()


# Degenerate and invalid tables


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        ({4: FOUR}, r"one configuration .*nothing to compare"),
        ({4: {0: 0.5}, 10: {0: 0.75}}, r"1 of at least 6 replicates.*another replicate may reverse the order"),
        ({4: {0: 0.5}, 10: {0: 0.5}}, r"All configurations have the same mean"),
        (
            {4: dict.fromkeys(FOUR, 0.5), 10: dict.fromkeys(FOUR, 0.5)},
            r"Undecided between units=4 and units=10, with the same mean",
        ),
        ({4: dict.fromkeys(FOUR, 0.5), 10: dict.fromkeys(FOUR, 0.75)}, r"units=10 is best: the other is ruled out"),
        ({4: dict.fromkeys(FOUR, math.nan)}, r"nothing to compare"),
    ],
)
def test_a_degenerate_table_gives_a_true_sentence(samples: Mapping[int, Mapping[int, float]], text: str) -> None:
    assert re.search(text, judged(samples).words())


def test_rows_that_contradict_each_other_are_not_called_infinite() -> None:
    found = compare(table({4: FOUR, 10: TEN}), "accuracy")
    assert "There is no usable value" in found.words()
    assert "the same replicate and unequal accuracy: all rows, replicate 0" in found.words()
    assert "finite" not in found.words()


ROWS = table(THREE)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS.iloc[:0], {}, "table has no rows: there is nothing to compare"),
        (pd.DataFrame(), {}, "table has no column 'accuracy'"),
        (ROWS.assign(accuracy="high"), {}, "column 'accuracy' must hold numbers. Received: 'high'"),
        (ROWS.assign(accuracy=True), {}, "column 'accuracy' must hold numbers"),
        (ROWS.drop(columns="units"), {}, "table has no column 'units'. There are: replicate, accuracy"),
        (ROWS, {"replicate": "seed"}, "table has no column 'seed'"),
        (pd.concat([ROWS, ROWS["units"]], axis=1), {}, "table has 2 columns 'units'"),
        (ROWS, {"worth": "0.1"}, "worth must be a number. Received: '0.1'"),
        (ROWS, {"level": 0.95}, "level must lie in 0.005 to 0.5: 0.05 gives 95 % intervals. Received: 0.95"),
        (ROWS, {"level": 0}, "level must lie in 0.005 to 0.5"),
        (ROWS, {"level": math.nan}, "level must lie in 0.005 to 0.5"),
        (ROWS, {"worth": 0}, "worth must be greater than 0. Received: 0"),
        (ROWS, {"worth": -0.1}, "worth must be greater than 0"),
        (ROWS, {"worth": math.inf}, "worth must be greater than 0"),
        (ROWS.to_dict("records"), {}, "table must be a pandas DataFrame. Received: 'list'"),
    ],
)
def test_an_invalid_argument_is_one_clear_error(rows: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        compare(rows, "accuracy", ["units"], **options)


def test_ten_thousand_runs_are_judged() -> None:
    values = np.random.default_rng(0).normal(0.9, 0.01, (625, 16))
    values[7] += 0.05
    found = judged({units: dict(enumerate(row)) for units, row in enumerate(values)})
    assert found.best_set == [(7,)]
    assert "All 195,000 pairs were judged together" in found.words()
    assert len(found.pairs) == 195_000


# Properties


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """A few configurations over 1 to 10 of 12 replicates, with ties, gaps, copies, and values that are none."""
    rows = []
    for units in range(draw(st.integers(1, 4))):
        apart = draw(st.sampled_from([0.0, 0.01, 0.1]))
        for number in draw(st.one_of(st.just(range(8)), st.lists(st.integers(0, 11), min_size=1, max_size=10))):
            value = draw(st.one_of(st.integers(-3, 3), st.just(math.nan))) / 1000 + apart
            rows += [(units, number, value)] * draw(st.sampled_from([1, 1, 1, 2]))
    return pd.DataFrame(rows, columns=["units", "replicate", "accuracy"])


options = st.fixed_dictionaries({"higher": st.booleans(), "worth": st.sampled_from([None, 0.003, 0.05])})


@given(tables(), options, st.randoms())
@settings(max_examples=100)
def test_the_order_of_rows_changes_nothing(rows: pd.DataFrame, options: dict[str, Any], random: Any) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    one, other = judged(rows, **options), judged(rows.iloc[order], **options)
    assert one.words() == other.words()
    pd.testing.assert_frame_equal(one.pairs, other.pairs)


def test_the_order_of_rows_without_replicates_changes_nothing() -> None:
    rows = table(THREE).drop(columns="replicate")
    one, other = judged(rows, replicate=None), judged(rows.iloc[::-1], replicate=None)
    assert one.words() == other.words()
    pd.testing.assert_frame_equal(one.pairs, other.pairs)


@given(tables(), options, st.booleans())
@settings(max_examples=100)
def test_no_verdict_contradicts_its_interval(rows: pd.DataFrame, options: dict[str, Any], shared: bool) -> None:
    found = judged(rows, **options, replicate="replicate" if shared else None)
    sign, worth = (1 if options["higher"] else -1), options["worth"]
    best = set(found.best_set)
    assert len(found.configs) == 0 or len(best) > 0
    for pair in rows_of(found):
        if math.isnan(pair.low):
            assert (pair.verdict, pair.differs) == ("too few replicates", False)
            continue
        assert pair.low <= pair.low90 <= pair.difference <= pair.high90 <= pair.high
        assert pair.differs == (pair.low > 0 or pair.high < 0) == (pair.p <= found.level)
        is_within = worth is not None and -worth < pair.low90 and pair.high90 < worth
        expected = "equivalent" if is_within else "better" if pair.differs else "undecided"
        assert pair.verdict == expected, "a is the better one"
        assert sign * pair.difference >= 0
        assert not pair.differs or pair.b not in best
        assert pair.chance_low <= pair.chance <= pair.chance_high
