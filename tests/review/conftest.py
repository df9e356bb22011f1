"""A store with sweeps that nobody had to train, and people who review them."""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, command_here
from mlflow.entities import Metric, Param, RunInfo
from some_runs import NOISE

from mnist_exp.analysis import samples
from mnist_exp.base.errors import Refused
from mnist_exp.config import replicate as replicates
from mnist_exp.review.actions import Reviewer, repair_index
from mnist_exp.review.person import Person, current
from mnist_exp.review.record import Kind, append, new_event
from mnist_exp.review.review import Review, gather
from mnist_exp.tracking.mlflow.backend import MlflowBackend
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Record
from mnist_exp.tracking.spool import journal as journals

ANN, BOB, CLEO = "Ann Lee <ann@example.org>", "Bob Ray <bob@example.org>", "Cleo Fox <cleo@example.org>"
"""The author of every sweep, and two reviewers."""

CLEAR = {4: 0.80, 10: 0.87}
"""Widths, and the mean accuracy of each: the wider one is better."""

ALIKE = {4: 0.85, 10: 0.8501}
"""Widths that differ by less than their noise."""

COMMIT = "8de96d5" + "0" * 33
COMMAND = "python -m mnist_exp -m model.units=4,10 replicate=range(8)"


@dataclass(frozen=True)
class Sweeps:
    """A store, and sweeps that are made in it."""

    backend: MlflowBackend

    @property
    def uri(self) -> str:
        return self.backend.uri

    def make(
        self,
        accuracies: Mapping[int, float] = CLEAR,
        numbers: Iterable[int] = range(8),
        *,
        author: str = ANN,
        status: str = "FINISHED",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        run_tags: Mapping[str, str] | None = None,
        failed: Iterable[int] = (),
    ) -> Record:
        """Make a sweep over widths and replicates; runs of the replicates in ``failed`` failed."""
        client, numbers, failed = self.backend.client, list(numbers), set(failed)
        configs = [samples.configuration({"model.units": str(units)}) for units in accuracies]
        own = {
            **{"kind": "sweep", "sweep.keys": "model.units, replicate", "command": COMMAND, "sweep.author": author},
            **{"sweep.jobs": str(len(accuracies) * len(numbers)), "git.commit": COMMIT, "mlflow.user": "ann"},
            **{"sweep.configurations": samples.configurations_digest(configs), "conclusion": "judged", **(tags or {})},
        }
        experiment = self.backend.experiment("mnist")
        parent = client.create_run(experiment, tags=own, run_name="model.units × replicate").info
        client.log_batch(parent.run_id, params=[Param(key, text) for key, text in (params or {}).items()])
        child = {
            **{"kind": "run", "mlflow.parentRunId": parent.run_id, "mlflow.user": "ann", "git.commit": COMMIT},
            **{"dataset": "mnist", "dataset.digest": "c6558067", "fingerprint.code": "c0de"},
            **{"fingerprint.libraries": "11b5", **(run_tags or {})},
        }
        with closing(self._database()) as database, database:
            for units, accuracy in accuracies.items():
                for number in numbers:
                    value = accuracy + NOISE[number % 8] + 0.001 * ((units * (number + 1)) % 7)
                    kept = {"kept/val_accuracy": value, "val_accuracy": value, "train_seconds": 1.0 + number}
                    seeds = {"model.units": units, "replicate": number, **replicates.seeds(number)}
                    fingerprint = {"fingerprint": f"{units}-{number}"}
                    ended = ("FAILED", {}) if number in failed else ("FINISHED", kept)
                    _insert(database, parent, {**fingerprint, **child}, seeds, *ended)
        if status != "RUNNING":
            client.log_batch(parent.run_id, [Metric("jobs/finished", len(numbers) * len(accuracies), 1, 0)])
            client.set_terminated(parent.run_id, status)
        return self.backend.find(parent.run_id)

    def review(self, sweep: Record) -> Review:
        """The review of a sweep as it is now."""
        return gather(self.backend, self.backend.find(sweep.run_id))

    def runs(self, sweep: Record) -> list[Record]:
        return self.backend.search(f"tags.`mlflow.parentRunId` = '{sweep.run_id}'")

    def set(self, record: Record, **tags: str) -> None:
        """Set tags of a run; ``review__turn`` is ``review.turn``."""
        for name, text in tags.items():
            self.backend.client.set_tag(record.run_id, name.replace("__", "."), text)

    def sql(self, statement: str, *values: object) -> None:
        """Change the database behind MLflow's back."""
        with closing(self._database()) as database, database:
            assert database.execute(statement, values).rowcount > 0

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.uri.removeprefix("sqlite:///"), timeout=20)


def _insert(
    database: sqlite3.Connection,
    parent: RunInfo,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    status: str,
    metrics: Mapping[str, float],
) -> None:
    """Insert a run into MLflow's tables, which takes a hundredth of the time that its client takes."""
    run_id, now_ms = uuid.uuid4().hex, int(time.time() * 1000)
    place = parent.artifact_uri.replace(parent.run_id, run_id)
    row = (run_id, f"model.units={params['model.units']}", "ann", status, now_ms, now_ms, "active", place)
    columns = "run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id"
    database.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, parent.experiment_id))
    for table, texts in (("tags", tags), ("params", params)):
        rows = [(key, str(text), run_id) for key, text in texts.items()]
        database.executemany(f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)", rows)
    points = [(key, value, now_ms, 1, False, run_id) for key, value in metrics.items()]
    for table in ("metrics", "latest_metrics"):
        into = f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(into, points)


@pytest.fixture
def sweeps(uri: str) -> Sweeps:
    """The store of this file."""
    return Sweeps(MlflowBackend(uri))


@pytest.fixture
def alone(new_store: Callable[[Path], str], tmp_path: Path) -> Sweeps:
    """A store that no other test writes to."""
    return Sweeps(MlflowBackend(new_store(tmp_path / "alone")))


@pytest.fixture
def acts_as(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes somebody the user of this machine, whose git has no settings."""
    empty = tmp_path / "gitconfig"
    empty.touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(empty))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def become(person: str) -> None:
        monkeypatch.setenv("GIT_AUTHOR_NAME", Person.parse(person).name)
        monkeypatch.setenv("GIT_AUTHOR_EMAIL", Person.parse(person).email)

    return become


@pytest.fixture
def by(sweeps: Sweeps, acts_as: Callable[[str], None]) -> Callable[[str], Reviewer]:
    """Gives somebody who acts on reviews in the store of this file."""

    def person(name: str) -> Reviewer:
        acts_as(name)
        return Reviewer(sweeps.backend, current(sweeps.backend))

    return person


By = Callable[[str], Reviewer]


@pytest.fixture
def sweep(sweeps: Sweeps) -> Record:
    """A sweep that was asked something, and answers it."""
    return sweeps.make(params={"question": "does width 10 beat 4?", "worth": "0.005"})


@pytest.fixture
def approved(sweeps: Sweeps, sweep: Record, by: By) -> Record:
    """The same, approved by Bob."""
    by(BOB)
    decide(sweeps, sweep, Kind.APPROVE, BOB)
    repair_index(sweeps.backend, sweeps.review(sweep))
    return sweep


def decide(sweeps: Sweeps, sweep: Record, kind: Kind, person: str) -> None:
    """Write a decision without its report, which takes a third of a second."""
    content = {name: value for name, value in vars(sweeps.review(sweep).content).items() if value}
    append(sweeps.backend, new_event(kind, Person.parse(person), sweep, content=content))


class ReadOnly(MlflowBackend):
    """A store that lets its user read."""

    def write_once(self, *_: Any, **__: Any) -> bool:
        raise Refused("the tracking store does not let this user write to run X: that needs EDIT")

    def tracker(self, *_: Any, **__: Any) -> MlflowTracker:
        raise Refused("the tracking store does not let this user write to run X: that needs EDIT")


MnistExp = Callable[..., Outcome]


@pytest.fixture
def mnist_exp(
    capsys: pytest.CaptureFixture[str], signal_handlers: None, journals_root: Path, acts_as: Callable[[str], None]
) -> MnistExp:
    """``mnist-exp ARGUMENTS`` in this process, by Ann if nobody else is named."""
    assert journals.root() == journals_root

    def call(*arguments: str, by: str = ANN) -> Outcome:
        acts_as(by)
        return command_here(capsys, arguments)

    return call


@dataclass(frozen=True)
class Desk:
    """A store of one test's own, and ``mnist-exp`` for the people who use it."""

    sweeps: Sweeps
    run: MnistExp

    def review(self, *arguments: str, by: str = ANN) -> Outcome:
        return self.run("review", *arguments, "--uri", self.sweeps.uri, by=by)

    def list(self, *arguments: str, by: str = ANN) -> Outcome:
        return self.run("sweeps", *arguments, "--uri", self.sweeps.uri, by=by)

    def json(self, *arguments: str, by: str = ANN) -> Any:
        """What a command prints as JSON, which knows no NaN."""
        done = self.run(*arguments, "--format", "json", "--uri", self.sweeps.uri, by=by)
        assert done.code == 0, done.err

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(done.out, parse_constant=refuse)


@pytest.fixture
def desk(sweeps: Sweeps, mnist_exp: MnistExp) -> Desk:
    """With the store of this file."""
    return Desk(sweeps, mnist_exp)


@pytest.fixture
def own(alone: Sweeps, mnist_exp: MnistExp) -> Desk:
    """With a store that no other test writes to."""
    return Desk(alone, mnist_exp)


def said(desk: Desk, sweep: Record, kind: Kind, by: str, **fields: Any) -> None:
    """Somebody wrote an event, and the index of the store does not know of it yet."""
    append(desk.sweeps.backend, new_event(kind, Person.parse(by), sweep, **fields))
