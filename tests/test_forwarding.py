"""Store and forward: what is said goes to the journal at once, and from there to a store whenever it is there."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from mnist_exp.errors import Refused, StoreError
from mnist_exp.tracking import delivery, sender
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking.forwarding import JournalTracker
from mnist_exp.tracking.journal import Journal, Opening
from mnist_exp.tracking.sender import Unsent
from mnist_exp.tracking.tracker import (
    Content,
    DatasetInput,
    Measurement,
    MemoryTracker,
    ModelFolder,
    ParamValue,
    Status,
    Tracker,
)

OPENING = Opening("KEY", "a run", "sqlite:///x.db", "mnist", "parent", {"heartbeat": "1"}, 1_700_000_000_000, "host")
DATASET = DatasetInput("digits", "d" * 64, "scikit-learn", {"train": 1500, "test": 297})
LONG_S = 60
"""How long a test waits for what comes at once, before it fails."""


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal(folder, new=True)
    journal.open(OPENING)
    yield journal
    journal.release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "KEY"


def lines(folder: Path) -> list[bytes]:
    return (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in journals.read(folder).entries]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


class Recording:
    """A store that notes what it is told, in order; ``before`` is called with each kind first and may wait or raise."""

    run_id = "recorded"

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.before = before
        self._changed = threading.Condition()

    def _tell(self, kind: str, content: object) -> None:
        self.before(kind)
        with self._changed:
            self.told.append((kind, content))
            self._changed.notify_all()

    def wait_for(self, kind: str) -> None:
        """Until it was told something of that kind."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(each[0] == kind for each in self.told), LONG_S)

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._tell("params", dict(params))

    def log_metrics(self, *measurements: Measurement) -> None:
        self._tell("metrics", measurements)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._tell("tags", dict(tags))

    def log_artifact(self, path: str, content: Content) -> None:
        self._tell("artifact", (path, content))

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        self._tell("dataset", (dataset, context))

    def log_model(self, model: ModelFolder) -> None:
        assert isinstance(model, Path)
        self._tell("model", {file.name: file.read_bytes() for file in model.iterdir()})

    def close(self, status: Status, time_ms: int | None = None) -> None:
        self._tell("close", (status, time_ms))

    def resume(self) -> None:
        self._tell("resume", None)

    def alive(self) -> None:
        self._tell("alive", None)

    @property
    def steps(self) -> list[list[int]]:
        """The steps of each batch of metrics."""
        return [[each.step for each in content] for kind, content in self.told if kind == "metrics"]


class Away:
    """What keeps a store away until it is ``back``; ``missed`` once somebody asked in vain."""

    def __init__(self) -> None:
        self.back, self.missed = threading.Event(), threading.Event()

    def __call__(self, _: str) -> None:
        if not self.back.is_set():
            self.missed.set()
            raise StoreError("no server answers there")


Begin = Callable[..., JournalTracker]


@pytest.fixture
def begin(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Begin:
    """Begins a run whose journal is sent to the store that is given."""
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.CRITICAL)

    def make(store: Tracker, gather_s: float = 0) -> JournalTracker:
        return JournalTracker(Journal(folder, new=not folder.exists()), OPENING, lambda _: store, gather_s)

    return make


def left(tracker: JournalTracker) -> None:
    """Wait until the sender of a run has left its journal to others."""
    for thread in threading.enumerate():
        if thread.name == f"sender of {tracker.run_id}":
            thread.join(LONG_S)
    assert not journals.in_use(tracker.journal.folder)


def save(folder: Path) -> None:
    (folder / "MLmodel").write_bytes(b"flavors: {}")


def say_everything(tracker: Tracker) -> None:
    tracker.log_params({"seed": 17})
    tracker.set_tags({"kind": "run"})
    tracker.log_dataset(DATASET, "training")
    tracker.log_metrics(Measurement({"loss": 0.5}, 1, 1000), Measurement({"loss": 0.25}, 2, 2000))
    tracker.log_artifact("config/config.yaml", b"seed: 17")
    tracker.log_artifact("loss.png", lambda: b"\x89PNG")
    tracker.log_model(save)


EVERYTHING = [
    ("params", {"seed": 17}),
    ("tags", {"kind": "run"}),
    ("dataset", (DATASET, "training")),
    ("metrics", (Measurement({"loss": 0.5}, 1, 1000), Measurement({"loss": 0.25}, 2, 2000))),
    ("artifact", ("config/config.yaml", b"seed: 17")),
    ("artifact", ("loss.png", b"\x89PNG")),
    ("model", {"MLmodel": b"flavors: {}"}),
    ("close", (Status.FINISHED, 3000)),
]


def one_by_one(told: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """What was told, however it was gathered."""
    return [(kind, part) for kind, content in told for part in (content if kind == "metrics" else [content])]


class TestSending:
    def test_what_is_said_arrives_in_order(self, begin: Begin) -> None:
        tracker = begin(store := Recording())
        say_everything(tracker)
        tracker.close(Status.FINISHED, 3000)
        assert tracker.settle(0) is None
        assert one_by_one(store.told) == one_by_one(EVERYTHING)

    def test_the_run_is_opened_as_its_journal_says(self, folder: Path) -> None:
        opened: list[Opening] = []

        def deliver(opening: Opening) -> Tracker:
            opened.append(opening)
            return MemoryTracker()

        tracker = JournalTracker(Journal(folder, new=True), OPENING, deliver)
        assert tracker.run_id == "KEY"
        tracker.close(Status.FINISHED)
        assert tracker.settle(0) is None
        assert opened == [OPENING]

    def test_training_does_not_wait_for_a_slow_store(self, begin: Begin) -> None:
        go_on = threading.Event()

        def wait(_: str) -> None:
            go_on.wait(LONG_S)

        tracker = begin(store := Recording(wait))
        for step in range(1, 101):
            tracker.log_metrics(Measurement({"loss": 1 / step}, step))
        tracker.close(Status.FINISHED)
        assert not store.told
        go_on.set()
        assert tracker.settle(0) is None
        assert list(chain.from_iterable(store.steps)) == list(range(1, 101))

    def test_measurements_gather_and_keep_their_order_and_time(self, begin: Begin) -> None:
        tracker = begin(store := Recording(), gather_s=LONG_S)
        said = [Measurement({"loss": 1 / step}, step, 1000 + step) for step in range(1, 101)]
        for each in said:
            tracker.log_metrics(each)
        tracker.set_tags({"what follows": "ends the waiting"})
        store.wait_for("tags")
        assert store.told[0] == ("metrics", tuple(said))
        tracker.close(Status.FINISHED)
        tracker.settle(0)

    def test_whoever_settles_does_not_wait_for_them_to_gather(self, begin: Begin) -> None:
        tracker = begin(store := Recording(), gather_s=10 * LONG_S)
        tracker.log_metrics(Measurement({"loss": 1.0}, 1))
        began = time.monotonic()
        assert tracker.settle(0) is None
        assert time.monotonic() - began < LONG_S
        assert store.steps == [[1]]

    def test_no_more_of_them_than_a_batch_holds(self, begin: Begin) -> None:
        tracker = begin(store := Recording(), gather_s=LONG_S)
        tracker.log_metrics(*(Measurement({"loss": 0.0}, step) for step in range(1, 1201)))
        tracker.settle(0)
        assert list(chain.from_iterable(store.steps)) == list(range(1, 1201))
        assert max(map(len, store.steps)) <= 500

    def test_they_arrive_while_the_run_goes_on(self, begin: Begin) -> None:
        tracker = begin(store := Recording(), gather_s=0.01)
        tracker.log_metrics(Measurement({"loss": 1.0}, 1))
        store.wait_for("metrics")  # nobody had to close it or to say more
        tracker.close(Status.FINISHED)
        tracker.settle(0)

    def test_what_is_still_to_be_made_is_made_in_another_thread(self, begin: Begin) -> None:
        tracker = begin(store := Recording())
        tracker.log_artifact("name.txt", lambda: threading.current_thread().name.encode())
        tracker.close(Status.FINISHED)
        tracker.settle(0)
        ((_, (_, name)), _) = store.told
        assert name.startswith(b"maker")

    def test_a_store_that_is_away_for_a_while_gets_everything_once_in_order(self, begin: Begin) -> None:
        away = Away()
        tracker = begin(store := Recording(away))
        say_everything(tracker)
        tracker.close(Status.FINISHED, 3000)
        assert away.missed.wait(LONG_S)
        assert not store.told
        away.back.set()
        assert tracker.settle(LONG_S) is None
        assert one_by_one(store.told) == one_by_one(EVERYTHING)

    def test_it_gets_a_sign_of_life_before_what_gathered(self, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
        """For others may have taken the run for vanished meanwhile, and what gathered may be its end."""
        monkeypatch.setattr(sender, "_HEARTBEAT_S", -1.0)
        tracker = begin(store := Recording())
        tracker.close(Status.FINISHED, 3000)
        assert tracker.settle(LONG_S) is None
        assert [kind for kind, _ in store.told][-2:] == ["alive", "close"]

    def test_a_sign_of_life_that_is_refused_loses_nothing(self, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(kind: str) -> None:
            if kind == "alive":
                raise Refused("no tag of that name")

        monkeypatch.setattr(sender, "_HEARTBEAT_S", -1.0)
        tracker = begin(store := Recording(refuse))
        say_everything(tracker)
        tracker.close(Status.FINISHED, 3000)
        assert tracker.settle(LONG_S) is None
        assert one_by_one(store.told) == one_by_one(EVERYTHING)

    def test_one_that_cannot_even_be_opened_is_opened_when_it_is_back(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.001)
        caplog.set_level(logging.CRITICAL)
        away, memory = Away(), MemoryTracker()

        def deliver(_: Opening) -> Tracker:
            away("open")
            return memory

        tracker = JournalTracker(Journal(folder, new=True), OPENING, deliver)
        tracker.log_params({"seed": 17})
        tracker.close(Status.FINISHED)
        assert away.missed.wait(LONG_S)
        away.back.set()
        assert tracker.settle(LONG_S) is None
        assert (memory.params, memory.status) == ({"seed": 17}, Status.FINISHED)

    def test_patience_ends_and_what_waits_stays_in_the_journal(self, begin: Begin) -> None:
        away = Away()
        tracker = begin(store := Recording(away))
        say_everything(tracker)
        tracker.close(Status.FINISHED, 3000)
        assert tracker.settle(0) == Unsent(9, "no server answers there", refused=False)
        left(tracker)
        assert journals.read(tracker.journal.folder).unsent == 9
        away.back.set()
        journal = Journal(tracker.journal.folder)
        assert delivery.send(journal, OPENING, lambda _: store) == []
        assert one_by_one(store.told) == one_by_one(EVERYTHING)
        assert journals.read(journal.folder).unsent == 0
        journal.release()

    def test_what_arrived_before_it_went_away_is_not_sent_again(self, begin: Begin) -> None:
        away = Away()
        away.back.set()
        tracker = begin(store := Recording(away))
        tracker.log_params({"seed": 17})
        store.wait_for("params")
        away.back.clear()
        tracker.set_tags({"kind": "run"})
        unsent = tracker.settle(0)
        assert unsent is not None
        assert unsent.entries == 1
        left(tracker)
        away.back.set()
        delivery.send(journal := Journal(tracker.journal.folder), OPENING, lambda _: store)
        journal.release()
        assert store.told == [("params", {"seed": 17}), ("tags", {"kind": "run"})]

    def test_what_is_refused_is_skipped_and_told_of_and_the_rest_is_sent(self, begin: Begin) -> None:
        def refuse(kind: str) -> None:
            if kind == "artifact":
                raise Refused("the store refused it: too large")

        tracker = begin(store := Recording(refuse))
        say_everything(tracker)
        tracker.close(Status.FINISHED, 3000)
        assert tracker.settle(0) == Unsent(2, "the store refused it: too large", refused=True)
        assert one_by_one(store.told) == [each for each in one_by_one(EVERYTHING) if each[0] != "artifact"]
        assert journals.read(tracker.journal.folder).entries, "for a person to look at"
        assert not journals.in_use(tracker.journal.folder)

    def test_a_mistake_in_sending_is_no_reason_to_stop(self, begin: Begin) -> None:
        def mistake(kind: str) -> None:
            if kind == "params":
                raise TypeError("a mistake of ours\nof two lines")

        tracker = begin(store := Recording(mistake))
        say_everything(tracker)
        tracker.close(Status.FINISHED, 3000)
        assert tracker.settle(0) == Unsent(1, "TypeError: a mistake of ours", refused=True)
        assert one_by_one(store.told) == one_by_one(EVERYTHING)[1:]

    @pytest.mark.parametrize(
        "kind",
        [
            "artifact",
            "model",
        ],
    )
    def test_a_file_that_is_gone_is_refused_not_waited_for(self, folder: Path, kind: str) -> None:
        memory = MemoryTracker()
        journal = Journal(folder, new=True)
        journal.open(OPENING)
        journal.append(kind, {"path": "loss.png", "file": "files/gone"})
        journal.append("close", {"status": "FINISHED"})
        (refusal,) = delivery.send(journal, OPENING, lambda _: memory)
        journal.release()
        assert "files/gone" in refusal
        assert memory.status == Status.FINISHED

    def test_a_kind_of_a_later_version_is_refused(self, journal: Journal) -> None:
        journal.append("hologram", {})
        (refusal,) = delivery.send(journal, OPENING, lambda _: MemoryTracker())
        assert "an unknown kind: 'hologram'" in refusal


class Unmakeable(Exception):
    pass


def fail(*_: object) -> bytes:
    raise Unmakeable("the figure\ncannot be drawn")


def fail_to_save(_: Path) -> None:
    fail()


class TestEnding:
    @pytest.mark.parametrize("kind", ["artifact", "model"])
    def test_what_cannot_be_made_turns_finished_into_failed(self, begin: Begin, kind: str) -> None:
        memory = MemoryTracker()
        tracker = begin(memory)
        if kind == "artifact":
            tracker.log_artifact("loss.png", fail)
        else:
            tracker.log_model(fail_to_save)
        tracker.log_artifact("lr.png", lambda: b"the others are made")
        tracker.close(Status.FINISHED)
        with pytest.raises(Unmakeable):
            tracker.settle(0)
        assert memory.status == Status.FAILED
        assert (memory.tags["failure"], memory.tags["failure.message"]) == ("Unmakeable", "the figure")
        assert b"Unmakeable: the figure" in memory.artifacts["log/traceback.txt"]
        assert memory.artifacts["lr.png"] == b"the others are made"
        assert memory.model is None

    @pytest.mark.parametrize("status", [Status.FAILED, Status.KILLED])
    def test_but_a_run_that_ended_otherwise_keeps_its_reason(self, begin: Begin, status: Status) -> None:
        memory = MemoryTracker()
        tracker = begin(memory)
        tracker.log_artifact("loss.png", fail)
        tracker.set_tags({"failure": "its own"})
        tracker.close(status)
        with pytest.raises(Unmakeable):
            tracker.settle(0)
        assert (memory.status, memory.tags["failure"]) == (status, "its own")

    @pytest.mark.parametrize(
        "call",
        [
            lambda tracker: tracker.log_params({"too": "late"}),
            lambda tracker: tracker.log_metrics(Measurement({"too": 0.0})),
            lambda tracker: tracker.set_tags({"too": "late"}),
            lambda tracker: tracker.log_artifact("too.late", b""),
            lambda tracker: tracker.log_artifact("too.late", lambda: b""),
            lambda tracker: tracker.log_dataset(DATASET, "too late"),
            lambda tracker: tracker.log_model(lambda _: None),
            lambda tracker: tracker.close(Status.KILLED),
        ],
        ids=["params", "metrics", "tags", "artifact", "lazy artifact", "dataset", "model", "close"],
    )
    def test_nothing_can_be_said_after_close(self, begin: Begin, call: Callable[[Tracker], None]) -> None:
        memory = MemoryTracker()
        tracker = begin(memory)
        tracker.close(Status.FINISHED)
        with pytest.raises(StoreError, match="run KEY is closed"):
            call(tracker)
        assert tracker.settle(0) is None
        assert memory == MemoryTracker(status=Status.FINISHED, ended_ms=memory.ended_ms)
        assert journals.folders(tracker.journal.folder.parent) == []

    @pytest.mark.parametrize("status", list(Status))
    def test_the_journal_of_a_run_that_was_sent_whole_is_deleted(self, begin: Begin, status: Status) -> None:
        tracker = begin(MemoryTracker())
        say_everything(tracker)
        tracker.close(status)
        assert tracker.settle(0) is None
        assert not tracker.journal.folder.exists()

    def test_a_killed_run_keeps_it_where_there_is_a_checkpoint(self, begin: Begin) -> None:
        tracker = begin(MemoryTracker())
        (tracker.journal.folder / "checkpoint.npz").write_bytes(b"weights")
        tracker.close(Status.KILLED)
        assert tracker.settle(0) is None
        assert journals.read(tracker.journal.folder).resumable
        assert not journals.in_use(tracker.journal.folder)

    def test_from_there_it_goes_on_and_ends_another_time(self, begin: Begin) -> None:
        store = Recording()
        tracker = begin(store)
        (tracker.journal.folder / "checkpoint.npz").write_bytes(b"weights")
        tracker.log_params({"seed": 17})
        tracker.close(Status.KILLED, 1000)
        tracker.settle(0)
        again = begin(store)
        again.resume()
        again.close(Status.FINISHED, 2000)
        assert again.settle(0) is None
        assert store.told == [
            ("params", {"seed": 17}),
            ("close", (Status.KILLED, 1000)),
            ("resume", None),
            ("close", (Status.FINISHED, 2000)),
        ]
        assert not again.journal.folder.exists()

    def test_a_run_that_nobody_closed_keeps_it_too(self, begin: Begin) -> None:
        tracker = begin(MemoryTracker())
        tracker.log_params({"seed": 17})
        assert tracker.settle(0) is None
        assert journals.read(tracker.journal.folder).ended is None

    def test_so_does_one_whose_end_could_not_be_written(self, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
        """The store still takes it for a running one; whoever finds the journal will close it."""

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        tracker = begin(memory := MemoryTracker())
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            tracker.close(Status.FINISHED)
            with pytest.raises(StoreError, match="No space left on device"):
                tracker.settle(0)
        assert memory.status is None
        assert tracker.journal.folder.exists()

    def test_a_run_that_ended_and_was_sent_whole_holds_nothing(self, begin: Begin) -> None:
        """A sweep of a thousand runs has no thousand threads, locks and open files."""
        store = Recording()
        tracker = begin(store)
        tracker.close(Status.FINISHED)
        store.wait_for("close")
        for thread in threading.enumerate():
            if thread.name == "sender of KEY":
                thread.join(1)
                assert not thread.is_alive()
        assert tracker.settle(0) is None
