"""The entries of a journal: how each is written as a line, and how a file of them is read."""

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_exp.config.overrides import as_override
from mnist_exp.tracking.protocols import Grid, Opening, Record, Status

VANISHED = "vanished"
"""The tag ``failure`` of a run whose process ended without closing it."""

LINES = "journal.jsonl"
LOCK = "lock"
REFUSED = "refused"
CHECKPOINT = "checkpoint.npz"
"""The file that training resumes from; written by training/checkpoint."""


@dataclass(frozen=True)
class Entry:
    """One line of a journal: one call that a run made of its tracker.

    Attributes:
        number: 0-based index; 0 is the opening.
        kind: the call: ``open``, ``params``, ``metrics``, ``tags``, ``artifact``, ``dataset``, ``model``, ``close``,
            ``resume``; or ``left``: the process of a sweep ended without ranking it.
        time_ms: when it was made, in milliseconds since 1970.
        content: the arguments of the call, as JSON values.
    """

    number: int
    kind: str
    time_ms: int
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """The content of a journal, as it was when it was read.

    Attributes:
        folder: the journal's folder.
        opening: what the run is created from; None if that line is damaged or not yet written.
        entries: all entries but the opening, in order, whether or not they were sent.
        damaged: 1-based numbers of the lines whose checksum does not match.
        sound_bytes: length of the file without a last line that was cut off.
        last_heartbeat_ms: when the file last changed, by an entry or a heartbeat; milliseconds since 1970.
        sent: the number of the first entry that the store does not have.
        refused: why the store rejected an entry permanently; empty if it rejected none.
    """

    folder: Path
    opening: Opening | None
    entries: Sequence[Entry]
    damaged: Sequence[int]
    sound_bytes: int
    last_heartbeat_ms: int
    sent: int = 0
    refused: str = ""

    @property
    def jobs(self) -> Grid | None:
        """The jobs of the sweep, if this is the journal of a sweep's parent run."""
        return self.opening.jobs if self.opening else None

    @property
    def parent(self) -> str | None:
        """The key of the sweep that the run belongs to; None if it is a single one, or the opening is missing."""
        return self.opening.parent if self.opening else None

    @property
    def uri(self) -> str:
        """The store that the run is for, without credentials; empty if the opening is missing."""
        return self.opening.uri if self.opening else ""

    @property
    def host(self) -> str | None:
        """The machine that the run began or was last resumed on; None if the opening is missing."""
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
        """Number of entries that the store does not have."""
        return len(self.waiting)

    @property
    def resumable(self) -> bool:
        """Whether the run was killed and has a checkpoint to resume from."""
        killed = self.ended is not None and self.ended.content.get("status") == Status.KILLED
        return killed and (self.folder / CHECKPOINT).exists()

    @property
    def is_unranked(self) -> bool:
        """Whether this is the journal of a sweep whose process ended without ranking it."""
        return self.ended is not None and self.ended.kind == "left"

    @property
    def ended(self) -> Entry | None:
        """The last ``close`` or ``left`` entry; None if there is none, or the run was resumed after it."""
        last = [entry for entry in self.entries if entry.kind in ("close", "left", "resume")]
        return last[-1] if last and last[-1].kind != "resume" else None


def record_of(reading: Reading) -> Record | None:
    """Return a run as its journal has it, with its key for an id; None if its opening is missing."""
    if reading.opening is None:
        return None
    params, metrics, tags = dict[str, str](), dict[str, float](), dict(reading.opening.tags)
    for entry in reading.entries:
        match entry.kind:
            case "params":
                params |= {key: as_override(value) for key, value in entry.content.items()}
            case "metrics":
                metrics |= entry.content["metrics"]
            case "tags":
                tags |= entry.content
    ended = reading.ended if reading.ended is not None and reading.ended.kind == "close" else None
    status = ended.content["status"] if ended else "RUNNING"
    name, ended_ms = reading.opening.name, ended.time_ms if ended else None
    return Record(reading.opening.key, "", name, status, params, metrics, tags, ended_ms)


def epochs_of(reading: Reading) -> list[dict[str, Any]]:
    """Return a row for each epoch of a run, as its journal has it: ``run_id``, its key; ``epoch``; the metrics."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in reading.entries:
        if entry.kind == "metrics" and reading.opening is not None and (epoch := entry.content["step"]) > 0:
            rows.setdefault(epoch, {"run_id": reading.opening.key, "epoch": epoch}).update(entry.content["metrics"])
    return list(rows.values())


def read(folder: Path) -> Reading:
    """Read a journal without holding its lock; another process may be writing to it.

    A missing or unreadable file reads as an empty one, with a heartbeat at 0 ms.
    """
    file = folder / LINES
    try:
        data = file.read_bytes()
        last_heartbeat_ms = int(file.stat().st_mtime * 1000)
    except OSError:
        data, last_heartbeat_ms = b"", 0
    opening: Opening | None = None
    entries: list[Entry] = []
    damaged: list[int] = []
    lines = data.split(b"\n")
    cut_off = lines.pop()
    for number, line in enumerate(lines, 1):
        entry = _decode(line)
        if entry is None:
            damaged.append(number)
        elif entry.kind == "open":
            opening = _opening(entry.content)
        else:
            entries.append(entry)
    sound_bytes, (count, _) = len(data) - len(cut_off), sent(folder)
    return Reading(folder, opening, entries, damaged, sound_bytes, last_heartbeat_ms, count, _refused(folder))


def encode(entry: Entry) -> bytes:
    """Return an entry as a line of a journal's file: CRC-32 of the JSON as 8 hex digits, a space, the JSON."""
    fields = {"n": entry.number, "kind": entry.kind, "ms": entry.time_ms, "content": entry.content}
    return _line(json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode())


def encode_sent(count: int, run_id: str) -> bytes:
    """Return what the file ``sent`` says: number of the first entry that the store does not have, and to which run."""
    return _line(f"{count} {run_id}".encode())


def sent(folder: Path) -> tuple[int, str]:
    """Return the number of the first entry of a journal that the store does not have, and the run that has the others.

    A damaged file counts as none, ``(0, "")``: all entries are sent again, which changes nothing where they are.
    """
    try:
        first, _, _ = (folder / "sent").read_bytes().partition(b"\n")
    except OSError:
        return 0, ""
    if first.isdigit():  # of an earlier version: the number alone
        return int(first), ""
    if (text := _checked(first)) is None:
        return 0, ""
    count, _, run_id = text.decode().partition(" ")
    return int(count), run_id


def holder(folder: Path) -> str:
    """Return ``process 4711 since 14:05 UTC``, which holds the journal in ``folder``; less if that is not known."""
    try:
        process, _, since_s = (folder / LOCK).read_text().partition(" ")
        return f"process {int(process)} since {time.strftime('%H:%M UTC', time.gmtime(int(since_s)))}"
    except (OSError, ValueError, OverflowError):
        return "another process"


def _line(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _checked(line: bytes) -> bytes | None:
    """Return the text of a line; None if its checksum does not match."""
    checksum, _, text = line.partition(b" ")
    return text if checksum == b"%08x" % zlib.crc32(text) else None


def _decode(line: bytes) -> Entry | None:
    """Return the entry on a line; None if its checksum does not match."""
    if (text := _checked(line)) is None:
        return None
    fields = json.loads(text)
    return Entry(fields["n"], fields["kind"], fields["ms"], fields["content"])


def _opening(content: Mapping[str, Any]) -> Opening:
    """Return the opening that an entry holds, without fields that only a later version of this program knows."""
    known = {name: value for name, value in content.items() if name in Opening.__dataclass_fields__}
    jobs = known.get("jobs")
    return Opening(**{**known, "jobs": Grid(jobs["keys"], jobs["total"]) if jobs else None})


def _refused(folder: Path) -> str:
    try:
        return (folder / REFUSED).read_text(errors="replace")
    except OSError:
        return ""
