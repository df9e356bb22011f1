"""What a run may write (``Tracker``), and what a store of runs can be asked (``Backend``)."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

if TYPE_CHECKING:
    import pandas as pd

    from mnist_exp.data.datasets import Dataset

ParamValue = str | int | float | bool | None
Content = bytes | Callable[[], bytes]
"""The bytes of a file, or a function that makes them when the file is written."""

ModelFolder = Path | Callable[[Path], None]
"""A folder with an MLflow model in it, or a function that saves one to a folder."""

INFINITE = sys.float_info.max
"""What MLflow keeps in place of an infinite value."""

MAX_PARAM = 6000
"""The most characters that MLflow keeps of a param; it cuts a longer one silently."""


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
        step: epochs completed, from 1; 0 for metrics of the run as a whole.
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
        source: file, folder or library that it was read from.
        images: their number, by part (``train``, ``test``).
    """

    name: str
    digest: str
    source: str
    images: Mapping[str, int]

    @classmethod
    def of(cls, dataset: "Dataset") -> "DatasetInput":
        """Describe ``dataset``."""
        images = {"train": len(dataset.train), "test": len(dataset.test)}
        return cls(dataset.name, dataset.digest, dataset.source, images)


@dataclass(frozen=True)
class Grid:
    """The jobs of a sweep.

    Attributes:
        keys: the config keys that vary.
        total: number of jobs; 0 if a search decides that as it goes.
    """

    keys: Sequence[str]
    total: int


@dataclass(frozen=True)
class Opening:
    """What a run is created from: the first entry of its journal.

    Attributes:
        key: name of its journal, and the run's tag ``journal``: by it the run is found again.
        uri: the store that it is for, without credentials.
        experiment: name of its MLflow experiment.
        parent: the key of its sweep's parent run; None for a single run.
        tags: those that it is created with.
        began_ms: milliseconds since 1970.
        host: the machine that it began on.
        jobs: those of the sweep, if this is a sweep's parent run.
    """

    key: str
    name: str
    uri: str
    experiment: str
    parent: str | None
    tags: Mapping[str, str]
    began_ms: int
    host: str
    jobs: Grid | None = None


@dataclass(frozen=True)
class Record:
    """One run, read from a store.

    Attributes:
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        params: as text, the way they would be typed on a command line.
        metrics: the last value of each.
        ended_ms: when it ended, in milliseconds since 1970; None while it runs.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    ended_ms: int | None = None

    @overload
    def figure(self, metric: str) -> float | None: ...
    @overload
    def figure(self, metric: str, missing: float) -> float: ...
    def figure(self, metric: str, missing: float | None = None) -> float | None:
        """Return the last value of a metric. A run that logged no ``kept/...`` kept the weights of its last epoch."""
        return self.metrics.get(metric, self.metrics.get(metric.removeprefix("kept/"), missing))

    @property
    def is_sweep(self) -> bool:
        """Whether it is the parent run of a sweep."""
        return self.tags.get("kind") == "sweep"

    @property
    def is_range_test(self) -> bool:
        """Whether it was a learning-rate range test, whose accuracy does not describe a model."""
        return self.params.get("lr") == "range_test"

    @property
    def worth(self) -> float | None:
        """Of a sweep: the smallest difference that matters; None if none was given before it began."""
        text = self.params.get("worth", self.tags.get("worth", ""))  # a tag of sweeps from before it was a param
        try:
            size = float(text)
        except ValueError:
            return None
        return size if math.isfinite(size) and size > 0 else None


def as_logged(value: float) -> float:
    """Return the value that a run logged, from the one that MLflow keeps: it keeps no infinity."""
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else value


class Tracker(Protocol):
    """One open run. The code that opened it closes it, once; after that only :meth:`resume` is allowed.

    A param or a (metric, step) is written once. Writing the same again, with the same times, changes nothing: a log
    that is sent twice is safe. Every call may raise :class:`~mnist_exp.base.errors.StoreError`.
    """

    @property
    def run_id(self) -> str:
        """The id that the run is found by."""
        ...

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Write params. Raises Refused if one has another value already."""
        ...

    def log_metrics(self, *measurements: Measurement) -> None:
        """Write metrics."""
        ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags; a later value replaces an earlier one."""
        ...

    def log_artifact(self, path: str, content: Content) -> None:
        """Write a file; ``path`` is relative to the run's artifacts, such as ``data/samples.png``."""
        ...

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Write that ``dataset`` was used, for ``context`` (``training``)."""
        ...

    def log_model(self, model: ModelFolder) -> None:
        """Write the run's model; a run has one."""
        ...

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run; at ``time_ms``, milliseconds since 1970, if that is not now."""
        ...

    def resume(self) -> None:
        """Make a closed run a running one again, and remove the tags that say why it had ended."""
        ...


class Backend(Protocol):
    """A store of runs. Creating one does not connect: the first call does, and creates or mends the store if needed.

    Conditions are MLflow's filters, which users type as well (``params.model = 'cnn'``). Every method may raise
    :class:`~mnist_exp.base.errors.StoreError`, and its leaves StoreAway (no answer, retried later) and Refused
    (rejected permanently).
    """

    @property
    def uri(self) -> str:
        """Where it is, with credentials."""
        ...

    def connect(self) -> None:
        """Connect now. Raises StoreAway if no server answers."""
        ...

    def experiment(self, name: str) -> str:
        """Get or create the experiment called ``name``; return its id. Raises StoreError if it was deleted."""
        ...

    def experiments(self) -> list[str]:
        """Return the ids of all experiments, however many there are."""
        ...

    def open_run(self, opening: Opening) -> Tracker:
        """Get or create the run with this key, and before it its sweep's parent run. Raises Refused if deleted."""
        ...

    def tracker(self, run_id: str) -> Tracker:
        """Return a tracker that writes to an existing run."""
        ...

    def find(self, run_id: str) -> Record:
        """Return the run with this id. Raises Refused if there is none."""
        ...

    def find_key(self, key: str) -> Record | None:
        """Return the run with this key, in any experiment; None if there is none. Raises Refused if deleted."""
        ...

    def search(self, condition: str = "", *, newest: int | None = None) -> list[Record]:
        """Return the runs that meet a condition, in the order they began; or only the ``newest``, newest first."""
        ...

    def history(self, run_ids: Sequence[str], metrics: Sequence[str]) -> "pd.DataFrame":
        """Return a row for each epoch: ``run_id``, ``epoch`` (from 1), a column for each metric, NaN if not logged."""
        ...

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """Return the content of a run's file; None if it has no such file."""
        ...

    def link(self, record: Record) -> str:
        """Return the address of a run's page in the MLflow UI."""
        ...

    def login(self) -> str | None:
        """Return the name that the server knows this user by; None if it has no logins."""
        ...

    def write_once(self, run_id: str, param: str, text: str) -> bool:
        """Write a param that must not have a value yet; return whether the run now has exactly this text as its value.

        False if it had another one (compare-and-set). Raises Refused if this user may only read the run or there is no
        such run, ValueError if the text has more than :data:`MAX_PARAM` characters, or a NUL.
        """
        ...
