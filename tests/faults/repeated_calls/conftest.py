"""A run, and the points that are kept of its metrics: on SQLite, and through a server."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from mlflow.entities import Metric

from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient


Point = tuple[int, int, float]
"""Step, time in milliseconds, value."""


@pytest.fixture(params=["database", pytest.param("server", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest) -> str:
    """Where runs are kept: SQLite without anything between, or a server."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def kept_by(uri: str) -> "MlflowClient":
    return connect(uri)


@pytest.fixture
def experiment(kept_by: "MlflowClient", uri: str, request: pytest.FixtureRequest) -> str:
    """The id of an experiment of the test's own."""
    return open_backend(uri).experiment(request.node.nodeid)


@pytest.fixture
def run_id(kept_by: "MlflowClient", experiment: str) -> str:
    created: str = kept_by.create_run(experiment).info.run_id
    return created


@pytest.fixture
def points(kept_by: "MlflowClient", run_id: str) -> Callable[[str], list[Point]]:
    """Every point that is kept of a metric."""
    return lambda name: sorted(
        (point.step, point.timestamp, point.value) for point in kept_by.get_metric_history(run_id, name)
    )


def epochs(steps: Sequence[int]) -> list[Metric]:
    return [Metric("loss", 1 / step, 1000 + step, step) for step in steps]
