"""Jobs and sweeps as the application prepares them."""

from collections.abc import Mapping, Sequence
from typing import cast

from mnist_exp.config.schema import DataConfig, RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset
from mnist_exp.runs.job import Job, PreparedJob
from mnist_exp.runs.provenance import Fingerprint, fingerprint_of
from mnist_exp.sweeps.sweep import SweepPlan
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Backend


def prepared(config: RunConfig, job: Job, dataset: Dataset | None = None) -> PreparedJob:
    """Prepare a job for ``runs.run.run``, which writes to a tracker and never asks the store."""
    dataset = dataset or datasets.load(config.data)
    return PreparedJob(job, config, dataset, fingerprint_of(config, dataset), cast(Backend, None), dataset.name)


def sweep_plan(
    uri: str,
    experiment: str,
    keys: Sequence[str],
    jobs: Sequence[Sequence[str]],
    fingerprint: Fingerprint,
    overrides: Sequence[str],
    judging: Mapping[str, str] | None = None,
) -> SweepPlan:
    """Plan a sweep into the store at ``uri``."""
    dataset = datasets.load(DataConfig("digits", None, True, None, 0.2, False, 17))
    backend = open_backend(uri)
    return SweepPlan(backend, experiment, dataset, keys, jobs, fingerprint, overrides, judging=judging or {})
