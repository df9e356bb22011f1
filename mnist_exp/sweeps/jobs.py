"""One job of a command: run, resumed, or kept as an earlier command finished it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from mnist_exp.metrics import Epoch
from mnist_exp.runs.job import PreparedJob
from mnist_exp.runs.run import Progress, Result, run
from mnist_exp.sweeps.existing import Existing, existing, why_afresh
from mnist_exp.tracking.mlflow.system_metrics import SystemMetricsMonitor
from mnist_exp.tracking.protocols import Record
from mnist_exp.tracking.spool import journal
from mnist_exp.tracking.spool.tracker import JournalTracker, begin_run, new_opening, resume_run
from mnist_exp.training import checkpoint

ShowEpochs = Callable[[int], AbstractContextManager[Callable[[Epoch], None]]]
"""Shows a run's epochs, given how many are completed; yields the function to call with each further one."""


@dataclass(frozen=True)
class FinishedBefore:
    """A run that an earlier command finished."""

    record: Record


@dataclass(frozen=True)
class RunsElsewhere:
    """A run that another process is running."""


def do(
    job: PreparedJob,
    parent: str | None,
    show: ShowEpochs,
    warn: Callable[[str], None],
    *,
    system_metrics: bool,
) -> Result | FinishedBefore | RunsElsewhere:
    """Run a job, unless it is done or another process runs it.

    Args:
        job: the job.
        parent: the key of its sweep's parent run; None for a single run.
        show: shows its epochs.
        warn: called with the reason if a single run that was to be resumed begins anew.
        system_metrics: whether the load of the machine is logged meanwhile.

    Raises:
        RunFailed: it could not finish.
        StoreError: its journal cannot be written, or the store cannot be asked what exists of it.
    """
    before = existing(job, parent) if job.config.resume else Existing()
    if before.finished is not None:
        return FinishedBefore(before.finished)
    if before.elsewhere:
        return RunsElsewhere()
    if job.config.resume and parent is None and before == Existing():
        warn(f"not resumed: {why_afresh(job)}; the run starts afresh")
    tracker, logged, completed = _open(job, parent, before)
    if completed is not None:
        job = replace(job, job=replace(job.job, resumed=f"from-epoch-{completed + 1}"))
    monitor = SystemMetricsMonitor(tracker) if system_metrics else None
    try:
        with show(completed or 0) as on_epoch:
            return run(job, tracker, on_epoch, Progress(tracker.journal.folder / journal.CHECKPOINT, logged))
    finally:
        if monitor is not None:
            monitor.stop()


def _open(job: PreparedJob, parent: str | None, before: Existing) -> tuple[JournalTracker, int, int | None]:
    """Open the job's run: its tracker, how many epochs that has, and how many its checkpoint has (None: it is new)."""
    if before.journal is not None:
        tracker, logged = resume_run(before.journal, job.backend)
        reached = checkpoint.load(before.journal / journal.CHECKPOINT)
        return tracker, logged, len(reached.epochs) if reached else 0
    tags = {"kind": "run", **job.fingerprint.tags()}
    if before.replaced:
        tags["supersedes"] = " ".join(before.replaced)
    opening = new_opening(job.job.name, job.backend.uri, job.experiment, parent, tags)
    return begin_run(opening, job.backend), 0, None
