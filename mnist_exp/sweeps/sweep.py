"""A sweep: the parent run that its jobs' runs are children of, opened or resumed."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.config.overrides import as_text
from mnist_exp.config.schema import RunConfig
from mnist_exp.review import person
from mnist_exp.review.person import AUTHOR
from mnist_exp.runs import checkout, provenance
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps.existing import changes, remember
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Backend, Grid, Opening, Record, Status
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.entries import LINES
from mnist_exp.tracking.spool.journal import Busy, Journal
from mnist_exp.tracking.spool.tracker import PATIENCE_S, JournalTracker, new_opening

if TYPE_CHECKING:
    from mnist_exp.data.datasets import Dataset

_VARIABLE = "MNIST_EXP_SWEEP"

# A process that has just ended the sweep may still be ranking it, which takes about so long.
_RANKING_S = 3.0

# The parent run of the sweep that this process leads, by its key; one at most. The lock on its journal is held by it.
_led: dict[str, JournalTracker] = {}


class Postponed(StoreError):
    """A sweep cannot be ranked and closed yet; ``mnist-exp sync`` will."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that was checked and can be opened.

    Attributes:
        backend, experiment: where its runs will be kept.
        dataset: what they learn from.
        keys: the config keys that vary.
        jobs: the overrides of each job, without secrets; empty if a search decides them as it goes.
        fingerprint: of all its jobs together: by it and ``overrides`` the sweep is found to be resumed.
        overrides: those of the command that decide what runs compute.
        command: the command line, without secrets.
        configs: of the jobs; of the command alone if a search composes them as it goes.
        judging: what it is for and how it will be judged: the keys of ``OF_A_SWEEP`` that were given.
        author: who begins it; git's author if empty.
    """

    backend: Backend
    experiment: str
    dataset: "Dataset"
    keys: Sequence[str]
    jobs: Sequence[Sequence[str]]
    fingerprint: Fingerprint
    overrides: Sequence[str]
    command: str = ""
    configs: Sequence[RunConfig] = ()
    judging: Mapping[str, str] = field(default_factory=dict)
    author: str = ""

    def opening(self, name: str, key: str | None = None) -> Opening:
        """Return what the parent run is created from; of a run that exists already, with its ``key``."""
        grid = Grid(list(self.keys), len(self.jobs))
        return new_opening(name, self.backend.uri, self.experiment, None, {"kind": "sweep"}, grid, key)


@dataclass(frozen=True)
class Sweep:
    """The sweep under way. It travels to worker processes in an environment variable.

    Attributes:
        key: name of its parent run's journal, and that run's tag ``journal``.
        uri: the store that keeps it.
        keys: the config keys that vary.
        total: number of jobs; 0 if a search decides that as it goes.
    """

    key: str
    uri: str
    keys: tuple[str, ...]
    total: int

    @staticmethod
    def current() -> "Sweep | None":
        """Return the sweep that this process works for."""
        text = os.environ.get(_VARIABLE)
        if text is None:
            return None
        fields = json.loads(text)
        return Sweep(**{**fields, "keys": tuple(fields["keys"])})

    @staticmethod
    def of(opening: Opening, uri: str) -> "Sweep":
        """Return the sweep whose parent run is created from ``opening``, in the store at ``uri``."""
        assert opening.jobs is not None
        return Sweep(opening.key, uri, tuple(opening.jobs.keys), opening.jobs.total)

    @property
    def backend(self) -> Backend:
        """The store that keeps it."""
        return open_backend(self.uri)

    def parent(self) -> Record | None:
        """Return the parent run as the store has it; None if it has not arrived there.

        Raises:
            Refused: it was deleted.
            StoreError: the store cannot be asked.
        """
        return self.backend.find_key(self.key)

    def runs(self, parent: Record | None) -> list[Record]:
        """Return its jobs' runs as the store has them, in the order they began, without replaced ones.

        Raises:
            StoreError: the store cannot be asked.
        """
        return queries.children(self.backend, parent.run_id) if parent else []


def begin(plan: SweepPlan) -> Sweep:
    """Open the parent run, named after the keys that vary, and make the sweep the current one.

    Raises:
        StoreError: its journal cannot be written.
    """
    opening = plan.opening(" × ".join(plan.keys) or "sweep")
    sweep = Sweep.of(opening, plan.backend.uri)
    parent = _lead(sweep, Journal(journals.root() / opening.key, new=True), opening)
    try:
        # Params, as the store never changes them: what was asked before the first run is seen to have been.
        parent.log_params({key: text for key, text in plan.judging.items() if key != "looks"})
        parent.set_tags(
            {
                "sweep.keys": ", ".join(plan.keys),
                "sweep.jobs": str(len(plan.jobs)),
                "sweep.command": _digest(plan.overrides),
                **({"looks": plan.judging["looks"]} if "looks" in plan.judging else {}),
                **({"sweep.configurations": _configurations(plan)} if plan.jobs else {}),
                AUTHOR: plan.author or str(person.claimed()),
                **plan.fingerprint.tags(),
                **provenance.run_tags(checkout.code()),
            }
        )
        manifest = {"command": plan.command, "keys": list(plan.keys), "jobs": [list(job) for job in plan.jobs]}
        parent.log_artifact("sweep/manifest.json", json.dumps(manifest, indent=2).encode())
        _log_inputs(plan, parent)
    except BaseException as error:
        lead_no_more(sweep)
        interrupted = isinstance(error, KeyboardInterrupt)
        with suppress(StoreError):
            parent.set_tags({"failure": "interrupted" if interrupted else type(error).__name__})
        parent.close(Status.KILLED if interrupted else Status.FAILED)
        parent.settle(PATIENCE_S)
        raise
    remember(sweep.key, [])
    return sweep


def resume(plan: SweepPlan) -> str | None:
    """Make the last sweep of the same command the current one again.

    Returns:
        None, or why there is none that can be resumed.

    Raises:
        ConfigError: it began with another question, or is to be judged in another way.
        StoreError: the store cannot be asked, or another process runs it.
    """
    experiment_id = plan.backend.experiment(plan.experiment)
    same = queries.sweeps_of_command(plan.backend, _digest(plan.overrides))
    found = [each for each in same if each.experiment_id == experiment_id and "journal" in each.tags]
    if not found:
        return "there is no sweep of this command yet"
    last = found[-1]
    runs = queries.children(plan.backend, last.run_id)
    if changed := changes(plan.fingerprint, last, runs, plan.configs):
        return changed
    _must_be_judged_alike(last, plan.judging)
    folder = journals.root() / last.tags["journal"]
    if not (folder / LINES).exists() and plan.backend.find(last.run_id).status == "RUNNING":
        host = last.tags.get("host", "another host")
        raise StoreError(
            f"the sweep {last.run_id} goes on on {host}: wait for its end, or say that the host is gone: "
            f"mnist-exp sync --gone {host}"
        )
    opening = plan.opening(last.name, last.tags["journal"])
    sweep = Sweep.of(opening, plan.backend.uri)
    try:
        journal = Journal(folder, new=True, patience_s=_RANKING_S)
    except Busy:
        raise StoreError(
            f"the sweep {last.run_id} must have ended to be resumed: {journals.holder(folder)} runs it. Wait for it"
        ) from None
    try:
        parent = _lead(sweep, journal, opening)
        parent.resume()
        parent.set_tags({"host": journals.host()})
        _log_inputs(plan, parent)
    except StoreError:
        lead_no_more(sweep)
        parent.settle(0)
        raise
    remember(sweep.key, runs)
    return None


def _log_inputs(plan: SweepPlan, parent: JournalTracker) -> None:
    """Log what is the same for all runs of the sweep; again if it is resumed: libraries may have changed."""
    from mnist_exp.runs import artifacts  # imports matplotlib

    artifacts.command_inputs(plan.dataset, plan.command, parent)


def _must_be_judged_alike(last: Record, judging: Mapping[str, str]) -> None:
    """Raise ConfigError if a sweep is to be resumed for another question, or judged in another way, than it began."""
    for key, wanted in judging.items():
        began_with = last.params.get(key, last.tags.get(key, ""))
        abbreviated = key in ("looks", "follows") and began_with.startswith(wanted)  # the first letters of an id
        if began_with != wanted and not abbreviated:
            began = f"{key}={began_with}" if began_with else f"without {key}"
            raise ConfigError.rule(key, f"must be as it was when the sweep began ({began}) to resume it", wanted)


def _lead(sweep: Sweep, journal: Journal, opening: Opening) -> JournalTracker:
    """Hold the parent run's journal as long as this process lives, and make the sweep the current one."""
    parent = _led[sweep.key] = JournalTracker(journal, opening, sweep.backend.open_run)
    os.environ[_VARIABLE] = json.dumps(vars(sweep))
    return parent


def lead_no_more(sweep: Sweep) -> JournalTracker:
    """End being the current sweep; return the tracker of its parent run."""
    os.environ.pop(_VARIABLE, None)
    return _led.pop(sweep.key)


def _configurations(plan: SweepPlan) -> str:
    from mnist_exp.analysis import samples  # NumPy

    return samples.configurations_digest(samples.configuration(as_text(each.params())) for each in plan.configs)


def _digest(overrides: Sequence[str]) -> str:
    """Return a digest of a command's overrides that does not depend on their order; its sweeps are found by it."""
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:16]
