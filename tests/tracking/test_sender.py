"""Store and forward: what lies in a journal is sent to a store whenever that is there, once and in order."""

import logging
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from recording import EVERYTHING, LONG_S, OPENING, Away, Begin, Recording, left, one_by_one, say_everything

from mnist_exp.base.errors import Refused
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.protocols import Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import delivery, sender
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.sender import Unsent
from mnist_exp.tracking.spool.tracker import JournalTracker


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal(folder, new=True)
    journal.open(OPENING)
    yield journal
    journal.release()


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
        settling = threading.Thread(target=tracker.settle, args=(0,), daemon=True)
        settling.start()
        settling.join(LONG_S)
        assert store.steps == [[1]]
        assert tracker.settle(0) is None

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
        assert name.startswith(b"worker")

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
