"""mnist-exp and shell completion."""

import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mnist_exp.base.errors import StoreError
from mnist_exp.commands import cli
from mnist_exp.commands.completion import script
from mnist_exp.tracking.mlflow import ui

BASH = shutil.which("bash")

ASK = """
COMP_LINE="$1"; COMP_POINT=${#1}; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
"$2"; echo "${COMPREPLY[*]}"
"""


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("{python} -m mnist_exp model=", "cnn mlp"),
        ("{python} -m mnist_exp -m model.u", "model.units="),
        ("{python} -m mnist_exp seed=3 experiment=model_", "model_1 model_2 model_3 model_4 model_5 model_6"),
        ("{python} -m other_module model=", ""),
    ],
)
def test_bash_completes_overrides(line: str, offered: str) -> None:
    code = script("bash") + ASK
    arguments = ["-c", code, "bash", line.format(python=sys.executable), "_mnist_exp_overrides"]
    done = subprocess.run([BASH or "", *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == offered


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert "python -m mnist_exp" in said
    assert all(
        re.search(rf"^ +{command}\b", said, re.MULTILINE) for command in ("ui", "compare", "reproduce", "completion")
    )


def test_a_command_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["iu"])
    assert left.value.code == 2
    assert "invalid choice: 'iu'" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StoreError, match=f"--port must be free on 127.0.0.1. Received: {port}"),
            ui.serve("", port=port),
        ):
            pass


def test_who_may_reach_the_ui_is_this_machine_unless_told_otherwise() -> None:
    assert cli._parser().parse_args(["ui"]).host == "127.0.0.1"
    assert cli._parser().parse_args(["ui", "--host", "0.0.0.0"]).host == "0.0.0.0"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")
def test_the_server_listens_on_loopback_and_tells_nobody_its_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with ui.serve(uri, port=0) as address:
        port = int(address.rpartition(":")[2])
        sockets = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path("/proc/net") / table)]
        listening = [each[1] for each in sockets if each[1].endswith(f":{port:04X}") and each[3] == "0A"]
        assert listening == [f"0100007F:{port:04X}"], "127.0.0.1, as Linux writes it, and nowhere else"
        shown = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
        assert not [each for each in shown if uri.encode() in each]
        with urllib.request.urlopen(f"{address}/ajax-api/2.0/mlflow/experiments/search?max_results=1") as answer:
            assert answer.status == 200
    assert (tmp_path / "mlflow.db").exists(), "the store it was told of"


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []


def test_links_open_where_metrics_are_visible() -> None:
    page = ui.experiment_link("http://h:1", "3", "abc")
    assert page.startswith("http://h:1/#/experiments/3/runs?workflowType=machine_learning&searchFilter=")
    assert "abc" in page


def test_completion_is_printed_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out
