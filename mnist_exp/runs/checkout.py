"""The code of the project's git checkout: its commit, and what differs from that, bounded and without secrets."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from mnist_exp.base import paths
from mnist_exp.base.text import MARK, redact, redacted_file, visible

DIFF_BYTES = 1_000_000
"""The largest diff that is kept with a run."""

_LIMIT = f"a diff holds {DIFF_BYTES:,} bytes at most"

# A larger file is not compared: that takes git minutes and a multiple of the file's size in memory.
_DIFFED_BYTES = 4_000_000

_MOST_NOTES = 100
_PIECE = 1 << 16

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
    """

    commit: str
    dirty: bool


@cache
def code() -> Code:
    """Return the state of the checkout when this process first asked; an installed program has none."""
    if not (paths.root() / ".git").exists() or paths.CONF.parent != paths.root():
        return Code("", False)
    commit = _git("rev-parse", "HEAD").decode().strip()
    return Code(commit, bool(_git("status", "--porcelain", "--untracked-files=no")))


@cache
def changes() -> bytes:
    """Return how tracked files differ from the commit, as ``git diff HEAD`` prints it, without secrets.

    The diff of a file is whole or left out: secret and ignored files, binary files, and the largest if all of them
    have more than ``DIFF_BYTES``. Comment lines before the first diff name what was left out; ``git apply`` skips
    them. Empty if nothing differs.
    """
    if not code().dirty:
        return b""
    sizes = _changed_files()
    ignored = set(_names(_git("ls-files", "--cached", "--ignored", "--exclude-standard", "-z").split(b"\0")))
    private = [name for name in sizes if name in ignored or _SECRET_FILE.search(name)]
    large = [name for name in sizes if sizes[name] > _DIFFED_BYTES and name not in private]
    notes = [f"its name or .gitignore asks for: {visible(name)}" for name in private]
    notes += [f"{_LIMIT}: {visible(name)} ({sizes[name]:,} bytes)" for name in large]
    kept: list[bytes] = []
    if len(private) + len(large) < len(sizes):
        kept, more = _diffs([*private, *large])
        notes += more
    diff = b"".join(kept)
    redacted = redacted_file(diff)
    head = [f"# Left out, as {note}" for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        head.append(f"# Left out: {len(notes) - _MOST_NOTES:,} more files")
    if redacted != diff:
        head.append(f"# {MARK} stands for what looked like a secret: put it back before applying this")
    return redact("".join(f"{line}\n" for line in head)).encode() + redacted


def _changed_files() -> dict[str, int]:
    """Return the changed files, each with its size in bytes: the larger of before and now."""
    fields = _git("diff-index", "--raw", "-z", "--no-renames", "HEAD").split(b"\0")[:-1]
    blobs = [field.split()[2] for field in fields[::2]]
    before = _git("cat-file", "--batch-check=%(objectsize)", given=b"\n".join(blobs)).splitlines()
    was = [int(size) if size.isdigit() else 0 for size in before] or [0] * len(blobs)  # a submodule has no size
    return {name: max(_size(paths.root() / name), size) for name, size in zip(_names(fields[1::2]), was, strict=True)}


def _diffs(excluded: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Return the diffs of all changed files but those ``excluded``, and why others were left out."""
    kept: list[bytes] = []
    notes = []
    total = 0
    for diff, size in _each_diff([f":(exclude,literal){name}" for name in excluded]):
        if b"\nBinary files " in diff:  # in a header: lines of a file are indented
            notes.append(f"it is binary: {_name(diff)}")
            continue
        kept.append(diff)
        total += len(diff)
        while total > DIFF_BYTES:
            largest = max(kept, key=len)
            kept.remove(largest)
            total -= len(largest)
            notes.append(f"{_LIMIT}: {_name(largest)} ({size if largest is diff else len(largest):,} bytes of changes)")
    return kept, notes


def _each_diff(pathspecs: Sequence[str]) -> Iterator[tuple[bytes, int]]:
    """Yield the diff of each file, cut if it is longer than ``DIFF_BYTES``, and its length in bytes.

    It is read from git's pipe line by line, so that no more than that is held in memory.
    """
    # The user's own settings of git would colour, convert, rename or shorten.
    plain = ["--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--submodule=short"]
    plain += ["--unified=3", "--src-prefix=a/", "--dst-prefix=b/"]
    command = ["git", "-C", str(paths.root()), "-c", "core.quotePath=false", "diff", "HEAD", *plain, "--", "."]
    with subprocess.Popen([*command, *pathspecs], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as git:
        assert git.stdout is not None
        diff, size, begins_line = bytearray(), 0, True
        for piece in iter(partial(git.stdout.readline, _PIECE), b""):
            if begins_line and size and piece.startswith(b"diff --git "):
                yield bytes(diff), size
                diff, size = bytearray(), 0
            begins_line = piece.endswith(b"\n")
            size += len(piece)
            if len(diff) <= DIFF_BYTES:
                diff += piece
        if size:
            yield bytes(diff), size


def _name(diff: bytes) -> str:
    """Return the name of the file that a diff begins with: ``x`` of ``diff --git a/x b/x``."""
    both = diff.partition(b"\n")[0].removeprefix(b"diff --git ")
    return visible(os.fsdecode(both[: len(both) // 2]).replace("a/", "", 1))


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # deleted
        return 0


def _names(listed: Sequence[bytes]) -> list[str]:
    return [os.fsdecode(name) for name in listed]


def _git(*arguments: str, given: bytes = b"") -> bytes:
    """Return what a git command prints about the checkout; empty if it fails, or if this machine has no git."""
    command = ["git", "-C", str(paths.root()), *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, check=False).stdout
    except OSError:
        return b""
