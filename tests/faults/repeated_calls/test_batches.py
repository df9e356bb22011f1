"""Metrics, params and tags, sent twice."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from faults.repeated_calls.conftest import Point, epochs

if TYPE_CHECKING:
    from mlflow import MlflowClient

LARGEST = 1.7976931348623157e308


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
