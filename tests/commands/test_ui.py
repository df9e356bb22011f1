"""``mnist-exp ui``: its links, and the server that it starts and stops."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import Checkout, Outcome

from commands.conftest import MnistExp
from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.commands import cli
from mnist_exp.tracking.mlflow import ui
from mnist_exp.tracking.mlflow.client import connect


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StoreError, match=f"--port must be free on 127.0.0.1. Received: {port}"),
            ui.serve("", port=port),
        ):
            pass


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "", "a..b", "::1"])
def test_a_host_that_is_not_this_machine_is_the_hosts_fault(host: str) -> None:
    with (
        pytest.raises(ConfigError, match="--host must be a name or IPv4 address of this machine. Received: ") as raised,
        ui.serve("", host=host, port=0),
    ):
        pass
    assert host in str(raised.value)
    assert "--port" not in str(raised.value)


@pytest.mark.parametrize("port", ["70000", "65536", "-1"])
def test_a_port_that_is_none_is_refused_in_one_line(mnist_exp: MnistExp, port: str) -> None:
    line = f"error: --port must be from 0 to 65535. Received: {port}\n"
    assert mnist_exp("ui", f"--port={port}") == Outcome(2, "", line)


def test_who_may_reach_the_ui_is_this_machine_unless_told_otherwise() -> None:
    parse = cli.build_parser().parse_args
    assert parse(["ui"]).host == "127.0.0.1"
    assert parse(["ui", "--host", "0.0.0.0"]).host == "0.0.0.0"


def test_links_open_where_metrics_are_visible() -> None:
    page = ui.experiment_link("http://h:1", "3", "abc")
    assert page.startswith("http://h:1/#/experiments/3/runs?workflowType=machine_learning&searchFilter=")
    assert "abc" in page


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")
def test_the_server_listens_on_loopback_hides_its_store_and_ends_with_the_command(checkout: Checkout) -> None:
    connect(checkout.uri)
    environment = {**os.environ, "PYTHONPATH": str(checkout.root), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "mnist_exp.commands.cli", "ui", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        command, cwd=checkout.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as program:
        assert program.stdout is not None
        shown = []
        for line in program.stdout:
            shown.append(line.strip())
            if line.startswith("Ctrl-C stops it"):
                break
        address = shown[-2]
        port = int(address.rpartition(":")[2])
        sockets = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path("/proc/net") / table)]
        listening = [each[1] for each in sockets if each[1].endswith(f":{port:04X}") and each[3] == "0A"]
        assert listening == [f"0100007F:{port:04X}"], "127.0.0.1, as Linux writes it, and nowhere else"
        arguments = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
        assert not [each for each in arguments if checkout.uri.encode() in each]
        with urllib.request.urlopen(f"{address}/ajax-api/2.0/mlflow/experiments/search?max_results=1") as answer:
            assert answer.status == 200

        program.send_signal(signal.SIGTERM)

        assert (program.wait(), program.stdout.read()) == (0, "")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []
