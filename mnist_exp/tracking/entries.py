"""The lines of a journal: what they say, and what of a file can be read."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_exp.tracking.tracker import Status

LINES = "journal.jsonl"
REFUSED = "refused"
CHECKPOINT = "checkpoint.npz"
"""Where training can be taken up again; written by training/checkpoint."""


@dataclass(frozen=True)
class Opening:
    """How a run began: the first entry of its journal.

    Attributes:
        key: what the journal and the run are called by; the run's tag ``journal``.
        uri: the store that it is for, without credentials.
        experiment: the name of its experiment there.
        parent: the run id of its sweep's parent run; None for a single run.
        tags: what it is created with.
        began_ms: milliseconds since 1970.
        host: the machine that it runs on.
    """

    key: str
    name: str
    uri: str
    experiment: str
    parent: str | None
    tags: Mapping[str, str]
    began_ms: int
    host: str


@dataclass(frozen=True)
class Entry:
    """One thing that was said.

    Attributes:
        number: from 0, the opening's.
        kind: what was said: ``params``, ``metrics``, ``tags``, ``artifact``, ``dataset``, ``model``, ``close``, ...
        time_ms: when, in milliseconds since 1970.
    """

    number: int
    kind: str
    time_ms: int
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """What a journal's file holds.

    Attributes:
        damaged: the numbers, from 1, of lines that are not what was written.
        sound_bytes: how long the file is without a last line that was cut off.
        last_sign_ms: when its process last gave a sign of life, in milliseconds since 1970.
        sent: the number of the first entry that the store does not have.
        refused: why the store will not take something; empty where it takes everything.
    """

    folder: Path
    opening: Opening | None
    entries: Sequence[Entry]
    damaged: Sequence[int]
    sound_bytes: int
    last_sign_ms: int
    sent: int = 0
    refused: str = ""

    @property
    def sweep(self) -> Mapping[str, Any] | None:
        """What a sweep's journal begins with; None in a run's."""
        return next((entry.content for entry in self.entries if entry.kind == "sweep"), None)

    @property
    def uri(self) -> str:
        """The store that the run or the sweep is for, without credentials."""
        return self.opening.uri if self.opening else str((self.sweep or {}).get("uri", ""))

    @property
    def waiting(self) -> Sequence[Entry]:
        """The entries that the store does not have."""
        return [entry for entry in self.entries if entry.number >= self.sent]

    @property
    def unsent(self) -> int:
        """How many entries the store does not have."""
        return len(self.waiting)

    @property
    def resumable(self) -> bool:
        """Whether it is of a run that was killed, and says where to take it up again."""
        killed = self.ended is not None and self.ended.content.get("status") == Status.KILLED
        return killed and (self.folder / CHECKPOINT).exists()

    @property
    def ended(self) -> Entry | None:
        """The entry that closed the run or the sweep; None while it is open."""
        last = [entry for entry in self.entries if entry.kind in ("close", "resume", "sweep")]
        return last[-1] if last and last[-1].kind == "close" else None


def read(folder: Path) -> Reading:
    """Read a journal's file, whoever writes to it."""
    file = folder / LINES
    try:
        data = file.read_bytes()
        last_sign_ms = int(file.stat().st_mtime * 1000)
    except OSError:
        data, last_sign_ms = b"", 0
    opening: Opening | None = None
    entries: list[Entry] = []
    damaged: list[int] = []
    lines = data.split(b"\n")
    cut_off = lines.pop()
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None:
            damaged.append(number)
        elif entry.kind == "open":
            opening = Opening(**entry.content)
        else:
            entries.append(entry)
    return Reading(
        folder, opening, entries, damaged, len(data) - len(cut_off), last_sign_ms, sent(folder), _refused(folder)
    )


def encode(entry: Entry) -> bytes:
    """An entry as a line of a journal's file."""
    fields = {"n": entry.number, "kind": entry.kind, "ms": entry.time_ms, "content": entry.content}
    text = json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> Entry | None:
    """The entry on a line; None where it is not what was written."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    fields = json.loads(text)
    return Entry(fields["n"], fields["kind"], fields["ms"], fields["content"])


def sent(folder: Path) -> int:
    """The number of the first entry of a journal that the store does not have."""
    try:
        text = (folder / "sent").read_text(errors="replace")
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0


def _refused(folder: Path) -> str:
    try:
        return (folder / REFUSED).read_text(errors="replace")
    except OSError:
        return ""
