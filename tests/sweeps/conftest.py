"""Journals that processes left behind, and the command that sends them."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import save_model

from mnist_exp.base.errors import StoreError
from mnist_exp.commands import cli
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool import sender
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker

DIED_S = 1_750_000_000
"""When processes vanish here, in seconds since 1970; their runs began 100 s before."""


@pytest.fixture
def root(journals_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """Where the journals lie; what waits in them is sent without pauses."""
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.CRITICAL)
    return journals_root


Sync = Callable[..., tuple[int, str]]


@pytest.fixture
def sync(root: Path, capsys: pytest.CaptureFixture[str]) -> Sync:
    """``mnist-exp sync``: its exit code and what it says."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["sync", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def store_is_away(_: Opening) -> Tracker:
    raise StoreError("no server answers there")


Ran = Callable[..., Journal]


@pytest.fixture
def ran(root: Path, uri: str) -> Iterator[Ran]:
    """Leaves the journal of a run of which the store has nothing; without a status, its process vanished.

    ``held``: its process still runs. ``name`` is its key, too.
    """
    held_ones: list[Journal] = []

    def make(
        name: str,
        status: Status | None = Status.FINISHED,
        *,
        host: str = "",
        parent: str | None = None,
        held: bool = False,
        to: str = uri,
    ) -> Journal:
        opening = Opening(name, name, to, "mnist", parent, {}, (DIED_S - 100) * 1000, host or journals.host())
        tracker = JournalTracker(Journal(root / name, new=True), opening, store_is_away)
        tracker.log_params({"seed": 17, "model.units": 4, "data.limit": None})
        tracker.set_tags({"kind": "run", "dataset": "mnist", "dataset.digest": "d"})
        tracker.log_dataset(DatasetInput("mnist", "d" * 64, "a file", {"train": 60000, "test": 10000}), "training")
        for epoch in (1, 2, 3):
            tracker.log_metrics(Measurement({"loss": 1 / epoch, "val_accuracy": epoch / 4}, epoch, 1000 * epoch))
        tracker.log_metrics(Measurement({"kept/val_accuracy": 0.75}, time_ms=4000))
        tracker.log_artifact("loss.png", lambda: b"\x89PNG")
        tracker.log_model(save_model)
        if status is not None:
            tracker.close(status, DIED_S * 1000)
        assert tracker.settle(0) is not None
        tracker._sender.join()
        os.utime(root / name / "journal.jsonl", (DIED_S, DIED_S))
        if held:
            held_ones.append(Journal(root / name))
            os.utime(root / name / "journal.jsonl", (DIED_S, DIED_S))
        return tracker.journal

    yield make
    for journal in held_ones:
        journal.release()


def run_of(uri: str, key: str) -> str | None:
    record = open_backend(uri).find_key(key)
    return record.run_id if record else None


def state(uri: str, key: str) -> dict[str, Any]:
    """All that the store has of the run with that key."""
    client = connect(uri)
    run_id = run_of(uri, key)
    assert run_id is not None
    run = client.get_run(run_id)
    folder = Path(run.info.artifact_uri)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "run": run.to_dictionary(),
        "points": {
            name: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "artifacts": {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()},
        "models": [(model.model_id, str(model.status), model.artifact_location) for model in models],
    }
