"""What a run may say to the place that keeps it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from mnist_exp.errors import StoreError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from mnist_exp.data.datasets import Dataset

ParamValue = str | int | float | bool | None
Content = bytes | Callable[[], bytes]
"""A file's bytes, or what will make them when they are to be kept."""


class Status(StrEnum):
    """How a run ended, in MLflow's words."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class Measurement:
    """Metrics that were measured together.

    Attributes:
        metrics: values by name.
        step: epochs completed, from 1; 0 for figures of the run as a whole.
        time_ms: when, in milliseconds since 1970.
    """

    metrics: Mapping[str, float]
    step: int = 0
    time_ms: int = field(default_factory=lambda: int(time.time() * 1000))


class Tracker(Protocol):
    """One open run. Whoever opened it closes it, once; after that nothing more can be said.

    A param or a (metric, step) is written once. Every call may raise :class:`~mnist_exp.errors.StoreError`; where
    sending happens in the background, for an earlier call's sake.
    """

    @property
    def run_id(self) -> str:
        """What the run is found by."""
        ...

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Record what the run was given."""
        ...

    def log_metrics(self, *measurements: Measurement) -> None:
        """Record what was measured."""
        ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record what else is to be known of the run; a later value replaces an earlier one."""
        ...

    def log_artifact(self, path: str, content: Content) -> None:
        """Keep a file under ``path``, such as ``data/samples.png``."""
        ...

    def log_dataset(self, dataset: "Dataset", context: str) -> None:
        """Record that ``dataset`` was used, for ``context`` (``training``)."""
        ...

    def log_model(self, model: "keras.Model", example: "NDArray[np.uint8]") -> None:
        """Keep the model, with ``example``, uint8 [n, 28, 28], as an input to try it on."""
        ...

    def close(self, status: Status) -> None:
        """End the run."""
        ...


@dataclass
class MemoryTracker:
    """A tracker that keeps everything in plain attributes: for tests, and to look at a run without a store."""

    run_id: str = "in-memory"
    params: dict[str, ParamValue] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    datasets: dict[str, "Dataset"] = field(default_factory=dict)
    model: "keras.Model | None" = None
    status: Status | None = None

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Keep params; a param that has another value already is refused."""
        self._must_be_open()
        for key, value in params.items():
            if self.params.setdefault(key, value) != value:
                raise StoreError(f"param {key} is {self.params[key]!r} already. Received: {value!r}")

    def log_metrics(self, *measurements: Measurement) -> None:
        """Keep metrics under their step."""
        self._must_be_open()
        for measurement in measurements:
            for name, value in measurement.metrics.items():
                self.metrics.setdefault(name, {})[measurement.step] = value

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keep tags."""
        self._must_be_open()
        self.tags.update(tags)

    def log_artifact(self, path: str, content: Content) -> None:
        """Keep a file's content."""
        self._must_be_open()
        self.artifacts[path] = content if isinstance(content, bytes) else content()

    def log_dataset(self, dataset: "Dataset", context: str) -> None:
        """Keep the data set under its context."""
        self._must_be_open()
        self.datasets[context] = dataset

    def log_model(self, model: "keras.Model", example: "NDArray[np.uint8]") -> None:  # noqa: ARG002
        """Keep the model itself."""
        self._must_be_open()
        self.model = model

    def close(self, status: Status) -> None:
        """Refuse everything from now on."""
        self._must_be_open()
        self.status = status

    def _must_be_open(self) -> None:
        if self.status is not None:
            raise StoreError(f"run {self.run_id} is closed: it ended {self.status}")
