"""The journal of a run: what its file looks like, and what it survives."""

import errno
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.protocols import DatasetInput, Opening
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Busy, Gone, Journal

OPENING = Opening("KEY", "a run", "sqlite:///x.db", "mnist", "parent", {"heartbeat": "1"}, 1_700_000_000_000, "host")
DATASET = DatasetInput("digits", "d" * 64, "scikit-learn", {"train": 1500, "test": 297})
LONG_S = 60
"""How long a test waits for what comes at once, before it fails."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "KEY"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    """A journal of two entries behind its opening."""
    journal = Journal(folder, new=True)
    journal.open(OPENING)
    journal.append("params", {"seed": 17, "optimizer.lr": 0.001, "data.limit": None, "data.normalize": True}, 1000)
    journal.append("tags", {"note": "née\nà \N{SNOWMAN}"}, 2000)
    yield journal
    journal.release()


def lines(folder: Path) -> list[bytes]:
    return (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in journals.read(folder).entries]


class TestFile:
    def test_a_line_is_the_checksum_of_its_json_and_the_json(self, journal: Journal) -> None:
        for number, line in enumerate(lines(journal.folder)):
            checksum, text = line.split(b" ", 1)
            assert checksum.decode() == f"{zlib.crc32(text):08x}"
            assert json.loads(text)["n"] == number
        assert json.loads(lines(journal.folder)[1][9:])["ms"] == 1000

    def test_entries_come_back_as_they_were_written(self, journal: Journal) -> None:
        found = journals.read(journal.folder)
        assert found.opening == OPENING
        assert [(entry.number, entry.kind, entry.time_ms) for entry in found.entries] == [
            (1, "params", 1000),
            (2, "tags", 2000),
        ]
        assert found.entries[0].content == {
            **{"seed": 17, "optimizer.lr": 0.001},
            **{"data.limit": None, "data.normalize": True},
        }
        assert found.entries[1].content == {"note": "née\nà \N{SNOWMAN}"}
        assert (found.damaged, found.ended, found.unsent) == ([], None, 2)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 5e-324, 0.1])
    def test_any_figure_survives(self, journal: Journal, value: float) -> None:
        journal.append("metrics", {"metrics": {"loss": value}, "step": 1})
        assert repr(journals.read(journal.folder).entries[-1].content["metrics"]["loss"]) == repr(value)

    def test_a_killed_process_leaves_every_line_behind(self, journal: Journal) -> None:
        """No close, no flush: a reader sees an entry as soon as the call that wrote it has returned."""
        journal.append("tags", {"last": "words"})
        assert journals.read(journal.folder).entries[-1].content == {"last": "words"}

    @pytest.mark.parametrize("left", [1, 8, 20, -1], ids=["a byte", "its checksum", "half", "all but the newline"])
    def test_a_torn_last_line_is_no_entry_and_makes_room_for_the_next(self, journal: Journal, left: int) -> None:
        journal.release()
        file = journal.folder / "journal.jsonl"
        whole, last = file.read_bytes(), lines(journal.folder)[-1] + b"\n"
        file.write_bytes(whole + last[:left])
        torn = journals.read(journal.folder)
        assert (kinds(journal.folder), torn.damaged, torn.sound_bytes) == (["params", "tags"], [], len(whole))
        again = Journal(journal.folder)
        assert file.read_bytes() == whole
        entry = again.append("tags", {"next": "one"})
        again.release()
        assert journals.read(journal.folder).entries[-1] == entry
        assert entry.number == 3

    @pytest.mark.parametrize("place", [0, 4, 8, 9, 25, -1])
    @pytest.mark.parametrize("line", [1, 2, 3])
    def test_a_damaged_line_is_told_of_by_its_number_and_the_rest_is_read(
        self, journal: Journal, line: int, place: int
    ) -> None:
        every = lines(journal.folder)
        broken = bytearray(every[line - 1])
        broken[place] ^= 0x40
        every[line - 1] = bytes(broken)
        (journal.folder / "journal.jsonl").write_bytes(b"\n".join([*every, b""]))
        found = journals.read(journal.folder)
        assert found.damaged == [line]
        assert (found.opening is None) == (line == 1)
        assert kinds(journal.folder) == [kind for number, kind in ((2, "params"), (3, "tags")) if number != line]

    def test_bytes_that_are_no_text_are_damage_too(self, journal: Journal) -> None:
        whole = (journal.folder / "journal.jsonl").read_bytes()
        (journal.folder / "journal.jsonl").write_bytes(whole + b"\xff\x00\n\n")
        assert journals.read(journal.folder).damaged == [4, 5]

    def test_a_number_that_was_sent_is_not_given_again(self, journal: Journal) -> None:
        """Where the lines that a store has were lost: in a power cut, or because the last ones are damaged."""
        journal.sent = 3
        journal.release()
        file = journal.folder / "journal.jsonl"
        file.write_bytes(b"\n".join([*lines(journal.folder)[:-1], b"damaged", b""]))
        again = Journal(journal.folder)
        again.append("close", {"status": "KILLED"})
        again.release()
        assert journals.read(journal.folder).unsent == 1

    def test_what_the_store_has_is_counted(self, journal: Journal) -> None:
        assert (journal.sent, journals.read(journal.folder).unsent) == (0, 2)
        journal.sent = 2
        assert (journal.sent, journals.read(journal.folder).unsent) == (2, 1)

    def test_a_count_that_cannot_be_read_means_that_all_is_sent_again(self, journal: Journal) -> None:
        journal.sent = 2
        (journal.folder / "sent").write_bytes(b"\xff\x00")
        assert journals.read(journal.folder).unsent == 2

    def test_files_lie_beside_it(self, journal: Journal) -> None:
        first, second = journal.keep(b"one"), journal.keep(b"two")
        model = journal.new_folder()
        assert [(journal.folder / name).read_bytes() for name in (first, second)] == [b"one", b"two"]
        assert list((journal.folder / model).iterdir()) == []
        assert len({first, second, model}) == 3

    def test_a_run_is_open_until_it_is_closed_and_again_once_it_is_resumed(self, journal: Journal) -> None:
        closed = journal.append("close", {"status": "KILLED"})
        assert journals.read(journal.folder).ended == closed
        journal.append("resume", {})
        assert journals.read(journal.folder).ended is None

    @pytest.mark.parametrize(("status", "checkpoint"), [("KILLED", True), ("KILLED", False), ("FAILED", True)])
    def test_a_killed_run_with_a_checkpoint_can_be_taken_up_again(
        self, journal: Journal, status: str, checkpoint: bool
    ) -> None:
        journal.append("close", {"status": status})
        if checkpoint:
            (journal.folder / journals.CHECKPOINT).write_bytes(b"")
        assert journals.read(journal.folder).resumable == (status == "KILLED" and checkpoint)

    def test_a_sign_of_life_shows(self, journal: Journal) -> None:
        os.utime(journal.folder / "journal.jsonl", (1000, 1000))
        assert journals.read(journal.folder).last_heartbeat_ms == 1_000_000
        before_ms = int(time.time() * 1000)
        journal.alive()
        assert journals.read(journal.folder).last_heartbeat_ms >= before_ms - 1000  # a file system may count in seconds


class TestKeys:
    def test_a_key_is_a_folders_name_and_the_time_comes_first(self) -> None:
        key = journals.new_key()
        assert key.startswith(time.strftime("%Y%m"))
        assert Path(key).name == key

    def test_later_keys_sort_behind_earlier_ones(self) -> None:
        keys = [journals.new_key() for _ in range(20)]
        assert keys == sorted(set(keys))

    def test_folders_are_found_the_oldest_first_and_what_is_no_journal_is_not(self, tmp_path: Path) -> None:
        for key in ("20260102-000000-a", "20251231-235959-z", "20260101-120000-m"):
            Journal(tmp_path / key, new=True).release()
        (tmp_path / "19990101-000000-no").mkdir()
        (tmp_path / "a file").write_bytes(b"")
        assert [folder.name[:8] for folder in journals.folders(tmp_path)] == ["20251231", "20260101", "20260102"]
        assert journals.folders(tmp_path / "missing") == []


class TestHolding:
    def test_the_second_holder_gets_busy(self, journal: Journal) -> None:
        with pytest.raises(Busy, match="in use by another process"):
            Journal(journal.folder)

    def test_who_is_refused_changes_nothing(self, journal: Journal) -> None:
        before = contents(journal.folder)
        with pytest.raises(Busy):
            Journal(journal.folder)
        assert contents(journal.folder) == before

    @pytest.mark.parametrize("_", range(20))
    def test_who_waits_for_one_that_is_deleted_begins_it_anew(self, journal: Journal, _: int) -> None:
        """However far the deletion has got: what is held in the end is what others find there."""
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(Journal, journal.folder, new=True, patience_s=60)
            journal.remove()
            anew = waiting.result()
        anew.append("tags", {"a": "b"})
        assert journals.in_use(journal.folder)
        assert [entry.content for entry in journals.read(journal.folder).entries] == [{"a": "b"}]
        anew.remove()
        assert list(journal.folder.parent.iterdir()) == []

    @pytest.mark.parametrize("_", range(20))
    def test_who_waits_for_one_that_was_done_with_is_told(self, journal: Journal, _: int) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(Journal, journal.folder, patience_s=60)
            journal.remove()
            with pytest.raises(Gone):
                waiting.result()
        assert list(journal.folder.parent.iterdir()) == []

    def test_it_is_in_use_until_it_is_released(self, journal: Journal) -> None:
        assert journals.in_use(journal.folder)
        assert journals.in_use(journal.folder), "asking takes nothing"
        journal.release()
        journal.release()
        assert not journals.in_use(journal.folder)
        Journal(journal.folder).release()

    def test_another_process_sees_it_in_use_too(self, journal: Journal) -> None:
        ask = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        command = [sys.executable, "-c", ask, str(journal.folder / "lock")]
        assert b"BlockingIOError" in subprocess.run(command, capture_output=True, check=False).stderr
        journal.release()
        assert subprocess.run(command, check=False).returncode == 0

    def test_one_that_was_deleted_meanwhile_is_gone(self, journal: Journal) -> None:
        journal.remove()
        with pytest.raises(Gone):
            Journal(journal.folder)
        assert not journal.folder.exists(), "and looking for it leaves nothing behind"

    def test_one_that_is_being_deleted_is_gone(self, journal: Journal) -> None:
        journal.release()
        (journal.folder / "journal.jsonl").unlink()  # the first that goes
        with pytest.raises(Gone):
            Journal(journal.folder)

    def test_nothing_is_written_once_it_was_released(self, journal: Journal, tmp_path: Path) -> None:
        journal.release()
        opened = [os.open(tmp_path / f"other {number}", os.O_RDWR | os.O_CREAT) for number in range(8)]
        try:  # the system gives the numbers of closed files again
            with pytest.raises(StoreError):
                journal.append("tags", {"too": "late"})
            assert all(os.fstat(file).st_size == 0 for file in opened)
        finally:
            for file in opened:
                os.close(file)


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
            journal.sent = 2
        assert journal.sent == 0
