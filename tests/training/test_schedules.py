"""Schedules are pure functions of the epoch, counted from 0, and start from optimizer.lr."""

from collections.abc import Callable

import pytest

from mnist_exp.config.schema import RunConfig
from mnist_exp.training import networks

Composed = Callable[..., RunConfig]


def rates(config: RunConfig) -> list[float]:
    schedule = networks.schedule(config)
    return [schedule(epoch) for epoch in range(config.training.epochs)]


def test_constant_is_the_base_rate(composed: Composed) -> None:
    assert rates(composed("optimizer.lr=0.02", "training.epochs=3")) == [0.02] * 3


def test_range_test_is_the_formula_of_the_tutorial(composed: Composed) -> None:
    expected = [1e-4 * 10 ** (epoch / 20) for epoch in range(80)]
    assert rates(composed("experiment=model_3")) == pytest.approx(expected)


def test_range_test_can_start_elsewhere_and_rise_faster(composed: Composed) -> None:
    config = composed("lr=range_test", "optimizer.lr=1e-6", "lr.epochs_per_decade=2", "training.epochs=5")
    assert rates(config)[::2] == pytest.approx([1e-6, 1e-5, 1e-4])


def test_step_falls_by_its_factor(composed: Composed) -> None:
    config = composed("lr=step", "lr.every=2", "lr.factor=0.1", "optimizer.lr=1", "training.epochs=5")
    assert rates(config) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_falls_from_the_base_rate_towards_its_floor(composed: Composed) -> None:
    config = composed("lr=cosine", "lr.floor=0.1", "optimizer.lr=1", "training.epochs=100")
    found = rates(config)
    assert found[0] == 1
    assert found[50] == pytest.approx(0.55)
    assert found == sorted(found, reverse=True)
    assert 0.1 < found[-1] < 0.101


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer=adam", "optimizer.beta_1=0.8"], {"beta_2": 0.999, "beta_1": 0.8}),
        (["optimizer=sgd", "optimizer.momentum=0.5"], {"nesterov": False, "momentum": 0.5}),
        (["optimizer=rmsprop", "optimizer.rho=0.7"], {"momentum": 0.0, "rho": 0.7}),
    ],
)
def test_each_optimizer_gets_its_settings(
    composed: Composed, overrides: list[str], expected: dict[str, object]
) -> None:
    optimizer = networks.build_optimizer(composed(*overrides, "optimizer.lr=0.03").optimizer)
    settings = optimizer.get_config()
    assert settings["learning_rate"] == pytest.approx(0.03)
    assert {key: settings[key] for key in expected} == expected
