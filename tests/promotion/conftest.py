"""A store with sweeps to promote from, a process that ends at a given call."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import mlflow.pyfunc
import numpy as np
import pytest
from some_runs import NOISE

from mnist_exp.config import replicate as replicates
from mnist_exp.review import champion, promotion, record
from mnist_exp.review.person import Person
from mnist_exp.review.promotion import Promotion
from mnist_exp.review.record import Kind
from mnist_exp.review.review import Review, gather
from mnist_exp.tracking.mlflow import model_artifact, registry
from mnist_exp.tracking.mlflow.backend import MlflowBackend
from mnist_exp.tracking.mlflow.registry import Version
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status

EIGHT = range(8)
MEDIAN = "3"  # of EIGHT: half of the NOISE is above that replicate's, the rest below


@dataclass(frozen=True)
class Shared:
    """A store with sweeps, which tests copy."""

    folder: Path
    model: Path


def record_runs(
    backend: MlflowBackend,
    name: str,
    accuracies: dict[int, float],
    numbers: Sequence[int] = EIGHT,
    *,
    digest: str = "d1",
    status: Status = Status.FINISHED,
    model: Path | None = None,
    dataset: str = "digits",
    follows: str | None = None,
) -> None:
    """Record a sweep: for each width its accuracy, over replicates. The ``model`` is that of the median replicate."""
    experiment = backend.experiment(dataset)
    opening: dict[str, Any] = {"tags": {"kind": "sweep", "sweep.keys": "model.units", "mlflow.user": "ann"}}
    parent = MlflowTracker.open(backend.client, backend.uri, experiment, name, **opening)
    if follows:
        parent.log_params({"follows": follows})
    for units, accuracy in accuracies.items():
        for number in numbers:
            tags = {"kind": "run", "dataset": dataset, "dataset.digest": digest, "fingerprint": f"{units} {number}"}
            child = MlflowTracker.open(
                backend.client, backend.uri, experiment, f"{units} {number}", parent=parent.run_id, tags=tags
            )
            child.log_params({"model": "dense", "model.units": units, "replicate": number, **replicates.seeds(number)})
            value = accuracy + NOISE[number % 8] + 0.00005 * (units % 7) * (-1) ** number
            child.log_metrics(
                Measurement({"val_accuracy": value}, 1), Measurement({"kept/val_accuracy": value, "kept/epoch": 1})
            )
            if model is not None and str(number) == MEDIAN:
                child.log_model(model)
            child.close(Status.FINISHED)
    parent.close(status)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Shared:
    folder = tmp_path_factory.mktemp("promotions")
    layers = [keras.layers.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    tiny = keras.Sequential([*layers])
    tiny.compile("sgd", loss="sparse_categorical_crossentropy")
    model = folder / "model"
    model.mkdir()
    model_artifact.save(tiny, np.full((1, 28, 28), 255, np.uint8), model)
    backend = MlflowBackend(new_store(folder / "store"))
    record_runs(backend, "narrow", {2: 0.7, 4: 0.8}, model=model)
    record_runs(backend, "wide", {6: 0.85, 10: 0.9}, model=model)
    record_runs(backend, "wider", {15: 0.85, 20: 0.95}, model=model)
    record_runs(backend, "worse", {3: 0.75}, model=model)
    record_runs(backend, "fresh", {30: 0.96}, [3, 4, 20, 21, 22, 23, 24, 26], model=model)
    record_runs(backend, "few", {40: 0.97}, [0, 3, 4], model=model)
    record_runs(backend, "failed", {50: 0.97}, model=model, status=Status.FAILED)
    record_runs(backend, "other data", {60: 0.97}, digest="d2", model=model)
    record_runs(backend, "no model", {70: 0.98})
    return Shared(folder / "store", model)


@dataclass(frozen=True)
class Store:
    """A copy of the store, in which a test may change everything."""

    backend: MlflowBackend

    def review(self, name: str) -> Review:
        (parent,) = self.backend.search(f"attributes.run_name = '{name}'")
        return gather(self.backend, parent)

    def decided(self, name: str, kind: Kind = Kind.APPROVE) -> Review:
        """The review after somebody decided."""
        before = self.review(name)
        event = record.new_event(kind, Person("bob"), before.sweep, content=asdict(before.content), text="seen")
        record.append(self.backend, event)
        return self.review(name)

    def promote(self, name: str, despite: str = "", by: str = "cleo") -> Promotion:
        """Approve and promote."""
        return promotion.promote(self.backend, self.decided(name), despite=despite, by=by)

    def versions(self, name: str = "digits") -> list[Version]:
        return champion.history(self.backend, name)

    @property
    def numbers(self) -> list[int]:
        return [version.number for version in self.versions()]

    @property
    def champion(self) -> str:
        found = champion.champion_of(self.versions())
        return found.tags["configuration"] if found else "none"


@pytest.fixture
def store(shared: Shared, tmp_path: Path) -> Store:
    shutil.copytree(shared.folder, tmp_path / "store")
    return Store(MlflowBackend(f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"))


@pytest.fixture
def loaded(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Loads the champion as its users do, who know the store and the alias."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.backend.uri)
    return lambda: mlflow.pyfunc.load_model("models:/digits@champion")


class Died(Exception):
    """The process ends here."""


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the process end at the next call of a function of the registry."""

    def at(function: str) -> None:
        real = getattr(registry, function)

        def die(*_: Any) -> None:
            monkeypatch.setattr(registry, function, real)
            raise Died

        monkeypatch.setattr(registry, function, die)

    return at
