"""The Hydra application: a command line in, runs out, an exit code at the end.

Nothing starts before everything was checked: Hydra calls :mod:`mnist_exp.app.preflight` for that, as its callback.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from mnist_exp.app.compose import launched_here, register, this_job, to_run_config
from mnist_exp.app.preflight import tell
from mnist_exp.base import paths
from mnist_exp.base.errors import MnistExpError, RunFailed, first_line
from mnist_exp.base.imports import importing, interrupt, interrupted
from mnist_exp.config.schema import RunConfig
from mnist_exp.terminal import messages, tables

if TYPE_CHECKING:
    from mnist_exp.sweeps.sweep import Sweep
    from mnist_exp.tracking.spool.sender import Unsent

# The jobs of this process that failed: what the exit code goes by where the store cannot be asked.
_failed: list[str] = []

_BEGAN_MS = int(time.time() * 1000)

INTERRUPTED = 130
"""What a shell gives a command that Ctrl-C ended."""


def main(after_sweep: "Callable[[Sweep], None] | None" = None) -> int:
    """Run the application on ``sys.argv``; the exit code: 0 all done, 1 a run failed, 2 nothing started.

    ``after_sweep`` is called with the sweep, if there was one, when its runs have ended and before its parent run does.
    """
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise, so that the line a user sees and the exit code are ours
    interrupted.clear()
    for number in (signal.SIGINT, signal.SIGTERM):  # ended by either signal, a run is closed as KILLED
        signal.signal(number, _interrupt)
    code = 0
    _failed.clear()
    try:
        register()
        _app()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except RunFailed:
        code = RunFailed.exit_code  # told when it happened
    except Exception as error:  # noqa: BLE001  whatever it is, a sweep that was opened must be closed
        code = tell(error, with_traceback=wants_traceback)
    try:
        messages.unsent(_settle()[0])  # in a sweep, the next run trains while the last words of the one before are sent
    except KeyboardInterrupt:
        code = INTERRUPTED
    code = _finish_sweep(code, after_sweep)
    if code == INTERRUPTED and after_sweep is None:
        messages.how_to_resume(["python", "-m", "mnist_exp", *sys.argv[1:]])
    return code


@hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="config")
def _app(composed: DictConfig) -> float:
    """One job: what Hydra calls for a single run, and for each job of a sweep, maybe in another process.

    Returns the validation accuracy of the weights that were kept (``training.keep``), for sweepers that search; NaN
    for a job of a sweep that failed, which the store knows of and :func:`_finish_sweep` finds there.
    """
    config = to_run_config(composed)
    from mnist_exp.base.imports import import_tensorflow

    import_tensorflow()
    with importing():
        from mnist_exp.data import datasets
        from mnist_exp.sweeps import jobs
        from mnist_exp.sweeps.jobs import Elsewhere, Kept
        from mnist_exp.sweeps.sweep import Sweep
        from mnist_exp.tracking.mlflow import store

    sweep = Sweep.current()
    job = this_job()
    uri = sweep.uri if sweep else store.resolve(config.tracking.uri)
    show = partial(messages.epochs, job, config.training.epochs)
    try:
        dataset = datasets.load(config.data)
        done = jobs.do(config, job, dataset, uri, sweep, show, messages.warning, watched=_system_metrics(config))
    except MnistExpError as error:
        _failed.append(job.name)
        messages.run_fails(job, str(error))
        if sweep is None:
            raise RunFailed(str(error)) from error
        return math.nan  # to Hydra's launchers a job that raises is one more line, or the end of the batch
    finally:
        if sweep is not None and not launched_here():
            messages.unsent(_settle()[0])  # this process may end with the job
    unsent, failed = _settle() if sweep is None else ([], 0)
    if failed:
        raise RunFailed("it failed as it ended")
    match done:
        case Elsewhere():
            messages.run_is_elsewhere(job)
            return math.nan
        case Kept(record):
            messages.run_is_kept(job, record)
            accuracy = record.figure("kept/val_accuracy", math.nan)
        case result:
            messages.run_ends(job, result)
            accuracy = result.kept.scores["val_accuracy"]
    if sweep is None and not unsent:
        messages.how_to_look(uri)
    messages.unsent(unsent)  # the last line, if it is one
    return accuracy


def _system_metrics(config: RunConfig) -> bool:
    wanted = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    return wanted.lower() in ("1", "true") if wanted else config.tracking.system_metrics


def _settle() -> "tuple[list[tuple[str, Unsent]], int]":
    """Wait for the store to have all that runs said: what it does not have, and how many runs failed as they ended."""
    spool = sys.modules.get("mnist_exp.tracking.spool.tracker")
    if spool is None:
        return [], 0
    settled = spool.settle_runs()
    for name, mistake in settled.mistakes:
        messages.traceback(mistake)
        messages.error(f"{name} failed as it ended: {first_line(mistake)}")
    return settled.unsent, len(settled.mistakes)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End what goes on, even where Python swallows the exception: training asks again before each epoch."""
    interrupted.set()
    interrupt(number, frame)


def _too_late(error: Exception, code: int) -> int:
    """Tell of an error when the runs have ended with ``code``: it is no longer so that nothing was started."""
    tell(error)
    return code or RunFailed.exit_code


def _finish_sweep(code: int, after_sweep: "Callable[[Sweep], None] | None") -> int:
    """Close the parent run of the sweep, if there was one, and show its ranking."""
    if "MNIST_EXP_SWEEP" not in os.environ:  # asked without the imports that a single run may not need
        return code
    with importing():
        from mnist_exp.commands.sync import tidy
        from mnist_exp.sweeps import jobs
        from mnist_exp.sweeps.finalize import Postponed, finish
        from mnist_exp.sweeps.sweep import Sweep

    sweep = Sweep.current()
    assert sweep is not None
    try:
        if after_sweep is not None:
            after_sweep(sweep)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  whatever it is, the parent run is still to be closed
        code = _too_late(error, code)
    try:
        with suppress(Exception):  # finish says what it misses
            tidy(sweep.uri)  # what could not be sent while the sweep went on may be by now
    except KeyboardInterrupt:
        code = INTERRUPTED
    try:
        ending = finish(sweep, interrupted=code == INTERRUPTED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Postponed as error:
        messages.postponed(str(error))
        return code or (RunFailed.exit_code if _failed or jobs.failed_since(sweep.key, _BEGAN_MS) else 0)
    except Exception as error:  # noqa: BLE001  it is told as any other
        return _too_late(error, code)
    for problem in filter(None, (ending.problem, ending.untold)):
        code = _too_late(problem, code)
    step = ending.next_step if after_sweep is None else None
    if ending.comparison is not None and ending.comparison.has_replicates:
        tables.comparison(ending.comparison, step)
    else:
        tables.leaderboard(ending.board)
        tables.next_step(step)
    if ending.unsent is None:
        messages.how_to_look(sweep.uri)
    else:
        messages.unsent([("the sweep", ending.unsent)])
    return code or (RunFailed.exit_code if ending.board.others or _failed else 0)
