"""Everything that can be checked before anything starts. Prints nothing, sends nothing, opens no run."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from mnist_exp.app.compose import expand, run_overrides, to_run_config
from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError, StoreAway, StoreError
from mnist_exp.base.text import redact
from mnist_exp.config.overrides import OF_A_SWEEP, as_override, as_text, key_of
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset
from mnist_exp.review import person
from mnist_exp.runs import provenance
from mnist_exp.sweeps.sweep import SweepPlan
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow import client, system_metrics
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Backend
from mnist_exp.tracking.spool import journal


@dataclass(frozen=True)
class Plan:
    """A command that was checked.

    Attributes:
        dataset: what its runs learn from.
        backend, experiments: where they will be kept; more than one experiment if a sweep varies that.
        away: why the store does not answer; None if it does.
        resume: whether earlier runs of the command are to be resumed.
        sweep: the sweep to open; None for a single run.
    """

    dataset: Dataset
    backend: Backend
    experiments: tuple[str, ...]
    away: StoreAway | None
    resume: bool
    sweep: SweepPlan | None = None


def check_run(composed: DictConfig) -> Plan:
    """Check a single run: its config, the store, the data.

    Raises:
        MnistExpError: something is wrong; nothing was started.
    """
    config = to_run_config(composed)
    for key in OF_A_SWEEP:
        if value := getattr(config, key):
            raise ConfigError.rule(key, "is of a sweep, python -m mnist_exp -m ..., not of one run", value)
    return _plan([config])


def check_sweep(composed: DictConfig, command: str) -> Plan:
    """Check a sweep: the config of every job, the store and the data.

    Args:
        composed: the config that Hydra composed for the sweep.
        command: the command line, without secrets.

    Raises:
        MnistExpError: something is wrong; nothing was started.
    """
    keys, jobs, each_composed = expand(composed)
    configs = [to_run_config(each) for each in each_composed or [composed]]
    if len(uris := {each.tracking.uri for each in configs}) > 1:
        raise ConfigError.rule("tracking.uri", "must be the same for all jobs of a sweep", sorted(map(str, uris)))
    if len({tuple(getattr(each, key) for key in OF_A_SWEEP) for each in configs}) > 1:
        raise ConfigError(f"{', '.join(OF_A_SWEEP)} are of a sweep, and hold for all of its jobs: give one value each")
    plan = _plan(configs)
    fingerprints = [provenance.fingerprint_of(each, plan.dataset) for each in configs]
    if len(set(fingerprints)) < len(fingerprints):  # it would count as a second sample
        second = next(number for number, each in enumerate(fingerprints) if each in fingerprints[:number])
        job = [redact(override) for override in jobs[second] if key_of(override) in keys]
        raise ConfigError.rule("a sweep", "must have each job once", " ".join(job))
    sweep = SweepPlan(
        backend=plan.backend,
        experiment=plan.experiments[0],
        dataset=plan.dataset,
        keys=keys,
        jobs=[list(map(redact, job)) for job in jobs],
        fingerprint=provenance.fingerprint_of_sweep(fingerprints),
        overrides=run_overrides(composed.hydra.overrides.task),
        command=command,
        configs=configs,
        judging=_judging(configs[0]),
        author=_author(plan),
    )
    return replace(plan, sweep=sweep)


def resolve_ids(sweep: SweepPlan) -> SweepPlan:
    """Return the plan of a sweep that begins, with the whole ids of the sweeps that it extends or tests again.

    Raises:
        ConfigError: there is no such sweep, it did not say that it may be extended, it was extended already, or a sweep
            that tests it again has other data, configurations or replicates that are not new.
        StoreError: the store cannot be asked.
    """
    judging = dict(sweep.judging)
    if judging.get("looks", "true") != "true":
        judging["looks"] = _extended(sweep.backend, judging["looks"])
    if "follows" in judging:
        from mnist_exp.review.followups import check_followed  # pandas

        params = [as_text(each.params()) for each in sweep.configs]
        judging["follows"] = check_followed(sweep.backend, judging["follows"], params, sweep.dataset.digest)
    return replace(sweep, judging=judging)


def _plan(configs: Sequence[RunConfig]) -> Plan:
    """Check that the store can be used, and that the data can be had and split."""
    _must_be_writable(paths.root())
    if any(system_metrics.is_wanted(config.tracking.system_metrics) for config in configs):
        system_metrics.interval_s()
    resume = any(config.resume for config in configs)
    backend = open_backend(client.uri_from_config(configs[0].tracking.uri))
    with ThreadPoolExecutor(max_workers=1) as reader:  # files are read while MLflow is imported
        reading = {data: reader.submit(datasets.load, data) for data in dict.fromkeys(each.data for each in configs)}
        away = _away(backend, must_answer=resume)
    used = {data: loaded.result() for data, loaded in reading.items()}
    journal.check(journal.root())
    dataset, *others = dict.fromkeys(used.values())
    if others:
        names = sorted(each.name for each in (dataset, *others))
        raise ConfigError.rule("data", "must be one data set in a sweep, which ranks its runs", names)
    tried = set()
    for data in used:
        if (shape := replace(data, split_seed=0)) not in tried:  # the seed does not decide whether it can be split
            tried.add(shape)
            datasets.split(dataset, data)
    experiments = dict.fromkeys(client.experiment_name(config.tracking, dataset.name) for config in configs)
    return Plan(dataset, backend, tuple(experiments), away, resume)


def _away(backend: Backend, *, must_answer: bool) -> StoreAway | None:
    """Connect to the store; return why it does not answer, if that is no reason not to start."""
    try:
        backend.connect()
    except StoreAway as error:
        if must_answer:
            raise StoreError(f"resume=true asks the store what there is already: {error}") from error
        return error
    return None


def _must_be_writable(folder: Path) -> None:
    """Hydra keeps each job's config and log below the project's folder."""
    for name in ("outputs", "multirun"):
        place = folder / name
        if not os.access(place if place.exists() else folder, os.W_OK) or place.is_file():
            raise StoreError(f"{place} must be a folder that can be written to. Received: one that cannot")


def _judging(config: RunConfig) -> dict[str, str]:
    """Return what a sweep is for and how it will be judged: the keys of ``OF_A_SWEEP`` that were given, as text."""
    given = {key: getattr(config, key) for key in OF_A_SWEEP}
    return {key: redact(as_override(value)) for key, value in given.items() if value}


def _author(plan: Plan) -> str:
    """Return who begins a sweep: the login that its server reports, else git's author."""
    if plan.away is None:
        with suppress(StoreError):
            return str(person.current(plan.backend))
    return str(person.claimed())


def _extended(backend: Backend, given: str) -> str:
    """Return the whole id of the sweep that a new one adds replicates to. Raises as resolve_ids()."""
    sweep = queries.one_sweep(backend, "looks", given, rule="must be true or the id of one sweep")
    if "looks" not in sweep.tags:
        rule = "must be the id of a sweep that began with looks=true: another is judged once"
        raise ConfigError.rule("looks", rule, given)
    if later := [each.run_id for each in queries.parents(backend) if each.tags.get("looks") == sweep.run_id]:
        raise ConfigError.rule("looks", f"must be the last sweep of its looks, which is {later[-1]}", given)
    return sweep.run_id
