"""What a store has of a sweep, and what is wrong with it: the one invariant that every fault test ends with.

Every completed epoch of every run is in the store exactly once, all statuses are true, and what was resumed is to the
bit what an undisturbed sweep gives.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faults.program import Program
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr")
_RESULTS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "best/", "test/", "parameters")

Points = Mapping[int, Sequence[tuple[int, float]]]
"""By step, each point that is kept of a metric: when it was measured, in milliseconds since 1970, and its value."""


@dataclass(frozen=True)
class KeptRun:
    """A run as it stands in the store.

    Attributes:
        points: by metric, those that were measured epoch by epoch.
        models: the folders of its models.
    """

    record: Record
    points: Mapping[str, Points]
    models: Sequence[str]

    def results(self) -> Mapping[str, object]:
        """All that training and evaluation gave: no time, no place, no name."""
        last = {name: value for name, value in self.record.metrics.items() if name.startswith(_RESULTS)}
        curves = {
            f"{name} by epoch": [(step, each[-1][1]) for step, each in sorted(self.points[name].items())]
            for name in EPOCH_METRICS
        }
        return {**last, **curves}


@dataclass(frozen=True)
class KeptSweep:
    """A sweep as it stands in the store.

    Attributes:
        runs: those that count.
        superseded: those whose place another has taken.
    """

    parent: Record
    runs: Sequence[KeptRun]
    superseded: Sequence[KeptRun]

    def run(self, name: str) -> KeptRun:
        """The run that counts as the job called ``name``."""
        (found,) = [run for run in self.runs if run.record.name == name]
        return found


@dataclass
class Wrong:
    """What is wrong with a sweep, in words; nothing, if the invariant holds."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def everything(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.untrue, *self.differing]


def read(client: "MlflowClient", parent: str) -> KeptSweep:
    """All that the store has of the sweep with that parent run."""
    every = open_backend(client.tracking_uri).search(f"tags.`mlflow.parentRunId` = '{parent}'")
    runs = [read_run(client, record) for record in every]
    counts = {record.run_id for record in queries.children(open_backend(client.tracking_uri), parent)}
    return KeptSweep(
        open_backend(client.tracking_uri).find(parent),
        [run for run in runs if run.record.run_id in counts],
        [run for run in runs if run.record.run_id not in counts],
    )


def running(client: "MlflowClient") -> list[Record]:
    """Every run in a store, of whatever kind, that goes on as far as the store knows."""
    return [record for record in open_backend(client.tracking_uri).search("") if record.status == "RUNNING"]


def read_run(client: "MlflowClient", record: Record) -> KeptRun:
    """All that the store has of a run."""
    points: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for name in EPOCH_METRICS:
        steps = points.setdefault(name, {})
        for point in client.get_metric_history(record.run_id, name) if name in record.metrics else ():
            steps.setdefault(point.step, []).append((point.timestamp, point.value))
    models = client.search_logged_models([record.experiment_id], f"source_run_id = '{record.run_id}'")
    return KeptRun(record, points, [model.artifact_location for model in models])


def wrong(kept: KeptSweep, names: Iterable[str], epochs: int, programs: Sequence[Program] = ()) -> Wrong:
    """What is wrong with a finished sweep of the jobs ``names``, which ``programs`` worked at, one after another."""
    found = Wrong()
    names = list(names)
    if kept.parent.status != "FINISHED":
        found.untrue.append(f"the sweep is {kept.parent.status}")
    by_name = Counter(run.record.name for run in kept.runs)
    found.untrue += [f"{name}: no run that counts" for name in names if not by_name[name]]
    found.doubled += [f"{name}: {count} runs that count" for name, count in by_name.items() if count > 1]
    for run in kept.runs:
        found.untrue += [f"{run.record.name} is {run.record.status}"] if run.record.status != "FINISHED" else []
        found.lost += [
            f"{run.record.name}: {name} of epoch {step}"
            for name in EPOCH_METRICS
            for step in range(1, epochs + 1)
            if step not in run.points[name]
        ]
        if len(run.models) != 1:
            found.doubled.append(f"{run.record.name}: {len(run.models)} models")
    for run in kept.superseded:
        if run.record.status not in ("KILLED", "FAILED") or "failure" not in run.record.tags:
            found.untrue.append(f"{run.record.name}, superseded, is {run.record.status}")
    for run in (*kept.runs, *kept.superseded):
        found.doubled += [
            f"{run.record.name}: {name} of epoch {step} {len(points)} times"
            for name, steps in run.points.items()
            for step, points in steps.items()
            if len(points) > 1
        ]
    journals = Counter(run.record.tags.get("journal") for run in (*kept.runs, *kept.superseded))
    found.doubled += [f"journal {key}: {count} runs" for key, count in journals.items() if count > 1]
    for program in programs:
        found.lost += _not_as_shown(kept, program)
    return found


def differences(kept: KeptSweep, undisturbed: KeptSweep) -> list[str]:
    """In what a finished sweep is not, to the bit, what the undisturbed one is."""
    found = []
    for run in kept.runs:
        reference = undisturbed.run(run.record.name)
        ours, theirs = run.results(), reference.results()
        found += [f"{run.record.name}: {key}" for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
        if run.models and not _same_weights(run.models[0], reference.models[0]):
            found.append(f"{run.record.name}: weights")
    return found


def _not_as_shown(kept: KeptSweep, program: Program) -> list[str]:
    """Epochs that a program showed and that no run has as they were measured by its end."""
    assert program.ended_ms is not None, "it has ended"
    ended_ms: int = program.ended_ms
    everything = (*kept.runs, *kept.superseded)
    return [
        f"{name}: epoch {step}, shown before the process ended"
        for name, last in program.epochs_seen().items()
        for step in range(1, last + 1)
        if not any(
            run.record.name == name and any(measured <= ended_ms for measured, _ in run.points["loss"].get(step, ()))
            for run in everything
        )
    ]


def _same_weights(one: str, other: str) -> bool:
    ours, theirs = weights(one), weights(other)
    return len(ours) == len(theirs) and all(
        mine.dtype == yours.dtype and np.array_equal(mine, yours) for mine, yours in zip(ours, theirs, strict=True)
    )


@cache
def weights(model: str) -> list[NDArray[Any]]:
    """The arrays of an MLflow model, loaded as a user would."""
    import mlflow.keras

    loaded = mlflow.keras.load_model(str(Path(model)))
    return [np.asarray(array) for array in loaded.get_weights()]
