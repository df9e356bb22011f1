"""Many processes at one store, from the first moment of its life: nothing lost, nothing twice, nobody locked out."""

import subprocess
import sys
from pathlib import Path

import pytest

from mnist_exp.tracking import store

pytestmark = pytest.mark.slow

PROCESSES, EPOCHS = 8, 100
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")

# Says when it is ready, and begins when it is told: all begin at the same moment.
WORKER = """
import sys
from mnist_exp.tracking import store
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Measurement, Status
uri, experiment, number, epochs, *metrics = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
client = store.connect(uri)
tracker = MlflowTracker.open(client, uri, store.experiment_id(client, uri, experiment), number)
for step in range(1, int(epochs) + 1):
    values = {name: int(number) + step / 1000 + place for place, name in enumerate(metrics)}
    tracker.log_metrics(Measurement(values, step))
tracker.close(Status.FINISHED)
"""


@pytest.fixture(params=["fresh SQLite", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "server":
        return str(request.getfixturevalue("server"))
    return f"sqlite:///{tmp_path / 'not there yet' / 'mlflow.db'}"


def start_together(uri: str, experiment: str) -> list[tuple[int, str]]:
    """Run the workers; the exit code of each, and what it said of errors."""
    command = [sys.executable, "-c", WORKER, uri, experiment]
    workers = [
        subprocess.Popen(
            [*command, str(number), str(EPOCHS), *METRICS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate()[1] for worker in workers]
    return [(worker.returncode, errors) for worker, errors in zip(workers, said, strict=True)]


def test_processes_that_start_together_lose_nothing_and_double_nothing(uri: str) -> None:
    assert start_together(uri, "of many") == [(0, "")] * PROCESSES
    client = store.connect(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'of many'")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        (str(number), "FINISHED") for number in range(PROCESSES)
    ]
    for run in runs:
        for place, name in enumerate(METRICS):
            points = client.get_metric_history(run.info.run_id, name)
            assert sorted((point.step, point.value) for point in points) == [
                (step, int(run.info.run_name) + step / 1000 + place) for step in range(1, EPOCHS + 1)
            ]
