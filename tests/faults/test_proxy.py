"""The proxy does what it says, in front of a real MLflow server: the other fault tests rest on it."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from faults.proxy import Behaviour, CutRequest, CutResponse, Delay, Duplicate, Error, Pass, Proxy, Refuse, Scripted

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.slow


@pytest.fixture
def run_names(truth: "MlflowClient", experiment: str) -> Callable[[], list[str]]:
    """Which runs the server has, however the client fared."""
    return lambda: sorted(run.info.run_name for run in truth.search_runs([experiment]))


@pytest.fixture
def in_another_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool


def connection(proxy: Proxy, timeout_s: float = 60) -> http.client.HTTPConnection:
    place = urlsplit(proxy.address)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)


def ask_for_health(open_connection: http.client.HTTPConnection) -> int:
    open_connection.request("GET", "/health")
    with open_connection.getresponse() as answer:
        answer.read()
        return answer.status


def health(proxy: Proxy) -> int | None:
    """The status that a client of one request sees; None where it gets no answer."""
    once = connection(proxy)
    try:
        return ask_for_health(once)
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        once.close()


class TestPass:
    def test_a_run_arrives_whole(
        self, client: "MlflowClient", truth: "MlflowClient", experiment: str, tmp_path: Path
    ) -> None:
        (tmp_path / "loss.png").write_bytes(picture := bytes(range(256)) * 1000)
        run_id = client.create_run(experiment, run_name="né 100 %").info.run_id
        client.log_metric(run_id, "loss", 0.5, step=1)
        client.log_artifact(run_id, str(tmp_path / "loss.png"))
        client.set_terminated(run_id)
        run = truth.get_run(run_id)
        assert (run.info.run_name, run.info.status, run.data.metrics) == ("né 100 %", "FINISHED", {"loss": 0.5})
        kept = truth.download_artifacts(run_id, "loss.png", str(tmp_path / "kept"))
        assert Path(kept).read_bytes() == picture

    def test_it_counts_and_remembers_what_it_did(self, proxy: Proxy) -> None:
        health(proxy)
        (seen,) = proxy.exchanges
        assert (seen.method, seen.path, seen.behaviour, seen.answers) == ("GET", "/health", Pass(), [200])
        assert (proxy.count(Pass), proxy.count(Pass, path="/runs"), proxy.count(Error)) == (1, 0, 0)

    def test_a_connection_stays_open_for_the_next_request(self, proxy: Proxy) -> None:
        kept = connection(proxy)
        assert ask_for_health(kept) == 200
        first = kept.sock
        assert ask_for_health(kept) == 200
        assert kept.sock is first
        kept.close()

    def test_a_body_in_chunks_is_one_request(self, proxy: Proxy) -> None:
        kept = connection(proxy)
        kept.request("GET", "/health", iter([b"one", b"two"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        with kept.getresponse() as answer:
            assert (answer.status, answer.read()) == (200, b"OK")
        assert ask_for_health(kept) == 200
        kept.close()
        assert [each.answers for each in proxy.exchanges] == [[200], [200]]


class TestRefuse:
    def test_nothing_listens_until_it_passes_again_at_the_same_address(
        self, proxy: Proxy, client: "MlflowClient", experiment: str, run_names: Callable[[], list[str]]
    ) -> None:
        from mlflow.exceptions import MlflowException

        place = urlsplit(proxy.address)
        proxy.behave(Refuse())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((place.hostname, place.port))
        with pytest.raises(MlflowException, match="Max retries exceeded"):
            client.create_run(experiment, run_name="refused")
        proxy.behave(Pass())
        client.create_run(experiment, run_name="afterwards")
        assert run_names() == ["afterwards"]

    def test_connections_that_were_open_are_closed(self, proxy: Proxy) -> None:
        kept = connection(proxy)
        kept.connect()
        assert ask_for_health(kept) == 200
        assert kept.sock is not None
        proxy.behave(Refuse())
        kept.sock.settimeout(60)
        try:
            assert kept.sock.recv(1) == b""
        except ConnectionResetError:
            pass
        finally:
            kept.close()

    def test_of_some_requests_only_their_connections_are_closed(self, proxy: Proxy) -> None:
        proxy.behave(Refuse(), times=1)
        assert [health(proxy), health(proxy)] == [None, 200]


class TestDelay:
    def test_the_server_is_done_while_the_client_still_waits(
        self,
        proxy: Proxy,
        client: "MlflowClient",
        experiment: str,
        run_names: Callable[[], list[str]],
        in_another_thread: ThreadPoolExecutor,
    ) -> None:
        proxy.behave(Delay(), path="runs/create")
        creating = in_another_thread.submit(client.create_run, experiment, run_name="held back")
        proxy.wait_until(lambda seen: any("runs/create" in each.path and each.answers for each in seen))
        assert run_names() == ["held back"]
        assert not creating.done()
        proxy.release()
        assert creating.result().info.run_name == "held back"

    def test_a_client_that_loses_patience_gets_nothing(self, proxy: Proxy) -> None:
        proxy.behave(Delay())
        impatient = connection(proxy, timeout_s=0.05)
        with pytest.raises(TimeoutError):
            ask_for_health(impatient)
        impatient.close()
        proxy.wait_until(lambda seen: seen[0].answers == [200])

    def test_an_answer_goes_by_itself_after_its_time(self, proxy: Proxy) -> None:
        proxy.behave(Delay(seconds=0.01))
        assert health(proxy) == 200

    def test_the_next_one_is_held_back_as_well(self, proxy: Proxy, in_another_thread: ThreadPoolExecutor) -> None:
        proxy.behave(Delay())
        for _ in range(2):
            asking = in_another_thread.submit(health, proxy)
            proxy.wait_until(lambda seen: bool(seen) and seen[-1].answers == [200])
            assert not asking.done()
            proxy.release()
            assert asking.result() == 200
            proxy.exchanges.clear()


class TestError:
    @pytest.mark.parametrize("status", [500, 503])
    def test_the_client_is_told_and_the_server_knows_nothing(
        self,
        proxy: Proxy,
        client: "MlflowClient",
        experiment: str,
        run_names: Callable[[], list[str]],
        status: int,
    ) -> None:
        from mlflow.exceptions import MlflowException

        proxy.behave(Error(status), path="runs/create")
        with pytest.raises(MlflowException, match="told to say so|too many"):
            client.create_run(experiment, run_name="never")
        assert proxy.count(Error) == 1
        assert run_names() == []
        assert health(proxy) == 200, "other paths pass"


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


ANYTHING: dict[Behaviour, float] = {
    Pass(): 2,
    Refuse(): 1,
    Error(500): 1,
    CutRequest(): 1,
    CutResponse(): 1,
    Delay(0.001): 1,
}


class TestScripted:
    def seen(self, server: str, script: Scripted) -> list[object]:
        with Proxy(server) as proxy:
            proxy.behave(script)
            statuses = {health(proxy) for _ in range(30)}
            assert statuses <= {200, 500, 503, None}
            return [each.behaviour for each in proxy.exchanges]

    def test_a_seed_draws_the_same_behaviours_in_the_same_order(self, server: str) -> None:
        drawn = self.seen(server, Scripted(seed=1, weights=ANYTHING))
        assert len(drawn) == 30
        assert self.seen(server, Scripted(seed=1, weights=ANYTHING)) == drawn
        assert self.seen(server, Scripted(seed=2, weights=ANYTHING)) != drawn

    def test_what_weighs_nothing_never_happens(self, server: str) -> None:
        drawn = self.seen(server, Scripted(seed=1, weights={Pass(): 1.0, Error(): 1.0, Refuse(): 0.0}))
        assert set(drawn) == {Pass(), Error()}


class TestChoosing:
    def test_a_behaviour_can_be_for_some_paths_and_some_times(self, proxy: Proxy) -> None:
        proxy.behave(Error(), path="/health", times=2)
        kept = connection(proxy)
        kept.request("GET", "/version")
        with kept.getresponse() as answer:
            assert (answer.status, bool(answer.read())) == (200, True)
        assert [ask_for_health(kept) for _ in range(3)] == [503, 503, 200]
        kept.close()

    def test_it_can_change_while_a_connection_is_open(self, proxy: Proxy) -> None:
        kept = connection(proxy)
        statuses = []
        for behaviour in (Pass(), Error(500), Pass()):
            proxy.behave(behaviour)
            statuses.append(ask_for_health(kept))
        kept.close()
        assert statuses == [200, 500, 200]


def test_it_ends_with_its_thread_its_port_and_the_connections_it_had(
    server: str, in_another_thread: ThreadPoolExecutor
) -> None:
    with Proxy(server) as proxy:
        proxy.behave(Delay())
        held = in_another_thread.submit(health, proxy)
        proxy.wait_until(lambda seen: len(seen) == 1)
    assert held.result() is None
    place = urlsplit(proxy.address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname, place.port))
    assert not [thread for thread in threading.enumerate() if proxy.address in thread.name]
