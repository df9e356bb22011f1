"""The server goes away, answers with errors, or answers get lost: training goes on, and everything arrives once."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Checkout

from faults import ledger
from faults.conftest import EPOCHS, NAMES, SWEEP
from faults.ledger import KeptRun
from faults.program import Program
from faults.proxy import (
    Behaviour,
    CutRequest,
    CutResponse,
    Delay,
    Duplicate,
    Error,
    Pass,
    Proxy,
    Refuse,
    Scripted,
)
from mnist_exp.base import paths
from mnist_exp.commands import cli
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Status
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool import sender
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker, new_opening

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.slow

RUN = ("data=digits", f"training.epochs={EPOCHS}", "seed=1")

ANYTHING: dict[Behaviour, float] = {
    Pass(): 8,
    Refuse(): 1,
    Error(500): 1,
    Error(503): 1,
    Delay(0.01): 1,
    CutRequest(): 1,
    CutRequest(0.95): 1,
    CutResponse(): 1,
    CutResponse(0.9): 1,
    Duplicate(): 1,
    Duplicate("first"): 1,
}


def runs_in(client: "MlflowClient", experiment: str) -> list[KeptRun]:
    """Every run of the experiment called so, deleted twins aside."""
    (found,) = client.search_experiments(filter_string=f"name = '{experiment}'")
    return [
        ledger.read_run(client, open_backend(client.tracking_uri).find(run.info.run_id))
        for run in client.search_runs([found.experiment_id])
    ]


def assert_whole(run: KeptRun, epochs: int = EPOCHS) -> None:
    """Every epoch is there once, and so is the model; the run has ended as what it was."""
    for name in ledger.EPOCH_METRICS:
        counts = {step: len(points) for step, points in run.points[name].items()}
        assert counts == dict.fromkeys(range(1, epochs + 1), 1)
    assert (run.record.status, len(run.models)) == ("FINISHED", 1)


class TestProgram:
    """The real command, which knows only the proxy."""

    def test_training_does_not_wait_for_a_server_that_is_away_for_a_while(
        self, checkout: Checkout, proxy: Proxy, truth: "MlflowClient"
    ) -> None:
        to_proxy = (f"tracking.uri={proxy.address}", "tracking.experiment=away for a while")
        with Program(checkout, *RUN, *to_proxy) as program:
            program.wait_for("epoch 1/")
            proxy.behave(Refuse())
            program.wait_for(f"epoch {EPOCHS}/")
            proxy.behave(Pass())
            assert program.end() == 0, program.said
        (run,) = runs_in(truth, "away for a while")
        assert_whole(run)
        assert journals.folders(checkout.root / "mlruns" / "journal") == []

    def test_a_whole_run_through_any_faults(self, checkout: Checkout, proxy: Proxy, truth: "MlflowClient") -> None:
        to_proxy = (f"tracking.uri={proxy.address}", "tracking.experiment=any faults")
        with Program(checkout, *RUN, *to_proxy) as program:
            program.wait_for("data: digits")  # before that, a fault is an error with exit code 2
            program.wait_for("seed=1")
            proxy.behave(Scripted(1, ANYTHING))
            program.wait_for("✓ ")
            program.end()
        proxy.behave(Pass())
        if program.code != 0 or "sync" in program.said:
            assert checkout.run("sync", program="mnist_exp.commands.cli").code == 0
        (run,) = runs_in(truth, "any faults")
        assert_whole(run)

    @pytest.mark.parametrize("since", ["before it began", "its second run"])
    def test_a_sweep_whose_server_stays_away_is_sent_and_ranked_by_sync(
        self,
        checkout: Checkout,
        proxy: Proxy,
        truth: "MlflowClient",
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        since: str,
    ) -> None:
        experiment = f"away since {since}"
        if since == "before it began":
            proxy.behave(Refuse())
        with Program(checkout, *SWEEP, f"tracking.uri={proxy.address}", f"tracking.experiment={experiment}") as program:
            program.wait_for("run 2 of 3", "epoch 10/")
            proxy.behave(Refuse())
            assert program.end() == 0, program.said
        assert ("Training goes on without it" in program.said) == (since == "before it began")
        assert "wait to be sent" in program.said
        assert "no server answers there" in program.said
        is_ranked = "Ranked by" in program.said
        assert f"the sweep is {'ranked from this disk alone' if is_ranked else 'not ranked yet'}" in program.lines[-2]
        assert is_ranked or since != "before it began", "a run that arrived is on disk no more"
        assert program.lines[-1].endswith("mnist-exp sync")

        monkeypatch.setattr(paths, "root", lambda: checkout.root)
        assert cli.main(["sync", "--status"]) == 0
        shown = capsys.readouterr().out
        assert all(f" {name} " in shown for name in ("seed=2", "seed=3", "seed"))

        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert cli.main(["sync"]) == 1, "the server is still away"
        proxy.behave(Pass())
        assert cli.main(["sync"]) == 0, capsys.readouterr()
        (found,) = truth.search_experiments(filter_string=f"name = '{experiment}'")
        (parent,) = truth.search_runs([found.experiment_id], "tags.kind = 'sweep'")
        kept = ledger.read(truth, parent.info.run_id)
        assert not ledger.wrong(kept, NAMES, EPOCHS).everything()
        assert "sweep/leaderboard.csv" in [file.path for file in truth.list_artifacts(parent.info.run_id, "sweep")]

        capsys.readouterr()
        assert cli.main(["sync"]) == 0
        assert "Nothing waits." in capsys.readouterr().out


def save(folder: Path) -> None:
    from mlflow.models import Model

    Model().save(str(folder / "MLmodel"))
    (folder / "weights").write_bytes(bytes(range(256)) * 256)


FAULTS: dict[str, Behaviour | Scripted] = {
    "errors 500": Scripted(1, {Pass(): 3, Error(500): 1}),
    "errors 503": Scripted(2, {Pass(): 3, Error(503): 1}),
    "answers that come late": Scripted(3, {Pass(): 1, Delay(1.5): 0.1}),
    "requests cut off": Scripted(4, {Pass(): 6, CutRequest(0.1): 1, CutRequest(0.95): 1}),
    "answers cut off": Scripted(5, {Pass(): 6, CutResponse(): 1, CutResponse(0.9): 1}),
    "every request twice": Duplicate(),
    "every request twice, the first answer": Duplicate("first"),
    **{f"anything, seed {seed}": Scripted(seed, ANYTHING) for seed in range(3)},
}


class TestDelivery:
    """What the program's runs are sent by, without the program around it: a run of every kind of entry."""

    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """Waits less than the program does, so that hundreds of faults pass in seconds."""
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
        monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.001)
        monkeypatch.setattr(sender, "_LONGEST_PAUSE_S", 0.01)
        caplog.set_level(logging.CRITICAL)
        yield
        connect.cache_clear()

    @pytest.mark.parametrize(
        ("fault", "retries"),
        [*((fault, 0) for fault in FAULTS), *((fault, 2) for fault in FAULTS if "answers" in fault or "any" in fault)],
        ids=lambda value: {0: "", 2: "and MLflow tries again by itself"}.get(value, value),
    )
    def test_everything_arrives_once(
        self,
        tmp_path: Path,
        proxy: Proxy,
        truth: "MlflowClient",
        monkeypatch: pytest.MonkeyPatch,
        fault: str,
        retries: int,
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
        experiment = f"{fault}, {retries} retries"
        opening = new_opening("a run", proxy.address, experiment, None, {"kind": "run"})
        proxy.behave(FAULTS[fault])
        tracker = JournalTracker(
            Journal(tmp_path / opening.key, new=True), opening, open_backend(proxy.address).open_run, gather_s=0.001
        )
        tracker.log_params({"seed": 17, "model.units": 4})
        tracker.set_tags({"group": "default"})
        tracker.log_dataset(DatasetInput("digits", "d" * 64, "a file", {"train": 1500, "test": 297}), "training")
        for epoch in range(1, EPOCHS + 1):
            tracker.log_metrics(Measurement(dict.fromkeys(ledger.EPOCH_METRICS, 1 / epoch), epoch, 1000 + epoch))
            if epoch % 20 == 0:
                tracker.log_artifact(f"pictures/{epoch}.png", bytes(range(256)) * 64)
        tracker.log_model(save)
        tracker.close(Status.FINISHED, 2_000_000_000_000)
        assert tracker.settle(60) is None
        assert len({str(each.behaviour) for each in proxy.exchanges}) > 1, "nothing went wrong"

        (run,) = runs_in(truth, experiment)
        assert_whole(run)
        found = truth.get_run(run.record.run_id)
        assert found.data.params == {"seed": "17", "model.units": "4"}
        assert (found.data.tags["group"], found.info.end_time) == ("default", 2_000_000_000_000)
        assert found.inputs is not None
        assert len(found.inputs.dataset_inputs) == 1
        assert found.outputs is not None
        assert len(found.outputs.model_outputs) == 1
        pictures = truth.list_artifacts(run.record.run_id, "pictures")
        assert [each.file_size for each in pictures] == [256 * 64] * 5
        assert not (tmp_path / opening.key).exists()
