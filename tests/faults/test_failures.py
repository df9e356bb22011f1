"""How a fault on the way to the server looks to a client of MLflow 3.17, and to a tracker of ours.

By this, what is worth another try is told apart from what never will be taken.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException, RestException
from requests.exceptions import HTTPError

from faults.proxy import Behaviour, CutRequest, CutResponse, Delay, Duplicate, Error, Pass, Proxy, Refuse, Scripted
from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.slow

FAULTS: list[Behaviour] = [Refuse(), Delay(), Error(500), Error(503), Error(429), CutRequest(), CutResponse()]


@pytest.fixture
def run_id(client: "MlflowClient", experiment: str) -> str:
    created: str = client.create_run(experiment).info.run_id
    return created


@pytest.fixture
def tracker(client: "MlflowClient", proxy: Proxy, run_id: str) -> MlflowTracker:
    """One that speaks through the proxy, and waits a second for an answer."""
    return MlflowTracker(client, proxy.address, run_id)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


CALLS: dict[str, Callable[[MlflowTracker], None]] = {
    "metrics": lambda tracker: tracker.log_metrics(Measurement({"loss": 0.5}, step=1, time_ms=1001)),
    "params": lambda tracker: tracker.log_params({"seed": 17}),
    "tags": lambda tracker: tracker.set_tags({"kind": "run"}),
    "artifact": lambda tracker: tracker.log_artifact("report.json", b"{}"),
    "end": lambda tracker: tracker.close(Status.FINISHED),
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_a_tracker_says_so_and_succeeds_when_told_again(
    tracker: MlflowTracker, truth: "MlflowClient", proxy: Proxy, fault: Behaviour, call: str
) -> None:
    proxy.behave(fault)
    with pytest.raises(StoreError, match=f"the tracking store {proxy.address} cannot be used"):
        CALLS[call](tracker)
    proxy.behave(Pass())
    CALLS[call](tracker)
    run = truth.get_run(tracker.run_id)
    kept = {
        "metrics": run.data.metrics == {"loss": 0.5} and len(truth.get_metric_history(tracker.run_id, "loss")) == 1,
        "params": run.data.params == {"seed": "17"},
        "tags": run.data.tags.get("kind") == "run",
        "artifact": [file.path for file in truth.list_artifacts(tracker.run_id)] == ["report.json"],
        "end": run.info.status == "FINISHED",
    }
    assert kept[call]


@pytest.mark.parametrize("fault", [*FAULTS, CutResponse(0.9)], ids=str)
def test_what_may_pass_is_a_plain_mlflow_exception(
    client: "MlflowClient", proxy: Proxy, run_id: str, fault: Behaviour
) -> None:
    proxy.behave(fault)
    with pytest.raises(MlflowException) as failure:
        client.set_tag(run_id, "kind", "run")
    assert type(failure.value) is MlflowException
    assert failure.value.error_code == "INTERNAL_ERROR"


def test_what_the_server_refuses_for_good_is_a_rest_exception_with_its_code(client: "MlflowClient") -> None:
    with pytest.raises(RestException) as failure:
        client.log_batch("f" * 32, tags=[RunTag("kind", "run")])
    assert failure.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_but_of_an_artifact_it_is_one_of_requests(
    client: "MlflowClient", proxy: Proxy, run_id: str, tmp_path: Path
) -> None:
    (tmp_path / "report.json").write_text("{}")
    proxy.behave(Error(403), path="mlflow-artifacts")
    with pytest.raises(HTTPError) as failure:
        client.log_artifact(run_id, str(tmp_path / "report.json"))
    assert failure.value.response is not None
    assert failure.value.response.status_code == 403


def test_of_an_artifact_that_arrives_in_part_nothing_is_kept(
    client: "MlflowClient", truth: "MlflowClient", proxy: Proxy, run_id: str, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(whole := bytes(range(256)) * 4096)
    kept = []
    for fault in (CutRequest(0.7), Pass()):
        proxy.behave(fault, path="mlflow-artifacts")
        with suppress(MlflowException):
            client.log_artifact(run_id, str(tmp_path / "weights"))
        kept.append([(file.path, file.file_size) for file in truth.list_artifacts(run_id)])
    assert kept == [[], [("weights", len(whole))]]


@pytest.mark.parametrize("seed", range(3))
def test_through_any_faults_sending_until_it_is_taken_keeps_every_epoch_once(
    tracker: MlflowTracker, truth: "MlflowClient", proxy: Proxy, seed: int
) -> None:
    weights: dict[Behaviour, float] = {
        Pass(): 2,
        Refuse(): 1,
        Error(500): 1,
        Error(503): 1,
        CutRequest(): 1,
        CutRequest(0.95): 1,
    }
    weights |= {CutResponse(): 2, CutResponse(0.9): 2, Duplicate(): 1, Duplicate("first"): 1, Delay(0.001): 1}
    proxy.behave(Scripted(seed, weights))
    for step in range(1, 51):
        measurement = Measurement({"loss": 1 / step, "accuracy": step / 50}, step)
        while not taken(tracker, measurement):
            pass
    assert len(proxy.exchanges) > 75, "hardly anything went wrong"
    for name in ("loss", "accuracy"):
        points = truth.get_metric_history(tracker.run_id, name)
        assert sorted(point.step for point in points) == list(range(1, 51))


def taken(tracker: MlflowTracker, measurement: Measurement) -> bool:
    try:
        tracker.log_metrics(measurement)
    except StoreError:
        return False
    return True
