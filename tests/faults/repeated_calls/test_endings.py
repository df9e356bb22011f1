"""Runs that end twice, take something after their end, or run again."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Param, RunTag

from faults.repeated_calls.conftest import Point, epochs

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
