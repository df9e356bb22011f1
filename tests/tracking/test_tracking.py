"""What every tracker promises, held against each of them; and what MLflow's adds."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker
from mnist_exp.training import networks

Composed = Callable[..., RunConfig]

DATASET = DatasetInput("digits", "d" * 64, "scikit-learn", {"train": 1500, "test": 297})


@pytest.fixture
def opening(uri: str) -> Opening:
    """What a run begins with; its key is its own."""
    return Opening(uuid.uuid4().hex, "a run", uri, "contract", None, {"heartbeat": "1"}, 1_000, "host")


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


class Memory:
    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.tracker = MemoryTracker()

    def open(self, opening: Opening) -> Tracker:  # noqa: ARG002
        return self.tracker

    def refused(self, call: Callable[[], None]) -> bool:
        with pytest.raises(Refused):
            call()
        return True

    def left(self) -> None:
        pass

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


class Mlflow:
    def __init__(self, scratch: Path, uri: str) -> None:
        self.scratch, self.uri = scratch, uri

    def open(self, opening: Opening) -> Tracker:
        return open_backend(self.uri).open_run(opening)

    def refused(self, call: Callable[[], None]) -> bool:
        with pytest.raises(Refused):
            call()
        return True

    def left(self) -> None:
        pass

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


@pytest.fixture(params=["memory", "mlflow", "journal around memory", "journal around mlflow"])
def place(request: pytest.FixtureRequest, tmp_path: Path, uri: str) -> Place:
    behind: Place = Memory(tmp_path) if "memory" in request.param else Mlflow(tmp_path, uri)
    return Journalled(tmp_path, behind) if "journal" in request.param else behind


@pytest.fixture
def tracker(place: Place, opening: Opening) -> Iterator[Tracker]:
    tracker = place.open(opening)
    yield tracker
    if isinstance(place, Journalled):
        place.tracker.settle(0)


@pytest.fixture
def kept(place: Place, tracker: Tracker, opening: Opening) -> Callable[[], Kept]:
    return lambda: place.kept(opening)


def save(folder: Path) -> None:
    """A model as the trackers see one: a folder with an MLmodel file in it."""
    from mlflow.models import Model

    Model().save(str(folder / "MLmodel"))
    (folder / "weights").write_bytes(b"weights")


class TestContract:
    def test_params_are_kept_as_a_command_line_takes_them(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_params({"model.units": 4, "optimizer.lr": 0.001, "data.limit": None, "data.normalize": True})
        expected = {"model.units": "4", "optimizer.lr": "0.001", "data.limit": "null", "data.normalize": "true"}
        assert kept().params == expected

    def test_a_param_cannot_change(self, place: Place, tracker: Tracker) -> None:
        tracker.log_params({"seed": 1})
        assert place.refused(lambda: tracker.log_params({"seed": 2}))

    def test_more_params_than_a_batch_holds(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_params({f"key.{number}": number for number in range(250)})
        assert len(kept().params) == 250

    def test_metrics_are_kept_under_their_step(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        for step in (1, 2, 3):
            tracker.log_metrics(Measurement({"loss": 1 / step, "test/recall_0": 0.5}, step=step))
        assert kept().metrics["loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]

    def test_a_later_tag_replaces_an_earlier_one(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.set_tags({"note": "first"})
        tracker.set_tags({"note": "second"})
        assert kept().tags["note"] == "second"

    def test_artifacts_lie_where_they_were_put(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_artifact("loss.png", lambda: b"\x89PNG")
        tracker.log_artifact("evaluation/report.json", b"{}")
        assert kept().artifacts == {"loss.png": b"\x89PNG", "evaluation/report.json": b"{}"}

    def test_a_model_is_what_was_saved(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_model(save)
        assert kept().models == [b"weights"]

    def test_a_run_is_open_until_it_is_closed(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_params({"seed": 1})
        found = kept()
        assert (found.status, found.ended_ms) == (None, None)

    @pytest.mark.parametrize("status", list(Status))
    def test_a_run_ends_as_it_is_closed(self, tracker: Tracker, kept: Callable[[], Kept], status: Status) -> None:
        tracker.close(status)
        assert kept().status == status

    def test_and_when(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.close(Status.FINISHED, 1_700_000_000_123)
        assert kept().ended_ms == 1_700_000_000_123

    def test_said_twice_is_said_once(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        for _ in range(2):
            tracker.log_params({"seed": 1, "data.limit": None})
            tracker.set_tags({"note": "first"})
            tracker.log_dataset(DATASET, "training")
            tracker.log_metrics(
                Measurement({"loss": 1.0, "accuracy": 0.5}, 1, 1000), Measurement({"loss": 0.5}, 2, 2000)
            )
            tracker.log_metrics(Measurement({"test/loss": 0.5}, time_ms=3000))
            tracker.log_artifact("loss.png", b"\x89PNG")
            tracker.log_model(save)
        found = kept()
        assert found.params == {"seed": "1", "data.limit": "null"}
        assert found.metrics == {"loss": [(1, 1.0), (2, 0.5)], "accuracy": [(1, 0.5)], "test/loss": [(0, 0.5)]}
        assert found.tags["note"] == "first"
        assert found.datasets == [("training", "digits", "d" * 32)]
        assert found.artifacts == {"loss.png": b"\x89PNG"}
        assert found.models == [b"weights"]

    def test_a_run_that_was_closed_can_be_resumed_and_closed_again(
        self, place: Place, tracker: Tracker, opening: Opening
    ) -> None:
        tracker.log_metrics(Measurement({"loss": 1.0}, 1))
        tracker.close(Status.KILLED, 1_700_000_000_000)
        place.left()
        again = place.open(opening)
        again.resume()
        again.log_metrics(Measurement({"loss": 0.5}, 2))
        again.close(Status.FINISHED, 1_800_000_000_000)
        found = place.kept(opening)
        assert (found.status, found.ended_ms) == (Status.FINISHED, 1_800_000_000_000)
        assert found.metrics == {"loss": [(1, 1.0), (2, 0.5)]}

    def test_a_run_that_was_resumed_is_a_running_one(self, place: Place, tracker: Tracker, opening: Opening) -> None:
        tracker.close(Status.KILLED, 1_700_000_000_000)
        place.left()
        place.open(opening).resume()
        assert place.kept(opening).status is None


class TestMemory:
    def test_nothing_can_be_said_after_close(self) -> None:
        tracker = MemoryTracker()
        tracker.close(Status.FINISHED)
        with pytest.raises(StoreError, match="run in-memory is closed: it ended FINISHED"):
            tracker.set_tags({"too": "late"})


@pytest.fixture
def mlflow_tracker(uri: str, opening: Opening) -> MlflowTracker:
    tracker = open_backend(uri).open_run(opening)
    assert isinstance(tracker, MlflowTracker)
    return tracker


class TestMlflow:
    def test_a_run_begins_as_its_journal_says(self, uri: str, opening: Opening) -> None:
        parent = open_backend(uri).open_run(replace(opening, key="parent"))
        child = open_backend(uri).open_run(replace(opening, parent="parent"))
        run = connect(uri).get_run(child.run_id)
        assert (run.info.run_name, run.info.start_time) == ("a run", 1_000)
        assert run.data.tags["journal"] == opening.key
        assert run.data.tags["heartbeat"] == "1"
        assert run.data.tags["mlflow.parentRunId"] == run.data.tags["sweep"] == parent.run_id

    def test_the_same_key_opens_the_same_run(self, uri: str, opening: Opening) -> None:
        first, second = (open_backend(uri).open_run(opening) for _ in range(2))
        other = open_backend(uri).open_run(replace(opening, key=uuid.uuid4().hex))
        assert first.run_id == second.run_id != other.run_id

    def test_without_a_key_every_call_begins_a_run(self, uri: str) -> None:
        client = connect(uri)
        experiment = open_backend(uri).experiment("contract")
        runs = {MlflowTracker.open(client, uri, experiment, "a run").run_id for _ in range(2)}
        assert len(runs) == 2

    def test_a_twin_that_comes_late_is_the_one_that_goes(self, uri: str, opening: Opening) -> None:
        """Of a request that a slow server finished when another had been answered: the run is at work by then."""
        tracker = open_backend(uri).open_run(opening)
        tracker.log_params({"seed": 17})
        client = connect(uri)
        experiment = open_backend(uri).experiment(opening.experiment)
        for _ in range(5):  # some of them would sort before it
            client.create_run(experiment, tags={"journal": opening.key})
        found = open_backend(uri).find_key(opening.key)
        assert found is not None
        assert found.run_id == tracker.run_id
        assert open_backend(uri).open_run(opening).run_id == tracker.run_id
        assert [run.info.run_id for run in client.search_runs([experiment], f"tags.journal = '{opening.key}'")] == [
            tracker.run_id
        ]

    def test_twins_are_reduced_to_one_the_same_for_whoever_asks(self, uri: str, opening: Opening) -> None:
        """A network that delivers a request twice, or two processes that ask at once."""
        client = connect(uri)
        experiment = open_backend(uri).experiment(opening.experiment)
        twins = [client.create_run(experiment, tags={"journal": opening.key}).info.run_id for _ in range(3)]
        assert {open_backend(uri).open_run(opening).run_id for _ in range(2)} == {min(twins)}
        stages = {twin: client.get_run(twin).info.lifecycle_stage for twin in twins}
        assert sorted(stages.values()) == ["active", "deleted", "deleted"]

    def test_a_run_that_somebody_deleted_is_refused(self, uri: str, opening: Opening) -> None:
        deleted = open_backend(uri).open_run(opening)
        connect(uri).delete_run(deleted.run_id)
        with pytest.raises(Refused, match=f"run {deleted.run_id} was deleted"):
            open_backend(uri).open_run(opening)

    def test_closed_twice_it_ended_once(self, mlflow_tracker: MlflowTracker, uri: str) -> None:
        for _ in range(2):
            mlflow_tracker.close(Status.KILLED, 2_000)
        info = connect(uri).get_run(mlflow_tracker.run_id).info
        assert (info.status, info.end_time) == ("KILLED", 2_000)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 0.1])
    def test_any_figure_said_twice_is_one_point(self, mlflow_tracker: MlflowTracker, uri: str, value: float) -> None:
        for _ in range(2):
            mlflow_tracker.log_metrics(Measurement({"loss": value}, 1, 1000))
        mlflow_tracker.log_metrics(*[Measurement({"loss": value}, 1, 1000)] * 2)
        assert len(connect(uri).get_metric_history(mlflow_tracker.run_id, "loss")) == 1

    def test_the_data_set_is_an_input_with_the_digest_of_its_content(
        self, mlflow_tracker: MlflowTracker, uri: str, composed: Composed
    ) -> None:
        dataset = datasets.load(composed().data)
        mlflow_tracker.log_dataset(DatasetInput.of(dataset), "training")
        inputs = connect(uri).get_run(mlflow_tracker.run_id).inputs
        assert inputs is not None
        (given,) = inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("digits", dataset.digest[:32])
        profile = json.loads(given.dataset.profile or "")
        assert profile == {
            "images": {"train": len(dataset.train), "test": len(dataset.test)},
            "sha256": dataset.digest,
        }
        assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]

    @pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "raw"])
    def test_the_model_takes_raw_pixels_and_predicts_as_it_did(
        self, mlflow_tracker: MlflowTracker, uri: str, composed: Composed, normalize: bool
    ) -> None:
        import mlflow.pyfunc

        images = datasets.load(composed().data).test.images[:7]
        model = networks.build_model(composed().model, shape=(28, 28), classes=10, normalize=normalize)
        mlflow_tracker.log_model(partial(model_artifact.save, model, images[:2]))
        client = connect(uri)
        outputs = client.get_run(mlflow_tracker.run_id).outputs
        assert outputs is not None
        (output,) = outputs.model_outputs
        location = client.get_logged_model(output.model_id).artifact_location
        loaded = mlflow.pyfunc.load_model(location)
        assert np.array_equal(loaded.predict(images), model.predict(images, verbose=0))
        assert str(loaded.metadata.signature.inputs) == "[Tensor('uint8', (-1, 28, 28))]"
        assert np.array_equal(loaded.input_example, images[:2])
        assert (loaded.metadata.run_id, loaded.metadata.model_id) == (mlflow_tracker.run_id, output.model_id)

    @pytest.mark.parametrize("step", ["log_model_artifacts", "finalize_logged_model", "log_outputs"])
    def test_a_model_whose_sending_broke_off_is_sent_once(
        self, mlflow_tracker: MlflowTracker, uri: str, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        client = connect(uri)

        def away(*_: object, **__: object) -> None:
            raise OSError("the network is gone")

        sound = getattr(client, step)
        monkeypatch.setattr(client, step, away)
        with pytest.raises(StoreError, match="the network is gone"):
            mlflow_tracker.log_model(save)
        monkeypatch.setattr(client, step, sound)
        mlflow_tracker.log_model(save)
        run = client.get_run(mlflow_tracker.run_id)
        found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        assert run.outputs is not None
        assert [each.model_id for each in found] == [each.model_id for each in run.outputs.model_outputs]
        assert [str(each.status) for each in found] == ["READY"]

    def test_a_journals_model_is_left_as_it_was(self, mlflow_tracker: MlflowTracker, tmp_path: Path) -> None:
        save(tmp_path)
        before = (tmp_path / "MLmodel").read_bytes()
        mlflow_tracker.log_model(tmp_path)
        assert (tmp_path / "MLmodel").read_bytes() == before

    def test_no_run_is_ever_active_behind_our_back(self, mlflow_tracker: MlflowTracker) -> None:
        import mlflow

        mlflow_tracker.log_metrics(Measurement({"loss": 1.0}, step=1))
        assert mlflow.active_run() is None
