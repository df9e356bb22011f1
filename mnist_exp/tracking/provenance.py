"""Where a run came from: the code, the command, the machine, and how to run it again."""

import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version

from mnist_exp import project

# What a figure may depend on. Its versions become tags; every other package's are in environment.txt.
_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "mlflow", "hydra-core", "matplotlib")


@dataclass(frozen=True)
class Code:
    """The project's code.

    Attributes:
        commit: the commit checked out; empty outside a git checkout.
        dirty: whether tracked files differ from it.
        diff: how they differ, as ``git diff HEAD`` prints it.
    """

    commit: str
    dirty: bool
    diff: str


@cache
def code() -> Code:
    """The state of the checkout as this process met it; an installed program has none."""
    if not (project.root() / ".git").exists() or project.CONF.parent != project.root():
        return Code("", False, "")
    commit = _git("rev-parse", "HEAD").strip()
    # Whatever looks like it holds secrets stays out of what a team will read.
    diff = _git("diff", "HEAD", "--", ".", ":(exclude,glob)**/.env*")
    return Code(commit, bool(_git("status", "--porcelain", "--untracked-files=no").strip()), diff)


def command_line() -> str:
    """The command as a person would give it: ``python -m mnist_exp model.units=10``."""
    return shlex.join(["python", "-m", "mnist_exp", *sys.argv[1:]])


def tags(state: Code) -> dict[str, str]:
    """What is worth grouping and filtering runs by."""
    versions = {f"version.{name}": _version(name) for name in ("mnist-exp", *_PACKAGES)}
    git = {
        "git.commit": state.commit,
        "mlflow.source.git.commit": state.commit,
        "git.dirty": str(state.dirty).lower(),
    }
    return {
        "command": command_line(),
        "host": platform.node(),
        "platform": platform.platform(),
        "version.python": platform.python_version(),
        **versions,
        **(git if state.commit else {}),
    }


@cache
def environment() -> str:
    """Python, platform and every installed package, one a line, in pip's format."""
    packages = sorted({f"{d.name}=={d.version}" for d in distributions()}, key=str.lower)
    header = f"# Python {platform.python_version()} on {platform.platform()}"
    return "\n".join([header, *packages]) + "\n"


def rerun_script(state: Code, command: str) -> str:
    """A shell script that gives ``command`` again, in a checkout of the project at the same code."""
    lines = ["#!/bin/sh", "# Runs this run again. Call it in a checkout of the project.", "set -e"]
    if state.commit:
        lines.append(f"git checkout {state.commit}")
    if state.diff:
        lines.append('git apply "$(dirname "$0")/git.diff"  # changes that were not committed')
    lines.append(command)
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"  # run from a checkout by its path


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(project.root()), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout
