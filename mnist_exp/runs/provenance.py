"""Where a run came from: the code, the command, the machine, and how to run it again."""

import hashlib
import json
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Any

from mnist_exp.base import paths
from mnist_exp.base.text import MARK, redact, visible
from mnist_exp.config.replicate import REPLICATE
from mnist_exp.config.schema import RunConfig
from mnist_exp.data.datasets import Dataset

# What a figure may depend on. Its versions become tags; every other package's are in environment.txt.
_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "mlflow", "hydra-core", "matplotlib")

# Where people keep keys and passwords.
_SECRET_FILE = re.compile(
    r"(?:^|/)(?:\.env[^/]*|[^/]*\.env|\.(?:netrc|pgpass|pypirc|npmrc|htpasswd|git-credentials|databrickscfg|mlflow)|_netrc"
    r"|[^/]*\.(?:pem|key|p12|pfx|jks|keystore|kdbx|ppk|gpg|asc)|id_(?:rsa|dsa|ecdsa|ed25519)[^/]*"
    r"|[^/]*(?:credential|secret)s?[^/]*|\.(?:aws|ssh|gnupg|kube|docker)/.*)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Code:
    """The project's code.

    Attributes:
        commit: the commit checked out; empty outside a git checkout.
        dirty: whether tracked files differ from it.
        diff: how they differ, as ``git diff HEAD`` prints it, without secrets.
    """

    commit: str
    dirty: bool
    diff: str


@cache
def code() -> Code:
    """The state of the checkout as this process met it; an installed program has none."""
    if not (paths.root() / ".git").exists() or paths.CONF.parent != paths.root():
        return Code("", False, "")
    commit = _git("rev-parse", "HEAD").strip()
    return Code(commit, bool(_git("status", "--porcelain", "--untracked-files=no").strip()), _diff())


def _diff() -> str:
    """``git diff HEAD`` without what a team should not read; lines before the first change say what is missing."""
    # Nothing that the user's own settings of git would colour, convert or rename.
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
    changed = _git("diff", "HEAD", "--name-only", "-z", "--no-renames", "--no-relative").split("\0")[:-1]
    ignored = set(_git("ls-files", "--cached", "--ignored", "--exclude-standard", "-z").split("\0"))
    left_out = [name for name in changed if name in ignored or _SECRET_FILE.search(name)]
    excluded = [f":(exclude,literal){name}" for name in left_out]
    diff = _git("diff", "HEAD", *plain, "--", ".", *excluded) if len(left_out) < len(changed) else ""
    kept = redact(diff)
    said = [f"# Left out, as its name or .gitignore asks for: {visible(name)}" for name in left_out]
    if kept != diff:
        said.append(f"# {MARK} stands for what looked like a secret: put it back before applying this")
    return "\n".join([*said, kept])


def command_line() -> str:
    """The command as a person would give it, ``python -m mnist_exp model.units=10``, without secrets."""
    return shlex.join(["python", "-m", "mnist_exp", *map(redact, sys.argv[1:])])


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
    if "diff --git " in state.diff:
        lines.append('git apply "$(dirname "$0")/git.diff"  # changes that were not committed')
    lines.append(command)
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"  # run from a checkout by its path


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(paths.root()), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:  # a checkout on a machine without git
        return ""
    return done.stdout


# The code that a run's figures depend on; how they are tracked, drawn or compared changes none of them.
_CODE = ("config/*.py", "metrics.py", "data/*.py", "training/*.py")
_LIBRARIES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Fingerprint:
    """Digests of the four things; runs that agree in all of them are the same run.

    Attributes:
        config: the resolved config, without what changes no figure: where data lie, where runs are kept, ``resume``.
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
        """All four as one."""
        return _digest(asdict(self))

    def tags(self) -> dict[str, str]:
        """What a run keeps of it."""
        return {"fingerprint": self.digest, **{f"fingerprint.{name}": text for name, text in asdict(self).items()}}

    def differing(self, tags: Mapping[str, str]) -> list[str]:
        """Which of the four are not those of the run with these tags."""
        return [name for name, text in asdict(self).items() if tags.get(f"fingerprint.{name}") != text]


def fingerprint_of(config: RunConfig, dataset: Dataset) -> Fingerprint:
    """The fingerprint of the run that ``config`` makes with ``dataset``."""
    plain = {key: value for key, value in config.plain().items() if key != REPLICATE}  # its seeds say it all
    plain["data"] = {key: value for key, value in plain["data"].items() if key not in ("name", "path")}
    return Fingerprint(_digest(plain), dataset.digest[:16], _code(), _libraries())


def fingerprint_of_sweep(fingerprints: list[Fingerprint]) -> Fingerprint:
    """The fingerprint of a sweep over those runs."""
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
