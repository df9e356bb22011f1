"""What a run may say to the place that keeps it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mnist_exp.base.errors import Refused, StoreError

if TYPE_CHECKING:
    from mnist_exp.data.datasets import Dataset

ParamValue = str | int | float | bool | None
Content = bytes | Callable[[], bytes]
"""A file's bytes, or what will make them when they are to be kept."""

ModelFolder = Path | Callable[[Path], None]
"""A folder with an MLflow model in it, or what will save one to a folder."""


def as_override(value: ParamValue) -> str:
    """A param's value as it would be typed on a command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


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


@dataclass(frozen=True)
class DatasetInput:
    """A data set that a run used.

    Attributes:
        digest: SHA-256 of its content, as hex.
        source: where it was read.
        images: how many, by part.
    """

    name: str
    digest: str
    source: str
    images: Mapping[str, int]

    @classmethod
    def of(cls, dataset: "Dataset") -> "DatasetInput":
        """What is to be known of ``dataset``."""
        images = {"train": len(dataset.train), "test": len(dataset.test)}
        return cls(dataset.name, dataset.digest, dataset.source, images)


class Tracker(Protocol):
    """One open run. The code that opened it closes it, once; after that only :meth:`resume` is allowed.

    A param or a (metric, step) is written once. Writing the same again, with the same times, changes nothing: a log
    that is sent twice is safe. Every call may raise :class:`~mnist_exp.base.errors.StoreError`.
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

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Record that ``dataset`` was used, for ``context`` (``training``)."""
        ...

    def log_model(self, model: ModelFolder) -> None:
        """Keep the run's model; a run has one."""
        ...

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run; at ``time_ms`` (milliseconds since 1970) where that is not now."""
        ...

    def resume(self) -> None:
        """Take a run up again that was closed; the tags that say why it had ended go."""
        ...

    def alive(self) -> None:
        """Give a sign of life; what others took a long silence for is taken back."""
        ...


@dataclass
class MemoryTracker:
    """A tracker that keeps everything in plain attributes: for tests, and to look at a run without a store."""

    run_id: str = "in-memory"
    params: dict[str, ParamValue] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    datasets: dict[str, DatasetInput] = field(default_factory=dict)
    model: ModelFolder | None = None
    status: Status | None = None
    ended_ms: int | None = None

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Keep params; a param that has another value already is refused."""
        self._must_be_open()
        for key, value in params.items():
            if self.params.setdefault(key, value) != value:
                raise Refused(f"param {key} is {self.params[key]!r} already. Received: {value!r}")

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

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Keep the data set under its context."""
        self._must_be_open()
        self.datasets[context] = dataset

    def log_model(self, model: ModelFolder) -> None:
        """Keep the folder, or what will fill one."""
        self._must_be_open()
        self.model = model

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """Refuse everything from now on, but to be closed the same way again."""
        if self.status is not status:
            self._must_be_open()
        self.status, self.ended_ms = status, time_ms

    def resume(self) -> None:
        """Accept everything again."""
        self.status = self.ended_ms = None
        self.tags = {name: value for name, value in self.tags.items() if not name.startswith("failure")}

    def alive(self) -> None:
        """Nobody waits for a sign of life."""

    def _must_be_open(self) -> None:
        if self.status is not None:
            raise StoreError(f"run {self.run_id} is closed: it ended {self.status}")
