"""A store in a SQLite file: its lock, its moved artifacts, and the fast way to read its epochs.

All SQL that touches MLflow's own tables is here. It was written for one revision of their schema, ``REVISION``. In a
database of another revision nothing is read here, and :mod:`mnist_exp.tracking.mlflow.backend` asks MLflow's client.
"""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    import pandas as pd

SCHEME = "sqlite:///"

REVISION = "dc11669786a5"
"""The revision of MLflow 3.17's schema, as its table alembic_version holds it."""

# Every column in which MLflow keeps an absolute location.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

_LONGEST_FOLDER = 255  # bytes of a file name on Linux's file systems


def database_file(uri: str) -> Path | None:
    """Return the database file of a SQLite URI, absolute; None for any other URI."""
    return Path(uri.removeprefix(SCHEME)).absolute() if uri.startswith(SCHEME) else None


def is_missing(uri: str) -> bool:
    """Return whether a URI names a SQLite file that does not exist: MLflow would create it at the first call."""
    database = database_file(uri)
    return database is not None and not database.exists()


@contextmanager
def locked(uri: str) -> Iterator[None]:
    """Hold the lock of a SQLite store; of any other store, do nothing.

    MLflow's creation of a schema breaks if two processes begin it at once.
    """
    database = database_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        yield


def artifact_folder(folder: Path, experiment: str) -> Path:
    """Return where an experiment's artifacts lie: below ``folder``, under a name that is safe in a path and a URI."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", experiment)
    if safe != experiment or len(safe) > _LONGEST_FOLDER or not safe.strip("."):
        # Two names may look alike now: a digest keeps them apart.
        safe = f"{safe[:246]}-{hashlib.sha256(experiment.encode(errors='backslashreplace')).hexdigest()[:8]}"
    return folder / "artifacts" / safe


def mend(database: Path) -> bool:
    """Point the locations in a store at the artifacts that lie beside its database.

    MLflow keeps absolute locations, so a project folder that was moved or copied lists its runs but not their files.
    Only experiments of this program are changed, and only if their artifacts do lie beside the database: a database
    that was copied alone still points to where the artifacts stayed.

    Returns:
        True if something was changed.
    """
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        columns = {
            (table, row[1])
            for table in dict.fromkeys(table for table, _ in _LOCATIONS)
            for row in connection.execute(f"PRAGMA table_info({table})")
        }
        if ("experiments", "artifact_location") not in columns:
            return False
        experiments = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        here = f"{database.parent / 'artifacts'}{os.sep}"
        moved_from = set()
        for name, location in experiments:
            own = artifact_folder(database.parent, name)
            folder = Path(location or "")
            if folder.parts[-2:] == own.parts[-2:] and folder != own and own.is_dir():
                moved_from.add(f"{folder.parent}{os.sep}")
        for there in moved_from:
            for table, column in _LOCATIONS:
                if (table, column) in columns:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (here, len(there) + 1, len(there), there),
                    )
    return bool(moved_from)


def history(database: Path, run_ids: Sequence[str], metrics: Sequence[str]) -> "pd.DataFrame | None":
    """Read epochs from MLflow's table of metrics: one query instead of one request for each run and metric.

    Returns:
        As :meth:`~mnist_exp.tracking.protocols.Backend.history`; None if the schema is of another revision.
    """
    import pandas as pd

    picked = ", ".join(f"MAX(CASE WHEN key = ? AND NOT is_nan THEN value END) AS m{n}" for n in range(len(metrics)))
    query = f"""SELECT run_uuid, step, {picked} FROM metrics
                WHERE step > 0 AND key IN (SELECT value FROM json_each(?))
                AND run_uuid IN (SELECT value FROM json_each(?))
                GROUP BY run_uuid, step ORDER BY run_uuid, step"""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        if revision(connection) != REVISION:
            return None
        given = (*metrics, json.dumps(list(metrics)), json.dumps(list(run_ids)))
        rows = connection.execute(query, given).fetchall()
    return pd.DataFrame(rows, columns=["run_id", "epoch", *metrics])


def revision(connection: sqlite3.Connection) -> str:
    """Return the revision of the schema; empty if the database has none of MLflow's."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return ""
    return str(row[0]) if row else ""
