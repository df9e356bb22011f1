"""A review on a real MLflow server with logins: who decides is the login, and who may only read decides nothing."""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Outcome, Program, command_here

from mnist_exp.tracking.mlflow import client, ui

pytest.importorskip("flask_wtf", reason="MLflow's logins need Flask-WTF")

_ADMIN = "admin"
SWEEP = ("-m", "model.units=4,10", "training.epochs=1", "data=digits", "question=does width 10 beat 4?")


def _password(user: str) -> str:
    return f"password of {user}"


def _ask(address: str, path: str, body: dict[str, str]) -> None:
    """Ask the server for something, as its administrator."""
    login = b64encode(f"{_ADMIN}:{_password(_ADMIN)}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/api/{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60):
        pass


@pytest.fixture(scope="module")
def with_logins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on which everybody may read, and who began an experiment may write."""
    folder = tmp_path_factory.mktemp("logins")
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\nadmin_username = {_ADMIN}\n"
        f"admin_password = {_password(_ADMIN)}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = ui._reserve("127.0.0.1", 0)
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret"}
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            command, env={**os.environ, **ui._LEAN, **secrets}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            ui._wait_until_up(server, address, output)
            for user in ("ann", "bob", "rita"):
                _ask(address, "2.0/mlflow/users/create", {"username": user, "password": _password(user)})
            yield address
        finally:
            ui._stop(server)


Give = Callable[..., Outcome]


@pytest.fixture
def give(
    with_logins: str,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signal_handlers: None,
) -> Give:
    """Somebody who is logged in gives ``python -m mnist_exp ARGUMENTS`` or ``mnist-exp ARGUMENTS``."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", with_logins)

    def call(user: str, *arguments: str) -> Outcome:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", _password(user))
        client.login.cache_clear()  # one process, several people: the program asks once who uses it
        return program(*arguments) if arguments[0] == "-m" else command_here(capsys, arguments)

    return call


def test_who_decides_is_the_login(give: Give, with_logins: str, tmp_path: Path) -> None:
    swept = give("ann", *SWEEP)
    assert swept.code == 0, swept.err
    sweep = json.loads(give("ann", "sweeps", "--format", "json").out)[0]["id"]
    experiment = re.search(r"experiments/(\d+)/", give("ann", "review", sweep).out)
    assert experiment is not None
    edit = {"username": "bob", "resource_type": "experiment", "resource_id": experiment[1], "permission": "EDIT"}
    _ask(with_logins, "3.0/mlflow/users/permissions/grant", edit)

    assert give("ann", "review", sweep, "--ask", "bob").code == 0
    assert "1 sweep waits for you" in give("bob", "compare", sweep).err
    assert "for you" not in give("rita", "compare", sweep).err
    assert "it is your own sweep" in give("ann", "review", sweep, "--approve").err
    refused = give("rita", "review", sweep, "--comment", "-m", "hello")
    assert (refused.code, "does not let this user write" in refused.err) == (2, True)
    assert "cannot be approved: too few replicates" in give("bob", "review", sweep, "--approve").err
    approved = give("bob", "review", sweep, "--approve", "--despite", "a demo")
    assert "APPROVED despite objections by bob (login)" in re.sub(r"\s+", " ", approved.out)
    assert give("rita", "review", sweep, "--check").code == 0, "who may only read can check"
    talk = json.loads(give("rita", "review", sweep, "--format", "json").out)
    assert "hello" not in json.dumps(talk)
