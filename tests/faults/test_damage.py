"""The journal of a process that got kill -9, and then was damaged, cut off, or brought to another machine.

Its process was a real one; what becomes of a copy of it is asked here.
"""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import ledger
from faults.conftest import EPOCHS, Killed
from faults.ledger import KeptRun
from mnist_exp.commands import cli
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Reading

pytestmark = pytest.mark.slow

Sync = Callable[..., str]


@pytest.fixture
def uri(tmp_path: Path, new_store: Callable[[Path], str]) -> str:
    """An empty store, to which the journal is sent whole."""
    return new_store(tmp_path)


@pytest.fixture
def journal(killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the killed run's journal; no store has any of it; other journals are not there."""
    every = map(journals.read, journals.folders(killed.journals))
    (folder,) = [each.folder for each in every if each.opening and each.opening.name == "seed=2"]
    copy = tmp_path / "journal" / folder.name
    shutil.copytree(folder, copy)
    (copy / "sent").unlink()
    monkeypatch.setattr(journals, "root", lambda: tmp_path / "journal")
    return copy


@pytest.fixture
def sync(uri: str, capsys: pytest.CaptureFixture[str]) -> Sync:
    """``mnist-exp sync`` to the empty store; what it says."""

    def call(*arguments: str) -> str:
        assert cli.main(["sync", "--uri", uri, *arguments]) == 0
        return capsys.readouterr().out

    return call


def kept_in(uri: str) -> list[KeptRun]:
    client = connect(uri)
    return [ledger.read_run(client, run) for run in queries.everything(open_backend(client.tracking_uri))]


def steps(reading: Reading, *, without: tuple[int, ...] = ()) -> list[int]:
    """The epochs that a journal tells of, but for those of the lines numbered so, from 1."""
    told = [entry for entry in reading.entries if entry.kind == "metrics" and entry.number + 1 not in without]
    return [entry.content["step"] for entry in told]


def once(*, of: list[int]) -> dict[int, int]:
    return dict.fromkeys(of, 1)


def counts(run: KeptRun) -> dict[int, int]:
    return {step: len(points) for step, points in run.points["loss"].items()}


def test_as_it_is_every_epoch_is_sent_and_the_run_closed_as_killed(journal: Path, sync: Sync, uri: str) -> None:
    told = steps(journals.read(journal))
    assert told == list(range(1, len(told) + 1))
    assert EPOCHS // 2 <= len(told) <= EPOCHS
    assert "its process vanished, closed as KILLED" in sync()
    (run,) = kept_in(uri)
    assert counts(run) == once(of=told)
    assert (run.record.status, run.record.tags["failure"]) == ("KILLED", "vanished")


@pytest.mark.parametrize("place", [0.0, 0.3, 0.99], ids=["checksum", "middle", "end"])
def test_of_a_damaged_line_it_is_told_and_the_rest_is_sent(journal: Path, sync: Sync, uri: str, place: float) -> None:
    lines = (journal / "journal.jsonl").read_bytes().split(b"\n")
    epoch_10 = next(number for number, line in enumerate(lines) if b'"step":10}' in line)
    damaged = bytearray(lines[epoch_10])
    damaged[int(place * len(damaged))] ^= 1
    told = steps(journals.read(journal), without=(epoch_10 + 1,))
    (journal / "journal.jsonl").write_bytes(b"\n".join([*lines[:epoch_10], bytes(damaged), *lines[epoch_10 + 1 :]]))
    assert "damaged lines: 1" in sync()
    (run,) = kept_in(uri)
    assert run.record.tags["journal.damaged"] == f"lines {epoch_10 + 1}"
    assert 10 not in told
    assert counts(run) == once(of=told)
    assert run.record.status == "KILLED"


@pytest.mark.parametrize("left", [1, 40, -1], ids=["a byte", "a part", "all but its end"])
def test_a_last_line_that_was_cut_off_is_none(journal: Path, sync: Sync, uri: str, left: int) -> None:
    file = journal / "journal.jsonl"
    *whole, last, _ = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([*whole, last[:left]]))
    told = steps(journals.read(journal))
    assert "damaged" not in sync()
    (run,) = kept_in(uri)
    assert counts(run) == once(of=told)
    assert "journal.damaged" not in run.record.tags
    assert run.record.status == "KILLED"


def test_one_from_another_host_is_left_alone_until_that_host_is_said_to_be_gone(
    journal: Path, sync: Sync, uri: str
) -> None:
    file = journal / "journal.jsonl"
    first, rest = file.read_bytes().split(b"\n", 1)
    opening = json.loads(first[9:])
    opening["content"]["host"] = "node-7"
    text = json.dumps(opening, separators=(",", ":")).encode()
    file.write_bytes(b"%08x %s\n%s" % (zlib.crc32(text), text, rest))
    before, told = file.read_bytes(), steps(journals.read(journal))

    assert "goes on on node-7" in sync()
    assert "goes on on node-7" in sync("--gone", "node-8")
    assert (kept_in(uri), file.read_bytes()) == ([], before)

    assert "its process vanished, closed as KILLED" in sync("--gone", "node-7")
    (run,) = kept_in(uri)
    assert counts(run) == once(of=told)
    assert run.record.status == "KILLED"
