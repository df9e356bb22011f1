"""What the tracker that keeps a run in MLflow adds to what every tracker promises."""

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from recording import save_model

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Opening, Status
from mnist_exp.training import networks

Composed = Callable[..., RunConfig]


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
        assert run.data.tags["kind"] == "run"
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
            mlflow_tracker.log_model(save_model)
        monkeypatch.setattr(client, step, sound)
        mlflow_tracker.log_model(save_model)
        run = client.get_run(mlflow_tracker.run_id)
        found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        assert run.outputs is not None
        assert [each.model_id for each in found] == [each.model_id for each in run.outputs.model_outputs]
        assert [str(each.status) for each in found] == ["READY"]

    def test_a_journals_model_is_left_as_it_was(self, mlflow_tracker: MlflowTracker, tmp_path: Path) -> None:
        save_model(tmp_path)
        before = (tmp_path / "MLmodel").read_bytes()
        mlflow_tracker.log_model(tmp_path)
        assert (tmp_path / "MLmodel").read_bytes() == before

    def test_no_run_is_ever_active_behind_our_back(self, mlflow_tracker: MlflowTracker) -> None:
        import mlflow

        mlflow_tracker.log_metrics(Measurement({"loss": 1.0}, step=1))
        assert mlflow.active_run() is None
