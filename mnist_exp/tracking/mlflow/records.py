"""Runs as they stand in the store."""

import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from mnist_exp.base.errors import Refused, StoreError
from mnist_exp.tracking.mlflow.store import storing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


INFINITE = sys.float_info.max
"""What MLflow keeps in place of an infinite value."""


SILENT_S = 900
"""Who has given no sign of life for so long, thirty times what lies between two, is taken for vanished."""


@dataclass(frozen=True)
class Record:
    """One run, read back.

    Attributes:
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        params: as text, the way they would be typed on a command line.
        metrics: the last value of each.
        ended_ms: when it ended, in milliseconds since 1970; None while it runs.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    ended_ms: int | None = None

    @overload
    def figure(self, metric: str) -> float | None: ...
    @overload
    def figure(self, metric: str, missing: float) -> float: ...
    def figure(self, metric: str, missing: float | None = None) -> float | None:
        """The last value of a metric. A run that logged no ``kept/...`` kept the weights of its last epoch."""
        return self.metrics.get(metric, self.metrics.get(metric.removeprefix("kept/"), missing))

    @property
    def is_range_test(self) -> bool:
        """Whether it tested rates: its accuracy says nothing of a model."""
        return self.params.get("lr") == "range_test"

    @property
    def last_sign_s(self) -> int | None:
        """When it last gave a sign of life to the store, in seconds since 1970; None where it gives none."""
        text = self.tags.get("heartbeat", "")
        return int(text) if text.isdecimal() else None

    @property
    def goes_on(self) -> bool:
        """Whether it runs and has given a sign of life lately."""
        return self.status == "RUNNING" and self.last_sign_s is not None and time.time() - self.last_sign_s < SILENT_S


def children(client: "MlflowClient", parent: str) -> list[Record]:
    """The runs of the sweep whose parent run is ``parent``, in the order they began, from every experiment.

    Those whose place another run has taken are left out.
    """
    return _current(_search(client, f"tags.`mlflow.parentRunId` = '{parent}'"))


def twins(client: "MlflowClient", fingerprint: str) -> list[Record]:
    """The runs with that fingerprint, in the order they began."""
    return _current(_search(client, f"tags.fingerprint = '{fingerprint}' AND tags.kind = 'run'"))


def sweeps(client: "MlflowClient", command: str) -> list[Record]:
    """The parent runs of the sweeps that ``command``, a digest, made, in the order they began."""
    return _search(client, f"tags.`sweep.command` = '{command}'")


def parents(client: "MlflowClient") -> list[Record]:
    """The parent runs of all sweeps, in the order they began."""
    return _search(client, "tags.kind = 'sweep'")


def running(client: "MlflowClient") -> list[Record]:
    """Every run, the parents of sweeps included, that goes on as far as the store knows."""
    return _search(client, "attributes.status = 'RUNNING'")


def find(client: "MlflowClient", run_id: str) -> Record:
    """The run with that id."""
    with storing(client.tracking_uri):
        return _record(client.get_run(run_id))


def everything(client: "MlflowClient") -> list[Record]:
    """Every run there is, in the order they began; the parents of sweeps are none."""
    return [record for record in _current(_search(client, "")) if record.tags.get("kind") != "sweep"]


def select(client: "MlflowClient", which: Sequence[str]) -> list[Record]:
    """The runs that ``which`` names, each once: sweeps or runs by id, by the first letters of an id, or by name, or an
    MLflow filter (``params.model = 'cnn'``). A sweep stands for its runs; of several with one name, for the last's.

    Raises:
        StoreError: there is nothing of that name, or the filter is none.
    """
    found = [record for name in which for record in _named(client, name)]
    return list({record.run_id: record for record in found}.values())


def latest_sweep(client: "MlflowClient") -> Record | None:
    """The parent run of the sweep that began last; None where there was no sweep."""
    sweeps = _search(client, "tags.kind = 'sweep'", newest=1)
    return sweeps[0] if sweeps else None


def latest_run(client: "MlflowClient") -> Record | None:
    """The run that began last; None in an empty store."""
    runs = _search(client, "", newest=1)
    return runs[0] if runs else None


def _current(found: Sequence[Record]) -> list[Record]:
    gone = {run_id for record in found for run_id in record.tags.get("supersedes", "").split()}
    return [record for record in found if record.run_id not in gone]


def _named(client: "MlflowClient", name: str) -> list[Record]:
    if re.search(r"[=<>]| I?LIKE ", name, re.IGNORECASE) and (found := _filtered(client, name)) is not None:
        return found
    matches = _search(client, f"attributes.run_id LIKE '{name}%'") if re.fullmatch("[0-9a-f]{4,32}", name) else []
    if not matches:
        # MLflow's filters know no escapes: a name with a quote in it goes between quotes of the other kind.
        quote = '"' if "'" in name else "'"
        wanted = f"attributes.run_name = {quote}{name}{quote}" if quote not in name else ""
        matches = [match for match in _search(client, wanted) if match.name == name]
    if not matches:
        raise StoreError(
            f"there is no sweep or run called {name!r}: give an id, the first letters of one, a name as in the "
            "MLflow UI, or a filter such as \"params.model = 'cnn'\""
        )
    sweeps = [match for match in matches if match.tags.get("kind") == "sweep"]
    return children(client, sweeps[-1].run_id) if sweeps else matches


def _filtered(client: "MlflowClient", condition: str) -> list[Record] | None:
    """The runs that an MLflow filter finds; None where it is no filter but may be a name: ``model.units=4``."""
    try:
        found = _search(client, condition)
    except Refused:
        return None
    return [record for record in found if record.tags.get("kind") != "sweep"]


def _search(client: "MlflowClient", condition: str, newest: int | None = None) -> list[Record]:
    """Runs in the order they began; or the ``newest`` of them."""
    with storing(client.tracking_uri):
        return _pages(client, condition, newest)


def _pages(client: "MlflowClient", condition: str, newest: int | None) -> list[Record]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: list[Record] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            experiments,
            filter_string=condition,
            order_by=[f"attributes.start_time {'DESC' if newest else 'ASC'}"],
            max_results=newest or 1000,
            page_token=token,
        )
        found += [_record(run) for run in page]
        token = page.token
        if not token or newest:
            return found


def _as_logged(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else value


def _record(run: "Run") -> Record:
    return Record(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name,
        status=run.info.status,
        params=dict(run.data.params),
        metrics={name: _as_logged(value) for name, value in run.data.metrics.items()},
        tags=dict(run.data.tags),
        ended_ms=run.info.end_time,
    )
