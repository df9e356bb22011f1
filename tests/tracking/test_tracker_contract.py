"""What every tracker promises, held against each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import Journalled, Kept, Memory, Mlflow, Place
from recording import DATASET, save_model

from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Measurement, Opening, Status, Tracker


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
        tracker.log_model(save_model)
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
            tracker.log_model(save_model)
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
