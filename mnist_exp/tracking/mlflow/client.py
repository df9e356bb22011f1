"""The store that runs are kept in: its URI, the connection to it, and what its errors mean."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mnist_exp.base import paths
from mnist_exp.base.errors import Refused, StoreAway, StoreError, first_line
from mnist_exp.base.imports import importing
from mnist_exp.base.text import MARK, received, redact
from mnist_exp.config.schema import MAX_EXPERIMENT_NAME, TrackingConfig
from mnist_exp.tracking.mlflow import sqlite

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")

_LOG_LEVELS = {
    "alembic": logging.WARNING,
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,  # logs statements and tracebacks; the error is raised
    "mlflow.utils.environment": logging.ERROR,  # warns where an environment has no pip, as uv's have none
    "urllib3": logging.ERROR,  # logs every retry; the last failure is raised
}

# What an error of the store means: by MLflow's error code, by the HTTP status of a response, or by the type of what
# MLflow's HTTP client raised. Anything else is a StoreError: the next attempt may succeed.
_OUTCOMES: dict[str | int, type[StoreError]] = {
    "INVALID_PARAMETER_VALUE": Refused,
    "RESOURCE_ALREADY_EXISTS": Refused,
    "RESOURCE_DOES_NOT_EXIST": Refused,
    413: Refused,  # too large, and will be the next time
    "SSLError": StoreError,  # a ConnectionError that no waiting mends: the message says which certificate is wrong
    "ConnectionError": StoreAway,
    "RetryError": StoreAway,
    "Timeout": StoreAway,
}

# Who is logged in, as MLflow's basic-auth answers. Servers without logins do not have it; a proxy may forbid it.
_WHO = "/api/2.0/mlflow/users/current"
_NO_LOGINS = (403, 404, 405)

# One metric of many runs, as MLflow's own pages ask for it: at most so many runs and values at once (MLflow 3.17).
_HISTORY = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_MAX_RUNS = 100
_MAX_VALUES = 25_000

_Point = tuple[str, int, str, float]  # run, epoch, metric, value


def uri_from_config(uri: str | None) -> str:
    """Return the absolute tracking URI of runs: MLFLOW_TRACKING_URI, else ``tracking.uri``, else the project's mlruns/.

    Raises:
        StoreError: MLflow does not write to stores of that kind.
    """
    return uri_from_cli(os.environ.get("MLFLOW_TRACKING_URI") or uri)


def uri_from_cli(uri: str | None) -> str:
    """Return the absolute tracking URI that a command was given with --uri; without one, as :func:`uri_from_config`.

    Raises:
        StoreError: MLflow does not write to stores of that kind.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    if uri is None:
        return f"{sqlite.SCHEME}{paths.store_folder() / 'mlflow.db'}"
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
    if scheme.lower() == "sqlite" and len(uri) <= len(sqlite.SCHEME):
        raise StoreError(f"tracking.uri must name a file, such as sqlite:///runs.db. Received: {uri!r}")
    if (database := sqlite.database_file(uri)) is not None:
        return f"{sqlite.SCHEME}{database}"
    return uri


def _names_a_server(uri: str) -> bool:
    try:
        return bool(urlsplit(uri).hostname)
    except ValueError:  # "http://[x"
        return False


def without_credentials(uri: str) -> str:
    """Return ``uri`` without the name and password that a server's URI may carry: a browser can open it."""
    return redact(uri).replace(f"{MARK}@", "")


def experiment_name(config: TrackingConfig, dataset: str) -> str:
    """Return the name of a run's MLflow experiment: MLFLOW_EXPERIMENT_NAME, else the config's, else the data set's.

    Raises:
        StoreError: it is longer than MLflow allows.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or config.experiment or dataset
    if len(name) > MAX_EXPERIMENT_NAME:
        raise StoreError(
            f"MLFLOW_EXPERIMENT_NAME must have at most {MAX_EXPERIMENT_NAME} characters. Received: {received(name)}"
        )
    return name


@cache
def connect(uri: str) -> "MlflowClient":
    """Return a client of the store at ``uri``, which is created, or mended after a move, if it needs that.

    Raises:
        StoreAway: no server answers.
        StoreError: it cannot be created or opened.
    """
    _quiet_mlflow()
    with importing():
        from mlflow import MlflowClient

        if not uri.startswith("http"):  # before other processes have to wait for the lock
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    with store_errors(uri), sqlite.locked(uri):
        if (database := sqlite.database_file(uri)) is not None and database.exists():
            sqlite.mend(database)
        try:
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)  # creates the schema, or asks the server
        except (ValueError, ImportError) as error:  # not an address, or of a database whose driver is not installed
            raise StoreError(
                f"tracking.uri {received(without_credentials(uri))} cannot be used: {redact(first_line(error))}"
            ) from error
    return client


@cache
def login(uri: str) -> str | None:
    """Return the name that the server at ``uri`` knows this user by; None if it has no logins, like a database.

    MLflow's client has no method for this. The server is asked once: credentials do not change within a process.

    Raises:
        StoreAway: no server answers.
        StoreError: the server failed, or did not accept the credentials.
    """
    if not uri.startswith("http"):
        return None
    connect(uri)
    from mlflow.utils.rest_utils import verify_rest_response

    with store_errors(uri):
        response = _get(uri, _WHO)
        if response.status_code in _NO_LOGINS:
            return None
        user = verify_rest_response(response, _WHO).json().get("user")
    name = user.get("username") if isinstance(user, dict) else None
    return name if isinstance(name, str) and name else None


def history(uri: str, run_ids: Sequence[str], metrics: Sequence[str]) -> "pd.DataFrame":
    """Return epochs, as :meth:`~mnist_exp.tracking.protocols.Backend.history`, from a store of any kind.

    A server is asked for 100 runs at once, where it can: MLflow's client reads one metric of one run at a time, and a
    server with logins checks the password each time.
    """
    import pandas as pd

    asked = [
        (run_ids[first : first + _MAX_RUNS], metric)
        for metric in metrics
        for first in range(0, len(run_ids), _MAX_RUNS)
    ]
    with ThreadPoolExecutor(8) as pool:
        rows = [row for rows in pool.map(lambda each: _points(uri, *each), asked) for row in rows]
    long = pd.DataFrame(rows, columns=["run_id", "epoch", "metric", "value"])
    wide = long.pivot_table(index=["run_id", "epoch"], columns="metric", values="value", aggfunc="max", dropna=False)
    return wide.reindex(columns=list(metrics)).reset_index().rename_axis(columns=None)


def _points(uri: str, run_ids: Sequence[str], metric: str) -> list[_Point]:
    if uri.startswith("http"):
        query = {"run_id": list(run_ids), "metric_key": metric, "max_results": _MAX_VALUES}
        response = _get(uri, _HISTORY, params=query)
        if response.status_code == HTTPStatus.OK and len(found := response.json()["metrics"]) < _MAX_VALUES:
            return [(at["run_id"], at["step"], metric, at["value"]) for at in found if at["step"] > 0]
    client = connect(uri)
    return [
        (run_id, at.step, metric, at.value)
        for run_id in run_ids
        for at in client.get_metric_history(run_id, metric)
        if at.step > 0
    ]


def _get(uri: str, path: str, **arguments: Any) -> Any:
    """Return the HTTP response of the server at ``uri``, asked with the user's credentials."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    return http_request(get_default_host_creds(uri), path, "GET", **arguments)


def is_forbidden(error: StoreError) -> bool:
    """Return whether the server denied a request because this user lacks a permission.

    ``_OUTCOMES`` has no line for it, as Refused means permanently: the permission may be granted later, and journals
    are sent then.
    """
    return getattr(error.__cause__, "error_code", "") == "PERMISSION_DENIED"


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Convert an error of the store's libraries to StoreError, StoreAway or Refused, by ``_OUTCOMES``."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        place, reason = f"the tracking store {without_credentials(uri)}", redact(first_line(error))
        outcome = _outcome(error)
        if outcome is Refused:
            raise Refused(f"{place} refused it: {reason}") from error
        if outcome is StoreAway:
            raise StoreAway(f"{place} cannot be used: no server answers there") from error
        raise StoreError(f"{place} cannot be used: {reason}") from error


def _outcome(error: Exception) -> type[StoreError]:
    """Look an error up in ``_OUTCOMES``.

    MLflow's code counts for the error itself only: one that is raised while another is handled has nothing of its code.
    MLflow wraps what its HTTP client raises, so the causes are looked up by type and status.
    """
    if (outcome := _OUTCOMES.get(getattr(error, "error_code", ""))) is not None:
        return outcome
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__module__.partition(".")[0] == "requests":
            status = getattr(getattr(cause, "response", None), "status_code", 0)
            for key in (status, *(each.__name__ for each in type(cause).__mro__)):
                if (outcome := _OUTCOMES.get(key)) is not None:
                    return outcome
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return StoreError


def _quiet_mlflow() -> None:
    """Set what MLflow reads when it is imported: no start-up lines, no telemetry, short retries.

    Its defaults retry a server that is away for four minutes a call.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, level in _LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
