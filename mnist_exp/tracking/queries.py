"""Which runs: those of a sweep, of a fingerprint, or those that a user names."""

import re
from collections.abc import Sequence

from mnist_exp.base.errors import ConfigError, Refused, StoreError
from mnist_exp.tracking.protocols import Backend, Record


def children(backend: Backend, parent: str) -> list[Record]:
    """Return the runs of the sweep whose parent run is ``parent``, from every experiment, without replaced ones."""
    return _current(backend.search(f"tags.`mlflow.parentRunId` = '{parent}'"))


def with_fingerprint(backend: Backend, fingerprint: str) -> list[Record]:
    """Return the runs with that fingerprint, without replaced ones."""
    return _current(backend.search(f"tags.fingerprint = '{fingerprint}' AND tags.kind = 'run'"))


def sweeps_of_command(backend: Backend, command: str) -> list[Record]:
    """Return the parent runs of the sweeps that a command made; ``command`` is its digest."""
    return backend.search(f"tags.`sweep.command` = '{command}'")


def parents(backend: Backend) -> list[Record]:
    """Return the parent runs of all sweeps."""
    return backend.search("tags.kind = 'sweep'")


def sweeps_with_id(backend: Backend, given: str) -> list[Record]:
    """Return the parent runs of the sweeps whose id begins with ``given``; none if that cannot be the start of one."""
    if not re.fullmatch("[0-9a-f]{1,32}", given):
        return []
    return backend.search(f"attributes.run_id LIKE '{given}%' AND tags.kind = 'sweep'")


def running(backend: Backend) -> list[Record]:
    """Return every run with the status RUNNING, the parent runs of sweeps included."""
    return backend.search("attributes.status = 'RUNNING'")


def everything(backend: Backend) -> list[Record]:
    """Return every run but replaced ones and the parent runs of sweeps."""
    return [record for record in _current(backend.search()) if not record.is_sweep]


def latest_sweep(backend: Backend, user: str | None = None) -> Record | None:
    """Return the parent run of the sweep that began last, of all or of one ``user``; None if there is none."""
    own = "" if user is None else f" AND tags.`mlflow.user` = {_quoted(user)}"
    return next(iter(backend.search(f"tags.kind = 'sweep'{own}", newest=1)), None)


def latest_run(backend: Backend) -> Record | None:
    """Return the run that began last; None in an empty store."""
    return next(iter(backend.search(newest=1)), None)


def looked_at(backend: Backend, parent: Record, runs: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Return what a sweep is compared with: of a sweep that adds replicates to others (``looks``), theirs as well.

    Args:
        backend: where they are.
        parent: the parent run of the sweep.
        runs: its runs, or some of those and of the earlier sweeps.

    Returns:
        The runs of the earlier sweeps, then ``runs``; and the parent runs of all these sweeps, in order. If the sweep
        is judged once, ``runs`` and no parent runs.

    Raises:
        StoreError: the store cannot be asked, or lacks one of them.
    """
    if "looks" not in parent.tags:
        return [*runs], []
    chain = [parent]
    while (earlier := chain[0].tags.get("looks", "true")) != "true" and earlier not in {each.run_id for each in chain}:
        chain.insert(0, backend.find(earlier))
    there = {record.run_id for record in runs}
    before = [run for each in chain for run in children(backend, each.run_id) if run.run_id not in there]
    return [*before, *runs], chain


def runs_looked_at(backend: Backend, parent: Record) -> tuple[list[Record], list[Record]]:
    """Return what a sweep is compared with, as :func:`looked_at`, of all its runs."""
    return looked_at(backend, parent, children(backend, parent.run_id))


def one_sweep(backend: Backend, key: str, given: str, *, rule: str = "must be the id of one sweep") -> Record:
    """Return the parent run of the sweep that an override names by the first letters of its id.

    Raises:
        ConfigError: there is no such sweep, or there are several. It says the ``rule`` of ``key``.
        StoreError: the store cannot be asked.
    """
    found = sweeps_with_id(backend, given)
    if len(found) != 1:
        known = "no sweep has" if not found else f"{len(found)} sweeps have"
        raise ConfigError.rule(key, f"{rule}, and {known} that id", given)
    return found[0]


def select(backend: Backend, names: Sequence[str]) -> list[Record]:
    """Return the runs that a user names, each once.

    Args:
        backend: where to look.
        names: ids of sweeps or runs, first letters of an id, names, or MLflow filters (``params.model = 'cnn'``). A
            sweep stands for its runs; if several have one name, for those of the last.

    Raises:
        StoreError: nothing has that name, or the filter is not one.
    """
    found = [record for name in names for record in _named(backend, name)]
    return list({record.run_id: record for record in found}.values())


def _current(found: Sequence[Record]) -> list[Record]:
    """Leave out the runs that a later one replaces."""
    replaced = {run_id for record in found for run_id in record.tags.get("supersedes", "").split()}
    return [record for record in found if record.run_id not in replaced]


def _named(backend: Backend, name: str) -> list[Record]:
    if re.search(r"[=<>]| I?LIKE ", name, re.IGNORECASE) and (found := _filtered(backend, name)) is not None:
        return found
    matches = backend.search(f"attributes.run_id LIKE '{name}%'") if re.fullmatch("[0-9a-f]{4,32}", name) else []
    if not matches:
        condition = f"attributes.run_name = {_quoted(name)}" if not {"'", '"'} <= set(name) else ""
        matches = [match for match in backend.search(condition) if match.name == name]
    if not matches:
        raise StoreError(
            f"there is no sweep or run called {name!r}: give an id, the first letters of one, a name as in the "
            "MLflow UI, or a filter such as \"params.model = 'cnn'\""
        )
    sweeps = [match for match in matches if match.is_sweep]
    return children(backend, sweeps[-1].run_id) if sweeps else matches


def _quoted(text: str) -> str:
    """Return ``text`` as a value in a filter: MLflow's know no escapes, so between quotes of the kind not in it."""
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def _filtered(backend: Backend, condition: str) -> list[Record] | None:
    """Return the runs that a filter finds; None if it is not a filter, and so may be a name: ``model.units=4``."""
    try:
        found = backend.search(condition)
    except Refused:
        return None
    return [record for record in found if not record.is_sweep]
