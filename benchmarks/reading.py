"""How long ``load_runs`` takes for a store of 1,000 runs of 200 epochs, against MLflow's own calls for the same.

MLflow's client is asked for a tenth of the runs and its time multiplied: a metric of a run at a time takes minutes.
"""

import sqlite3
import time
from contextlib import closing

import measure

from mnist_exp import load_runs
from mnist_exp.metrics import per_epoch
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Status


def main() -> None:
    count = 100 if measure.is_quick(__doc__) else 1000
    with measure.workshop() as folder:
        uri = f"sqlite:///{folder}/empty.db"
        client = connect(uri)
        run_ids = []
        for seed in range(count):
            run = MlflowTracker.open(client, uri, "0", f"seed={seed}")
            run.log_params({f"key.{number}": number for number in range(25)} | {"seed": seed})
            run.set_tags({f"tag.{number}": "a word or two" for number in range(25)})
            run.close(Status.FINISHED)
            run_ids.append(run.run_id)
        _fill(folder / "empty.db", run_ids)

        def ours() -> list[float]:
            began = time.perf_counter()
            runs, epochs = load_runs(uri=uri)
            assert (len(runs), len(epochs)) == (count, 200 * count)
            return [time.perf_counter() - began]

        def mlflow() -> list[float]:
            began = time.perf_counter()
            client.search_runs(["0"], max_results=count)
            searched = time.perf_counter() - began
            for run_id in run_ids[: count // 10]:
                for metric in per_epoch():
                    client.get_metric_history(run_id, metric)
            return [10 * (time.perf_counter() - began - searched) + searched]

        seconds = measure.in_turns({"load_runs": ours, "MLflow's client": mlflow}, 3)
    measure.report("reading", f"Reading {count} runs of 200 epochs", seconds, "load_runs", "made-up figures")


def _fill(database: object, run_ids: list[str]) -> None:
    """Write epochs into the table directly: through MLflow it would take half an hour."""
    rows = (
        (metric, 1 / epoch, epoch, run_id, epoch, 0)
        for run_id in run_ids
        for metric in per_epoch()
        for epoch in range(1, 201)
    )
    statement = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
    with closing(sqlite3.connect(str(database))) as connection, connection:
        connection.executemany(statement, rows)


if __name__ == "__main__":
    main()
