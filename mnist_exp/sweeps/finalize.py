"""Finalizes a sweep: ranks and compares its runs, writes the report to the parent run, and closes that."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from mnist_exp.analysis import comparison, frames, ranking
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.next_step import NextStep, next_step
from mnist_exp.analysis.ranking import Leaderboard, measure
from mnist_exp.base.errors import ConfigError, Refused, StoreError
from mnist_exp.base.text import shortened
from mnist_exp.metrics import OBJECTIVE, per_epoch
from mnist_exp.reports.sweep_report import ReviewBlock
from mnist_exp.review import record
from mnist_exp.review.actions import NOTE
from mnist_exp.review.answer import answer_of
from mnist_exp.review.block import block_of, unreviewed
from mnist_exp.review.queue import ANSWER
from mnist_exp.review.review import Question, gather
from mnist_exp.statistics.conclusion import joined
from mnist_exp.sweeps.note import note
from mnist_exp.sweeps.sweep import Postponed, Sweep, lead_no_more
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Backend, Measurement, Record, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.entries import VANISHED, epochs_of, record_of
from mnist_exp.tracking.spool.journal import Reading
from mnist_exp.tracking.spool.sender import Unsent
from mnist_exp.tracking.spool.tracker import PATIENCE_S, JournalTracker

_LONGEST_TAG = 4000  # characters; MLflow's limit is 8,000


@dataclass(frozen=True)
class FinalizedSweep:
    """The results of a sweep that was ranked and closed.

    Attributes:
        board: its runs, ranked.
        comparison: its configurations compared, with the runs of the sweeps that it extends; None if no run began, or
            comparing failed.
        next_step: the sweep that would decide what is undecided; None if there is none.
        review: its question and the answer, as its report begins with them.
        problem: what comparing or reporting raised; None if both succeeded.
        journal_error: why an entry of the parent run could not be written; None if all were.
        unsent: the entries of the parent run that the store does not have; None if it has all.
    """

    board: Leaderboard
    comparison: Comparison | None = None
    next_step: NextStep | None = None
    review: ReviewBlock | None = None
    problem: Exception | None = None
    journal_error: StoreError | None = None
    unsent: Unsent | None = None


def finalize(sweep: Sweep, *, interrupted: bool = False) -> FinalizedSweep:
    """Rank, compare and close the sweep that this process leads.

    Args:
        sweep: the sweep, whose jobs have ended.
        interrupted: whether a user interrupted it. The parent run is then KILLED; else FINISHED if every job is, and
            FAILED if not.

    Raises:
        Postponed: the store is away, or does not have all of the runs yet. Its journal is marked as unranked.
        Refused: the parent run was deleted.
    """
    now_ms = int(time.time() * 1000)
    parent = lead_no_more(sweep)
    try:
        ending = close(sweep, parent, interrupted=interrupted, time_ms=now_ms)
    except Refused:
        parent.drop()
        raise
    except BaseException:
        with suppress(StoreError):
            parent.postpone(now_ms, interrupted=interrupted)
        parent.settle(0)
        raise
    try:
        return replace(ending, unsent=parent.settle(PATIENCE_S))
    except Exception as error:  # noqa: BLE001  of a picture, say: the ranking is shown all the same
        return replace(ending, problem=ending.problem or error)


def ranked_from_disk(sweep: Sweep) -> FinalizedSweep | None:
    """Rank and compare the runs of a sweep from their journals, while its store does not answer; nothing is written.

    Returns:
        The results; None if not every job's run lies on this disk: others arrived in the store before it went away.
    """
    import pandas as pd

    own = journals.of_sweep(sweep.key)
    found = [each for each in map(record_of, own) if each is not None]
    parent = record_of(journals.read(journals.root() / sweep.key))
    if parent is None or len(found) != sweep.total or any(each.status == "RUNNING" for each in found):
        return None
    board = ranking.rank(found)
    rows = [row for each in own for row in epochs_of(each)]
    epochs = pd.DataFrame(rows).reindex(columns=["run_id", "epoch", *per_epoch()])
    try:
        result = comparison.compare(found, epochs, measure(OBJECTIVE), worth=parent.worth)
    except ConfigError as error:
        return FinalizedSweep(board, problem=error)
    return FinalizedSweep(board, result, next_step(parent, result), _unreviewed(parent, result))


def close_vanished(reading: Reading, uri: str, parent: Tracker) -> Exception | None:
    """Rank, compare and close a sweep whose process ended without doing so.

    Args:
        reading: the journal of its parent run.
        uri: the store that has its runs.
        parent: the tracker of its parent run.

    Returns:
        What comparing or reporting raised; None if both succeeded.

    Raises:
        Postponed: the store is away, or does not have all of the runs yet.
        Refused: the parent run was deleted.
    """
    assert reading.opening is not None
    left = reading.ended
    ending = close(
        Sweep.of(reading.opening, uri),
        parent,
        interrupted=left is None or bool(left.content["interrupted"]),
        reason=VANISHED if left is None else "interrupted",
        time_ms=left.time_ms if left else reading.last_heartbeat_ms,
    )
    return ending.problem


def close(
    sweep: Sweep, parent: Tracker, *, interrupted: bool, time_ms: int, reason: str = "interrupted"
) -> FinalizedSweep:
    """Rank and compare a sweep, write the results to its parent run and close that. Repeating it changes nothing.

    Args:
        sweep: the sweep.
        parent: the tracker of its parent run.
        interrupted: whether its process ended before all jobs had.
        time_ms: when it ended, in milliseconds since 1970; the end of its last run if that is later.
        reason: the tag ``failure`` of the parent run, if interrupted.

    Raises:
        Postponed: the store is away, or does not have all of the runs yet.
        Refused: the parent run was deleted.
    """
    _must_be_complete(sweep)
    with _or_postponed():
        shown = sweep.parent()
        found = sweep.runs(shown)
    if elsewhere := [record for record in found if record.status == "RUNNING"]:
        hosts = joined(sorted({record.tags.get("host", "another host") for record in elsewhere}))
        raise Postponed(f"{len(elsewhere)} of its runs go on on {hosts}. If that is gone: mnist-exp sync --gone HOST")
    ending, report = _compared(sweep, shown, found)
    ended = {
        "jobs/finished": ending.board.finished,
        "jobs/failed": sum(record.status == "FAILED" for record in found),
        "jobs/killed": sum(record.status == "KILLED" for record in found),
        "jobs/never_begun": max(0, sweep.total - len(found)),
    }
    all_finished = ending.board.finished == max(sweep.total, len(found))
    status = Status.KILLED if interrupted else Status.FINISHED if all_finished else Status.FAILED
    tags = {} if status is Status.FINISHED else {"failure": reason if interrupted else _counts_in_words(ended)}
    time_ms = max([time_ms, *(record.ended_ms or 0 for record in found)])
    try:
        parent.log_metrics(Measurement({**ended, **_first_metrics(ending.comparison)}, time_ms=time_ms))
        before = shown.tags.get(NOTE, "") if shown else ""
        text = note(ending.board, ending.comparison, ending.review, before)
        parent.set_tags({**tags, **_verdict_tags(ending.comparison), NOTE: text})
        parent.log_artifact("sweep/leaderboard.csv", ending.board.csv().encode())
        if report is not None:
            parent.log_artifact("sweep/report.html", report)
    except StoreError as error:
        if not isinstance(parent, JournalTracker):
            raise Postponed(str(error)) from error
        with suppress(StoreError):  # the disk is full; the journal's reserve has room for the final entries
            parent.set_tags(tags)
        ending = replace(ending, journal_error=error)
    with _or_postponed():
        parent.close(status, time_ms)
    return ending


@contextmanager
def _or_postponed() -> Iterator[None]:
    """Turn StoreError into Postponed; Refused passes: the parent run was deleted."""
    try:
        yield
    except Refused:
        raise
    except StoreError as error:
        raise Postponed(str(error)) from error


def _must_be_complete(sweep: Sweep) -> None:
    if waiting := [run for run in journals.of_sweep(sweep.key) if run.unsent > 0 or run.ended is None]:
        raise Postponed(f"{len(waiting)} of its runs are not in the store yet")


def _counts_in_words(ended: Mapping[str, int]) -> str:
    """Return how many jobs did not finish, by how they ended: ``1 failed, 2 never begun``."""
    counts = {name.removeprefix("jobs/").replace("_", " "): count for name, count in ended.items()}
    return ", ".join(f"{count} {how}" for how, count in counts.items() if count and how != "finished")


def _compared(sweep: Sweep, shown: Record | None, found: Sequence[Record]) -> tuple[FinalizedSweep, bytes | None]:
    """Rank the runs, compare their configurations and make the report's page.

    An error of comparing or reporting is returned as ``problem``: it must not cost the ranking.

    Raises:
        Postponed: the store is away.
    """
    board = ranking.rank(found)
    if not found:
        return FinalizedSweep(board), None
    from mnist_exp.reports import sweep_report

    result: Comparison | None = None
    try:
        backend = sweep.backend
        runs, planned = queries.looked_at(backend, shown, found) if shown else (found, [])
        epochs = frames.epochs_frame(backend, [record.run_id for record in runs])
        worth = shown.worth if shown else None
        ids = [each.run_id for each in planned]
        result = comparison.compare(runs, epochs, measure(OBJECTIVE), worth=worth, planned=ids)
        step = next_step(shown, result) if shown else None
        block = _review_block(backend, shown, result)
        report = sweep_report.html(sweep_report.gather(backend, result, epochs, shown, step, block)).encode()
    except Refused as error:
        return FinalizedSweep(board, result, problem=error), None
    except StoreError as error:
        raise Postponed(str(error)) from error
    except Exception as error:  # noqa: BLE001  returned as problem
        return FinalizedSweep(board, result, problem=error), None
    return FinalizedSweep(board, result, step, block), report


def _review_block(backend: Backend, shown: Record | None, result: Comparison) -> ReviewBlock | None:
    """Return the head of the report and of the note; None without a parent.

    A sweep that is resumed may have been reviewed already: what was decided stays, stale if its content has changed.
    """
    if shown is None:
        return None
    found = record.read(shown)
    if found.events or found.problem:
        return block_of(gather(backend, replace(shown, status=Status.FINISHED)))  # as it is about to be
    return _unreviewed(shown, result)


def _unreviewed(sweep: Record, result: Comparison) -> ReviewBlock:
    return unreviewed(Question.of(sweep, []), answer_of(result), sweep.run_id)


def _verdict_tags(result: Comparison | None) -> dict[str, str]:
    """Return the conclusion, the best set and the looks so far, as tags of the parent run."""
    if result is None:
        return {}
    tags = {"conclusion": shortened(result.conclusion(), _LONGEST_TAG), ANSWER: answer_of(result).short}
    if result.first is not None:
        tags["first"] = result.first.label(result.keys)
    if result.verdicts.result is not None:
        names = "; ".join(row.label(result.keys) for row in result.best_set)
        tags |= {"best_set": shortened(names, _LONGEST_TAG), "verdict.level": f"{result.verdicts.level:g}"}
    if result.looks is not None:
        tags["looks.taken"] = ", ".join(str(look.n) for look in result.looks.taken) or "none"
    return tags


def _first_metrics(result: Comparison | None) -> dict[str, float]:
    """Return the figures of the configuration with the best mean, as metrics of the parent run."""
    if result is None or result.first is None or (spread := result.first.spread) is None:
        return {}
    interval = (
        {"first/val_accuracy_low": spread.low, "first/val_accuracy_high": spread.high} if spread.has_interval else {}
    )
    best_set = {"best_set/size": len(result.best_set)} if result.verdicts.result is not None else {}
    return {
        "kept/val_accuracy": spread.mean,  # the same name as in its runs, so that the MLflow UI sorts both by it
        "first/replicates": spread.n,
        **interval,
        **best_set,
    }
