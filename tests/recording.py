"""A store that notes what it is told, may be away, slow or broken, and a run whose journal is sent to it."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.protocols import (
    Content,
    DatasetInput,
    Measurement,
    ModelFolder,
    Opening,
    ParamValue,
    Status,
    Tracker,
)
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.tracker import JournalTracker

OPENING = Opening("KEY", "a run", "sqlite:///x.db", "mnist", "parent", {"kind": "run"}, 1_700_000_000_000, "host")
DATASET = DatasetInput("digits", "d" * 64, "scikit-learn", {"train": 1500, "test": 297})
LONG_S = 60
"""How long a test waits for what comes at once, before it fails."""


def lines(folder: Path) -> list[bytes]:
    return (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in journals.read(folder).entries]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


class Recording:
    """A store that notes what it is told, in order; ``before`` is called with each kind first and may wait or raise."""

    run_id = "recorded"

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.before = before
        self._changed = threading.Condition()

    def _tell(self, kind: str, content: object) -> None:
        self.before(kind)
        with self._changed:
            self.told.append((kind, content))
            self._changed.notify_all()

    def wait_for(self, kind: str) -> None:
        """Until it was told something of that kind."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(each[0] == kind for each in self.told), LONG_S)

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._tell("params", dict(params))

    def log_metrics(self, *measurements: Measurement) -> None:
        self._tell("metrics", measurements)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._tell("tags", dict(tags))

    def log_artifact(self, path: str, content: Content) -> None:
        self._tell("artifact", (path, content))

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        self._tell("dataset", (dataset, context))

    def log_model(self, model: ModelFolder) -> None:
        assert isinstance(model, Path)
        self._tell("model", {file.name: file.read_bytes() for file in model.iterdir()})

    def close(self, status: Status, time_ms: int | None = None) -> None:
        self._tell("close", (status, time_ms))

    def resume(self) -> None:
        self._tell("resume", None)

    @property
    def steps(self) -> list[list[int]]:
        """The steps of each batch of metrics."""
        return [[each.step for each in content] for kind, content in self.told if kind == "metrics"]


class Away:
    """What keeps a store away until it is ``back``; ``missed`` once somebody asked in vain."""

    def __init__(self) -> None:
        self.back, self.missed = threading.Event(), threading.Event()

    def __call__(self, _: str) -> None:
        if not self.back.is_set():
            self.missed.set()
            raise StoreError("no server answers there")


Begin = Callable[..., JournalTracker]


def left(tracker: JournalTracker) -> None:
    """Wait until the sender of a run has left its journal to others."""
    for thread in threading.enumerate():
        if thread.name == f"sender of {tracker.run_id}":
            thread.join(LONG_S)
    assert not journals.in_use(tracker.journal.folder)


def save_model(folder: Path) -> None:
    """A model as the trackers see one: a folder with an MLmodel file in it."""
    from mlflow.models import Model

    Model().save(str(folder / "MLmodel"))
    (folder / "weights").write_bytes(b"weights")


def save(folder: Path) -> None:
    (folder / "MLmodel").write_bytes(b"flavors: {}")


def say_everything(tracker: Tracker) -> None:
    tracker.log_params({"seed": 17})
    tracker.set_tags({"kind": "run"})
    tracker.log_dataset(DATASET, "training")
    tracker.log_metrics(Measurement({"loss": 0.5}, 1, 1000), Measurement({"loss": 0.25}, 2, 2000))
    tracker.log_artifact("config/config.yaml", b"seed: 17")
    tracker.log_artifact("loss.png", lambda: b"\x89PNG")
    tracker.log_model(save)


EVERYTHING = [
    ("params", {"seed": 17}),
    ("tags", {"kind": "run"}),
    ("dataset", (DATASET, "training")),
    ("metrics", (Measurement({"loss": 0.5}, 1, 1000), Measurement({"loss": 0.25}, 2, 2000))),
    ("artifact", ("config/config.yaml", b"seed: 17")),
    ("artifact", ("loss.png", b"\x89PNG")),
    ("model", {"MLmodel": b"flavors: {}"}),
    ("close", (Status.FINISHED, 3000)),
]


def one_by_one(told: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """What was told, however it was gathered."""
    return [(kind, part) for kind, content in told for part in (content if kind == "metrics" else [content])]
