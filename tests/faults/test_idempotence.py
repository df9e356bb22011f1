"""What MLflow does when it is told the same thing twice: what sending again after a fault may rely on.

These are facts of MLflow 3.17, the same on SQLite and through a server; a newer one that changes them is to be noticed.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from faults.proxy import CutResponse, Proxy
from mnist_exp.tracking.mlflow import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

LARGEST = 1.7976931348623157e308
DATASET = Dataset(name="digits", digest="0123456789abcdef", source_type="local", source="{}")

Point = tuple[int, int, float]  # step, time, value


@pytest.fixture(params=["database", pytest.param("server", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest) -> str:
    """Where runs are kept: SQLite without anything between, or a server."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def kept_by(uri: str) -> "MlflowClient":
    return store.connect(uri)


@pytest.fixture
def experiment(kept_by: "MlflowClient", uri: str, request: pytest.FixtureRequest) -> str:
    """The id of an experiment of the test's own."""
    return store.experiment_id(kept_by, uri, request.node.nodeid)


@pytest.fixture
def run_id(kept_by: "MlflowClient", experiment: str) -> str:
    created: str = kept_by.create_run(experiment).info.run_id
    return created


@pytest.fixture
def points(kept_by: "MlflowClient", run_id: str) -> Callable[[str], list[Point]]:
    """Every point that is kept of a metric."""
    return lambda name: sorted(
        (point.step, point.timestamp, point.value) for point in kept_by.get_metric_history(run_id, name)
    )


def epochs(steps: Sequence[int]) -> list[Metric]:
    return [Metric("loss", 1 / step, 1000 + step, step) for step in steps]


class TestMetrics:
    def test_a_batch_sent_twice_is_kept_once(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]]
    ) -> None:
        for _ in range(2):
            kept_by.log_batch(run_id, metrics=epochs([1, 2]))
        assert points("loss") == [(1, 1001, 1.0), (2, 1002, 0.5)]

    def test_of_a_batch_that_is_known_in_part_the_rest_is_added(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]]
    ) -> None:
        kept_by.log_batch(run_id, metrics=epochs(range(1, 11)))
        kept_by.log_batch(run_id, metrics=epochs(range(5, 16)))
        assert [step for step, _, _ in points("loss")] == list(range(1, 16))

    def test_a_batch_that_says_something_twice_is_kept_once(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]]
    ) -> None:
        kept_by.log_batch(run_id, metrics=[*epochs([1]), *epochs([1])])
        assert points("loss") == [(1, 1001, 1.0)]

    @pytest.mark.parametrize(
        "other", [Metric("loss", 0.9, 1001, 1), Metric("loss", 1.0, 1002, 1)], ids=["value", "time"]
    )
    def test_another_value_or_time_for_a_step_is_another_point(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]], other: Metric
    ) -> None:
        kept_by.log_batch(run_id, metrics=epochs([1]))
        kept_by.log_batch(run_id, metrics=[other])
        assert len(points("loss")) == 2

    @pytest.mark.parametrize(
        ("value", "kept"), [(math.nan, math.nan), (math.inf, LARGEST), (-math.inf, -LARGEST)], ids=str
    )
    def test_nan_and_infinity_sent_twice_are_kept_once_infinity_as_the_largest_number(
        self,
        kept_by: "MlflowClient",
        run_id: str,
        points: Callable[[str], list[Point]],
        value: float,
        kept: float,
    ) -> None:
        for _ in range(2):
            kept_by.log_batch(run_id, metrics=[Metric("loss", value, 1001, 1)])
        ((step, time, last),) = points("loss")
        assert (step, time) == (1, 1001)
        assert last == pytest.approx(kept, nan_ok=True)
        assert kept_by.get_run(run_id).data.metrics["loss"] == pytest.approx(kept, nan_ok=True)

    def test_a_thousand_at_once_sent_twice_are_kept_once(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]]
    ) -> None:
        thousand = epochs(range(1, 1001))
        for _ in range(2):
            kept_by.log_batch(run_id, metrics=thousand)
        assert points("loss") == sorted((point.step, point.timestamp, point.value) for point in thousand)

    def test_the_same_batch_sent_by_several_at_the_same_moment_is_kept_once(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]]
    ) -> None:
        same = epochs(range(1, 101))
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda _: kept_by.log_batch(run_id, metrics=same), range(8)))
        assert [step for step, _, _ in points("loss")] == list(range(1, 101))

    def test_the_last_value_is_that_of_the_last_step_whatever_comes_again_later(
        self, kept_by: "MlflowClient", run_id: str
    ) -> None:
        kept_by.log_batch(run_id, metrics=epochs(range(1, 11)))
        kept_by.log_batch(run_id, metrics=epochs(range(1, 6)))
        assert kept_by.get_run(run_id).data.metrics["loss"] == 1 / 10


class TestParamsAndTags:
    def test_the_same_params_and_tags_twice_are_fine(self, kept_by: "MlflowClient", run_id: str) -> None:
        for _ in range(2):
            kept_by.log_batch(run_id, params=[Param("seed", "17")], tags=[RunTag("kind", "run")])
        data = kept_by.get_run(run_id).data
        assert (data.params, data.tags["kind"]) == ({"seed": "17"}, "run")

    def test_a_param_that_changes_is_refused_with_the_batch_that_it_is_in(
        self, kept_by: "MlflowClient", run_id: str
    ) -> None:
        kept_by.log_batch(run_id, params=[Param("seed", "17")])
        with pytest.raises(MlflowException, match="Changing param values is not allowed") as refused:
            kept_by.log_batch(
                run_id,
                metrics=epochs([1]),
                params=[Param("new", "1"), Param("seed", "18")],
                tags=[RunTag("kind", "run")],
            )
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
        data = kept_by.get_run(run_id).data
        assert (data.params, data.metrics, "kind" in data.tags) == ({"seed": "17"}, {}, False)

    def test_of_a_tag_the_last_value_counts(self, kept_by: "MlflowClient", run_id: str) -> None:
        for value in ("first", "second", "first"):
            kept_by.log_batch(run_id, tags=[RunTag("note", value)])
        assert kept_by.get_run(run_id).data.tags["note"] == "first"


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
        own = store.experiment_id(truth, server, "retried by the client")
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


class TestEnding:
    def test_ended_twice_a_run_has_its_last_status_and_end(self, kept_by: "MlflowClient", run_id: str) -> None:
        kept_by.set_terminated(run_id, "FINISHED", end_time=1000)
        kept_by.set_terminated(run_id, "FAILED", end_time=2000)
        info = kept_by.get_run(run_id).info
        assert (info.status, info.end_time) == ("FAILED", 2000)

    def test_with_the_same_end_the_second_time_changes_nothing(self, kept_by: "MlflowClient", run_id: str) -> None:
        for _ in range(2):
            kept_by.set_terminated(run_id, "FINISHED", end_time=1000)
        info = kept_by.get_run(run_id).info
        assert (info.status, info.end_time) == ("FINISHED", 1000)

    def test_without_an_end_it_ends_when_it_is_told(self, kept_by: "MlflowClient", run_id: str) -> None:
        kept_by.set_terminated(run_id, "FINISHED", end_time=1000)
        kept_by.set_terminated(run_id, "FINISHED")
        info = kept_by.get_run(run_id).info
        assert info.end_time >= info.start_time > 1000

    def test_what_ended_still_takes_what_comes_late(
        self, kept_by: "MlflowClient", run_id: str, points: Callable[[str], list[Point]], tmp_path: Path
    ) -> None:
        kept_by.set_terminated(run_id, "FINISHED")
        kept_by.log_batch(run_id, metrics=epochs([1]), params=[Param("seed", "17")], tags=[RunTag("late", "yes")])
        (tmp_path / "late.txt").touch()
        kept_by.log_artifact(run_id, str(tmp_path / "late.txt"))
        assert points("loss") == [(1, 1001, 1.0)]
        assert kept_by.get_run(run_id).info.status == "FINISHED"

    def test_it_can_run_again_which_keeps_its_old_end_until_it_ends_again(
        self, kept_by: "MlflowClient", run_id: str
    ) -> None:
        states = []
        kept_by.set_terminated(run_id, "KILLED", end_time=1000)
        kept_by.update_run(run_id, status="RUNNING")
        states.append(kept_by.get_run(run_id).info)
        kept_by.set_terminated(run_id, "FINISHED", end_time=2000)
        states.append(kept_by.get_run(run_id).info)
        assert [(info.status, info.end_time) for info in states] == [("RUNNING", 1000), ("FINISHED", 2000)]

    def test_to_run_again_twice_is_fine(self, kept_by: "MlflowClient", run_id: str) -> None:
        kept_by.set_terminated(run_id, "KILLED", end_time=1000)
        for _ in range(2):
            kept_by.update_run(run_id, status="RUNNING")
        assert kept_by.get_run(run_id).info.status == "RUNNING"
