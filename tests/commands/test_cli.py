"""``mnist-exp``: its list of commands, their exit codes, and mistakes in one line."""

import re
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PROJECT, Outcome

from commands.conftest import MnistExp
from mnist_exp.commands import cli

NO_COMMANDS = {"__init__", "cli", "store"}


def test_every_file_with_a_command_is_listed() -> None:
    files = {file.stem for file in (PROJECT / "mnist_exp" / "commands").glob("*.py")}
    assert files - NO_COMMANDS == set(cli.COMMANDS)


def test_help_names_every_command_in_order(mnist_exp: MnistExp) -> None:
    shown = mnist_exp("--help")
    assert shown.code == 0
    assert "python -m mnist_exp" in shown.out
    assert re.findall(r"^    (\w+)", shown.out, re.MULTILINE) == sorted(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_begins_with_its_line_in_the_list(mnist_exp: MnistExp, name: str) -> None:
    shown = mnist_exp(name, "--help")
    assert shown.code == 0
    assert cli.COMMANDS[name].HELP in mnist_exp("--help").out
    assert cli.COMMANDS[name].HELP[1:] in shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["iu"], "invalid choice: 'iu'"),
        (["ui", "--port", "abc"], "argument --port: invalid int value: 'abc'"),
        (["sync", "--status", "--drop", "KEY"], "argument --drop: not allowed with argument --status"),
    ],
)
def test_what_the_parser_refuses_has_code_2(mnist_exp: MnistExp, words: list[str], message: str) -> None:
    shown = mnist_exp(*words)
    assert (shown.code, shown.out) == (2, "")
    assert message in shown.err


def no_database(name: str, tmp_path: Path) -> str:
    """The URI of a file that is missing, a text or a folder, as its name has it."""
    file = tmp_path / name
    if name == "text.db":
        file.write_text("no database\n" * 1000)
    if name == "folder.db":
        file.mkdir()
    return f"sqlite:///{file}"


@pytest.mark.parametrize("command", ["compare", "ui"])
@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "tracking.uri must be a database or a server, such as sqlite:///runs.db or http://host:5000"),
        ("http://[x", "tracking.uri must name a server, such as http://host:5000"),
        ("http://127.0.0.1:9", "no server answers there"),
        ("mssql://nobody@127.0.0.1/x", "cannot be used"),
        ("missing.db", "there is no store yet at sqlite:///"),
        ("text.db", "cannot be used"),
        ("folder.db", "cannot be used"),
    ],
)
def test_a_store_that_cannot_be_read_is_an_error_of_one_line(
    mnist_exp: MnistExp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, uri: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    given = no_database(uri, tmp_path) if uri.endswith(".db") else uri
    shown = mnist_exp(command, "--uri", given)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err


@pytest.mark.parametrize("command", ["compare", "ui"])
def test_a_folder_without_a_store_stays_without(
    mnist_exp: MnistExp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from mnist_exp.base import paths

    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    shown = mnist_exp(command)
    assert shown.code == 2
    assert shown.err == (
        f"error: there is no store yet at sqlite:///{tmp_path}/mlruns/mlflow.db: run python -m mnist_exp, or give the "
        "URI of another one\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_any_command_with_its_code(
    mnist_exp: MnistExp, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    def run(arguments: Namespace) -> int:
        signal.raise_signal(number)
        return 0

    waiting = SimpleNamespace(HELP="wait", add_arguments=lambda _: None, run=run)
    monkeypatch.setattr(cli, "COMMANDS", {"wait": waiting})
    assert mnist_exp("wait") == Outcome(code, "", "")


def test_a_command_is_given_its_words_and_the_parser(mnist_exp: MnistExp, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_arguments(parser: ArgumentParser) -> None:
        parser.add_argument("overrides", nargs="*")

    def run(arguments: Namespace) -> int:
        print(arguments.parser.prog, *arguments.words, "gives", *arguments.overrides)
        return 7

    monkeypatch.setattr(cli, "COMMANDS", {"see": SimpleNamespace(HELP="see", add_arguments=add_arguments, run=run)})
    assert mnist_exp("see", "a=1") == Outcome(7, "mnist-exp see a=1 gives a=1\n", "")


START = "import sys; from mnist_exp.commands import cli; "
LOADED = "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'numpy', 'hydra', 'rich'} & set(sys.modules)"


@pytest.mark.parametrize("words", [["completion", "bash"], ["completion", "zsh"]])
def test_completion_imports_nothing_heavy(words: list[str]) -> None:
    code = f"{START}cli.main({words}); {LOADED}; sys.exit(str(heavy) if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = f"{START}sys.exit(cli.main(['completion', 'bash']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert (done.stderr.read(), done.wait()) == (b"", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device without space")
def test_output_that_cannot_be_written_is_an_error_of_one_line() -> None:
    code = f"{START}sys.exit(cli.main(['completion', 'bash']))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the output cannot be written: No space left on device\n")
