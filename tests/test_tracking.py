"""What every tracker promises, held against each of them; and what MLflow's adds."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_exp import models
from mnist_exp.config import RunConfig
from mnist_exp.data import datasets
from mnist_exp.errors import StoreError
from mnist_exp.tracking import store
from mnist_exp.tracking.background import BackgroundTracker
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Measurement, MemoryTracker, Status, Tracker

Composed = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for all tests of this file: creating one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def mlflow_tracker(uri: str) -> MlflowTracker:
    client = store.connect(uri)
    return MlflowTracker.open(client, uri, store.experiment_id(client, uri, "contract"), "a run")


@pytest.fixture(params=["memory", "mlflow", "memory in the background", "mlflow in the background"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    kept_by: Tracker = MemoryTracker() if "memory" in request.param else request.getfixturevalue("mlflow_tracker")
    return BackgroundTracker(kept_by) if "background" in request.param else kept_by


class Kept:
    """What a tracker kept, read back the same way from each."""

    def __init__(self, tracker: Tracker, uri: str, tmp_path: Path) -> None:
        if isinstance(tracker, BackgroundTracker):
            tracker.flush()
            tracker = tracker.tracker
        self.params: dict[str, str]
        if isinstance(tracker, MemoryTracker):
            self.params = {key: "null" if v is None else str(v).lower() for key, v in tracker.params.items()}
            self.metrics = tracker.metrics
            self.tags, self.artifacts = tracker.tags, tracker.artifacts
            self.status = tracker.status
            return
        client = store.connect(uri)
        run = client.get_run(tracker.run_id)
        self.params, self.tags = dict(run.data.params), dict(run.data.tags)
        self.metrics = {
            name: {point.step: point.value for point in client.get_metric_history(tracker.run_id, name)}
            for name in run.data.metrics
        }
        folder = Path(client.download_artifacts(tracker.run_id, "", str(tmp_path)))
        self.artifacts = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        self.status = None if run.info.status == "RUNNING" else Status(run.info.status)


@pytest.fixture
def kept(tracker: Tracker, uri: str, tmp_path: Path) -> Callable[[], Kept]:
    return lambda: Kept(tracker, uri, tmp_path)


class TestContract:
    def test_params_are_kept_as_a_command_line_takes_them(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_params({"model.units": 4, "optimizer.lr": 0.001, "data.limit": None, "data.normalize": True})
        expected = {"model.units": "4", "optimizer.lr": "0.001", "data.limit": "null", "data.normalize": "true"}
        assert kept().params == expected

    def test_a_param_cannot_change(self, tracker: Tracker) -> None:
        def change() -> None:
            tracker.log_params({"seed": 2})
            tracker.close(Status.FINISHED)  # in the background, an error shows at the next call

        tracker.log_params({"seed": 1})
        with pytest.raises(StoreError):
            change()

    def test_more_params_than_a_batch_holds(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_params({f"key.{number}": number for number in range(250)})
        assert len(kept().params) == 250

    def test_metrics_are_kept_under_their_step(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        for step in (1, 2, 3):
            tracker.log_metrics(Measurement({"loss": 1 / step, "test/recall_0": 0.5}, step=step))
        assert kept().metrics["loss"] == {1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3)}

    def test_a_later_tag_replaces_an_earlier_one(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.set_tags({"note": "first"})
        tracker.set_tags({"note": "second"})
        assert kept().tags["note"] == "second"

    def test_artifacts_lie_where_they_were_put(self, tracker: Tracker, kept: Callable[[], Kept]) -> None:
        tracker.log_artifact("loss.png", b"\x89PNG")
        tracker.log_artifact("evaluation/report.json", b"{}")
        assert kept().artifacts == {"loss.png": b"\x89PNG", "evaluation/report.json": b"{}"}

    @pytest.mark.parametrize("status", list(Status))
    def test_a_run_ends_as_it_is_closed(self, tracker: Tracker, kept: Callable[[], Kept], status: Status) -> None:
        assert kept().status is None
        tracker.close(status)
        assert kept().status == status


class Slow(MemoryTracker):
    """A store that takes its time: it is told when to go on. Counts how often metrics were sent."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.sent: list[int] = []

    def log_metrics(self, *measurements: Measurement) -> None:
        self.go_on.wait()
        self.sent.append(len(measurements))
        super().log_metrics(*measurements)


class Away(MemoryTracker):
    """A store that cannot be reached until it is back."""

    def __init__(self) -> None:
        super().__init__()
        self.back = False
        self.go_on = threading.Event()
        self.go_on.set()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.go_on.wait()
        if not self.back:
            raise StoreError("no server answers there")
        super().set_tags(tags)


class TestBackground:
    def test_training_does_not_wait_for_the_store(self) -> None:
        slow = Slow()
        tracker = BackgroundTracker(slow, gather_s=0)
        for step in range(1, 101):
            tracker.log_metrics(Measurement({"loss": 1 / step}, step))
        assert not slow.metrics
        slow.go_on.set()
        tracker.close(Status.FINISHED)
        assert list(slow.metrics["loss"]) == list(range(1, 101))

    def test_epochs_are_sent_many_at_a_time_in_order_and_under_their_own_time(self) -> None:
        slow = Slow()
        slow.go_on.set()
        tracker = BackgroundTracker(slow, gather_s=60)
        for step in range(1, 101):
            tracker.log_metrics(Measurement({"loss": 1 / step}, step))
        tracker.set_tags({"what follows": "ends the waiting"})
        tracker.close(Status.FINISHED)
        assert slow.sent == [100]

    def test_they_are_seen_while_the_run_goes_on(self) -> None:
        told = threading.Event()

        class Telling(MemoryTracker):
            def log_metrics(self, *measurements: Measurement) -> None:
                super().log_metrics(*measurements)
                told.set()

        tracker = BackgroundTracker(Telling(), gather_s=0.01)
        tracker.log_metrics(Measurement({"loss": 1.0}, 1))
        assert told.wait(60), "nobody had to close it or to say more"

    def test_an_error_is_raised_by_the_next_call_and_what_waited_is_dropped(self) -> None:
        away = Away()
        away.go_on.clear()
        tracker = BackgroundTracker(away)
        tracker.set_tags({"one": "1"})
        tracker.log_params({"waited": "behind it"})
        away.go_on.set()
        with pytest.raises(StoreError, match="no server"):
            tracker.flush()
        away.back = True
        tracker.set_tags({"failure": "StoreError"})
        tracker.close(Status.FAILED)
        assert (away.tags, away.params, away.status) == ({"failure": "StoreError"}, {}, Status.FAILED)

    def test_the_call_that_raises_an_earlier_error_is_passed_on_itself(self) -> None:
        away = Away()
        tracker = BackgroundTracker(away)
        tracker.set_tags({"one": "1"})
        tracker._messages.put(settled := threading.Event())
        settled.wait()
        with pytest.raises(StoreError, match="no server"):
            tracker.log_params({"seed": 1})
        tracker.close(Status.FAILED)
        assert away.params == {"seed": 1}

    def test_a_run_of_which_something_is_missing_cannot_be_closed_as_finished(self) -> None:
        away = Away()
        tracker = BackgroundTracker(away)
        tracker.set_tags({"one": "1"})
        with pytest.raises(StoreError, match="no server"):
            tracker.close(Status.FINISHED)
        assert away.status is None

    @pytest.mark.parametrize("status", [Status.FAILED, Status.KILLED])
    def test_but_it_can_be_closed_as_what_it_was(self, status: Status, caplog: pytest.LogCaptureFixture) -> None:
        away = Away()
        tracker = BackgroundTracker(away)
        tracker.set_tags({"one": "1"})
        with caplog.at_level(logging.CRITICAL):
            tracker.close(status)
        assert away.status == status

    def test_it_is_closed_once(self) -> None:
        tracker = BackgroundTracker(memory := MemoryTracker())
        tracker.close(Status.FINISHED)
        with pytest.raises(StoreError, match="is closed"):
            tracker.close(Status.KILLED)
        assert memory.status == Status.FINISHED

    def test_what_is_still_to_be_drawn_is_drawn_in_the_other_thread(self) -> None:
        memory = MemoryTracker()
        tracker = BackgroundTracker(memory)
        tracker.log_artifact("name.txt", lambda: threading.current_thread().name.encode())
        tracker.close(Status.FINISHED)
        assert memory.artifacts == {"name.txt": b"tracker of in-memory"}

    def test_nothing_can_be_said_after_it_is_closed(self) -> None:
        tracker = BackgroundTracker(MemoryTracker())
        tracker.close(Status.FINISHED)
        with pytest.raises(StoreError, match="run in-memory is closed"):
            tracker.set_tags({"too": "late"})

    def test_a_mistake_there_is_raised_here(self) -> None:
        tracker = BackgroundTracker(MemoryTracker())
        tracker.log_artifact("loss.png", lambda: bytes(-1))
        with pytest.raises(ValueError, match="negative count"):
            tracker.close(Status.FINISHED)


class TestMlflow:
    def test_the_data_set_is_an_input_with_the_digest_of_its_content(
        self, mlflow_tracker: MlflowTracker, uri: str, composed: Composed
    ) -> None:
        dataset = datasets.load(composed().data)
        mlflow_tracker.log_dataset(dataset, "training")
        inputs = store.connect(uri).get_run(mlflow_tracker.run_id).inputs
        assert inputs is not None
        (given,) = inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("digits", dataset.digest[:32])
        assert json.loads(given.dataset.profile or "")["sha256"] == dataset.digest
        assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]

    @pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "raw"])
    def test_the_model_takes_raw_pixels_and_predicts_as_it_did(
        self, mlflow_tracker: MlflowTracker, uri: str, composed: Composed, normalize: bool
    ) -> None:
        import mlflow.pyfunc

        images = datasets.load(composed().data).test.images[:7]
        model = models.build(composed().model, normalize=normalize)
        mlflow_tracker.log_model(model, images[:2])
        client = store.connect(uri)
        outputs = client.get_run(mlflow_tracker.run_id).outputs
        assert outputs is not None
        (output,) = outputs.model_outputs
        location = client.get_logged_model(output.model_id).artifact_location
        loaded = mlflow.pyfunc.load_model(location)
        assert np.array_equal(loaded.predict(images), model.predict(images, verbose=0))
        assert str(loaded.metadata.signature.inputs) == "[Tensor('uint8', (-1, 28, 28))]"
        assert np.array_equal(loaded.input_example, images[:2])

    def test_no_run_is_ever_active_behind_our_back(self, mlflow_tracker: MlflowTracker) -> None:
        import mlflow

        mlflow_tracker.log_metrics(Measurement({"loss": 1.0}, step=1))
        assert mlflow.active_run() is None

    def test_system_metrics_are_on_by_a_switch(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
        client = store.connect(uri)
        experiment = store.experiment_id(client, uri, "system")
        tracker = MlflowTracker.open(client, uri, experiment, "watched", system_metrics=True)
        _wait_for(lambda: client.get_run(tracker.run_id).data.metrics.get("system/cpu_utilization_percentage"))
        tracker.close(Status.FINISHED)
        assert "system/system_memory_usage_megabytes" in client.get_run(tracker.run_id).data.metrics


def _wait_for(found: Callable[[], Any]) -> None:
    """Ask again until something is found; each question to the store takes a while of its own."""
    assert any(found() is not None for _ in range(2000)), "it never appeared"
