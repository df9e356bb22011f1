"""Where runs are kept, each read back the same way: in memory, in MLflow, in a journal in front of either."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from mnist_exp.base.errors import Refused
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Opening, Status, Tracker
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker


@dataclass
class Kept:
    """What of a run was kept, read back the same way from every tracker; lists show what was kept twice."""

    params: dict[str, str]
    metrics: dict[str, list[tuple[int, float]]]
    tags: dict[str, str]
    artifacts: dict[str, bytes]
    datasets: list[tuple[str, str, str]]
    models: list[bytes]
    status: Status | None
    ended_ms: int | None = field(default=None)


class Place(Protocol):
    """Where runs are kept."""

    def open(self, opening: Opening) -> Tracker:
        """Begin a run, or open again what was begun."""
        ...

    def refused(self, call: Callable[[], None]) -> bool:
        """Whether the place will never take what the call says."""
        ...

    def left(self) -> None:
        """What happens when a program ends."""
        ...

    def kept(self, opening: Opening) -> Kept:
        """What there is of a run, once everything arrived."""
        ...


class Direct:
    """A place that answers each call at once."""

    def refused(self, call: Callable[[], None]) -> bool:
        with pytest.raises(Refused):
            call()
        return True

    def left(self) -> None:
        pass


class Memory(Direct):
    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.tracker = MemoryTracker()

    def open(self, opening: Opening) -> Tracker:  # noqa: ARG002
        return self.tracker

    def kept(self, opening: Opening) -> Kept:  # noqa: ARG002
        model, models = self.tracker.model, []
        if model is not None:
            folder = model
            if callable(folder):
                folder = self.scratch / "model"
                folder.mkdir()
                assert callable(model)
                model(folder)
            models = [(folder / "weights").read_bytes()]
        return Kept(
            {key: "null" if value is None else str(value).lower() for key, value in self.tracker.params.items()},
            {name: sorted(points.items()) for name, points in self.tracker.metrics.items()},
            self.tracker.tags,
            self.tracker.artifacts,
            [(context, each.name, each.digest[:32]) for context, each in self.tracker.datasets.items()],
            models,
            self.tracker.status,
            self.tracker.ended_ms,
        )


class Mlflow(Direct):
    def __init__(self, scratch: Path, uri: str) -> None:
        self.scratch, self.uri = scratch, uri

    def open(self, opening: Opening) -> Tracker:
        return open_backend(self.uri).open_run(opening)

    def kept(self, opening: Opening) -> Kept:
        client = connect(self.uri)
        record = open_backend(self.uri).find_key(opening.key)
        assert record is not None
        run_id = record.run_id
        run = client.get_run(run_id)
        assert run.inputs is not None
        assert run.outputs is not None
        scratch = self.scratch / "downloaded"
        scratch.mkdir(exist_ok=True)
        folder = Path(client.download_artifacts(run_id, "", str(scratch)))
        locations = [client.get_logged_model(each.model_id).artifact_location for each in run.outputs.model_outputs]
        return Kept(
            dict(run.data.params),
            {
                name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
                for name in run.data.metrics
            },
            dict(run.data.tags),
            {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()},
            [(each.tags[0].value, each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs],
            [(Path(location) / "weights").read_bytes() for location in locations],
            None if run.info.status == "RUNNING" else Status(run.info.status),
            run.info.end_time,
        )


class Journalled:
    """A journal around another place."""

    def __init__(self, scratch: Path, behind: Place) -> None:
        self.scratch, self.behind = scratch, behind
        self.tracker: JournalTracker

    def open(self, opening: Opening) -> Tracker:
        folder = self.scratch / "journal" / opening.key
        self.tracker = JournalTracker(Journal(folder, new=not folder.exists()), opening, self.behind.open)
        return self.tracker

    def refused(self, call: Callable[[], None]) -> bool:
        call()
        unsent = self.tracker.settle(0)
        return unsent is not None and unsent.refused

    def left(self) -> None:
        (self.tracker.journal.folder / journal.CHECKPOINT).write_bytes(b"")  # it may be taken up again
        assert self.tracker.settle(0) is None

    def kept(self, opening: Opening) -> Kept:
        assert self.tracker.settle(0) is None
        return self.behind.kept(opening)
