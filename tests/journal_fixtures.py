"""Fixtures of the journals that runs are written to."""

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from recording import OPENING, Begin

from mnist_exp.tracking.protocols import Opening, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool import sender
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker


@pytest.fixture
def journals_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test's journals lie."""
    monkeypatch.setattr(journals, "root", lambda: tmp_path / "journal")
    return tmp_path / "journal"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journal of a test's run lies."""
    return tmp_path / "journal" / "KEY"


@pytest.fixture
def begin(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Begin:
    """Begins a run whose journal is sent to the store that is given."""
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.CRITICAL)

    def make(store: Tracker, gather_s: float = 0) -> JournalTracker:
        return JournalTracker(Journal(folder, new=not folder.exists()), OPENING, lambda _: store, gather_s)

    return make


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    """A journal of two entries behind its opening."""
    journal = Journal(folder, new=True)
    journal.open(OPENING)
    journal.append("params", {"seed": 17, "optimizer.lr": 0.001, "data.limit": None, "data.normalize": True}, 1000)
    journal.append("tags", {"note": "née\nà \N{SNOWMAN}"}, 2000)
    yield journal
    journal.release()


@pytest.fixture
def opening(uri: str) -> Opening:
    """What a run begins with; its key is its own."""
    return Opening(uuid.uuid4().hex, "a run", uri, "contract", None, {"kind": "run"}, 1_000, "host")
