"""What can be checked of a sweep before it is decided on. Every check is computed; none can be ticked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mnist_exp.analysis import samples
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.review.answer import Answer, Kind
from mnist_exp.review.followups import FollowUp, Outcome
from mnist_exp.statistics.conclusion import joined
from mnist_exp.tracking.protocols import Record

ASKED = {"before": "asked before any run (claimed)", "after": "asked when results had been seen"}
"""When a question was asked, in words."""

CONFIRMED = "confirmed"
"""The one check whose outcome may change after an approval: a sweep may follow."""


class State(StrEnum):
    """How a check came out. One that fails keeps a sweep from being approved; one that is missing does not."""

    HOLDS = "holds"
    MISSING = "missing"
    FAILS = "fails"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what is checked; the same for every sweep.
        state: how it came out.
        words: that, in a few words.
    """

    name: str
    state: State
    words: str


@dataclass(frozen=True)
class Facts:
    """What the checks are computed from.

    Attributes:
        sweep: the parent run.
        runs: of the sweep, and of those that it adds replicates to.
        comparison: of these runs; None if they could not be compared.
        answer: what they say.
        asked: when the question was asked: ``before``, ``after`` the results were there, or empty for no question.
        earlier: ids of other sweeps of the same configurations that ended before this one began.
        followups: the sweeps that tested its result again.
        repeats: runs of its first configuration by other people.
        diff_kept: whether the changes that were not committed are kept with the runs.
    """

    sweep: Record
    runs: Sequence[Record]
    comparison: Comparison | None
    answer: Answer
    asked: str
    earlier: Sequence[str]
    followups: Sequence[FollowUp]
    repeats: Sequence[Repeat]
    diff_kept: bool


@dataclass(frozen=True)
class Repeat:
    """A run that somebody else repeated.

    Attributes:
        by: who.
        same: whether its validation accuracy is the same to the last digit.
    """

    by: str
    same: bool


def checks_of(facts: Facts) -> list[Check]:
    """Return all checks of a sweep, in a fixed order."""
    data = f"data {samples.data_of(facts.runs[0])}" if facts.runs else ""
    return [
        _same(facts.runs, "data", "dataset.digest", data),
        _code(facts),
        _same(facts.runs, "libraries", "fingerprint.libraries", "same libraries"),
        _finished(facts),
        _replicates(facts),
        _test_data(facts),
        _question(facts),
        _looks(facts),
        _confirmed(facts),
        _repeated(facts),
    ]


def _same(runs: Sequence[Record], name: str, tag: str, words: str) -> Check:
    values = {run.tags.get(tag, "") for run in runs}
    if len(values) > 1:
        return Check(name, State.FAILS, f"the runs have {len(values)} different {name}")
    return Check(name, State.HOLDS if values - {""} else State.MISSING, words if values - {""} else f"no {name} known")


def _code(facts: Facts) -> Check:
    same = _same(facts.runs, "code", "fingerprint.code", "same code")
    if same.state is not State.HOLDS:
        return same
    commits = sorted({run.tags.get("git.commit", "") for run in facts.runs} - {""})
    at = f" at {joined([commit[:7] for commit in commits[:3]])}" if commits else ", not in a git checkout"
    if not any(run.tags.get("git.dirty") == "true" for run in facts.runs):
        return Check("code", State.HOLDS, f"same code{at}, nothing uncommitted")
    if facts.diff_kept:
        return Check("code", State.HOLDS, f"same code{at}, uncommitted changes kept in provenance/git.diff")
    return Check("code", State.FAILS, f"uncommitted changes at {commits[0][:7]}, which were not kept")


def _finished(facts: Facts) -> Check:
    finished = sum(run.status == "FINISHED" for run in facts.runs)
    jobs = facts.sweep.tags.get("sweep.jobs", "0")
    own = sum(run.tags.get("mlflow.parentRunId") == facts.sweep.run_id for run in facts.runs)
    total = len(facts.runs) - own + max(own, int(jobs) if jobs.isdecimal() else 0)
    if facts.sweep.status == "RUNNING":
        return Check("finished", State.FAILS, f"the sweep has not ended: {finished} of {total} runs finished")
    state = State.HOLDS if finished == total and total else State.FAILS
    return Check("finished", state, f"{finished} of {total} runs finished")


def _replicates(facts: Facts) -> Check:
    if facts.comparison is None or facts.answer.kind is Kind.FAILED:
        return Check("replicates", State.FAILS, "nothing to compare")
    if facts.comparison.verdicts.result is None:
        return Check("replicates", State.FAILS, facts.answer.text)
    return Check("replicates", State.HOLDS, f"{facts.answer.replicates} replicates: enough for a verdict")


def _test_data(facts: Facts) -> Check:
    """Check that no test score took part in choosing: neither in the ranking, nor in stopping or keeping weights."""
    by = facts.comparison.measure.metric if facts.comparison else ""
    chosen = {by, *(run.params.get("training.early_stopping.monitor", "") for run in facts.runs)}
    if used := sorted(name for name in chosen if name.startswith("test/")):
        return Check("test data", State.FAILS, f"chosen by {joined(used)}")
    return Check("test data", State.HOLDS, "test data unused in choosing")


def _question(facts: Facts) -> Check:
    if facts.asked == "before":
        return Check("question", State.HOLDS, ASKED["before"])
    late = f": it was {ASKED['after']}" if facts.asked else ""
    return Check("question", State.MISSING, f"a question before any run{late}")


def _looks(facts: Facts) -> Check:
    looks = facts.comparison.looks if facts.comparison else None
    if looks is not None:
        taken = joined([str(look.n) for look in looks.taken]) or "none yet"
        return Check("looks", State.HOLDS, f"planned looks, taken with {taken} replicates")
    if facts.earlier:
        which = joined([sweep[:4] for sweep in facts.earlier[:3]])
        times = "once" if len(facts.earlier) == 1 else f"{len(facts.earlier)} times"
        return Check("looks", State.MISSING, f"one look: the same was judged {times} before ({which})")
    return Check("looks", State.HOLDS, "looked at once")


def _confirmed(facts: Facts) -> Check:
    if "follows" in facts.sweep.params:
        return Check(CONFIRMED, State.HOLDS, f"a fresh test of {facts.sweep.params['follows'][:4]}")
    found = facts.followups
    for outcome, state in ((Outcome.OVERTURNED, State.FAILS), (Outcome.CONFIRMED, State.HOLDS)):
        if which := [each for each in found if each.outcome is outcome]:
            return Check(CONFIRMED, state, "; ".join(each.words for each in which))
    if found:
        return Check(CONFIRMED, State.MISSING, "; ".join(each.words for each in found))
    return Check(CONFIRMED, State.MISSING, "confirmed on fresh replicates")


def _repeated(facts: Facts) -> Check:
    if not facts.repeats:
        return Check("repeated", State.MISSING, "repeated by somebody else")
    same = all(each.same for each in facts.repeats)
    by = joined(list(dict.fromkeys(each.by for each in facts.repeats)))
    words = f"repeated by {by}: " + ("the same figures" if same else "other figures")
    return Check("repeated", State.HOLDS if same else State.MISSING, words)


def failing(checks: Sequence[Check]) -> Iterator[Check]:
    """Yield the checks that keep a sweep from being approved."""
    return (each for each in checks if each.state is State.FAILS)
