"""A journal on a disk that is full, or takes no journal."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import OPENING, kinds

from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal


class TestCheck:
    def test_a_folder_that_takes_journals_is_left_as_it_was(self, tmp_path: Path) -> None:
        journals.check(tmp_path / "mlruns" / "journal")
        assert list((tmp_path / "mlruns" / "journal").iterdir()) == []

    def test_where_none_can_be_written_that_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "journal").write_bytes(b"a file in the folder's place")
        with pytest.raises(StoreError, match="must take a journal of every run. It does not: "):
            journals.check(tmp_path / "journal")

    def test_one_that_cannot_begin_says_why(self, tmp_path: Path) -> None:
        (tmp_path / "journal").write_bytes(b"")
        with pytest.raises(StoreError, match="must take a journal. It does not: "):
            Journal(tmp_path / "journal" / "KEY", new=True)

    def test_a_folder_that_takes_no_file_says_so_and_is_left_to_others(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Any, *_: object, **__: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        Journal(folder, new=True).release()
        monkeypatch.setattr(journals, "_reserve", full)
        with pytest.raises(StoreError, match="No space left on device"):
            Journal(folder, new=True)
        assert not journals.in_use(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(journal: Journal) -> None:
    while True:
        journal.append("metrics", {"metrics": {f"m{number}": 0.5 for number in range(20)}, "step": 1})


class TestFullDisk:
    def test_metrics_are_refused_but_the_last_words_fit(self, small_disk: Path) -> None:
        journals.check(small_disk.parent / "elsewhere")
        journal = Journal(small_disk / "KEY", new=True)
        journal.open(OPENING)
        with pytest.raises(StoreError, match="cannot be written: "):
            fill(journal)
        written = len(journals.read(journal.folder).entries)
        journal.append("tags", {"failure": "StoreError"})
        journal.append("artifact", {"path": "log/traceback.txt", "file": journal.keep(b"x" * 10_000)})
        journal.append("close", {"status": "FAILED"})
        journal.release()
        found = journals.read(small_disk / "KEY")
        assert written > 100
        assert kinds(small_disk / "KEY") == ["metrics"] * written + ["tags", "artifact", "close"]
        assert found.damaged == []

    def test_a_file_that_does_not_fit_leaves_room_for_them_too(self, small_disk: Path) -> None:
        journal = Journal(small_disk / "KEY", new=True)
        journal.open(OPENING)
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            journal.keep(bytes(300_000))
        journal.append("close", {"status": "FAILED"})
        assert list((journal.folder / "files").iterdir()) == []
        journal.release()

    def test_too_small_a_disk_is_found_before_anything_starts(self, small_disk: Path) -> None:
        with pytest.raises(StoreError, match="No space left on device"):
            journals.check(small_disk / "journal")
        assert list((small_disk / "journal").iterdir()) == []

    def test_half_a_line_is_taken_back(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a full disk does, where none can be mounted."""
        write = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda file, line, end: write(file, line[:20], end))
        with pytest.raises(StoreError, match="cannot be written: no room"):
            journal.append("metrics", {"metrics": {}, "step": 1})
        monkeypatch.setattr(os, "pwrite", write)
        assert not (journal.folder / "reserve").exists()
        journal.append("close", {"status": "FAILED"})
        assert kinds(journal.folder) == ["params", "tags", "close"]
        assert journals.read(journal.folder).damaged == []

    def test_the_count_of_what_was_sent_may_be_lost(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            journal.mark_sent(2, "")
        assert journals.read(journal.folder).sent == 0
