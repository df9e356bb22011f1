"""One job, from its config to the line on the screen that says how it ended."""

import math
from functools import partial

from omegaconf import DictConfig

from mnist_exp.app.compose import launched_here, this_job, to_run_config
from mnist_exp.base.errors import MnistExpError, RunFailed, first_line
from mnist_exp.base.imports import import_tensorflow, importing
from mnist_exp.config.schema import RunConfig
from mnist_exp.runs.job import Job, PreparedJob
from mnist_exp.runs.provenance import fingerprint_of
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.terminal import messages
from mnist_exp.tracking.mlflow import client, system_metrics
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.spool.sender import Unsent
from mnist_exp.tracking.spool.tracker import settle_runs


def run_job(composed: DictConfig, command: str) -> float:
    """Run one job and show how it ended. In a sweep, a launcher may do that in another process.

    Args:
        composed: the config that Hydra composed for it.
        command: the command line, without secrets.

    Returns:
        The validation accuracy of the kept weights (``training.keep``), for sweepers that search; NaN for a job of a
        sweep that failed.

    Raises:
        RunFailed: the run failed, which was shown.
    """
    config = to_run_config(composed)
    import_tensorflow()
    with importing():
        from mnist_exp.metrics import OBJECTIVE
        from mnist_exp.sweeps import jobs

    sweep = Sweep.current()
    job = this_job(sweep, command)
    show = partial(messages.epochs, job, config.training.epochs)
    try:
        prepared = prepare(job, config, sweep)
        done = jobs.do(
            prepared,
            sweep.key if sweep else None,
            show,
            messages.warning,
            system_metrics=system_metrics.is_wanted(config.tracking.system_metrics),
        )
    except MnistExpError as error:
        messages.run_fails(job, str(error))
        raise RunFailed(str(error)) from error
    finally:
        if sweep is not None and not launched_here():
            messages.unsent(deliver()[0])  # this process may end with the job
    unsent, failed = deliver() if sweep is None else ([], 0)
    if failed:
        raise RunFailed("it failed as it ended")
    match done:
        case jobs.RunsElsewhere():
            messages.run_is_elsewhere(job)
            return math.nan
        case jobs.FinishedBefore(record):
            messages.run_is_kept(job, record)
            accuracy = record.figure(f"kept/{OBJECTIVE}", math.nan)
        case result:
            messages.run_ends(job, result)
            accuracy = result.kept.scores[OBJECTIVE]
    if sweep is None and not unsent:
        messages.how_to_look(prepared.backend.uri)
    messages.unsent(unsent)  # the last line, if it is one
    return accuracy


def prepare(job: Job, config: RunConfig, sweep: Sweep | None) -> PreparedJob:
    """Look up what a job needs: data, fingerprint and store. Data are read once per process."""
    from mnist_exp.data import datasets  # NumPy: what only composes a config shall not wait for it

    dataset = datasets.load(config.data)
    return PreparedJob(
        job=job,
        config=config,
        dataset=dataset,
        fingerprint=fingerprint_of(config, dataset),
        backend=open_backend(sweep.uri if sweep else client.uri_from_config(config.tracking.uri)),
        experiment=client.experiment_name(config.tracking, dataset.name),
    )


def deliver() -> tuple[list[tuple[str, Unsent]], int]:
    """Wait for the store to have everything; return what it does not have, and how many runs failed as they ended."""
    delivery = settle_runs()
    for name, mistake in delivery.errors:
        messages.traceback(mistake)
        messages.error(f"{name} failed as it ended: {first_line(mistake)}")
    return delivery.unsent, len(delivery.errors)
