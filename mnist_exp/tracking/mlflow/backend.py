"""A store of runs in MLflow: what it is asked, and how a run is created once however often that is tried."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from mnist_exp.base.errors import Refused, StoreAway, StoreError
from mnist_exp.tracking.mlflow import sqlite, ui
from mnist_exp.tracking.mlflow.client import connect, history, is_forbidden, login, store_errors, without_credentials
from mnist_exp.tracking.protocols import INFINITE, MAX_PARAM, Opening, Record, as_logged
from mnist_exp.tracking.spool import journal as journals

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mnist_exp.tracking.mlflow.tracker import MlflowTracker

_PAGE = 1000  # the most that a search returns at once

# `mnist-exp ui` listens there by default: a local store has no address of its own.
_LOCAL_UI = "http://127.0.0.1:5000"


@cache
def open_backend(uri: str) -> "MlflowBackend":
    """Return the store at ``uri``, an absolute one (``client.uri_from_config``); it connects at its first call."""
    return MlflowBackend(uri)


def open_existing(uri: str) -> "MlflowBackend":
    """Return the store at ``uri``, as :func:`open_backend`, to read what is in it.

    Raises:
        StoreError: it is a SQLite file that does not exist. The first call would create an empty store.
    """
    if sqlite.is_missing(uri):
        raise StoreError(f"there is no store yet at {uri}: run python -m mnist_exp, or give the URI of another one")
    return open_backend(uri)


class MlflowBackend:
    """A store of runs in MLflow. Implements :class:`~mnist_exp.tracking.protocols.Backend`.

    MLflow is imported by its first call, as that takes seconds.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client, connected."""
        return connect(self.uri)

    def connect(self) -> None:
        """Connect now."""
        connect(self.uri)

    def experiment(self, name: str) -> str:
        """Get or create the experiment called ``name``, once however many processes ask."""
        client = self.client
        from mlflow.exceptions import MlflowException

        with store_errors(self.uri), sqlite.locked(self.uri):
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                database = sqlite.database_file(self.uri)
                location = str(sqlite.artifact_folder(database.parent, name)) if database is not None else None
                try:
                    return str(client.create_experiment(name, artifact_location=location))
                except MlflowException:  # another client of the server was quicker
                    experiment = client.get_experiment_by_name(name)
                    if experiment is None:
                        raise
            if experiment.lifecycle_stage != "active":
                raise StoreError(
                    f"experiment {name!r} was deleted. Restore it (mlflow experiments restore "
                    f"--experiment-id {experiment.experiment_id}) or choose another tracking.experiment"
                )
            return str(experiment.experiment_id)

    def experiments(self) -> list[str]:
        """Return the ids of all experiments, page by page."""
        client, found, token = self.client, list[str](), None
        with store_errors(self.uri):
            while True:
                page = client.search_experiments(max_results=_PAGE, page_token=token)
                found += [str(each.experiment_id) for each in page]
                if not (token := page.token):
                    return found

    def search(self, condition: str = "", *, newest: int | None = None) -> list[Record]:
        """Return the runs that meet a condition, in the order they began; or only the ``newest``, newest first."""
        return [_record(run) for run in self._search(self.experiments(), condition, newest=newest)]

    def find(self, run_id: str) -> Record:
        """Return the run with this id."""
        client = self.client
        with store_errors(self.uri):
            return _record(client.get_run(run_id))

    def find_key(self, key: str) -> Record | None:
        """Return the run with this key, in any experiment."""
        active = _active(self._with_key(self.experiments(), key))
        return _record(active[0]) if active else None

    def history(self, run_ids: Sequence[str], metrics: Sequence[str]) -> "pd.DataFrame":
        """Return epochs; of a SQLite store from its table, as MLflow's client reads one metric of one run at a time."""
        database = sqlite.database_file(self.uri)
        self.connect()  # creates or mends the store
        with store_errors(self.uri):
            epochs = sqlite.history(database, run_ids, metrics) if database is not None else None
            if epochs is None:
                epochs = history(self.uri, run_ids, metrics)
        values = epochs[list(metrics)].astype(float)
        epochs[list(metrics)] = values.mask(values >= INFINITE, float("inf")).mask(values <= -INFINITE, -float("inf"))
        return epochs

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """Return the content of a run's file; None if it has no such file."""
        client = self.client
        with store_errors(self.uri), tempfile.TemporaryDirectory() as folder:
            if all(file.path != path for file in client.list_artifacts(run_id, str(Path(path).parent))):
                return None
            return Path(client.download_artifacts(run_id, path, folder)).read_bytes()

    def link(self, record: Record) -> str:
        """Return the address of a run's page in the MLflow UI."""
        address = without_credentials(self.uri) if self.uri.startswith("http") else _LOCAL_UI
        return ui.run_link(address, record.experiment_id, record.run_id)

    def login(self) -> str | None:
        """Return the name that the server knows this user by."""
        return login(self.uri)

    def write_once(self, run_id: str, param: str, text: str) -> bool:
        """Write a param that must not have a value yet; return whether the run now has this text as its value."""
        if len(text) > MAX_PARAM or "\0" in text:
            raise ValueError(f"a param must have at most {MAX_PARAM:,} characters and no NUL. Received: {len(text):,}")
        text.encode()  # half a surrogate pair raises UnicodeEncodeError, a ValueError
        client = self.client
        try:
            with store_errors(self.uri):
                client.log_param(run_id, param, text)
        except StoreAway:
            raise
        except StoreError as error:
            if is_forbidden(error):
                place = f"the tracking store {without_credentials(self.uri)}"
                raise Refused(f"{place} does not let this user write to run {run_id}: that needs EDIT") from error
            if (value := self.find(run_id).params.get(param)) is None:
                raise
            return value == text
        return True

    def tracker(self, run_id: str) -> "MlflowTracker":
        """Return a tracker that writes to an existing run."""
        client = self.client
        from mnist_exp.tracking.mlflow.tracker import MlflowTracker

        return MlflowTracker(client, self.uri, run_id)

    def open_run(self, opening: Opening) -> "MlflowTracker":
        """Get or create the run with this key, and before it its sweep's parent run."""
        self.connect()  # before the lock: connecting may take long
        with _opening_alone(opening):
            experiment = self.experiment(opening.experiment)
            parent = self._parent(opening.parent) if opening.parent else None
            found = _active(self._with_key([experiment], opening.key))
            if not found:
                created = self._create(opening, experiment, parent)
                found = _active(self._with_key([experiment], opening.key))
                if not found:
                    return created
            kept, *duplicates = (str(run.info.run_id) for run in found)
            with store_errors(self.uri):
                for duplicate in duplicates:
                    self.client.delete_run(duplicate)
        return self.tracker(kept)

    def _create(self, opening: Opening, experiment: str, parent: str | None) -> "MlflowTracker":
        client = self.client
        from mnist_exp.tracking.mlflow.tracker import MlflowTracker

        tags = {"journal": opening.key, **opening.tags}
        return MlflowTracker.open(
            client, self.uri, experiment, opening.name, parent=parent, began_ms=opening.began_ms, tags=tags
        )

    def _parent(self, key: str) -> str | None:
        """Return the id of a sweep's parent run, deleted or not; it is created if it is only in its journal.

        None if neither the store nor a journal has it: its runs are then kept without a parent.
        """
        if there := self._with_key(self.experiments(), key):
            return str(there[0].info.run_id)
        opening = journals.read(journals.root() / key).opening
        return None if opening is None else self.open_run(opening).run_id

    def _with_key(self, experiments: Sequence[str], key: str) -> "list[Run]":
        """Return the runs with this key; several if a network delivered the request for one twice.

        First the one that holds most, as it is the one written to; deleted ones last.
        """

        def place(run: "Run") -> tuple[bool, int, str]:
            holds = len(run.data.tags) + len(run.data.params) + len(run.data.metrics)
            return run.info.lifecycle_stage != "active", -holds, run.info.run_id

        return sorted(self._search(experiments, f"tags.journal = '{key}'", deleted_too=True), key=place)

    def _search(
        self,
        experiments: Sequence[str],
        condition: str,
        *,
        deleted_too: bool = False,
        newest: int | None = None,
    ) -> "list[Run]":
        client, found, token = self.client, list["Run"](), None
        from mlflow.entities import ViewType

        with store_errors(self.uri):
            while True:
                page = client.search_runs(
                    list(experiments),
                    condition,
                    ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY,
                    max_results=newest or _PAGE,
                    order_by=[f"attributes.start_time {'DESC' if newest else 'ASC'}"],
                    page_token=token,
                )
                found += page
                if not (token := page.token) or newest:
                    return found


def _active(found: "Sequence[Run]") -> "list[Run]":
    """Leave out deleted runs. Raises Refused if all are."""
    active = [run for run in found if run.info.lifecycle_stage == "active"]
    if found and not active:
        raise Refused(f"run {found[0].info.run_id} was deleted: nothing more of it is kept")
    return active


@contextmanager
def _opening_alone(opening: Opening) -> Iterator[None]:
    """Let one process at a time open a sweep's parent run: its own journal and those of its runs all ask for it."""
    folder = journals.root() / opening.key
    if opening.jobs is None or not folder.is_dir():
        yield
        return
    with FileLock(folder / "opening"):
        yield


def _record(run: "Run") -> Record:
    return Record(
        run_id=str(run.info.run_id),
        experiment_id=str(run.info.experiment_id),
        name=str(run.info.run_name),
        status=str(run.info.status),
        params=dict(run.data.params),
        metrics={name: as_logged(value) for name, value in run.data.metrics.items()},
        tags=dict(run.data.tags),
        ended_ms=run.info.end_time,
    )
