"""A journal, and what a run begins with."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from recording import OPENING

from mnist_exp.tracking.protocols import Opening
from mnist_exp.tracking.spool.journal import Journal


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
    return Opening(uuid.uuid4().hex, "a run", uri, "contract", None, {"heartbeat": "1"}, 1_000, "host")
