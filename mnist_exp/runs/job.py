"""A job: one run of a command, with everything that it needs, looked up once."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_exp.config.schema import RunConfig
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.tracking.protocols import Backend

if TYPE_CHECKING:
    from mnist_exp.data.datasets import Dataset, Split


@dataclass(frozen=True)
class Job:
    """A run's place in the command that started it.

    Attributes:
        name: the run's name.
        group: the name of its configuration; its replicates share it, so that MLflow's UI groups by it.
        overrides: the command line's overrides that make this run.
        output: Hydra's folder of the job, with ``.hydra/`` and the log in it.
        number, total: its 1-based index, and the number of jobs.
        command: the command line that started it, without secrets.
        resumed: "from-epoch-58" if the run goes on from there; empty if it begins.
        in_sweep: whether a parent run keeps what is the same for all jobs of the command.
    """

    name: str
    group: str
    overrides: tuple[str, ...]
    output: Path
    number: int = 1
    total: int = 1
    command: str = ""
    resumed: str = ""
    in_sweep: bool = False


@dataclass(frozen=True, eq=False)
class PreparedJob:
    """A job whose config was checked and whose data and store were looked up.

    Attributes:
        job: its place in the command.
        fingerprint: of config, data, code and libraries: runs that agree in it are the same run.
        backend: the store that will keep its run.
        experiment: the name of the MLflow experiment there.
    """

    job: Job
    config: RunConfig
    dataset: "Dataset"
    fingerprint: Fingerprint
    backend: Backend
    experiment: str

    @cached_property
    def split(self) -> "Split":
        """The data set, divided as the config says."""
        from mnist_exp.data import datasets  # NumPy

        return datasets.split(self.dataset, self.config.data)
