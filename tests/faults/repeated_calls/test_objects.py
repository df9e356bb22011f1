"""Runs, experiments, data sets, models and artifacts, created or logged twice."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput
from mlflow.exceptions import MlflowException

from faults.proxy import CutResponse, Proxy
from faults.repeated_calls.conftest import epochs
from mnist_exp.tracking.mlflow.backend import open_backend

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATASET = Dataset(name="digits", digest="0123456789abcdef", source_type="local", source="{}")


class TestCreating:
    def test_a_run_created_twice_is_two_runs_that_their_common_tag_finds(
        self, kept_by: "MlflowClient", experiment: str
    ) -> None:
        created = {kept_by.create_run(experiment, tags={"journal": "abc"}).info.run_id for _ in range(2)}
        found = kept_by.search_runs([experiment], "tags.journal = 'abc'")
        assert len(created) == 2
        assert {run.info.run_id for run in found} == created

    @pytest.mark.slow
    def test_mlflows_own_client_creates_two_when_it_tries_again_by_itself(
        self, proxy: Proxy, truth: "MlflowClient", server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlflow import MlflowClient

        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        own = open_backend(server).experiment("retried by the client")
        proxy.behave(CutResponse(), path="runs/create", times=1)
        run = MlflowClient(proxy.address).create_run(own)
        both = [each.info.run_id for each in truth.search_runs([own])]
        assert len(both) == 2
        assert run.info.run_id in both

    def test_an_experiment_is_not_created_twice(self, kept_by: "MlflowClient") -> None:
        kept_by.create_experiment("twice")
        with pytest.raises(MlflowException, match="already exists") as refused:
            kept_by.create_experiment("twice")
        assert refused.value.error_code == "RESOURCE_ALREADY_EXISTS"

    def test_a_run_that_is_not_there_is_said_so(self, kept_by: "MlflowClient") -> None:
        with pytest.raises(MlflowException) as refused:
            kept_by.log_batch("f" * 32, metrics=epochs([1]))
        assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def test_a_run_that_was_deleted_takes_nothing_more(self, kept_by: "MlflowClient", run_id: str) -> None:
        kept_by.delete_run(run_id)
        with pytest.raises(MlflowException, match="must be in the 'active' state") as refused:
            kept_by.log_batch(run_id, metrics=epochs([1]))
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def inputs_of(client: "MlflowClient", run_id: str) -> list[tuple[str, list[str]]]:
    """A run's data sets, each with its contexts."""
    inputs = client.get_run(run_id).inputs
    assert inputs is not None
    return [(each.dataset.name, [tag.value for tag in each.tags]) for each in inputs.dataset_inputs]


def outputs_of(client: "MlflowClient", run_id: str) -> list[tuple[str, int]]:
    """A run's models, each with its step."""
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    return [(each.model_id, each.step) for each in outputs.model_outputs]


class TestInputsAndOutputs:
    def test_a_data_set_logged_twice_is_one_input(self, kept_by: "MlflowClient", run_id: str) -> None:
        for _ in range(2):
            kept_by.log_inputs(run_id, [DatasetInput(DATASET, [InputTag("mlflow.data.context", "training")])])
        assert inputs_of(kept_by, run_id) == [("digits", ["training"])]

    def test_its_first_context_stays(self, kept_by: "MlflowClient", run_id: str) -> None:
        for context in ("training", "test"):
            kept_by.log_inputs(run_id, [DatasetInput(DATASET, [InputTag("mlflow.data.context", context)])])
        assert inputs_of(kept_by, run_id) == [("digits", ["training"])]

    @pytest.mark.parametrize("step", [0, 1], ids=["same step", "another step"])
    def test_a_model_is_an_output_once_and_the_second_time_is_an_error(
        self, kept_by: "MlflowClient", experiment: str, run_id: str, step: int
    ) -> None:
        model_id = kept_by.create_logged_model(experiment, "model", run_id).model_id
        kept_by.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        with pytest.raises(MlflowException, match="UNIQUE constraint failed: inputs.source_type") as refused:
            kept_by.log_outputs(run_id, [LoggedModelOutput(model_id, step=step)])
        assert refused.value.error_code == "BAD_REQUEST"
        assert outputs_of(kept_by, run_id) == [(model_id, 0)]

    def test_outputs_of_which_one_is_known_are_all_refused(
        self, kept_by: "MlflowClient", experiment: str, run_id: str
    ) -> None:
        known, new = (kept_by.create_logged_model(experiment, "model", run_id).model_id for _ in range(2))
        kept_by.log_outputs(run_id, [LoggedModelOutput(known, step=0)])
        with pytest.raises(MlflowException):
            kept_by.log_outputs(run_id, [LoggedModelOutput(new, step=0), LoggedModelOutput(known, step=0)])
        assert outputs_of(kept_by, run_id) == [(known, 0)]


class TestModels:
    def test_a_model_created_twice_is_two_models_that_their_run_finds(
        self, kept_by: "MlflowClient", experiment: str, run_id: str
    ) -> None:
        created = {kept_by.create_logged_model(experiment, "model", run_id).model_id for _ in range(2)}
        found = kept_by.search_logged_models([experiment], f"source_run_id = '{run_id}'")
        assert len(created) == 2
        assert {model.model_id for model in found} == created

    def test_a_model_is_finalised_as_often_as_one_likes_and_the_last_time_counts(
        self, kept_by: "MlflowClient", experiment: str, run_id: str
    ) -> None:
        model_id = kept_by.create_logged_model(experiment, "model", run_id).model_id
        for status in ("READY", "READY", "FAILED", "READY"):
            kept_by.finalize_logged_model(model_id, status)
            assert kept_by.get_logged_model(model_id).status == status

    def test_its_files_are_overwritten(
        self, kept_by: "MlflowClient", experiment: str, run_id: str, tmp_path: Path
    ) -> None:
        model_id = kept_by.create_logged_model(experiment, "model", run_id).model_id
        (tmp_path / "model").mkdir()
        for content in ("first", "second"):
            (tmp_path / "model" / "weights").write_text(content)
            kept_by.log_model_artifacts(model_id, str(tmp_path / "model"))
        assert [file.path for file in kept_by.list_logged_model_artifacts(model_id)] == ["weights"]


class TestArtifacts:
    def test_a_file_sent_twice_is_there_once_as_it_was_last(
        self, kept_by: "MlflowClient", run_id: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "report.json"
        for content in ("{}", "{}", '{"accuracy": 0.9}'):
            file.write_text(content)
            kept_by.log_artifact(run_id, str(file), "evaluation")
        assert [each.path for each in kept_by.list_artifacts(run_id, "evaluation")] == ["evaluation/report.json"]
        (tmp_path / "kept").mkdir()
        kept = kept_by.download_artifacts(run_id, "evaluation/report.json", str(tmp_path / "kept"))
        assert Path(kept).read_text() == '{"accuracy": 0.9}'
