"""A tracker in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.tracking.protocols import Content, DatasetInput, Measurement, ModelFolder, ParamValue, Status


@dataclass
class MemoryTracker:
    """A tracker that keeps a run in its attributes: for tests, and to run without a store.

    Implements :class:`~mnist_exp.tracking.protocols.Tracker`. Calls raise StoreError if the run is closed.

    Attributes:
        metrics: the value at each step, by name.
        artifacts: the content of each file, by path.
        datasets: by context.
        status: how the run ended; None while it runs.
        ended_ms: when it ended, in milliseconds since 1970; None if it runs, or :meth:`close` was given no time.
    """

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
        """Keep params. Raises Refused if one has another value already."""
        self._must_be_open()
        for key, value in params.items():
            if self.params.setdefault(key, value) != value:
                raise Refused(f"param {key} is {self.params[key]!r} already. Received: {value!r}")

    def log_metrics(self, *measurements: Measurement) -> None:
        """Keep metrics."""
        self._must_be_open()
        for measurement in measurements:
            for name, value in measurement.metrics.items():
                self.metrics.setdefault(name, {})[measurement.step] = value

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keep tags; a later value replaces an earlier one."""
        self._must_be_open()
        self.tags.update(tags)

    def log_artifact(self, path: str, content: Content) -> None:
        """Keep a file; a function that makes its content is called now."""
        self._must_be_open()
        self.artifacts[path] = content if isinstance(content, bytes) else content()

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Keep the data set, by its context."""
        self._must_be_open()
        self.datasets[context] = dataset

    def log_model(self, model: ModelFolder) -> None:
        """Keep the model as it is given; a function that saves one is not called."""
        self._must_be_open()
        self.model = model

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run. Ending it again with the same status is allowed, and sets the time."""
        if self.status is not status:
            self._must_be_open()
        self.status, self.ended_ms = status, time_ms

    def resume(self) -> None:
        """Make a closed run a running one again, and remove the tags that say why it had ended."""
        self.status = self.ended_ms = None
        self.tags = {name: value for name, value in self.tags.items() if not name.startswith("failure")}

    def _must_be_open(self) -> None:
        if self.status is not None:
            raise StoreError(f"run {self.run_id} is closed: it ended {self.status}")
