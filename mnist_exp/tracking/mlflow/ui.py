"""MLflow's UI: its server on a store, and the addresses of its pages."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import quote

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.base.text import redact

_UP_WITHIN_S = 180.0  # on slow machines the server needs half a minute to answer
_POLL_S = 0.2

# By default the server starts a job runner and eight more processes, and sends telemetry.
_LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

# By default MLflow's pages have a view for language models, which hides metrics and params; this selects the other.
_TRAINING_MODE = "workflowType=machine_learning"


@contextmanager
def serve(uri: str, host: str = "127.0.0.1", port: int = 5000) -> Iterator[str]:
    """Run MLflow's server on a store while this context lasts.

    Args:
        uri: the store.
        host: the name or IPv4 address that it listens on.
        port: the port that it listens on, 0..65535; 0 takes a free one.

    Yields:
        The server's address, once it answers.

    Raises:
        ConfigError: the host is not this machine.
        StoreError: the port is taken, or the server ends or does not answer.
    """
    port = _reserve(host, port)
    address = f"http://{host}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    # A URI may hold a password, and every user of a machine can read the arguments of its processes.
    environment = {**os.environ, **_LEAN, "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryFile("w+") as output:  # a pipe that nobody reads would block the server when full
        # A process group of its own: the server starts a worker, which must end with it.
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_up(server, address, output)
            yield address
        finally:
            _stop(server)


def experiment_link(address: str, experiment_id: str, sweep: str | None = None) -> str:
    """Return the page of an experiment's runs, or of those of one sweep, the best first."""
    query = _TRAINING_MODE
    if sweep is not None:
        condition = f"tags.sweep = '{sweep}'"
        # MLflow hides runs under their parent run, even those that a filter finds, unless they are ordered by something
        # other than date.
        order = "metrics.`kept/val_accuracy`"
        query += f"&searchFilter={quote(condition, safe='')}&orderByKey={quote(order, safe='')}&orderByAsc=false"
    return f"{address}/#/experiments/{experiment_id}/runs?{query}"


def run_link(address: str, experiment_id: str, run_id: str) -> str:
    """Return the page of a run."""
    return f"{address}/#/experiments/{experiment_id}/runs/{run_id}"


def compare_link(address: str, experiment_ids: list[str], run_ids: list[str]) -> str:
    """Return the page that compares runs side by side."""
    runs, experiments = quote(json.dumps(run_ids)), quote(json.dumps(experiment_ids))
    return f"{address}/#/compare-runs?runs={runs}&experiments={experiments}&{_TRAINING_MODE}"


def _reserve(host: str, port: int) -> int:
    """Return ``port`` if it is free, or a free one for 0."""
    not_here = ConfigError.rule("--host", "must be a name or IPv4 address of this machine", host)
    if not host:  # a socket would take this for all addresses
        raise not_here
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (socket.gaierror, UnicodeError):  # no such host, or a text that no host can have as its name
            raise not_here from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise not_here from None
            raise StoreError(
                f"--port must be free on {host}. Received: {port} ({error.strerror}). --port 0 takes any"
            ) from None
        free: int = probe.getsockname()[1]
        return free


def _wait_until_up(server: subprocess.Popen[bytes], address: str, output: IO[str]) -> None:
    """Return when the server answers. Raises StoreError if it ends first, or does not answer for long."""
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            output.seek(0)
            last = (output.read().strip().splitlines() or ["no output"])[-1]
            raise StoreError(f"the MLflow server ended with code {server.returncode} when it started: {redact(last)}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise StoreError(f"the MLflow server did not answer at {address} within {_UP_WITHIN_S:.0f} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its worker; kill them if they do not end soon."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
