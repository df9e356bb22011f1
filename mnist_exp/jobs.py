"""One job of a command: run, taken up again, or kept as it is, by one process alone."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from mnist_exp import identity
from mnist_exp.analysis.records import Record
from mnist_exp.config import RunConfig
from mnist_exp.data.datasets import Dataset
from mnist_exp.run import Job, Progress, Result, run
from mnist_exp.sweeps import resume
from mnist_exp.sweeps.resume import Claim, Standing
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking import journal, outbox, store
from mnist_exp.tracking.machine import Watch
from mnist_exp.training import checkpoint
from mnist_exp.training.epochs import Epoch

# A job that failed in another process since this one began was run again already.
_BEGAN_MS = int(time.time() * 1000)


@dataclass(frozen=True)
class Kept:
    """A run that an earlier command finished."""

    record: Record


@dataclass(frozen=True)
class Elsewhere:
    """A run that another process is at."""


Shown = Callable[[int], AbstractContextManager[Callable[[Epoch], None]]]
"""Shows a run's epochs, given how many are done; within it, what is to be called with each further one."""


def do(
    config: RunConfig,
    job: Job,
    dataset: Dataset,
    uri: str,
    sweep: Sweep | None,
    show: Shown,
    warn: Callable[[str], None],
    *,
    watched: bool,
) -> Result | Kept | Elsewhere:
    """Do a job, unless it is done or another process does it.

    ``warn`` is told why a single run that was to be resumed is not. With ``watched``, the machine's load is measured
    meanwhile.

    Raises:
        RunFailed: it could not finish.
        StoreError: its journal cannot be written, or the store be asked what there is of it.
    """
    own = identity.of(config, dataset)
    with resume.claimed(sweep.key, own) if sweep else nullcontext(Claim(True, True)) as claim:
        if not claim.is_ours or (config.resume and claim.failed_ms > _BEGAN_MS):
            return Elsewhere()
        experiment = store.experiment_name(config.tracking, dataset.name)
        parent = sweep.key if sweep else None
        before = resume.standing(uri, experiment, own, parent) if config.resume or not claim.is_new else Standing()
        if before.finished is not None:
            return Kept(before.finished)
        if before.elsewhere:
            return Elsewhere()
        if config.resume and sweep is None and before == Standing():
            warn(f"not resumed: {resume.why_afresh(uri, experiment, own, job.name, config)}; the run starts afresh")
        told = done = 0
        if before.journal is not None:
            tracker, told = outbox.take_up(before.journal, uri)
            reached = checkpoint.load(before.journal / journal.CHECKPOINT)
            done = len(reached.epochs) if reached else 0
            job = replace(job, resumed=f"from-epoch-{done + 1}")
        else:
            tags = {"kind": "run", **own.tags()}
            if before.superseded:
                tags["supersedes"] = " ".join(before.superseded)
            tracker = outbox.begin(outbox.opening(job.name, uri, experiment, parent, tags), uri)
        watch = Watch(tracker) if watched else None
        try:
            with show(done) as on_epoch:
                progress = Progress(tracker.journal.folder / journal.CHECKPOINT, told)
                return run(config, job, dataset, tracker, on_epoch, progress)
        finally:
            if watch is not None:
                watch.stop()
