"""The journal of a run: what its file looks like, and what it survives."""

import json
import os
import time
import zlib
from pathlib import Path

import pytest
from recording import OPENING, kinds, lines

from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal


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
        journal.mark_sent(3, "")
        journal.release()
        file = journal.folder / "journal.jsonl"
        file.write_bytes(b"\n".join([*lines(journal.folder)[:-1], b"damaged", b""]))
        again = Journal(journal.folder)
        again.append("close", {"status": "KILLED"})
        again.release()
        assert journals.read(journal.folder).unsent == 1

    def test_what_the_store_has_is_counted(self, journal: Journal) -> None:
        assert (journals.read(journal.folder).sent, journals.read(journal.folder).unsent) == (0, 2)
        journal.mark_sent(2, "")
        assert (journals.read(journal.folder).sent, journals.read(journal.folder).unsent) == (2, 1)

    def test_a_count_that_cannot_be_read_means_that_all_is_sent_again(self, journal: Journal) -> None:
        journal.mark_sent(2, "")
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
