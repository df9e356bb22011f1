"""The MLflow UI on a store: started lean, opened where the last sweep is visible."""

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

from mnist_exp.base.errors import StoreError
from mnist_exp.base.text import redact

_UP_WITHIN_S = 180.0  # on slow machines the server needs half a minute to answer
_POLL_S = 0.2

# Without these the server starts a job runner and eight more processes, and tells its makers about it.
_LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

# MLflow opens in a mode for language models that hides metrics and params; this asks for the other one.
_TRAINING_MODE = "workflowType=machine_learning"


@contextmanager
def serve(uri: str, host: str = "127.0.0.1", port: int = 5000) -> Iterator[str]:
    """Run MLflow's server on the store at ``uri``; yields its address once it answers, and stops it at the end.

    ``port`` 0 takes a free one.

    Raises:
        StoreError: the port is taken, or the server ends or stays silent.
    """
    port = _reserve(host, port)
    address = f"http://{host}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    # A URI may hold a password, and every user of a machine can read the arguments of its processes.
    environment = {**os.environ, **_LEAN, "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryFile("w+") as said:  # no pipe: the server would stop when nobody empties it
        # A process group of its own: the server starts a worker, which must end with it.
        server = subprocess.Popen(
            command, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_up(server, address, said)
            yield address
        finally:
            _stop(server)


def experiment_link(address: str, experiment_id: str, sweep: str | None = None) -> str:
    """The page of an experiment's runs; those of one sweep alone where given, the best first."""
    query = _TRAINING_MODE
    if sweep is not None:
        wanted = f"tags.sweep = '{sweep}'"
        best_first = "metrics.`kept/val_accuracy`"
        # MLflow folds runs under their parent, a filter or not, unless they are ordered by something else than date.
        query += f"&searchFilter={quote(wanted, safe='')}&orderByKey={quote(best_first, safe='')}&orderByAsc=false"
    return f"{address}/#/experiments/{experiment_id}/runs?{query}"


def run_link(address: str, experiment_id: str, run_id: str) -> str:
    """The page of a run."""
    return f"{address}/#/experiments/{experiment_id}/runs/{run_id}"


def compare_link(address: str, experiment_ids: list[str], run_ids: list[str]) -> str:
    """The page that compares runs side by side."""
    runs, experiments = quote(json.dumps(run_ids)), quote(json.dumps(experiment_ids))
    return f"{address}/#/compare-runs?runs={runs}&experiments={experiments}&{_TRAINING_MODE}"


def _reserve(host: str, port: int) -> int:
    """``port`` where it is free, or a free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StoreError(
                f"--port must be free on {host}. Received: {port} ({error.strerror}). --port 0 takes any"
            ) from None
        free: int = probe.getsockname()[1]
        return free


def _wait_until_up(server: subprocess.Popen[bytes], address: str, said: IO[str]) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            said.seek(0)
            last = (said.read().strip().splitlines() or ["nothing"])[-1]
            raise StoreError(f"the MLflow server ended at once with code {server.returncode}; it said: {redact(last)}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise StoreError(f"the MLflow server did not answer at {address} within {_UP_WITHIN_S:.0f} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, deadly)
            server.wait(timeout=5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
