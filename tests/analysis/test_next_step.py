"""The sweep that would decide an undecided one, as a command to paste."""

import shlex
from collections.abc import Iterable

import pytest
from some_runs import compared, run, runs

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.next_step import NextStep, next_step
from mnist_exp.tracking.protocols import Record

COMMAND = "python -m mnist_exp -m model.units=4,10,16 data=digits"
KEYS = "model.units"
ID = "0123456789abcdef0123456789abcdef"


def parent(command: str = COMMAND, keys: str = KEYS) -> Record:
    return Record(ID, "1", "a sweep", "FINISHED", {}, {}, {"kind": "sweep", "command": command, "sweep.keys": keys})


def step_of(result: Comparison, command: str = COMMAND, keys: str = KEYS) -> NextStep:
    step = next_step(parent(command, keys), result)
    assert step is not None
    return step


def words_of(result: Comparison, command: str = COMMAND, keys: str = KEYS) -> list[str]:
    """The command, word by word; the last is its replicates."""
    return shlex.split(step_of(result, command, keys).command)


def replicates_of(words: Iterable[str]) -> range:
    (found,) = [word.removeprefix("replicate=range(").removesuffix(")") for word in words if "replicate" in word]
    return range(*map(int, found.split(",")))


def once() -> Comparison:
    return compared(run(0, 0.9, model__units=4), run(0, 0.91, model__units=10), run(0, 0.92, model__units=16))


def undecided(numbers: Iterable[int] = range(8), worth: float | None = None) -> Comparison:
    """Units 4 and 10 scarcely differ; 16 is far worse."""
    numbers = list(numbers)
    like_four = runs(0.902, numbers, model__units=10, uneven=0.004)
    return compared(
        *runs(0.9, numbers, model__units=4), *like_four, *runs(0.8, numbers, model__units=16, uneven=0.001), worth=worth
    )


# Too few replicates


def test_eight_replicates_are_proposed_if_each_configuration_has_one_run() -> None:
    assert step_of(once()).command == ("python -m mnist_exp -m model.units=4,10,16 data=digits 'replicate=range(8)'")
    assert "at least 6 replicates" in step_of(once()).why


def test_eight_new_replicates_are_proposed_if_there_are_too_few() -> None:
    result = undecided(range(3))
    assert result.verdicts.result is None
    assert replicates_of(words_of(result)) == range(3, 11)


def test_the_number_of_a_failed_replicate_is_not_used_again() -> None:
    result = compared(*runs(0.9, range(3), model__units=4), run(3, None, model__units=4), run(0, 0.9, model__units=10))
    assert replicates_of(words_of(result)) == range(4, 12)


# A fresh sweep


def test_a_fresh_sweep_has_new_replicates_of_the_best_set_alone() -> None:
    result = undecided()
    assert [row.params["model.units"] for row in result.best_set] == ["10", "4"]
    needed = result.rows[1].against_first
    assert needed is not None
    words = words_of(result)
    assert words[:-1] == ["python", "-m", "mnist_exp", "-m", "model.units=4,10", "data=digits"]
    assert replicates_of(words) == range(8, 8 + int(needed.needed))
    assert f"{int(needed.needed)} new replicates" in step_of(result).why


def test_worth_determines_the_number_of_replicates() -> None:
    coarse, fine = (len(replicates_of(words_of(undecided(worth=worth)))) for worth in (0.004, 0.003))
    assert 8 <= coarse < fine <= 1000


def test_values_that_params_do_not_show_stay_as_they_were_given() -> None:
    listed = [*runs(0.9, model__units="[4,4]"), *runs(0.902, model__units="[10]", uneven=0.004)]
    command = "python -m mnist_exp -m 'model.units=[4,4],[10]'"
    assert "model.units=[4,4],[10]" in words_of(compared(*listed), command)


def test_the_smallest_grid_of_two_keys_that_contains_the_best_set_is_proposed() -> None:
    result = compared(
        *runs(0.900, model__units=4, optimizer__lr=0.1),
        *runs(0.901, model__units=10, optimizer__lr=0.01, uneven=0.004),
        *runs(0.8, model__units=10, optimizer__lr=0.001, uneven=0.001),
    )
    command = "python -m mnist_exp -m model.units=4,10 optimizer.lr=0.1,0.01,0.001"
    words = words_of(result, command, "model.units, optimizer.lr")
    assert words[4:6] == ["model.units=4,10", "optimizer.lr=0.01,0.1"]


def test_an_experiment_file_that_is_a_sweep_gets_the_option_of_a_sweep() -> None:
    words = words_of(once(), "python -m mnist_exp experiment=wide")
    assert words == ["python", "-m", "mnist_exp", "-m", "experiment=wide", "replicate=range(8)"]
    assert words_of(once(), "python -m mnist_exp --multirun experiment=wide").count("-m") == 1


# Seeds, and how the sweep was judged


@pytest.mark.parametrize("swept", ["seed=1,2,3", "++seed=1,2,3", "replicate=0,1,2", "training.order_seed=1,2,3"])
def test_swept_seeds_and_replicates_are_replaced_by_new_replicates(swept: str) -> None:
    command = f"python -m mnist_exp -m model.units=4,10,16 {swept} data.split_seed=5 resume=true"
    key = swept.lstrip("+").partition("=")[0]
    assert words_of(once(), command, f"model.units, {key}")[4:] == [
        *("model.units=4,10,16", "data.split_seed=5", "replicate=range(8)"),
    ]


def test_nothing_is_proposed_if_every_seed_is_pinned() -> None:
    """They would be the same run again and again, which a sweep refuses."""
    command = f"{COMMAND} seed=1 training.order_seed=2 data.split_seed=3"
    assert next_step(parent(command), once()) is None


def test_nothing_is_proposed_if_an_experiment_file_sweeps_the_seeds() -> None:
    """No word of the command could be dropped: seeds and replicates would be crossed, which gives no verdict."""
    seeds = [run(0, 0.9 + seed / 1000, model__units=u, seed=seed) for u in (4, 10) for seed in range(3)]
    assert next_step(parent("python -m mnist_exp experiment=seeds", "model.units, seed"), compared(*seeds)) is None


def test_worth_is_kept() -> None:
    assert "worth=0.01" in words_of(once(), f"{COMMAND} worth=0.01")


def looked(*records: Record) -> Comparison:
    """Runs of a sweep that may be extended."""
    return compared(*records, planned=[""])


def test_the_next_look_adds_replicates_of_the_remaining_configurations_to_the_same_sweep() -> None:
    result = looked(
        *runs(0.9, range(10), model__units=4),
        *runs(0.9005, range(10), model__units=10, uneven=0.004),
        *runs(0.8, range(8), model__units=16, uneven=0.001),
    )
    words = words_of(result, f"{COMMAND} 'replicate=range(10)' looks=true", "model.units, replicate")
    assert words[4:] == ["model.units=4,10", "data=digits", "replicate=range(10,12)", f"looks={ID}"]


def test_a_configuration_with_too_few_replicates_at_a_look_remains_for_the_next() -> None:
    result = looked(
        *runs(0.9, range(8), model__units=4),
        *runs(0.9005, range(8), model__units=10, uneven=0.004),
        *runs(0.95, range(7), model__units=16),
    )
    assert "model.units=4,10,16" in words_of(result, f"{COMMAND} looks=true")


def test_before_the_first_look_the_missing_replicates_are_added() -> None:
    words = words_of(looked(*runs(0.9, [0, 1], model__units=4), *runs(0.9, [0, 1], model__units=10)), COMMAND)
    assert (words[-2:], replicates_of(words)) == (["replicate=range(2,8)", f"looks={ID}"], range(2, 8))


# Nothing to do


def test_a_decided_sweep_needs_nothing() -> None:
    decided = compared(*runs(0.9, model__units=4), *runs(0.8, model__units=10, uneven=0.001))
    assert next_step(parent(), decided) is None
    assert next_step(parent(), compared(*runs(0.9, model__units=4), *runs(0.8999, model__units=10), worth=0.1)) is None


def test_nothing_is_proposed_if_a_thousand_replicates_would_not_decide() -> None:
    assert next_step(parent(), undecided(worth=0.0001)) is None
    same = compared(*runs(0.9, model__units=4), *runs(0.9, model__units=10))
    assert next_step(parent(), same) is None, "there is no difference to show"


def test_after_the_last_look_nothing_is_added_to_the_sweep() -> None:
    four = runs(0.9, range(32), model__units=4)
    hardly, more = (runs(0.9 + by, range(32), model__units=10, uneven=0.004) for by in (0.0001, 0.001))
    assert next_step(parent(f"{COMMAND} looks=true"), looked(*four, *hardly)) is None
    words = words_of(looked(*four, *more), f"{COMMAND} looks=true")
    assert not [word for word in words if word.startswith("looks")], "a fresh sweep"
    assert replicates_of(words).start == 32


@pytest.mark.parametrize(
    "given",
    [
        [run(0, 0.9, model__units=4)],
        [run(0, 0.9, model__units=4), run(0, None, model__units=10)],
        [
            run(0, 0.9 + s / 100 + o / 1000, u=u, seed=s, training__order_seed=o)
            for u in "12"
            for s in (1, 2)
            for o in (1, 2)
        ],
        [run(0, 0.9, u=u, sweep=sweep, seed=ord(sweep)) for u in "12" for sweep in "ab"],
    ],
    ids=["one configuration", "one with a value", "crossed seeds", "two sweeps"],
)
def test_nothing_is_proposed_if_no_sweep_would_give_a_verdict(given: list[Record]) -> None:
    assert next_step(parent(), compared(*given)) is None


@pytest.mark.parametrize("command", ["", "mnist-exp reproduce", "python sweep.py"])
def test_nothing_is_proposed_for_a_sweep_of_another_program(command: str) -> None:
    assert next_step(parent(command), once()) is None
