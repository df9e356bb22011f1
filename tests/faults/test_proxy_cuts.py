"""The proxy cuts requests and answers, or sends a request twice."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from faults.asking import health
from faults.proxy import CutRequest, CutResponse, Duplicate, Pass, Proxy

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.slow


class TestCutRequest:
    @pytest.mark.parametrize("share", [0.1, 0.9, 0.99], ids=["in its head", "in its body", "near its end"])
    def test_the_server_gets_a_part_and_does_nothing(
        self,
        proxy: Proxy,
        client: "MlflowClient",
        experiment: str,
        run_names: Callable[[], list[str]],
        share: float,
    ) -> None:
        from mlflow.exceptions import MlflowException

        proxy.behave(CutRequest(share), path="runs/create", times=1)
        with pytest.raises(MlflowException, match="Connection aborted|Max retries exceeded"):
            client.create_run(experiment, run_name="cut")
        client.create_run(experiment, run_name="the next")
        assert run_names() == ["the next"]


class TestCutResponse:
    @pytest.mark.parametrize("share", [0.0, 0.2, 0.9], ids=["before it", "in its head", "in its body"])
    def test_the_server_has_the_run_though_the_client_saw_an_error(
        self,
        proxy: Proxy,
        client: "MlflowClient",
        experiment: str,
        run_names: Callable[[], list[str]],
        share: float,
    ) -> None:
        from mlflow.exceptions import MlflowException

        proxy.behave(CutResponse(share), path="runs/create", times=1)
        with pytest.raises(MlflowException):
            client.create_run(experiment, run_name="unheard of")
        assert run_names() == ["unheard of"]
        assert proxy.count(CutResponse) == 1


class TestDuplicate:
    def test_the_server_does_it_twice(
        self, proxy: Proxy, client: "MlflowClient", experiment: str, run_names: Callable[[], list[str]]
    ) -> None:
        proxy.behave(Duplicate())
        client.create_run(experiment, run_name="twin")
        assert run_names() == ["twin", "twin"]

    def test_the_client_gets_the_second_answer_or_the_first(
        self, proxy: Proxy, client: "MlflowClient", experiment: str
    ) -> None:
        from mlflow.exceptions import MlflowException

        proxy.behave(Duplicate("first"))
        client.create_experiment(f"one of {experiment}")
        proxy.behave(Duplicate("second"))
        with pytest.raises(MlflowException, match="already exists"):
            client.create_experiment(f"another of {experiment}")
        assert [each.answers for each in proxy.exchanges if "create" in each.path] == [[200, 400], [200, 400]]

    def test_what_only_asks_passes(
        self, proxy: Proxy, client: "MlflowClient", experiment: str, run_names: Callable[[], list[str]]
    ) -> None:
        proxy.behave(Duplicate(), times=1)
        assert health(proxy) == 200
        client.create_run(experiment, run_name="twin")
        assert (proxy.count(Pass), proxy.count(Duplicate)) == (1, 1)
        assert run_names() == ["twin", "twin"]
