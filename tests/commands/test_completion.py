"""Shell completion: what a real bash, and zsh if it is there, offer at a TAB."""

import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
from conftest import PROJECT, Outcome

from commands.conftest import MnistExp
from mnist_exp.commands import cli
from mnist_exp.commands.completion import script

BASH, ZSH = shutil.which("bash"), shutil.which("zsh")
needs_bash = pytest.mark.skipif(BASH is None, reason="needs bash")
needs_zsh = pytest.mark.skipif(ZSH is None, reason="needs zsh")

# As readline does at a TAB: calls the function that is registered for a command, with the line and its words.
ASK_BASH = """
function=$(complete -p "$1" | sed -E 's/.* -F ([^ ]+) .*/\\1/'); line=$2
COMP_LINE=$line; COMP_POINT=${#line}; COMP_WORDS=($line); [[ $line == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
"$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; echo "${COMPREPLY[*]}"
"""

ASK_ZSH = """
eval $CODE
COMP_LINE=$1 COMP_POINT=${#1}
compgen -F _mnist_exp_overrides -- "${1##* }"
"""

OVERRIDES = [
    ("{python} -m mnist_exp model=", "cnn mlp"),
    ("{python} -m mnist_exp -m model.u", "model.units="),
    ("{python} -m mnist_exp seed=3 experiment=model_", "model_1 model_2 model_3 model_4 model_5 model_6"),
    ("{python} -m other_module model=", ""),
]


def bash(command: str, line: str) -> list[str]:
    """What bash offers at the end of a line, sorted."""
    code = script("bash", cli.build_parser()) + ASK_BASH
    arguments = ["--norc", "-c", code, "bash", command, line]
    done = subprocess.run([BASH or "", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(done.stdout.split())


def parsers() -> dict[str, ArgumentParser]:
    """The parser of each command."""
    own: dict[str, ArgumentParser] = {}
    for name, command in cli.COMMANDS.items():
        own[name] = ArgumentParser()
        command.add_arguments(own[name])
    return own


@needs_bash
@pytest.mark.parametrize(("line", "offered"), OVERRIDES)
def test_bash_completes_overrides(line: str, offered: str) -> None:
    assert bash("python", line.format(python=sys.executable)) == offered.split()


@needs_bash
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mnist-exp sy", "sync"),
        ("mnist-exp ", "compare completion promote reproduce review sweeps sync ui"),
        ("mnist-exp compare --format ", "csv html json table"),
        ("mnist-exp compare first --metric val_loss --by l", "last"),
        ("mnist-exp compare --output pypro", "pyproject.toml"),
        ("mnist-exp reproduce --quick --data ", "auto digits mnist"),
        ("mnist-exp completion ", "bash zsh"),
    ],
)
def test_bash_completes_commands_choices_and_files(line: str, offered: str) -> None:
    assert bash("mnist-exp", line) == offered.split()


@needs_bash
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_bash_completes_every_option(name: str) -> None:
    options = [option for action in parsers()[name]._actions for option in action.option_strings]
    assert bash("mnist-exp", f"mnist-exp {name} --") == sorted(option for option in options if option[:2] == "--")


@needs_zsh
@pytest.mark.parametrize(("line", "offered"), [(line, offered.split()) for line, offered in OVERRIDES[1:]])
def test_zsh_completes_overrides(
    line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # zsh's completion system keeps a cache there
    monkeypatch.setenv("CODE", script("zsh", cli.build_parser()))
    arguments = ["-f", "-c", ASK_ZSH, "zsh", line.format(python=sys.executable)]
    done = subprocess.run([ZSH or "", *arguments], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [each.rpartition("=")[2] if each[-1] != "=" else each for each in done.stdout.split()] == offered


@needs_zsh
def test_zsh_knows_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODE", script("zsh", cli.build_parser()))
    seen = "eval $CODE; print ${_comps[mnist-exp]} ${_comps[python]}; typeset -f ${_comps[mnist-exp]}"
    done = subprocess.run([ZSH or "", "-f", "-c", seen], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    registered, body = done.stdout.split("\n", 1)
    assert registered.startswith("_shtab_mnist_exp _bash_complete")
    assert all(f"({name}) _arguments" in body for name in cli.COMMANDS)


def test_the_code_is_printed_for_a_shell(mnist_exp: MnistExp) -> None:
    for shell in ("bash", "zsh"):
        assert mnist_exp("completion", shell) == Outcome(0, script(shell, cli.build_parser()), "")
