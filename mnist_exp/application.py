"""The Hydra application: a command line in, runs out, an exit code at the end.

Nothing starts before everything was checked: one config for a single run, every job's for a sweep. Both happen in
:class:`BeforeStart`, which Hydra calls before it creates a folder or launches a job.
"""

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mnist_exp import project, terminal
from mnist_exp.compose import expand, explain, register, to_run_config
from mnist_exp.config import RunConfig
from mnist_exp.errors import ConfigError, MnistExpError, RunFailed, StoreError
from mnist_exp.redaction import redact, redacted_file
from mnist_exp.text import shortened, visible

if TYPE_CHECKING:
    from mnist_exp.data.datasets import Dataset
    from mnist_exp.run import Job
    from mnist_exp.sweeps.sweep import Sweep

_LONGEST_NAME = 250  # what MLflow takes

_INTERRUPTED = 130  # what a shell gives a command that Ctrl-C ended


def main(after_sweep: "Callable[[Sweep], None] | None" = None) -> int:
    """Run the application on ``sys.argv``; the exit code: 0 all done, 1 a run failed, 2 nothing started.

    ``after_sweep`` is called with the sweep, if there was one, when its runs have ended and before its parent run does.
    """
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise, so that the line a user sees and the exit code are ours
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by either signal, a run is closed as KILLED
    code = 0
    try:
        register()
        _app()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except RunFailed:
        code = RunFailed.exit_code  # told when it happened
    except Exception as error:  # noqa: BLE001  whatever it is, a sweep that was opened must be closed
        code = _tell(error, with_traceback=wants_traceback)
    return _finish_sweep(code, after_sweep)


@hydra.main(version_base="1.3", config_path=str(project.CONF), config_name="config")
def _app(composed: DictConfig) -> float:
    """One job: what Hydra calls for a single run, and for each job of a sweep, maybe in another process.

    Returns the best validation accuracy, for sweepers that search; NaN for a job of a sweep that failed, which the
    store knows of and :func:`_finish_sweep` finds there.
    """
    config = to_run_config(composed)
    from mnist_exp.training.startup import import_tensorflow

    import_tensorflow()
    from mnist_exp.data import datasets
    from mnist_exp.run import run
    from mnist_exp.sweeps.sweep import Sweep
    from mnist_exp.tracking import store
    from mnist_exp.tracking.background import BackgroundTracker
    from mnist_exp.tracking.mlflow import MlflowTracker

    sweep = Sweep.current()
    job = _job()
    try:
        dataset = datasets.load(config.data)
        uri = sweep.uri if sweep else store.resolve(config.tracking.uri)
        client = store.connect(uri)
        tracker = MlflowTracker.open(
            client,
            uri,
            store.experiment_id(client, uri, store.experiment_name(config.tracking, dataset.name)),
            job.name,
            parent=sweep.run_id if sweep else None,
            system_metrics=_system_metrics(config),
        )
        with terminal.epochs(job, config.training.epochs) as on_epoch:
            result = run(config, job, dataset, BackgroundTracker(tracker), on_epoch)
    except MnistExpError as error:
        terminal.run_fails(job, str(error))
        if sweep is None:
            raise RunFailed(str(error)) from error
        return math.nan  # to Hydra's launchers a job that raises is one more line, or the end of the batch
    terminal.run_ends(job, result)
    if sweep is None:
        terminal.how_to_look(uri)
    return result.best.scores["val_accuracy"]


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
            from mnist_exp.sweeps import sweep
            from mnist_exp.tracking import store

            experiment = store.experiment_name(configs[0].tracking, used[0].name)
            kept = [list(map(redact, job)) for job in jobs]
            sweep.begin(store.resolve(configs[0].tracking.uri), experiment, keys, kept)
            terminal.sweep_begins(keys, len(jobs))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Take secrets out of what Hydra has written of the job's config."""
        if config.hydra.output_subdir is not None:
            for file in (Path(config.hydra.runtime.output_dir) / config.hydra.output_subdir).glob("*.yaml"):
                _redact_file(file)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Take them out of what Hydra has written of the sweep's."""
        _redact_file(Path(config.hydra.sweep.dir) / "multirun.yaml")


def _redact_file(file: Path) -> None:
    content = file.read_bytes() if file.is_file() else b""
    if (kept := redacted_file(content)) != content:
        file.write_bytes(kept)


def _check_store_and_data(configs: Sequence[RunConfig]) -> "list[Dataset]":
    """Make sure that the store can be used and the data can be had and split; tells which data sets those are."""
    from mnist_exp.data import datasets
    from mnist_exp.tracking import store

    _writable(project.root())
    used: list[Dataset] = []
    with ThreadPoolExecutor(max_workers=1) as reader:  # files are read while MLflow is imported
        reading = {data: reader.submit(datasets.load, data) for data in dict.fromkeys(each.data for each in configs)}
        for uri in dict.fromkeys(store.resolve(config.tracking.uri) for config in configs):
            store.connect(uri)
    for data, loaded in reading.items():
        dataset = loaded.result()
        datasets.split(dataset, data)
        if dataset not in used:
            used.append(dataset)
            terminal.dataset(dataset)
    return used


def _writable(folder: Path) -> None:
    """Hydra keeps each job's config and log below the project's folder."""
    for name in ("outputs", "multirun"):
        place = folder / name
        if not os.access(place if place.exists() else folder, os.W_OK) or place.is_file():
            raise StoreError(f"{place} must be a folder that can be written to. Received: one that cannot")


def _job() -> "Job":
    from mnist_exp.run import Job
    from mnist_exp.sweeps.sweep import Sweep

    own = HydraConfig.get()
    overrides = tuple(own.overrides.task)
    sweep = Sweep.current()
    if sweep is None:
        return Job(_name(overrides), _group(overrides, ()), overrides, Path(own.runtime.output_dir))
    varied = [override for override in overrides if override.partition("=")[0] in sweep.keys]
    name = _name(varied or overrides)
    if own.runtime.choices.get("experiment") is not None:
        overrides = (*overrides, "hydra.mode=RUN")  # an experiment may itself be a sweep; this is one run of it
    return Job(
        name=name,
        group=_group(own.overrides.task, varied),
        overrides=overrides,
        output=Path(own.runtime.output_dir),
        number=own.job.num + 1,
        total=sweep.total,
    )


def _name(overrides: Sequence[str]) -> str:
    """What a run is called, as a line of a list and the title of its pictures show it."""
    return shortened(visible(redact(" ".join(overrides))), _LONGEST_NAME) or "default"


def _group(overrides: Sequence[str], varied: Sequence[str]) -> str:
    """The overrides that runs with other seeds share, those that vary in the sweep first."""
    shared = [each for each in [*varied, *overrides] if not each.startswith(("seed=", "hydra", "data.path="))]
    return " ".join(dict.fromkeys(shared)) or "default"


def _system_metrics(config: RunConfig) -> bool:
    wanted = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    return wanted.lower() in ("1", "true") if wanted else config.tracking.system_metrics


def _finish_sweep(code: int, after_sweep: "Callable[[Sweep], None] | None") -> int:
    """Close the parent run of the sweep, if there was one, and show its ranking."""
    if "MNIST_EXP_SWEEP" not in os.environ:  # asked without the imports that a single run may not need
        return code
    from mnist_exp.sweeps.sweep import Sweep, finish

    sweep = Sweep.current()
    assert sweep is not None
    try:
        if after_sweep is not None:
            after_sweep(sweep)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001  whatever it is, the parent run is still to be closed
        code = code or _tell(error)
    try:
        ending = finish(sweep, interrupted=code == _INTERRUPTED)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001  it is told as any other
        return code or _tell(error)
    if ending.problem is not None:
        code = code or _tell(ending.problem)
    if ending.comparison is not None and ending.comparison.has_seeds:
        terminal.comparison(ending.comparison)
    else:
        terminal.leaderboard(ending.board)
    terminal.how_to_look(sweep.uri)
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
