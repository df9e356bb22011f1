"""The review of one sweep: its question, the answer, the checks, what was decided, and whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mnist_exp.analysis import frames
from mnist_exp.analysis.comparison import Comparison, compare
from mnist_exp.analysis.next_step import NextStep, next_step
from mnist_exp.analysis.ranking import measure
from mnist_exp.base.errors import ConfigError
from mnist_exp.metrics import OBJECTIVE
from mnist_exp.review import checks, decision, followups, record
from mnist_exp.review.answer import Answer, answer_of
from mnist_exp.review.checks import Check, Facts, Repeat
from mnist_exp.review.content import Content, content_of
from mnist_exp.review.decision import Decision, State
from mnist_exp.review.record import Event, Kind, ReviewRecord
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Backend, Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Question:
    """What a sweep was asked.

    Attributes:
        text: empty if nothing.
        worth: the smallest difference that matters; None if none was given.
        asked: ``before`` the first run, as claimed; ``after`` results could be seen; empty if no question was asked.
    """

    text: str
    worth: float | None
    asked: str

    @classmethod
    def of(cls, sweep: Record, events: Sequence[Event]) -> Question:
        """Return the question of a sweep: the one that it began with, else the first that was asked later."""
        if text := sweep.params.get("question"):
            return cls(text, sweep.worth, "before")
        for event in events:
            if event.kind is Kind.QUESTION:
                return cls(event.question, event.worth if sweep.worth is None else sweep.worth, "after")
        return cls("", sweep.worth, "")


@dataclass(frozen=True)
class Review:
    """The review of a sweep.

    Attributes:
        sweep: its parent run.
        runs: its runs, and those of the sweeps that it adds replicates to.
        epochs: theirs, as ``analysis.frames`` returns them.
        question: what it was asked.
        comparison: of its configurations; None if they could not be compared.
        answer: what they say.
        step: the sweep that would decide what is undecided; None if there is none.
        checks: everything that was checked.
        content: what a decision is for.
        record: the events.
        decision: what was decided, and whose turn it is.
    """

    sweep: Record
    runs: list[Record]
    epochs: pd.DataFrame
    question: Question
    comparison: Comparison | None
    answer: Answer
    step: NextStep | None
    checks: list[Check]
    content: Content
    record: ReviewRecord
    decision: Decision

    @property
    def state(self) -> State:
        """What was decided."""
        return self.decision.state

    @property
    def author(self) -> str:
        """Who began the sweep, as claimed."""
        return decision.author_of(self.sweep)

    @property
    def title(self) -> str:
        """The first letters of its id."""
        return self.sweep.run_id[:4]


def gather(backend: Backend, sweep: Record) -> Review:
    """Read everything that the review of a sweep consists of.

    Args:
        backend: the store.
        sweep: the sweep's parent run.

    Raises:
        StoreError: the store cannot be asked.
    """
    runs, planned = queries.runs_looked_at(backend, sweep)
    found = record.read(sweep)
    question = Question.of(sweep, found.events)
    result, problem = None, ""
    epochs = frames.epochs_frame(backend, [run.run_id for run in runs])
    try:
        ids = [each.run_id for each in planned]
        result = compare(runs, epochs, measure(OBJECTIVE), worth=question.worth, planned=ids)
    except ConfigError as error:
        problem = str(error)
    answer = answer_of(result, problem)
    content = content_of(runs, question.text, question.worth)
    facts = Facts(
        sweep=sweep,
        runs=runs,
        comparison=result,
        answer=answer,
        asked=question.asked,
        earlier=_earlier(backend, sweep, planned),
        followups=followups.followups(backend, sweep, result),
        repeats=_repeats(backend, sweep, result),
        diff_kept=_diff_kept(backend, runs),
    )
    return Review(
        sweep=sweep,
        runs=runs,
        epochs=epochs,
        question=question,
        comparison=result,
        answer=answer,
        step=next_step(sweep, result) if result is not None else None,
        checks=checks.checks_of(facts),
        content=content,
        record=found,
        decision=decision.decide(found, content, runs, decision.author_of(sweep)),
    )


def with_event(backend: Backend, review: Review, sweep: Record) -> Review:
    """Return a review after an event was added to its record; what its runs say is read again only if that may change.

    Args:
        backend: the store.
        review: the review before the event.
        sweep: the sweep's parent run, with the event.

    Raises:
        StoreError: the store cannot be asked.
    """
    found = record.read(sweep)
    if Question.of(sweep, found.events) != review.question:
        return gather(backend, sweep)
    decided = decision.decide(found, review.content, review.runs, decision.author_of(sweep))
    return replace(review, sweep=sweep, record=found, decision=decided)


def present_decision(backend: Backend, sweep: Record, found: ReviewRecord | None = None) -> Decision:
    """Return what was decided of a sweep, without comparing its runs: for a list of many sweeps.

    Args:
        backend: the store.
        sweep: the sweep's parent run.
        found: its record, if it was read already.

    Raises:
        StoreError: the store cannot be asked.
    """
    found = found or record.read(sweep)
    if not any(each.kind in (Kind.APPROVE, Kind.REJECT) for each in found.events):
        return decision.decide(found, content_of([], "", None), [], decision.author_of(sweep))
    runs, _ = queries.runs_looked_at(backend, sweep)
    question = Question.of(sweep, found.events)
    content = content_of(runs, question.text, question.worth)
    return decision.decide(found, content, runs, decision.author_of(sweep))


def _earlier(backend: Backend, sweep: Record, planned: Sequence[Record]) -> list[str]:
    """Return the ids of earlier sweeps of the same configurations that were judged on their own."""
    own = sweep.tags.get("sweep.configurations")
    if own is None or "follows" in sweep.params:
        return []
    chain = {each.run_id for each in planned} | {sweep.run_id}
    same = backend.search(f"tags.`sweep.configurations` = '{own}'")
    before = same[: next((at for at, each in enumerate(same) if each.run_id in chain), 0)]
    same_data = [each for each in before if not _changed("fingerprint.data", sweep.tags, each.tags)]
    return [each.run_id for each in same_data if each.status != "RUNNING" and "conclusion" in each.tags]


def _repeats(backend: Backend, sweep: Record, result: Comparison | None) -> list[Repeat]:
    """Return the runs by other people that have the fingerprint of the best configuration's first run."""
    if result is None or result.first is None:
        return []
    own = result.first.finished[0]
    if "fingerprint" not in own.tags:
        return []
    author, value = sweep.tags.get("mlflow.user", ""), own.figure(f"kept/{OBJECTIVE}")
    found = []
    for run in queries.with_fingerprint(backend, own.tags["fingerprint"]):
        by = run.tags.get("mlflow.user", "unknown")
        if run.run_id != own.run_id and run.status == "FINISHED" and by != author:
            found.append(Repeat(by, run.figure(f"kept/{OBJECTIVE}") == value))
    return found


def _diff_kept(backend: Backend, runs: Sequence[Record]) -> bool:
    """Return whether changes that were not committed are kept with the first run that has any; True if none has."""
    dirty = [run.run_id for run in runs if run.tags.get("git.dirty") == "true"]
    return not dirty or bool(backend.artifact(dirty[0], "provenance/git.diff"))


def since(backend: Backend, review: Review) -> tuple[Record, list[str]] | None:
    """Return the last approved sweep before this one in its experiment, and what changed since: keys, code, data.

    Returns:
        None if there is none.

    Raises:
        StoreError: the store cannot be asked.
    """
    own = review.sweep
    marked = backend.search("tags.kind = 'sweep' AND tags.review LIKE 'approved%'")
    others = [each for each in marked if each.run_id != own.run_id and each.experiment_id == own.experiment_id]
    earlier = [each for each in others if (each.ended_ms or 0) <= (own.ended_ms or 2**62)]
    approved = (each for each in reversed(earlier) if present_decision(backend, each).state is State.APPROVED)
    last = next(approved, None)  # the tag is an index: the record says whether it holds
    return (last, differences(last, own)) if last else None


def differences(before: Record, now: Record) -> list[str]:
    """Say in phrases what differs between two sweeps: swept keys, code, data, libraries."""
    keys, keys_before = (_keys(each) for each in (now, before))
    words = [f"{key} swept" for key in keys if key not in keys_before]
    words += [f"{key} no longer swept" for key in keys_before if key not in keys]
    if _changed("git.commit", before.tags, now.tags):
        words.append(f"code at {before.tags['git.commit'][:7]} then, {now.tags['git.commit'][:7]} now")
    elif _changed("fingerprint.code", before.tags, now.tags):
        words.append("other code")
    if _changed("fingerprint.data", before.tags, now.tags):
        words.append("other data")
    for name in sorted(key for key in now.tags if key.startswith("version.")):
        if _changed(name, before.tags, now.tags):
            words.append(f"{name.removeprefix('version.')} {before.tags[name]} then, {now.tags[name]} now")
    return words or ["same keys, code, data and libraries"]


def _changed(tag: str, before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    return tag in before and tag in now and before[tag] != now[tag]


def _keys(sweep: Record) -> list[str]:
    return [key for key in sweep.tags.get("sweep.keys", "").split(", ") if key]
