"""The store that runs are kept in: where it is, that it exists once, and that its artifacts are found.

MLflow writes absolute artifact locations into its database, so a project folder that was moved or copied lists
its runs but has lost their pictures. :func:`mend` puts that right, and every command that opens a store calls it.
"""

import hashlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from mnist_exp.base import paths
from mnist_exp.base.errors import Refused, StoreAway, StoreError, first_line
from mnist_exp.base.imports import importing
from mnist_exp.base.text import MARK, received, redact
from mnist_exp.config.schema import MAX_EXPERIMENT_NAME, TrackingConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")

_LOG_LEVELS = {
    "alembic": logging.WARNING,
    "mlflow": logging.WARNING,
    "mlflow.utils.environment": logging.ERROR,  # warns where an environment has no pip, as uv's have none
    "urllib3": logging.ERROR,  # tells of every retry; the last failure is told as an error
}

# MLflow's error codes that no further attempt will change. Anything else may be a server that is not quite there.
_FINAL = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")

# Every column in which MLflow keeps an absolute location, as of MLflow 3.17.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def resolve(uri: str | None) -> str:
    """The tracking URI that counts, absolute: the environment's, else ``uri``, else SQLite in the project's mlruns/.

    Raises:
        StoreError: it is of a kind that MLflow no longer writes to.
    """
    return named(os.environ.get("MLFLOW_TRACKING_URI") or uri)


def named(uri: str | None) -> str:
    """The tracking URI that a person named for one command, absolute; where none was named, as :func:`resolve` says.

    Raises:
        StoreError: it is of a kind that MLflow no longer writes to.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    if uri is None:
        return f"{_SQLITE}{paths.store_folder() / 'mlflow.db'}"
    scheme, colon, _ = uri.partition(":")
    if not colon or scheme.lower().partition("+")[0] not in _SCHEMES:
        raise StoreError(
            f"tracking.uri must be a database or a server, such as sqlite:///runs.db or http://host:5000. "
            f"Received: {received(without_credentials(uri))}"
        )
    if scheme.lower().startswith("http") and not _names_a_server(uri):
        raise StoreError(
            f"tracking.uri must name a server, such as http://host:5000. Received: {received(without_credentials(uri))}"
        )
    if scheme.lower() == "sqlite" and len(uri) <= len(_SQLITE):
        raise StoreError(f"tracking.uri must name a file, such as sqlite:///runs.db. Received: {uri!r}")
    if (database := sqlite_file(uri)) is not None:
        return f"{_SQLITE}{database}"
    return uri


def _names_a_server(uri: str) -> bool:
    try:
        return bool(urlsplit(uri).hostname)
    except ValueError:  # "http://[x"
        return False


def experiment_name(config: TrackingConfig, dataset: str) -> str:
    """The MLflow experiment of a run: the environment's, else the configured, else its data set's name.

    Raises:
        StoreError: MLflow takes no name that long.
    """
    named = os.environ.get("MLFLOW_EXPERIMENT_NAME") or config.experiment or dataset
    if len(named) > MAX_EXPERIMENT_NAME:
        raise StoreError(
            f"MLFLOW_EXPERIMENT_NAME must have at most {MAX_EXPERIMENT_NAME} characters. Received: {received(named)}"
        )
    return named


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite URI, absolute; None for any other URI."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def without_credentials(uri: str) -> str:
    """``uri`` without the name and password that a server's URI may carry: an address that a browser can open."""
    return redact(uri).replace(f"{MARK}@", "")


@cache
def connect(uri: str) -> "MlflowClient":
    """A client of the store at ``uri`` (:func:`resolve`), which is created or mended first where that is needed.

    Raises:
        StoreError: it cannot be created, opened or reached.
    """
    _quiet_mlflow()
    with importing():
        from mlflow import MlflowClient

        if not uri.startswith("http"):  # before others have to wait for us
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    with storing(uri), _alone(uri):
        if (database := sqlite_file(uri)) is not None and database.exists():
            mend(database)
        try:
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)  # creates the schema, or finds the server out
        except (ValueError, ImportError) as error:  # no address, or of a database whose driver is not installed
            raise StoreError(
                f"tracking.uri {received(without_credentials(uri))} cannot be used: {redact(first_line(error))}"
            ) from error
    return client


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The id of the experiment called ``name``, created where it is missing, once however many ask.

    Raises:
        StoreError: it cannot be created, or it was deleted.
    """
    from mlflow.exceptions import MlflowException

    with storing(uri), _alone(uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            database = sqlite_file(uri)
            location = str(_artifacts(database.parent, name)) if database is not None else None
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException:  # a server: another client was quicker
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise StoreError(
                f"experiment {name!r} was deleted. Restore it (mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}) or choose another tracking.experiment"
            )
        return str(experiment.experiment_id)


def mend(database: Path) -> bool:
    """Point the locations in a SQLite store at the artifacts beside it; True where something had to be changed.

    Only experiments created by this program are touched, and only when their artifacts do lie beside the database:
    a database copied on its own still points to where the artifacts stayed.
    """
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:
            return False
        experiments = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        here = f"{database.parent / 'artifacts'}{os.sep}"
        moved_from = set()
        for name, location in experiments:
            own = _artifacts(database.parent, name)
            folder = Path(location or "")
            if folder.parts[-2:] == own.parts[-2:] and folder != own and own.is_dir():
                moved_from.add(f"{folder.parent}{os.sep}")
        for there in moved_from:
            for table, column in _LOCATIONS:
                if table in tables:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (here, len(there) + 1, len(there), there),
                    )
    return bool(moved_from)


@contextmanager
def storing(uri: str) -> Iterator[None]:
    """Turn whatever the store's libraries raise within into one StoreError: StoreAway where no server answers."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = redact(first_line(error))
        if getattr(error, "error_code", None) in _FINAL:
            raise Refused(f"the tracking store {without_credentials(uri)} refused it: {reason}") from error
        if "Max retries exceeded" in reason and "SSLError" not in reason:  # the rest is the HTTP client's inner life
            raise StoreAway(
                f"the tracking store {without_credentials(uri)} cannot be used: no server answers there"
            ) from error
        raise StoreError(f"the tracking store {without_credentials(uri)} cannot be used: {reason}") from error


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Hold a local store's lock: MLflow's own creation of a schema breaks when two processes begin it at once."""
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        yield


def _artifacts(folder: Path, experiment: str) -> Path:
    """Where the artifacts of an experiment lie: beside the database, under a name that is safe in a path and URI."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", experiment)
    if safe != experiment or len(safe) > 255 or not safe.strip("."):  # two names may look alike now
        safe = f"{safe[:246]}-{hashlib.sha256(experiment.encode(errors='backslashreplace')).hexdigest()[:8]}"
    return folder / "artifacts" / safe


def _quiet_mlflow() -> None:
    """Before MLflow is imported: no start-up chatter, no telemetry, and a server that is away is given up in seconds.

    Its defaults retry for four minutes a call.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, level in _LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
