"""Runs as samples: what makes a configuration, which runs repeat another, and what replicates vary."""

from dataclasses import replace
from typing import Any

import pytest
from some_runs import BY, compared, epochs, run, runs

from mnist_exp.analysis import samples
from mnist_exp.analysis.comparison import compare
from mnist_exp.analysis.samples import config_of, coverage, distinct, replicate_names, seeds_of
from mnist_exp.config.replicate import SOURCES, seeds
from mnist_exp.tracking.protocols import Record


def old_run(seed: int, accuracy: float, **params: str) -> Record:
    """A run recorded before replicates, batch order seeds and training.keep existed."""
    own = {"seed": str(seed), **{key.replace("__", "."): value for key, value in params.items()}}
    return replace(run(0, accuracy), run_id=f"before {own}", params=own, metrics={"val_accuracy": accuracy})


# Configurations


def test_a_configuration_has_no_replicate_no_seed_and_no_location_of_its_data() -> None:
    here, there = (
        run(number, model__units=4, data=name, data__path=path, data__validation=0.2)
        for number, name, path in ((0, "mnist", "/a.npz"), (3, "auto", "/b.npz"))
    )
    assert config_of(here) == config_of(there)
    assert dict(config_of(here)) == {"data.validation": "0.2", "model.units": "4", "training.keep": "last"}


def test_across_datasets_a_configuration_has_its_data_set() -> None:
    assert dict(config_of(run(0, model__units=4), across_datasets=True))["data"] == "mnist d"


def test_data_sets_with_the_same_name_are_different_configurations() -> None:
    """Data sets are named after their files, so that two folders may hold two of one name."""
    both = [
        replace(record, run_id=f"{digest} {record.run_id}", tags={"dataset": "train", "dataset.digest": digest})
        for digest, accuracy in (("d1", 0.9), ("d2", 0.5))
        for record in runs(accuracy, range(3), model__units=4)
    ]
    rows = compare(both, epochs(), BY, across_datasets=True).rows
    assert [len(row.finished) for row in rows] == [row.spread.n for row in rows if row.spread]


# Runs recorded by older versions


def test_a_run_without_params_for_its_seeds_had_the_tutorials() -> None:
    assert seeds_of(old_run(17, 0.9)) == seeds_of(run(0)) == ("17", "17", "17")
    assert seeds_of(old_run(3, 0.9)) == ("3", "17", "17")


def test_old_runs_kept_their_last_weights() -> None:
    assert config_of(old_run(17, 0.9, model__units="4")) == config_of(run(0, model__units=4, training__keep="last"))
    assert config_of(old_run(17, 0.9, model__units="4")) != config_of(run(0, model__units=4, training__keep="best"))


def test_old_runs_are_paired_with_new_ones() -> None:
    pinned: dict[str, Any] = {"training__order_seed": 17, "data__split_seed": 17}
    old = [old_run(seed, 0.9 + seed / 1000, model__units="4") for seed in range(8)]
    new = [run(0, 0.95 + seed / 1000, seed=seed, model__units=10, **pinned) for seed in range(8)]
    result = compared(*old, *new)
    assert result.keys == ["model.units"]
    assert result.verdicts.is_paired
    assert "Covers initial weights only" in result.conclusion()


# Runs that repeat another


def test_the_same_sweep_run_twice_is_one_sample_of_which_the_newest_counts() -> None:
    older = [*runs(0.5, model__units=4, sweep="a", ended_ms=1), *runs(0.4, model__units=10, sweep="a", ended_ms=1)]
    newer = [*runs(0.9, model__units=4, sweep="b", ended_ms=2), *runs(0.8, model__units=10, sweep="b", ended_ms=2)]
    for given in ([*older, *newer], [*newer, *older]):
        found = distinct(given)
        assert (sorted(found.runs, key=str), found.repeated) == (sorted(newer, key=str), 16)
    result = compared(*older, *newer)
    assert [row.spread.n for row in result.rows if row.spread] == [8, 8]
    assert result.verdicts.result is not None, "one sweep is left, which is judged"
    assert "16 runs repeat another (same configuration, seeds and data): one sample" in result.conclusion()


def test_repeats_of_other_code_are_named() -> None:
    older = runs(0.5, range(3), ended_ms=1, tags={"fingerprint.code": "old"})
    newer = runs(0.9, range(3), ended_ms=2, tags={"fingerprint.code": "new"})
    found = distinct([*older, *newer])
    assert (found.runs, found.repeated, found.other_code) == (newer, 3, 3)
    assert found.sentences()[0].endswith("of which the newest counts; the code of 3 of them differed.")
    assert distinct(newer).sentences() == []


def test_runs_with_other_data_seeds_or_keys_are_no_repeats() -> None:
    given = [
        *(run(0, model__units=4), run(1, model__units=4), run(0, model__units=5)),
        replace(run(0, model__units=4), run_id="other data", tags={"dataset.digest": "e"}),
        run(0, model__units=4, training__keep="best"),
    ]
    assert distinct(given).runs == given


def test_a_replicate_that_was_pinned_to_the_seeds_of_another_repeats_it() -> None:
    pinned: dict[str, Any] = {key.replace(".", "__"): seed for key, seed in seeds(3).items()}
    assert distinct([run(3), run(0, **pinned)]).repeated == 1


# What replicates vary


@pytest.mark.parametrize(
    ("pinned", "sentence"),
    [
        ((), "Covers every source of variance: initial weights, batch order and train/validation split."),
        (
            ("seed",),
            "Covers batch order and train/validation split only: initial weights were the same in all replicates.",
        ),
        (
            ("data.split_seed",),
            "Covers initial weights and batch order only: train/validation split was the same in all replicates.",
        ),
        (
            ("training.order_seed", "data.split_seed"),
            "Covers initial weights only: batch order and train/validation split were the same in all replicates.",
        ),
    ],
)
def test_a_coverage_names_what_varied_and_what_did_not(pinned: tuple[str, ...], sentence: str) -> None:
    fixed: dict[str, Any] = {key.replace(".", "__"): 17 for key in pinned}
    found = coverage({(): runs(0.9, **fixed)})
    assert set(found.varied) == set(SOURCES) - set(pinned)
    assert not found.crossed
    assert found.sentence() == sentence


def test_a_source_is_covered_only_if_it_varies_in_every_configuration() -> None:
    found = coverage({(("a", "1"),): runs(0.9), (("a", "2"),): runs(0.9, seed=5), (("a", "3"),): runs(0.9, [0])})
    assert found.varied == ("training.order_seed", "data.split_seed")


def test_one_replicate_covers_nothing() -> None:
    found = coverage({(("a", "1"),): [run(0)], (("a", "2"),): [run(0)]})
    assert (found.varied, found.has_replicates) == ((), False)
    assert found.sentence() == "One replicate: no source of variance is covered."


def test_seeds_that_runs_share_are_crossed() -> None:
    grid = [run(0, seed=seed, training__order_seed=order) for seed in range(3) for order in range(2)]
    assert coverage({(): grid}).crossed
    nested = [run(0, seed=seed, training__order_seed=seed // 2) for seed in range(6)]
    assert coverage({(): nested}).crossed
    assert not coverage({(): runs(0.9)}).crossed


# Names


def test_runs_are_named_by_replicate_or_else_by_seeds() -> None:
    only, all_three = run(0, seed=5), run(0, seed=1, training__order_seed=2, data__split_seed=3)
    found = replicate_names([run(0), run(12), only, all_three])
    assert [found[seeds_of(each)] for each in (run(0), run(12), only, all_three)] == [
        *("replicate 0", "replicate 12", "seed 5", "seeds 1/2/3"),
    ]


def test_a_replicate_with_a_pinned_seed_is_not_named_by_its_number() -> None:
    (name,) = replicate_names([run(4, seed=5)]).values()
    assert name != "replicate 4"


def test_replicates_of_an_earlier_sweep_come_first_and_numbers_in_order() -> None:
    both = [*runs(0.9, [0, 1], sweep="b"), *runs(0.9, [10, 9, 2], sweep="a")]
    assert samples.sweeps_of(both) == ["b", "a"], "as they began"
    assert samples.order_of_replicates(both, replicate_names(both), ["a", "b"]) == [
        f"replicate {number}" for number in (2, 9, 10, 0, 1)
    ]


def test_the_number_of_validation_images_is_known_if_all_runs_agree() -> None:
    twelve, six = ({"dataset.validation_images": text} for text in ("12000", "6000"))
    assert samples.validation_images([run(0, tags=twelve), run(1, tags=twelve)]) == 12_000
    assert samples.validation_images([run(0, tags=twelve), run(1, tags=six)]) is None
    assert samples.validation_images([run(0, tags=twelve), run(1)]) is None
