"""The run of a journal in MLflow: found by the journal's key, which is its tag ``journal``, and opened once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from mnist_exp.base.errors import Refused
from mnist_exp.tracking.mlflow.store import connect, experiment_id, storing
from mnist_exp.tracking.mlflow.tracker import MlflowTracker, heartbeat
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Opening


def deliver(uri: str) -> Callable[[Opening], MlflowTracker]:
    """What opens the run of a journal in the store at ``uri``, and its sweep's parent run before it."""

    def open_run(opening: Opening) -> MlflowTracker:
        client = connect(uri)
        with _alone(opening):
            experiment = experiment_id(client, uri, opening.experiment)
            parent = _parent(client, uri, opening.parent) if opening.parent else None
            with storing(uri):
                run_id = _once(client, uri, experiment, parent, opening)
        return MlflowTracker(client, uri, run_id)

    return open_run


def find(client: MlflowClient, key: str) -> str | None:
    """The id of the run whose journal is called ``key``, in whichever experiment.

    Raises:
        Refused: somebody deleted that run.
    """
    active = _active(client, key)
    return str(active[0].info.run_id) if active else None


def _active(client: MlflowClient, key: str, experiment_id: str | None = None) -> list[Run]:
    """The run with that key and its twins, but for those that somebody deleted."""
    found = _with_key(client, key, experiment_id)
    active = [run for run in found if run.info.lifecycle_stage == "active"]
    if found and not active:
        raise Refused(f"run {found[0].info.run_id} was deleted: nothing more of it is kept")
    return active


def _with_key(client: MlflowClient, key: str, experiment_id: str | None = None) -> list[Run]:
    """The run with that key, and twins of it, which a network makes that delivers a request twice.

    The one that is written to says most, and comes first; deleted ones come last.
    """
    experiments = [experiment_id] if experiment_id else [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.journal = '{key}'", ViewType.ALL)

    def place(run: Run) -> tuple[bool, int, str]:
        says = len(run.data.tags) + len(run.data.params) + len(run.data.metrics)
        return run.info.lifecycle_stage != "active", -says, run.info.run_id

    return sorted(found, key=place)


def _once(client: MlflowClient, uri: str, experiment: str, parent: str | None, opening: Opening) -> str:
    found = _active(client, opening.key, experiment)
    if not found:
        tags = {"journal": opening.key, **heartbeat(), **opening.tags}
        created = MlflowTracker.open(
            client, uri, experiment, opening.name, parent=parent, began_ms=opening.began_ms, tags=tags
        )
        found = _active(client, opening.key, experiment)
        if not found:
            return created.run_id
    first, *twins = (str(run.info.run_id) for run in found)
    for twin in twins:
        client.delete_run(twin)
    return first


_parents: dict[tuple[str, str], str] = {}


def _parent(client: MlflowClient, uri: str, key: str) -> str | None:
    """The id of a sweep's parent run, deleted or not, which is opened where it is not there yet.

    None where neither the store nor a journal has it: its run is then kept without.
    """
    if (known := _parents.get((uri, key))) is not None:
        return known
    with storing(uri):
        there = _with_key(client, key)
    if there:
        run_id = str(there[0].info.run_id)
    else:
        opening = journals.read(journals.root() / key).opening
        if opening is None:
            return None
        run_id = deliver(uri)(opening).run_id
    return _parents.setdefault((uri, key), run_id)


@contextmanager
def _alone(opening: Opening) -> Iterator[None]:
    """While a sweep's parent run is opened: its own journal and those of its runs all ask for it."""
    folder = journals.root() / opening.key
    if opening.jobs is None or not folder.is_dir():
        yield
        return
    with FileLock(folder / "opening"):
        yield
