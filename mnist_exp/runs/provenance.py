"""Where a run came from: the command and how to run it again, libraries, and the fingerprint of what it computes."""

import hashlib
import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import TYPE_CHECKING, Any

from mnist_exp.base import paths
from mnist_exp.base.text import redact
from mnist_exp.config.overrides import key_of, text_override
from mnist_exp.config.replicate import REPLICATE
from mnist_exp.config.schema import RunConfig
from mnist_exp.runs.checkout import Code

if TYPE_CHECKING:
    from mnist_exp.data.datasets import Dataset

# What a result may depend on. Their versions become tags; every other package's are in environment.txt.
_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "mlflow", "hydra-core", "matplotlib")

# A path that Hydra reads as it stands; the slash keeps it apart from numbers and from null.
_PLAIN = re.compile(r"[\w.@%+*-]*/[\w./@%+*-]*", re.ASCII)


def command_line(argv: Sequence[str]) -> str:
    """Return the command as a person would type it, ``python -m mnist_exp model.units=10``, without secrets."""
    return shlex.join(["python", "-m", "mnist_exp", *map(redact, argv)])


def rerun_command(config: RunConfig, dataset: "Dataset", overrides: Sequence[str]) -> str:
    """Return the command line that repeats a run, without secrets.

    Args:
        config: what the run was given.
        dataset: what it learned from: MNIST and the embedded digits are named, any other is found by its path.
        overrides: the overrides that made the run, as they were typed.
    """
    keys = [key_of(override) for override in overrides]
    words = list(overrides)
    if dataset.name in ("mnist", "digits"):
        named = f"data={dataset.name}"
        typed = [(key, word) for key, word in zip(keys, words, strict=True) if key != "data.path"]
        words = [named if key == "data" else word for key, word in typed]
        words += [] if "data" in keys else [named]
    elif config.data.path is not None and "data.path" not in keys:
        path = config.data.path
        words.append(f"data.path={path}" if _PLAIN.fullmatch(path) else text_override("data.path", path))
    return command_line(words)


def rerun_script(state: Code, diff: bytes, command: str) -> str:
    """Return a shell script that gives a command again, in a checkout of the project at the same code.

    Args:
        state: the code that the run used.
        diff: what is in ``git.diff`` beside the script. If that is not all that differed from the commit, the script
            says so and stops, unless it is called with ``--incomplete``.
        command: the command.
    """
    lines = ["#!/bin/sh", "# Runs this run again. Call it in a checkout of the project.", "set -e"]
    notes = (b"\n" + diff).partition(b"\ndiff --git ")[0].decode().splitlines()
    missing = [line for line in notes if line]
    if state.dirty and not diff:
        missing = ["# The code had changes that were not committed; none of them was kept"]
    if missing:
        lines += ['if [ "$1" != --incomplete ]; then']
        lines += [f"    printf '%s\\n' {shlex.quote(line)} >&2" for line in missing]
        lines += ["    echo 'Not all code of this run is kept. To run it without these changes: --incomplete' >&2"]
        lines += ["    exit 1", "fi"]
    if state.commit:
        lines.append(f"git checkout {state.commit}")
    if b"diff --git " in diff:
        lines.append('git apply "$(dirname "$0")/git.diff"  # changes that were not committed')
    lines.append(command)
    return "\n".join(lines) + "\n"


def run_tags(state: Code) -> dict[str, str]:
    """Return what every run keeps of where it came from: the host, and the code in a git checkout."""
    git = {
        "git.commit": state.commit,
        "mlflow.source.git.commit": state.commit,
        "git.dirty": str(state.dirty).lower(),
    }
    return {"host": platform.node(), **(git if state.commit else {})}


def command_tags(command: str) -> dict[str, str]:
    """Return what is the same for all runs of a command: its text, the platform, the versions of libraries."""
    return {
        "command": command,
        "platform": platform.platform(),
        "version.python": platform.python_version(),
        **{f"version.{name}": _version(name) for name in ("mnist-exp", *_PACKAGES)},
    }


@cache
def environment() -> str:
    """Return Python, platform and every installed package, one a line, in pip's format."""
    packages = sorted({f"{d.name}=={d.version}" for d in distributions()}, key=str.lower)
    header = f"# Python {platform.python_version()} on {platform.platform()}"
    return "\n".join([header, *packages]) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"  # run from a checkout by its path


# The files with the code that a run's results depend on.
_CODE = ("config/*.py", "metrics.py", "data/*.py", "training/*.py")
_LIBRARIES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Fingerprint:
    """Four digests; runs that agree in all of them are the same run.

    Attributes:
        config: the resolved config, without what changes no result: where data and runs are kept, ``resume``.
        data: the data set's content.
        code: the modules that compute.
        libraries: their versions.
    """

    config: str
    data: str
    code: str
    libraries: str

    @property
    def digest(self) -> str:
        """All four in one."""
        return _digest(asdict(self))

    def tags(self) -> dict[str, str]:
        """Return it as a run's tags."""
        return {"fingerprint": self.digest, **{f"fingerprint.{name}": text for name, text in asdict(self).items()}}

    def differing(self, tags: Mapping[str, str]) -> list[str]:
        """Return the names of the digests that the run with these tags does not have."""
        return [name for name, text in asdict(self).items() if tags.get(f"fingerprint.{name}") != text]


def fingerprint_of(config: RunConfig, dataset: "Dataset") -> Fingerprint:
    """Return the fingerprint of the run of a config on a data set."""
    plain = {key: value for key, value in config.plain().items() if key != REPLICATE}  # only its seeds matter
    plain["data"] = {key: value for key, value in plain["data"].items() if key not in ("name", "path")}
    return Fingerprint(_digest(plain), dataset.digest[:16], _code(), _libraries())


def fingerprint_of_sweep(fingerprints: list[Fingerprint]) -> Fingerprint:
    """Return the fingerprint of a sweep from those of its runs, in any order."""
    first = fingerprints[0]
    return Fingerprint(_digest(sorted(each.config for each in fingerprints)), first.data, first.code, first.libraries)


@cache
def _code() -> str:
    files = sorted(file for pattern in _CODE for file in paths.PACKAGE.glob(pattern))
    texts = {str(file.relative_to(paths.PACKAGE)): file.read_text("utf-8") for file in files}
    return _digest(texts)


@cache
def _libraries() -> str:
    return _digest({name: version(name) for name in _LIBRARIES})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
