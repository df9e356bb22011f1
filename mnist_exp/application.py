"""The Hydra application: a command line in, runs out, an exit code at the end.

Nothing starts before everything was checked: one config for a single run, every job's for a sweep. Both happen in
:class:`BeforeStart`, which Hydra calls before it creates a folder or launches a job.
"""

import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mnist_exp import project, tables, terminal
from mnist_exp.compose import expand, explain, launched_here, register, this_job, to_run_config, without_resume
from mnist_exp.config import RunConfig
from mnist_exp.errors import ConfigError, MnistExpError, RunFailed, StoreAway, StoreError, first_line
from mnist_exp.imports import importing, interrupt, interrupted
from mnist_exp.redaction import redact, redacted_file

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from mnist_exp.data.datasets import Dataset
    from mnist_exp.sweeps.sweep import Sweep
    from mnist_exp.tracking.forwarding import Unsent

# The jobs of this process that failed: what the exit code goes by where the store cannot be asked.
_failed: list[str] = []

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
        code = _tell(error, with_traceback=wants_traceback)
    try:
        terminal.unsent(_settle()[0])  # in a sweep, the next run trains while the last words of the one before are sent
    except KeyboardInterrupt:
        code = INTERRUPTED
    code = _finish_sweep(code, after_sweep)
    if code == INTERRUPTED and after_sweep is None:
        terminal.how_to_resume(["python", "-m", "mnist_exp", *sys.argv[1:]])
    return code


@hydra.main(version_base="1.3", config_path=str(project.CONF), config_name="config")
def _app(composed: DictConfig) -> float:
    """One job: what Hydra calls for a single run, and for each job of a sweep, maybe in another process.

    Returns the best validation accuracy, for sweepers that search; NaN for a job of a sweep that failed, which the
    store knows of and :func:`_finish_sweep` finds there.
    """
    config = to_run_config(composed)
    from mnist_exp.training.startup import import_tensorflow

    import_tensorflow()
    with importing():
        from mnist_exp import jobs
        from mnist_exp.data import datasets
        from mnist_exp.jobs import Elsewhere, Kept
        from mnist_exp.sweeps.sweep import Sweep
        from mnist_exp.tracking import store

    sweep = Sweep.current()
    job = this_job()
    uri = sweep.uri if sweep else store.resolve(config.tracking.uri)
    show = partial(terminal.epochs, job, config.training.epochs)
    try:
        dataset = datasets.load(config.data)
        done = jobs.do(config, job, dataset, uri, sweep, show, terminal.warning, watched=_system_metrics(config))
    except MnistExpError as error:
        _failed.append(job.name)
        terminal.run_fails(job, str(error))
        if sweep is None:
            raise RunFailed(str(error)) from error
        return math.nan  # to Hydra's launchers a job that raises is one more line, or the end of the batch
    finally:
        if sweep is not None and not launched_here():
            terminal.unsent(_settle()[0])  # this process may end with the job
    unsent, failed = _settle() if sweep is None else ([], 0)
    if failed:
        raise RunFailed("it failed as it ended")
    match done:
        case Elsewhere():
            terminal.run_is_elsewhere(job)
            return math.nan
        case Kept(record):
            terminal.run_is_kept(job, record)
            best = record.metrics.get("best/val_accuracy", math.nan)
        case result:
            terminal.run_ends(job, result)
            best = result.best.scores["val_accuracy"]
    if sweep is None and not unsent:
        terminal.how_to_look(uri)
    terminal.unsent(unsent)  # the last line, if it is one
    return best


class BeforeStart(Callback):
    """Checks everything before anything starts, and opens the parent run of a sweep.

    Hydra turns whatever a callback raises into a warning and goes on, so what must stop the program leaves as
    SystemExit.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single run's config, and that its data can be had."""
        with _stopping_on_error():
            _check_store_and_data([to_run_config(config)])

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every job's config and data, then open the sweep."""
        with _stopping_on_error():
            keys, jobs, composed = expand(config)
            configs = [to_run_config(each) for each in composed or [config]]
            if len(uris := {each.tracking.uri for each in configs}) > 1:
                raise ConfigError.rule(
                    "tracking.uri", "must be the same for all jobs of a sweep", sorted(map(str, uris))
                )
            used = _check_store_and_data(configs)
            if len(names := sorted(dataset.name for dataset in used)) > 1:
                raise ConfigError.rule("data", "must be one data set in a sweep, which ranks its runs", names)
            with importing():
                from mnist_exp import identity
                from mnist_exp.sweeps import sweep
                from mnist_exp.tracking import store

            experiment = store.experiment_name(configs[0].tracking, used[0].name)
            uri = store.resolve(configs[0].tracking.uri)
            kept = [list(map(redact, job)) for job in jobs]
            own = [identity.of(each, used[0]) for each in configs]
            for number, each in enumerate(own):
                if each in own[:number]:  # it would count as a second sample
                    job = [override for override in kept[number] if override.partition("=")[0] in keys]
                    raise ConfigError.rule("a sweep", "must have each job once", " ".join(job))
            whole = identity.together(own)
            command = without_resume(config.hydra.overrides.task)
            if any(each.resume for each in configs):
                reason = sweep.take_up(uri, experiment, keys, len(jobs), whole, command, configs)
                if reason is None:
                    terminal.sweep_resumes(keys, len(jobs))
                    return
                terminal.warning(f"not resumed: {reason}; the sweep starts afresh")
            sweep.begin(uri, experiment, keys, kept, whole, command)
            terminal.sweep_begins(keys, len(jobs))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Take secrets out of what Hydra has written of the job's config."""
        if config.hydra.output_subdir is not None:
            for file in (Path(config.hydra.runtime.output_dir) / config.hydra.output_subdir).glob("*.yaml"):
                _redact_file(file)

    def on_job_end(self, config: DictConfig, job_return: "JobReturn", **_: Any) -> None:  # noqa: ARG002
        """Let go of the job's configs, which Hydra would keep until the sweep ends: half a megabyte each."""
        job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Take secrets out of what Hydra has written of the sweep's."""
        _redact_file(Path(config.hydra.sweep.dir) / "multirun.yaml")


def _redact_file(file: Path) -> None:
    content = file.read_bytes() if file.is_file() else b""
    if (kept := redacted_file(content)) != content:
        file.write_bytes(kept)


def _check_store_and_data(configs: Sequence[RunConfig]) -> "list[Dataset]":
    """Make sure that the store can be used and the data can be had and split; tells which data sets those are."""
    with importing():
        from mnist_exp.commands.sync import tidy
        from mnist_exp.data import datasets
        from mnist_exp.tracking import journal, store

    _writable(project.root())
    uris = list(dict.fromkeys(store.resolve(config.tracking.uri) for config in configs))
    used: list[Dataset] = []
    with ThreadPoolExecutor(max_workers=1) as reader:  # files are read while MLflow is imported
        reading = {data: reader.submit(datasets.load, data) for data in dict.fromkeys(each.data for each in configs)}
        away = _away(uris, must_answer=any(config.resume for config in configs))
        journal.check(journal.root())
        for uri in uris:
            if uri not in away:
                tidy(uri)
    for data, loaded in reading.items():
        dataset = loaded.result()
        datasets.split(dataset, data)
        if dataset not in used:
            used.append(dataset)
            terminal.dataset(dataset)
    return used


def _away(uris: Sequence[str], *, must_answer: bool) -> list[str]:
    """Which stores do not answer now; what they are to have is sent when they do."""
    from mnist_exp.tracking import store

    away = []
    for uri in uris:
        try:
            store.connect(uri)
        except StoreAway as error:
            if must_answer:
                raise StoreError(f"resume=true asks the store what there is already: {error}") from error
            terminal.store_is_away(str(error))
            away.append(uri)
    return away


def _writable(folder: Path) -> None:
    """Hydra keeps each job's config and log below the project's folder."""
    for name in ("outputs", "multirun"):
        place = folder / name
        if not os.access(place if place.exists() else folder, os.W_OK) or place.is_file():
            raise StoreError(f"{place} must be a folder that can be written to. Received: one that cannot")


def _system_metrics(config: RunConfig) -> bool:
    wanted = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    return wanted.lower() in ("1", "true") if wanted else config.tracking.system_metrics


def _settle() -> "tuple[list[tuple[str, Unsent]], int]":
    """Wait for the store to have all that runs said: what it does not have, and how many runs failed as they ended."""
    outbox = sys.modules.get("mnist_exp.tracking.outbox")
    if outbox is None:
        return [], 0
    settled = outbox.settle()
    for name, mistake in settled.mistakes:
        terminal.traceback(mistake)
        terminal.error(f"{name} failed as it ended: {first_line(mistake)}")
    return settled.unsent, len(settled.mistakes)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End what goes on, even where Python swallows the exception: training asks again before each epoch."""
    interrupted.set()
    interrupt(number, frame)


def _finish_sweep(code: int, after_sweep: "Callable[[Sweep], None] | None") -> int:
    """Close the parent run of the sweep, if there was one, and show its ranking."""
    if "MNIST_EXP_SWEEP" not in os.environ:  # asked without the imports that a single run may not need
        return code
    with importing():
        from mnist_exp.commands.sync import tidy
        from mnist_exp.sweeps.ending import Postponed, finish
        from mnist_exp.sweeps.sweep import Sweep

    sweep = Sweep.current()
    assert sweep is not None
    try:
        if after_sweep is not None:
            after_sweep(sweep)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  whatever it is, the parent run is still to be closed
        code = code or _tell(error)
    try:
        with suppress(Exception):  # finish says what it misses
            tidy(sweep.uri)  # what could not be sent while the sweep went on may be by now
        ending = finish(sweep, interrupted=code == INTERRUPTED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Postponed as error:
        terminal.postponed(str(error))
        return code or (RunFailed.exit_code if _failed else 0)
    except Exception as error:  # noqa: BLE001  it is told as any other
        return code or _tell(error)
    if ending.problem is not None:
        code = code or _tell(ending.problem)
    if ending.comparison is not None and ending.comparison.has_seeds:
        tables.comparison(ending.comparison)
    else:
        tables.leaderboard(ending.board)
    if ending.unsent is None:
        terminal.how_to_look(sweep.uri)
    else:
        terminal.unsent([("the sweep", ending.unsent)])
    return code or (RunFailed.exit_code if ending.board.others else 0)


@contextmanager
def _stopping_on_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise SystemExit(_tell(error)) from error


def _tell(error: Exception, *, with_traceback: bool = False) -> int:
    """Show a user's mistake as its one line, and one of the program's as a traceback; the exit code of either."""
    wrong = explain(error)
    if wrong is None or with_traceback:
        terminal.traceback(error)
    if wrong is None:
        return 1
    terminal.error(str(wrong))
    return wrong.exit_code
