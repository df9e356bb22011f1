"""Runs as they stand in the store."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Record:
    """One run, read back.

    Attributes:
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        params: as text, the way they would be typed on a command line.
        metrics: the last value of each.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def children(client: "MlflowClient", parent: str) -> list[Record]:
    """The runs of the sweep whose parent run is ``parent``, in the order they began, from every experiment."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: list[Record] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            experiments,
            filter_string=f"tags.`mlflow.parentRunId` = '{parent}'",
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += [_record(run) for run in page]
        token = page.token
        if not token:
            return found


def latest_sweep(client: "MlflowClient") -> Record | None:
    """The parent run of the sweep that began last; None where there was no sweep."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(
        experiments,
        filter_string="tags.kind = 'sweep'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return _record(runs[0]) if runs else None


def latest_run(client: "MlflowClient") -> Record | None:
    """The run that began last; None in an empty store."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    return _record(runs[0]) if runs else None


def _record(run: "Run") -> Record:
    return Record(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name,
        status=run.info.status,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(run.data.tags),
    )
