"""A run's journal: a folder with an append-only file of a run's entries, written before anything is sent to a store.

::

    mlruns/journal/KEY/
        journal.jsonl   one entry per line: CRC-32 of the JSON as 8 hex digits, a space, the JSON
        files/          artifacts, under their SHA-256; a folder is a model
        sent            a checked line: number of entries that the store has, and its id of the run that has them
        refused         why the store rejected an entry permanently
        lock            held by the process that writes or sends; its id, and since when
        reserve         64 KiB for final entries on a full disk
        checkpoint.npz  what training resumes from (training/checkpoint)
        opening         of a sweep: held by the process that gets or creates its parent run in the store

Lines are written without a buffer of ours, so a killed process loses none. A last line that was cut off is overwritten
by the next entry; a damaged line elsewhere is skipped and reported.
"""

import hashlib
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
from mnist_exp.tracking.protocols import Opening
from mnist_exp.tracking.spool import entries
from mnist_exp.tracking.spool.entries import CHECKPOINT, LINES, LOCK, REFUSED, Entry, Reading, holder, read

__all__ = ["CHECKPOINT", "Busy", "Entry", "Gone", "Journal", "Reading", "holder", "read"]

# For final entries on a full disk: the tags and the traceback of a run that failed because of it.
_RESERVE_BYTES = 64 * 1024

# Attempts to create a journal: another process may delete its folder between two system calls.
_ATTEMPTS = 10


class Busy(StoreError):
    """Another process holds the journal."""


class Gone(StoreError):
    """The journal was deleted, as nothing in it was needed any more."""


def root() -> Path:
    """Return the folder of this project's journals."""
    return paths.store_folder() / "journal"


def new_key() -> str:
    """Return a unique name for a journal; names sort by the time they were made."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{rest:09}-{uuid.uuid4().hex[:8]}"


def host() -> str:
    """Return the name of this machine."""
    return platform.node() or "unknown"


def folders(where: Path) -> list[Path]:
    """Return the folders of all journals below ``where``, oldest first; none if it does not exist."""
    found = [folder for folder in where.glob("*") if (folder / LINES).is_file()] if where.is_dir() else []
    return sorted(found, key=lambda folder: folder.name)


def of_sweep(key: str) -> list[Reading]:
    """Read the journals of a sweep's runs, by the key of its parent run; oldest first."""
    return [each for each in map(read, folders(root())) if each.parent == key]


def check(where: Path) -> None:
    """Check that journals can be written below ``where``; the folder is created if needed.

    Raises:
        StoreError: the folder cannot be created or written to, or the disk is full.
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
    """A journal that this process holds: only it writes and sends. Every method may be called from any thread."""

    def __init__(self, folder: Path, *, new: bool = False, patience_s: float = 0.0) -> None:
        """Lock and open a journal.

        Args:
            folder: the journal's folder.
            new: whether to create it if it does not exist.
            patience_s: how long to wait for another process to release it.

        Raises:
            Busy: another process still holds it after ``patience_s`` seconds.
            Gone: it does not exist, and ``new`` is False.
            StoreError: the folder cannot be written to.
        """
        self.folder = folder
        if not new and not (folder / LINES).exists():
            raise Gone(f"the journal {folder} is gone")
        self._lock = FileLock(folder / LOCK, timeout=patience_s, thread_local=False)
        self._acquire(new)
        if not new and not (folder / LINES).exists():
            _delete(folder)  # FileLock recreated the folder
            self._lock.release()
            raise Gone(f"the journal {folder} is gone")
        self._mutex = threading.Lock()
        self._released = False
        try:
            self._file = os.open(folder / LINES, os.O_RDWR | os.O_CREAT, 0o644)
            self._sent_file = os.open(folder / "sent", os.O_WRONLY | os.O_CREAT, 0o644)
            optional = nullcontext() if new else suppress(OSError)  # an existing journal must open on a full disk, too
            with optional, (folder / "reserve").open("wb") as reserve:
                _reserve(reserve.fileno(), _RESERVE_BYTES)
        except OSError as error:
            self._lock.release()
            raise StoreError(f"{folder} must take a journal. It does not: {error.strerror}") from error
        found = read(folder)
        self._end = found.sound_bytes
        was = os.fstat(self._file)
        if self._end < was.st_size:
            os.ftruncate(self._file, self._end)
            os.utime(self._file, ns=(was.st_atime_ns, was.st_mtime_ns))  # keep mtime: truncating is no heartbeat
        # A power cut may have lost lines whose entries were sent: their numbers must not be used again.
        self._next = max([found.sent, *(entry.number + 1 for entry in found.entries)])

    def _acquire(self, new: bool) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                if new:
                    self.folder.mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
                with suppress(OSError):
                    (self.folder / LOCK).write_text(f"{os.getpid()} {int(time.time())}")
                return
            except Timeout:
                raise Busy(f"the journal {self.folder} is in use by {holder(self.folder)}") from None
            except (FileNotFoundError, FileExistsError) as error:  # its holder deleted it between two system calls
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
        """Write an entry and return it, with its number; it is in the file by then.

        Args:
            kind, content: see :class:`~mnist_exp.tracking.spool.entries.Entry`.
            time_ms: when it happened, in milliseconds since 1970; None for now.

        Raises:
            StoreError: the disk is full; the reserve is freed, so that final entries fit. Or the journal was released.
        """
        with self._mutex:
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
        """Write the reason why the store rejected an entry permanently; :attr:`Reading.refused` returns it."""
        with suppress(OSError):
            (self.folder / REFUSED).write_text(reason)

    def keep(self, data: bytes) -> str:
        """Write a file of the journal; return its name, for the entry that refers to it. Raises as :meth:`append`."""
        name = f"files/{hashlib.sha256(data).hexdigest()}"
        path = self.folder / name
        unfinished = path.with_name(uuid.uuid4().hex)
        try:
            path.parent.mkdir(exist_ok=True)
            unfinished.write_bytes(data)
            unfinished.rename(path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
                (self.folder / "reserve").unlink(missing_ok=True)
            raise StoreError(f"{path.parent} cannot be written: {error.strerror}") from error
        return name

    def new_folder(self) -> str:
        """Create a folder in the journal; return its name, for the entry that refers to it."""
        name = f"files/{uuid.uuid4().hex[:12]}"
        (self.folder / name).mkdir(parents=True)
        return name

    def alive(self) -> None:
        """Write a heartbeat, the file's mtime, and flush the file to disk, so that its lines survive a power cut."""
        with suppress(OSError):
            with self._mutex:
                if self._released:
                    return
                os.utime(self._file)
                own = os.dup(self._file)  # fsync without the mutex: append() must not wait for the disk
            os.fsync(own)
            os.close(own)

    def mark_sent(self, count: int, run_id: str) -> None:
        """Write that the run with this id has the entries before number ``count``."""
        with self._mutex, suppress(OSError):  # on a full disk, entries are sent again: that changes nothing
            self._must_be_held()
            os.pwrite(self._sent_file, entries.encode_sent(count, run_id), 0)

    def release(self) -> None:
        """Close the journal and release its lock, so that another process can open it."""
        with self._mutex:
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
            raise StoreError(f"the journal {self.folder} was released")

    def remove(self) -> None:
        """Delete the journal and release its lock."""
        _delete(self.folder)
        self.release()


def _delete(folder: Path) -> None:
    """Delete the folder of a journal that is held: renamed, then deleted, so that no process sees half of it."""
    (folder / LINES).unlink(missing_ok=True)  # first: a folder without this file is not a journal
    gone = folder.with_name(f"deleted-{uuid.uuid4().hex}")
    try:
        folder.rename(gone)
    except OSError:
        gone = folder
    shutil.rmtree(gone, ignore_errors=True)


def in_use(folder: Path) -> bool:
    """Whether a process holds the journal in ``folder``; False if its lock cannot be taken at all."""
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _reserve(file: int, size: int) -> None:
    """Allocate ``size`` bytes on the disk; a sparse file would allocate none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.write(file, bytes(size))
