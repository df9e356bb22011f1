"""The runs of this process whose journals are still being sent."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mnist_exp.tracking import journal, keyed, store
from mnist_exp.tracking.forwarding import JournalTracker
from mnist_exp.tracking.journal import Jobs, Journal, Opening
from mnist_exp.tracking.sender import Unsent

# How long a store may be away before what waits for it is left to `mnist-exp sync`.
PATIENCE_S = 10.0

# While a store is away, so many runs keep trying; what the others said is left to `mnist-exp sync` at once.
_MOST_OPEN = 16

# A journal that is to be taken up may be another command's for a moment, which sends it.
_SYNC_S = 60.0

_open: list[JournalTracker] = []
_given_up: list[JournalTracker] = []


@dataclass
class Settlement:
    """What came of waiting for the store.

    Attributes:
        unsent: what it does not have, by the run's name.
        mistakes: what went wrong in making a run's files, by its name; such a run has failed.
    """

    unsent: list[tuple[str, Unsent]] = field(default_factory=list)
    mistakes: list[tuple[str, Exception]] = field(default_factory=list)


def opening(
    name: str,
    uri: str,
    experiment: str,
    parent: str | None,
    tags: Mapping[str, str],
    jobs: Jobs | None = None,
    key: str | None = None,
) -> Opening:
    """The first entry of a run's journal: of a new one, unless it has a ``key`` already."""
    return Opening(
        key=key or journal.new_key(),
        name=name,
        uri=store.redact(uri),
        experiment=experiment,
        parent=parent,
        tags=tags,
        began_ms=int(time.time() * 1000),
        host=journal.host(),
        jobs=jobs,
    )


def begin(opened: Opening, uri: str) -> JournalTracker:
    """Begin a run; :func:`settle` waits for what it said to arrive.

    Raises:
        StoreError: its journal cannot be written.
    """
    return _opened(JournalTracker(Journal(journal.root() / opened.key, new=True), opened, keyed.deliver(uri)))


def take_up(folder: Path, uri: str) -> tuple[JournalTracker, int]:
    """Take up the run whose journal is in ``folder``; and how many epochs it has told.

    Raises:
        StoreError: the journal is in use, gone, or cannot be written.
    """
    own = Journal(folder, patience_s=_SYNC_S)
    found = journal.read(folder)
    assert found.opening is not None, "a run that can be taken up again says how it began"
    tracker = _opened(JournalTracker(own, found.opening, keyed.deliver(uri)))
    tracker.resume()
    steps = [
        each.content["step"] for each in found.entries if each.kind == "metrics" and "loss" in each.content["metrics"]
    ]
    return tracker, max(steps, default=0)


def _opened(tracker: JournalTracker) -> JournalTracker:
    _open[:] = [each for each in _open if not each.is_settled]  # a long sweep does not keep what is done with
    if len(_open) >= _MOST_OPEN:
        _given_up.append(_open.pop(0))
        _given_up[-1].give_up()
    _open.append(tracker)
    return tracker


def settle(patience_s: float = PATIENCE_S) -> Settlement:
    """Wait until the store has all that was said; give up when it has been away for ``patience_s`` seconds."""
    found = Settlement()
    until = time.monotonic() + patience_s
    _open[:0] = _given_up
    _given_up.clear()
    while _open:
        tracker = _open.pop(0)
        try:
            unsent = tracker.settle(max(0.0, until - time.monotonic()))
        except Exception as error:  # noqa: BLE001  the run has failed; the others are still to be waited for
            found.mistakes.append((tracker.opening.name, error))
        else:
            if unsent is not None:
                found.unsent.append((tracker.opening.name, unsent))
    return found
