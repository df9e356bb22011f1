"""The proxy does what it says, in front of a real MLflow server: the other fault tests rest on it."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from faults.asking import ask_for_health, connection, health
from faults.proxy import Delay, Error, Pass, Proxy, Refuse

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.slow


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
