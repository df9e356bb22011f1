"""Many processes at one store, from the first moment of its life: nothing lost, nothing twice, nobody locked out."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import Checkout

from mnist_exp.app.compose import compose
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect

PROCESSES, EPOCHS = 8, 100
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")

# Says when it is ready, and begins when it is told: all begin at the same moment.
WORKER = """
import sys
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status
uri, experiment, number, epochs, *metrics = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
client = connect(uri)
tracker = MlflowTracker.open(client, uri, open_backend(uri).experiment(experiment), number)
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


@pytest.mark.slow
def test_processes_that_start_together_lose_nothing_and_double_nothing(uri: str) -> None:
    assert start_together(uri, "of many") == [(0, "")] * PROCESSES
    client = connect(uri)
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


class Clock:
    """Time within one second, a microsecond later each time somebody looks."""

    def __init__(self) -> None:
        self.now_is = datetime(2026, 1, 2, 3, 4, 5)

    def now(self) -> datetime:
        self.now_is += timedelta(microseconds=1)
        return self.now_is


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_what_starts_in_the_same_second_has_a_folder_of_its_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra.core.utils.datetime", Clock())  # hydra#2925: by default its names end at the second
    folders = [str(compose(["data=digits"]).hydra[kind].dir) for _ in range(2)]
    assert all("/2026-01-02/03-04-05-" in folder for folder in folders)
    assert folders[0] != folders[1]


@pytest.mark.slow
def test_two_sweeps_started_in_the_same_second_keep_apart(checkout: Checkout) -> None:
    sweeps = ("1,2", "3,4")
    with ThreadPoolExecutor(max_workers=2) as both:
        outcomes = list(
            both.map(
                lambda units: checkout.run("-m", f"model.units={units}", "training.epochs=2", "data=digits"), sweeps
            )
        )
    assert [outcome.code for outcome in outcomes] == [0, 0], [outcome.err for outcome in outcomes]
    client = connect(checkout.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'digits'")
    parents = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
    units = [
        ",".join(
            sorted(
                str(child.params["model.units"])
                for child in queries.children(open_backend(client.tracking_uri), parent.info.run_id)
            )
        )
        for parent in parents
    ]
    assert sorted(units) == sorted(sweeps)
    assert {parent.info.status for parent in parents} == {"FINISHED"}
    jobs = [sorted(job.name for job in place.iterdir()) for place in (checkout.root / "multirun").glob("*/*")]
    assert jobs == [["0", "1", "multirun.yaml"]] * 2
