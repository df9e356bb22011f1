"""Replicates: one number draws the seeds of weights, batch order and split together."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from mnist_exp.app import compose
from mnist_exp.app.compose import expand, run_overrides
from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError
from mnist_exp.config import replicate as replicates
from mnist_exp.config.replicate import SOURCES
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.runs import provenance

Composed = Callable[..., RunConfig]


def seeds_of(config: RunConfig) -> dict[str, int]:
    return dict(zip(SOURCES, (config.seed, config.training.order_seed, config.data.split_seed), strict=True))


# What a replicate draws


def test_replicate_0_has_the_seeds_of_the_tutorial() -> None:
    assert replicates.seeds(0) == {"seed": 17, "training.order_seed": 17, "data.split_seed": 17}


def test_every_other_replicate_draws_three_seeds_that_no_other_has() -> None:
    drawn = [seed for number in range(1, 1001) for seed in replicates.seeds(number).values()]
    assert all(0 <= seed < 2**32 for seed in drawn)
    assert len({*drawn, 17}) == 3001
    assert list(replicates.seeds(5)) == list(SOURCES)


def test_a_replicate_draws_the_same_in_every_process() -> None:
    """By these numbers runs of today pair with runs of later: they may never change."""
    first = {"seed": 2723981116, "training.order_seed": 345321910, "data.split_seed": 1796548053}
    assert replicates.seeds(1) == first
    code = "from mnist_exp.config.replicate import seeds; print(seeds(12345))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(replicates.seeds(12345))


# Configs


def test_a_config_has_every_seed_drawn(composed: Composed) -> None:
    assert seeds_of(composed()) == replicates.seeds(0)
    assert seeds_of(composed("replicate=3")) == replicates.seeds(3)
    params = composed("replicate=3").params()
    assert params["replicate"] == 3
    assert {key: params[key] for key in SOURCES} == replicates.seeds(3)


@pytest.mark.parametrize("key", SOURCES)
def test_a_pinned_seed_stays_and_the_others_are_drawn(composed: Composed, key: str) -> None:
    assert seeds_of(composed("replicate=3", f"{key}=5")) == replicates.seeds(3) | {key: 5}
    assert seeds_of(composed("replicate=3", f"{key}=0"))[key] == 0, "0 is a seed"


def test_filling_changes_nothing_but_null_seeds() -> None:
    given = {"replicate": 2, "seed": None, "training": {"order_seed": 4, "epochs": 1}, "data": {}, "model": None}
    filled = replicates.fill(given)
    assert filled == given | {"seed": replicates.seeds(2)["seed"]}
    assert given["seed"] is None
    for malformed in ({}, {"replicate": "x", "training": 3, "data": None}, {"replicate": True}):
        assert replicates.fill(malformed) == malformed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("replicate=-1", "replicate must be greater than or equal to 0. Received: -1"),
        ("replicate=x", "replicate must be a valid integer. Received: 'x'"),
        ("replicate=1.5", "replicate must be a valid integer. Received: 1.5"),
        ("replicate=null", "replicate must be a valid integer. Received: None"),
        ("looks=zz", "looks must be true, false or the id of a sweep. Received: 'zz'"),
        ("looks=null", "looks must be true, false or the id of a sweep. Received: None"),
        ("worth=0", "worth must be greater than 0. Received: 0"),
        ("worth=much", "worth must be a valid number. Received: 'much'"),
    ],
)
def test_what_is_no_replicate_look_or_worth_is_refused(composed: Composed, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(override)
    assert str(caught.value) == message


@pytest.mark.parametrize("looks", ["true", "false", "0a1f", "'1234'", "0123456789abcdef0123456789abcdef"])
def test_looks_are_true_false_or_an_id(composed: Composed, looks: str) -> None:
    assert str(composed(f"looks={looks}").looks).lower() == looks.strip("'")


# Fingerprint


def test_a_replicate_is_the_run_that_its_seeds_pinned_make(composed: Composed) -> None:
    dataset = datasets.load(composed().data)
    pinned = [f"{key}={seed}" for key, seed in replicates.seeds(3).items()]
    drawn = provenance.fingerprint_of(composed("replicate=3"), dataset)
    assert (
        drawn
        == provenance.fingerprint_of(composed(*pinned), dataset)
        == provenance.fingerprint_of(composed("replicate=9", *pinned), dataset)
    )
    assert drawn != provenance.fingerprint_of(composed("replicate=4"), dataset)
    assert drawn != provenance.fingerprint_of(composed("replicate=3", "seed=1"), dataset)


def test_how_a_sweep_is_judged_is_no_part_of_a_run(composed: Composed) -> None:
    dataset = datasets.load(composed().data)
    judged = composed("worth=0.01", "looks=true", "resume=true")
    assert provenance.fingerprint_of(judged, dataset) == provenance.fingerprint_of(composed(), dataset)
    assert judged.params() == composed().params()


# Sweeps


def expanded(*overrides: str) -> tuple[list[str], list[list[str]], list[RunConfig]]:
    """A sweep as its command would run it: the keys, each job's overrides and config."""
    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        keys, jobs, configs = expand(hydra.compose_config("config", ["data=digits", *overrides], RunMode.MULTIRUN))
        return keys, jobs, [compose.to_run_config(config) for config in configs]


def test_a_sweep_over_replicates_has_other_seeds_in_each_job() -> None:
    keys, _, configs = expanded("model.units=4,10", "replicate=range(3)")
    assert keys == ["model.units", "replicate"]
    assert [seeds_of(config) for config in configs] == [replicates.seeds(number) for number in (0, 1, 2)] * 2


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_key_is_called_the_same_however_it_is_given(prefix: str) -> None:
    keys, jobs, configs = expanded(f"{prefix}seed=1,2")
    assert keys == ["seed"]
    assert jobs == [["data=digits", f"{prefix}seed=1"], ["data=digits", f"{prefix}seed=2"]]
    assert [config.seed for config in configs] == [1, 2]


def test_the_experiment_on_variance_crosses_the_seeds() -> None:
    composed = compose.compose(["experiment=variance"])
    assert set(composed.hydra.sweeper.params) == set(SOURCES)
    assert set(composed.hydra.sweeper.params.values()) == {"range(1,6)"}
    assert composed.hydra.mode == RunMode.MULTIRUN


def test_all_replicates_of_a_configuration_are_one_group() -> None:
    given = ("data=digits", "data.path=/a", "++seed=1", "+replicate=2", "training.order_seed=3", "data.split_seed=4")
    assert compose._group((*given, "model.units=4"), ("model.units=4", "replicate=2")) == "model.units=4 data=digits"
    assert compose._group(("seed=3",), ("seed=3",)) == "default"


def test_a_run_forgets_how_its_sweep_is_judged_and_resumed() -> None:
    given = ("model.units=4", "++worth=0.1", "looks=true", "resume=true", "+resume=true", "seed=1")
    assert run_overrides(given) == ("model.units=4", "seed=1")


@pytest.mark.parametrize("override", ["worth=0.01", "looks=true", "looks=0a1f"])
def test_a_single_run_is_not_judged(command: Command, override: str) -> None:
    key, _, value = override.partition("=")
    code, said = command("data=digits", override)
    assert code == 2
    assert said.startswith(f"error: {key} is of a sweep, python -m mnist_exp -m ..., not of one run. Received: ")
    assert value in said.lower()


@pytest.mark.parametrize("override", ["worth=0.01,0.02", "looks=true,false"])
def test_a_sweep_is_judged_in_one_way(command: Command, override: str) -> None:
    code, said = command("-m", "data=digits", "model.units=4,10", override)
    assert (code, said.count("\n")) == (2, 1)
    assert "hold for all of its jobs" in said


def test_replicates_whose_seeds_are_all_pinned_are_one_run(command: Command, tmp_path: Path) -> None:
    pinned = ("seed=1", "training.order_seed=1", "data.split_seed=1")
    code, said = command("-m", "data=digits", f"tracking.uri=sqlite:///{tmp_path / 'm.db'}", "++replicate=0,1", *pinned)
    assert code == 2
    assert "a sweep must have each job once. Received: '++replicate=1'" in said
