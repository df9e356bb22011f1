"""Everything is checked before anything starts, and a sweep's parent run is begun: by a callback that Hydra calls.

One config for a single run, every job's for a sweep, the store, the data; before a folder is created or a job launched.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mnist_exp.app.compose import expand, explain, key_of, of_the_run, to_run_config
from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError, StoreAway, StoreError
from mnist_exp.base.imports import importing
from mnist_exp.base.text import redact, redacted_file
from mnist_exp.config.schema import DataConfig, RunConfig
from mnist_exp.terminal import messages
from mnist_exp.tracking.protocols import as_override

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from mnist_exp.data.datasets import Dataset


class BeforeStart(Callback):
    """Checks everything before anything starts, and opens the parent run of a sweep.

    Hydra turns whatever a callback raises into a warning and goes on, so what must stop the program leaves as
    SystemExit.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single run's config, and that its data can be had."""
        with _stopping_on_error():
            checked = to_run_config(config)
            for key in ("worth", "looks"):
                if value := getattr(checked, key):
                    raise ConfigError.rule(key, "is of a sweep, python -m mnist_exp -m ..., not of one run", value)
            (dataset,), away = _check_store_and_data([checked])
            _check_experiments([checked], dataset, away)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every job's config and data, then open the sweep."""
        with _stopping_on_error():
            keys, jobs, composed = expand(config)
            configs = [to_run_config(each) for each in composed or [config]]
            if len(uris := {each.tracking.uri for each in configs}) > 1:
                raise ConfigError.rule(
                    "tracking.uri", "must be the same for all jobs of a sweep", sorted(map(str, uris))
                )
            if len({(each.worth, each.looks) for each in configs}) > 1:
                raise ConfigError(
                    "worth and looks say how a sweep is judged, and hold for all of its jobs: give one each"
                )
            used, away = _check_store_and_data(configs)
            if len(names := sorted(dataset.name for dataset in used)) > 1:
                raise ConfigError.rule("data", "must be one data set in a sweep, which ranks its runs", names)
            with importing():
                from mnist_exp.runs import provenance
                from mnist_exp.sweeps import sweep
                from mnist_exp.tracking.mlflow import store

            experiment = store.experiment_name(configs[0].tracking, used[0].name)
            uri = store.resolve(configs[0].tracking.uri)
            kept = [list(map(redact, job)) for job in jobs]
            own = [provenance.fingerprint_of(each, used[0]) for each in configs]
            if len(set(own)) < len(own):  # it would count as a second sample
                second = next(number for number, each in enumerate(own) if each in own[:number])
                job = [override for override in kept[second] if key_of(override) in keys]
                raise ConfigError.rule("a sweep", "must have each job once", " ".join(job))
            whole = provenance.fingerprint_of_sweep(own)
            command = of_the_run(config.hydra.overrides.task)
            judged = _judged(configs[0])
            if any(each.resume for each in configs):
                reason = sweep.take_up(uri, experiment, keys, len(jobs), whole, command, configs, judged)
                if reason is None:
                    messages.sweep_resumes(keys, len(jobs))
                    return
                messages.warning(f"not resumed: {reason}; the sweep starts afresh")
            _check_experiments(configs, used[0], away)
            if isinstance(configs[0].looks, str):
                judged["looks"] = sweep.extended(uri, configs[0].looks)
            sweep.begin(uri, experiment, keys, kept, whole, command, judged)
            messages.sweep_begins(keys, len(jobs), looks="looks" in judged)

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


def _judged(config: RunConfig) -> dict[str, str]:
    """How the sweep is judged, as tags of its parent run."""
    tags = {} if config.worth is None else {"worth": f"{config.worth:g}"}
    return tags | ({"looks": as_override(config.looks)} if config.looks else {})


def _redact_file(file: Path) -> None:
    content = file.read_bytes() if file.is_file() else b""
    if (kept := redacted_file(content)) != content:
        file.write_bytes(kept)


def _check_store_and_data(configs: Sequence[RunConfig]) -> "tuple[list[Dataset], list[str]]":
    """Make sure that the store can be used and the data can be had and split.

    Returns the data sets, and the stores that are away.
    """
    with importing():
        from mnist_exp.commands.sync import tidy
        from mnist_exp.data import datasets
        from mnist_exp.tracking.mlflow import store
        from mnist_exp.tracking.spool import journal

    _writable(paths.root())
    uris = list(dict.fromkeys(store.resolve(config.tracking.uri) for config in configs))
    used: list[Dataset] = []
    tried: set[DataConfig] = set()
    with ThreadPoolExecutor(max_workers=1) as reader:  # files are read while MLflow is imported
        reading = {data: reader.submit(datasets.load, data) for data in dict.fromkeys(each.data for each in configs)}
        away = _away(uris, must_answer=any(config.resume for config in configs))
        journal.check(journal.root())
        for uri in uris:
            if uri not in away:
                tidy(uri)
    for data, loaded in reading.items():
        dataset = loaded.result()
        if (shape := replace(data, split_seed=0)) not in tried:  # whether it can be split does not depend on the seed
            tried.add(shape)
            datasets.split(dataset, data)
        if dataset not in used:
            used.append(dataset)
            messages.dataset(dataset)
    return used, away


def _check_experiments(configs: Sequence[RunConfig], dataset: "Dataset", away: Sequence[str]) -> None:
    """Make sure that there are the experiments that runs will be kept in."""
    from mnist_exp.tracking.mlflow import store

    for tracking in dict.fromkeys(config.tracking for config in configs):
        uri, name = store.resolve(tracking.uri), store.experiment_name(tracking, dataset.name)
        if uri not in away:
            store.experiment_id(store.connect(uri), uri, name)


def _away(uris: Sequence[str], *, must_answer: bool) -> list[str]:
    """Which stores do not answer now; what they are to have is sent when they do."""
    from mnist_exp.tracking.mlflow import store

    away = []
    for uri in uris:
        try:
            store.connect(uri)
        except StoreAway as error:
            if must_answer:
                raise StoreError(f"resume=true asks the store what there is already: {error}") from error
            messages.store_is_away(str(error))
            away.append(uri)
    return away


def _writable(folder: Path) -> None:
    """Hydra keeps each job's config and log below the project's folder."""
    for name in ("outputs", "multirun"):
        place = folder / name
        if not os.access(place if place.exists() else folder, os.W_OK) or place.is_file():
            raise StoreError(f"{place} must be a folder that can be written to. Received: one that cannot")


@contextmanager
def _stopping_on_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise SystemExit(tell(error)) from error


def tell(error: Exception, *, with_traceback: bool = False) -> int:
    """Show a user's mistake as its one line, and one of the program's as a traceback; the exit code of either."""
    wrong = explain(error)
    if wrong is None or with_traceback:
        messages.traceback(error)
    if wrong is None:
        return 1
    messages.error(str(wrong))
    return wrong.exit_code
