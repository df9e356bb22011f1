"""A run's journal: a folder with an append-only file of checked lines, in which all that a run says is written first.

::

    mlruns/journal/KEY/
        journal.jsonl   a line an entry: CRC-32 of the JSON as 8 hex digits, a space, the JSON
        files/          artifacts, by the names that their entries give; a folder is a model
        sent            how many entries the store has
        refused         why it will not take one
        lock            held by the process that writes or sends
        reserve         room on the disk for the last words of a run that filled it
        checkpoint.npz  where training can be taken up again (training/checkpoint)
        opening         of a sweep: held by whoever asks the store for its parent run
        claims/         of a sweep: a file for each job, held by the process that is at it (sweeps/resume)

Lines are written straight to the file, without a buffer of ours: a process that is killed loses none. A last line that
was cut off is no entry and makes room for the next; a damaged one in the middle is left out and told of.
"""

import os
import platform
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_exp.base import paths
from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.spool import entries
from mnist_exp.tracking.spool.entries import CHECKPOINT, LINES, REFUSED, Entry, Jobs, Opening, Reading, read

__all__ = ["CHECKPOINT", "Busy", "Entry", "Gone", "Jobs", "Journal", "Opening", "Reading", "read"]

# Enough for the tags and the traceback of a run that failed because the disk is full.
_RESERVE_BYTES = 64 * 1024


# In case that a journal is deleted just when it is to be begun anew.
_ATTEMPTS = 10


class Busy(StoreError):
    """The journal is another process's, which still runs."""


class Gone(StoreError):
    """The journal was done with, and deleted."""


def root() -> Path:
    """Where this project's journals lie."""
    return paths.store_folder() / "journal"


def new_key() -> str:
    """A name for a journal; later ones sort behind earlier ones."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{rest:09}-{uuid.uuid4().hex[:8]}"


def host() -> str:
    """What this machine is called."""
    return platform.node() or "unknown"


def folders(where: Path) -> list[Path]:
    """Every journal there is, the oldest first."""
    found = [folder for folder in where.glob("*") if (folder / LINES).is_file()] if where.is_dir() else []
    return sorted(found, key=lambda folder: folder.name)


def check(where: Path) -> None:
    """Make sure that journals can be written below ``where``.

    Raises:
        StoreError: the folder cannot be made or written to, or the disk is full.
    """
    probe = where / f"probe-{os.getpid()}"
    try:
        where.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            _reserve(file.fileno(), 16 * _RESERVE_BYTES)
    except OSError as error:
        raise StoreError(f"{where} must take a journal of every run. It does not: {error.strerror}") from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


class Journal:
    """A journal that this process alone writes to, and sends from.

    Every method may be called from any thread.
    """

    def __init__(self, folder: Path, *, new: bool = False, patience_s: float = 0.0) -> None:
        """Take the journal in ``folder``, or begin a ``new`` one there; wait for another process up to ``patience_s``.

        Raises:
            Busy: another process has it.
            Gone: another process has just done with it.
            StoreError: the folder cannot be written to.
        """
        self.folder = folder
        if not new and not (folder / LINES).exists():
            raise Gone(f"the journal {folder} is gone")
        self._lock = FileLock(folder / "lock", timeout=patience_s, thread_local=False)
        self._take(new)
        if not new and not (folder / LINES).exists():
            if not (folder / "claims").exists():
                _delete(folder)  # which locking has made again
            self._lock.release()
            raise Gone(f"the journal {folder} is gone")
        self._alone = threading.Lock()
        self._released = False
        try:
            self._file = os.open(folder / LINES, os.O_RDWR | os.O_CREAT, 0o644)
            self._sent_file = os.open(folder / "sent", os.O_WRONLY | os.O_CREAT, 0o644)
            needed = nullcontext() if new else suppress(OSError)  # who only sends can do without
            with needed, (folder / "reserve").open("wb") as reserve:
                _reserve(reserve.fileno(), _RESERVE_BYTES)
        except OSError as error:
            self._lock.release()
            raise StoreError(f"{folder} must take a journal. It does not: {error.strerror}") from error
        found = read(folder)
        self._end = found.sound_bytes
        was = os.fstat(self._file)
        if self._end < was.st_size:
            os.ftruncate(self._file, self._end)
            os.utime(self._file, ns=(was.st_atime_ns, was.st_mtime_ns))  # it is no sign of life of whoever wrote it
        # Entries that were sent count even where a power cut took their lines.
        self._next = max([found.sent, *(entry.number + 1 for entry in found.entries)])

    def _take(self, new: bool) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                if new:
                    self.folder.mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
                return
            except Timeout:
                raise Busy(f"the journal {self.folder} is in use by another process") from None
            except (FileNotFoundError, FileExistsError) as error:  # deleted by its owner between two system calls
                if not new:
                    raise Gone(f"the journal {self.folder} is gone") from error
                if attempt == _ATTEMPTS - 1:
                    raise StoreError(f"{self.folder} must take a journal. It is deleted again and again") from error
            except OSError as error:
                raise StoreError(f"{self.folder} must take a journal. It does not: {error.strerror}") from error

    def open(self, opening: Opening) -> None:
        """Write the first entry of a new journal."""
        self.append("open", asdict(opening))

    def append(self, kind: str, content: Mapping[str, Any], time_ms: int | None = None) -> Entry:
        """Write an entry, which a killed process leaves behind.

        Raises:
            StoreError: the disk is full. There is room for a run's last words from now on.
        """
        with self._alone:
            self._must_be_held()
            entry = Entry(self._next, kind, time_ms or int(time.time() * 1000), content)
            line = entries.encode(entry)
            try:
                if os.pwrite(self._file, line, self._end) < len(line):
                    raise OSError(0, "no room for a whole line")
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._file, self._end)
                    (self.folder / "reserve").unlink(missing_ok=True)
                raise StoreError(f"the journal {self.folder} cannot be written: {error.strerror}") from error
            self._end += len(line)
            self._next += 1
        return entry

    def refuse(self, reason: str) -> None:
        """Note that the store will not take something: whoever looks here later is to know."""
        with suppress(OSError):
            (self.folder / REFUSED).write_text(reason)

    def keep(self, data: bytes) -> str:
        """Keep a file; the name to find it by within the journal."""
        name = _new_file()
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
                (self.folder / "reserve").unlink(missing_ok=True)
            raise StoreError(f"{path.parent} cannot be written: {error.strerror}") from error
        return name

    def new_folder(self) -> str:
        """Make a folder for files; the name to find it by within the journal."""
        name = _new_file()
        (self.folder / name).mkdir(parents=True)
        return name

    def alive(self) -> None:
        """Give a sign of life, and let what was written outlast a power cut."""
        with suppress(OSError):
            with self._alone:
                if self._released:
                    return
                os.utime(self._file)
                own = os.dup(self._file)  # the run that writes is not to wait for the disk
            os.fsync(own)
            os.close(own)

    @property
    def sent(self) -> int:
        """How many entries the store has."""
        return entries.sent(self.folder)

    @sent.setter
    def sent(self, count: int) -> None:
        with self._alone, suppress(OSError):  # on a full disk: what is sent again changes nothing
            self._must_be_held()
            os.pwrite(self._sent_file, f"{count:020}".encode(), 0)

    def release(self) -> None:
        """Leave the journal to whoever comes next."""
        with self._alone:
            if self._released:
                return
            self._released = True
        os.close(self._file)
        os.close(self._sent_file)
        with suppress(OSError):
            (self.folder / "reserve").unlink(missing_ok=True)
        self._lock.release()

    def _must_be_held(self) -> None:
        if self._released:
            raise StoreError(f"the journal {self.folder} was left to others")

    def remove(self) -> None:
        """Delete the journal: nothing in it is needed any more."""
        _delete(self.folder)
        self.release()


def _delete(folder: Path) -> None:
    """Delete the folder of a journal that is held, at once for whoever looks for it or waits to begin it anew."""
    (folder / LINES).unlink(missing_ok=True)  # first: without it, it is no journal
    gone = folder.with_name(f"deleted-{uuid.uuid4().hex}")
    try:
        folder.rename(gone)
    except OSError:
        gone = folder
    shutil.rmtree(gone, ignore_errors=True)


def in_use(folder: Path) -> bool:
    """Whether a process has the journal."""
    return is_locked(folder / "lock")


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock on a file."""
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _new_file() -> str:
    return f"files/{uuid.uuid4().hex[:12]}"


def _reserve(file: int, size: int) -> None:
    """Take room on the disk, for real: a hole in a file would take none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.write(file, bytes(size))
