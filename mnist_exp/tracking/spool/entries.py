"""The lines of a journal: what they say, and what of a file can be read."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_exp.tracking.protocols import Status

VANISHED = "vanished"
"""The tag ``failure`` of a run whose process ended without a word."""

LINES = "journal.jsonl"
REFUSED = "refused"
CHECKPOINT = "checkpoint.npz"
"""Where training can be taken up again; written by training/checkpoint."""


@dataclass(frozen=True)
class Jobs:
    """What a sweep is over.

    Attributes:
        keys: what varies.
        total: how many jobs it has; 0 where a search decides that as it goes.
    """

    keys: Sequence[str]
    total: int


@dataclass(frozen=True)
class Opening:
    """How a run began: the first entry of its journal.

    Attributes:
        key: what the journal and the run are called by; the run's tag ``journal``.
        uri: the store that it is for, without credentials.
        experiment: the name of its experiment there.
        parent: the key of its sweep's parent run; None for a single run.
        tags: what it is created with.
        began_ms: milliseconds since 1970.
        host: the machine that it began on.
        jobs: what the sweep is over, if it is a sweep's parent run.
    """

    key: str
    name: str
    uri: str
    experiment: str
    parent: str | None
    tags: Mapping[str, str]
    began_ms: int
    host: str
    jobs: Jobs | None = None


@dataclass(frozen=True)
class Entry:
    """One thing that was said.

    Attributes:
        number: from 0, the opening's.
        kind: what was said: ``params``, ``metrics``, ``tags``, ``artifact``, ``dataset``, ``model``, ``close``, ...;
            ``left`` by a process that led a sweep and could not rank it.
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
    def jobs(self) -> Jobs | None:
        """What the sweep is over, if this is the journal of one's parent run."""
        return self.opening.jobs if self.opening else None

    @property
    def uri(self) -> str:
        """The store that the run is for, without credentials."""
        return self.opening.uri if self.opening else ""

    @property
    def host(self) -> str | None:
        """The machine that the run was begun or last taken up on."""
        hosts = [
            str(entry.content["host"]) for entry in self.entries if "host" in entry.content and entry.kind == "resume"
        ]
        return hosts[-1] if hosts else self.opening.host if self.opening else None

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
    def left(self) -> bool:
        """Whether it is of a sweep that its process could not rank."""
        return self.ended is not None and self.ended.kind == "left"

    @property
    def ended(self) -> Entry | None:
        """The entry that closed the run, or left a sweep to others; None while a process is to go on with it."""
        last = [entry for entry in self.entries if entry.kind in ("close", "left", "resume")]
        return last[-1] if last and last[-1].kind != "resume" else None


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
            opening = _opening(entry.content)
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


def _opening(content: Mapping[str, Any]) -> Opening:
    """An opening, without what a later version may say in it."""
    known = {name: value for name, value in content.items() if name in Opening.__dataclass_fields__}
    jobs = known.get("jobs")
    return Opening(**{**known, "jobs": Jobs(jobs["keys"], jobs["total"]) if jobs else None})


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
