"""The sweeps of a store with their questions, answers and whose turn it is."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass

from mnist_exp.base.errors import ConfigError, Refused, StoreError
from mnist_exp.review import record
from mnist_exp.review.decision import NOBODY, TURN, Decision, State, author_of
from mnist_exp.review.person import Person, current
from mnist_exp.review.record import ReviewRecord
from mnist_exp.review.review import Question, present_decision
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Backend, Record

ANSWER = "answer"
"""Tag of the parent run: the answer in a few words, as a list shows it."""

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Line:
    """A sweep in the list.

    Attributes:
        sweep: its parent run.
        by: who began it, as claimed.
        at_ms: when it ended, in milliseconds since 1970; None while it runs.
        finished, jobs: number of runs that finished, and of all; 0 if that is unknown.
        question: what it was asked.
        answer: a few words.
        decision: what was decided, and whose turn it is.
        is_yours: whether it is the turn of the user who asks.
    """

    sweep: Record
    by: str
    at_ms: int | None
    finished: int
    jobs: int
    question: Question
    answer: str
    decision: Decision
    is_yours: bool


def lines(
    backend: Backend, person: Person, *, mine: bool = False, undecided: bool = False, since_s: float | None = None
) -> list[Line]:
    """Return the sweeps of a store, newest first.

    Args:
        backend: the store.
        person: the user who asks.
        mine: only those that this user began.
        undecided: only those that are not approved or rejected for the content they have now.
        since_s: only those that ended in the last so many seconds, or run.

    Raises:
        StoreError: the store cannot be asked.
    """
    found = queries.parents(backend)[::-1]
    if since_s is not None:
        after_ms = (time.time() - since_s) * 1000
        found = [each for each in found if each.ended_ms is None or each.ended_ms >= after_ms]
    if mine:
        found = [each for each in found if Person.parse(author_of(each)).is_same(person)]
    listed = [_line(backend, each, person) for each in found]
    if undecided:
        listed = [each for each in listed if each.decision.state not in (State.APPROVED, State.REJECTED)]
    return listed


def _line(backend: Backend, sweep: Record, person: Person) -> Line:
    found = record.read(sweep)
    decision = _decision(backend, sweep, found)
    finished, jobs = sweep.metrics.get("jobs/finished", 0.0), sweep.tags.get("sweep.jobs", "")
    return Line(
        sweep=sweep,
        by=Person.parse(author_of(sweep)).name,
        at_ms=sweep.ended_ms,
        finished=int(finished) if math.isfinite(finished) else 0,
        jobs=int(jobs) if jobs.isdecimal() else 0,
        question=Question.of(sweep, found.events),
        answer=sweep.tags.get(ANSWER, "running" if sweep.status == "RUNNING" else NOBODY),
        decision=decision,
        is_yours=decision.turn != NOBODY and person.is_called(decision.turn),
    )


def _decision(backend: Backend, sweep: Record, found: ReviewRecord) -> Decision:
    """Return what was decided of a sweep; of one that looks at a sweep which was deleted, that it cannot be read."""
    try:
        return present_decision(backend, sweep, found)
    except Refused as error:
        return Decision(State.BROKEN, None, str(error), author_of(sweep))


def waiting(backend: Backend) -> int:
    """Return how many sweeps wait for this user, by their tags: one request, however many sweeps there are.

    It is 0 if the store cannot tell: this is a hint at the end of other commands.
    """
    try:
        return _waiting(backend, current(backend))
    except StoreError:
        return 0


def _waiting(backend: Backend, person: Person) -> int:
    found = backend.search(f"tags.kind = 'sweep' AND tags.`{TURN}` LIKE '%'")
    turns = [each.tags.get(TURN, NOBODY) for each in found]
    return sum(turn != NOBODY and person.is_called(turn) for turn in turns)


def seconds(text: str) -> float:
    """Return the length of a time span such as ``7d``, ``12h`` or ``90m``, in seconds.

    Raises:
        ConfigError: it is not one.
    """
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    if found is None:
        raise ConfigError.rule("--since", "must be a number of minutes, hours, days or weeks: 90m, 12h, 7d, 2w", text)
    return int(found[1]) * _UNITS[found[2]]
