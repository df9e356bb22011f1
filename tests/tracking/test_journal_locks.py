"""One process at a time holds the journal of a run."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from recording import contents

from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Busy, Gone, Journal


class TestHolding:
    def test_the_second_holder_gets_busy(self, journal: Journal) -> None:
        with pytest.raises(Busy, match="in use by process"):
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
