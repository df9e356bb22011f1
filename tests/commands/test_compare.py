"""Runs read back as data frames, and `mnist-exp compare`, on a real store with a sweep of two configurations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from commands.conftest import MnistExp
from mnist_exp import load_runs
from mnist_exp.base.errors import StoreError
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow import sqlite
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "epoch_seconds")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    """Two configurations with three seeds each, one run of which diverged; another sweep, on other data, that runs."""
    uri = new_store(tmp_path_factory.mktemp("compare"))
    client = connect(uri)
    experiment = open_backend(uri).experiment("mnist")
    for sweep, dataset in (("first", "mnist"), ("second", "digits")):
        parent = MlflowTracker.open(client, uri, experiment, sweep)
        parent.set_tags({"kind": "sweep", "command": "python -m mnist_exp -m model.units=4,10"})
        for units in (4, 10):
            for seed in range(3):
                run = MlflowTracker.open(client, uri, experiment, f"{sweep} {units} {seed}", parent=parent.run_id)
                run.log_params(
                    {"model.units": units, "optimizer.lr": 0.001, "data.normalize": True, "data.limit": None}
                )
                run.log_params({"seed": seed})
                run.set_tags({"kind": "run", "dataset": dataset, "dataset.digest": dataset})
                for epoch in (1, 2):
                    accuracy = units / 20 + seed / 50 + epoch / 1000
                    values = dict(zip(METRICS, (1 / epoch, accuracy, 2 / epoch, accuracy, 0.001, 0.1), strict=True))
                    if (units, seed) == (10, 2):
                        values["loss"] = float("nan") if epoch == 2 else float("inf")
                    run.log_metrics(Measurement(values, epoch))
                run.log_metrics(Measurement({"test/accuracy": 0.5, "best/val_accuracy": accuracy}))
                if (units, seed) == (10, 2):
                    run.set_tags({"failure": "diverged"})
                if sweep == "first":
                    run.close(Status.FAILED if (units, seed) == (10, 2) else Status.FINISHED)
        if sweep == "first":
            parent.close(Status.FAILED)
    return uri


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    """A store without runs."""
    return new_store(tmp_path_factory.mktemp("empty"))


Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(uri: str, mnist_exp: MnistExp, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """``mnist-exp compare`` on that store: its exit code, and what it shows and warns of."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    def call(*arguments: str) -> tuple[int, str, str]:
        shown = mnist_exp("compare", *arguments)
        return shown.code, shown.out, shown.err

    return call


class TestFrames:
    def test_runs_have_a_row_each_with_typed_params(self, uri: str) -> None:
        runs, _ = load_runs("first", uri=uri)
        assert len(runs) == 6
        assert list(runs["params.model.units"]) == [4, 4, 4, 10, 10, 10]
        assert list(runs["seed"]) == [0, 1, 2] * 2
        assert runs["replicate"].isna().all(), "these runs are of before there were replicates"
        assert runs["params.optimizer.lr"].dtype == float
        assert runs["params.data.normalize"].all()
        assert runs["params.data.limit"].isna().all()
        assert list(runs["status"]) == ["FINISHED"] * 5 + ["FAILED"]
        assert runs["sweep"].nunique() == 1

    def test_epochs_have_a_row_each(self, uri: str) -> None:
        runs, epochs = load_runs("first", uri=uri)
        assert list(epochs.columns) == ["run_id", "epoch", *METRICS]
        assert len(epochs) == 12
        first = epochs[epochs.run_id == runs.run_id[0]]
        assert list(first.epoch) == [1, 2]
        assert list(first.loss) == [1, 0.5]

    def test_what_is_no_number_or_infinite_stays_so(self, uri: str) -> None:
        runs, epochs = load_runs("first", uri=uri)
        failed = epochs[epochs.run_id == runs.run_id[5]]
        assert failed.loss.iloc[0] == np.inf
        assert np.isnan(failed.loss.iloc[1])

    def test_through_the_client_they_are_the_same(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        epochs = load_runs("first", uri=uri).epochs
        monkeypatch.setattr(sqlite, "REVISION", "another")
        asked = load_runs("first", uri=uri).epochs
        pd.testing.assert_frame_equal(
            asked.sort_values(["run_id", "epoch"], ignore_index=True), epochs, check_dtype=False
        )

    def test_nothing_named_means_every_run(self, uri: str) -> None:
        assert len(load_runs(uri=uri).runs) == 12

    def test_an_empty_store_has_empty_frames(self, empty: str) -> None:
        runs, epochs = load_runs(uri=empty)
        assert (len(runs), len(epochs)) == (0, 0)
        assert "run_id" in runs

    def test_a_store_that_is_missing_is_an_error_and_stays_missing(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="there is no store yet at sqlite:///"):
            load_runs(uri=f"sqlite:///{tmp_path / 'folder' / 'mlflow.db'}")
        assert not (tmp_path / "folder").exists()


class TestSelection:
    def test_by_name_id_beginning_and_filter(self, uri: str) -> None:
        backend = open_backend(uri)
        (run,) = queries.select(backend, ["first 4 1"])
        assert queries.select(backend, [run.run_id]) == [run]
        assert queries.select(backend, [run.run_id[:12]]) == [run]
        assert queries.select(backend, [run.run_id, "first 4 1"]) == [run], "each once"
        assert len(queries.select(backend, ["params.`model.units` = '4'"])) == 6
        assert len(queries.select(backend, ["first"])) == 6
        by_id, by_name = (queries.select(backend, [name]) for name in (run.tags["sweep"], "first"))
        assert [each.run_id for each in by_id] == [each.run_id for each in by_name]

    def test_a_name_may_hold_quotes(self, uri: str) -> None:
        backend = open_backend(uri)
        for name in ("it's", 'say "so"', """it's "so\""""):
            run = MlflowTracker.open(backend.client, uri, "0", name)
            run.close(Status.FINISHED)
            assert [each.run_id for each in queries.select(backend, [name])] == [run.run_id]

    @pytest.mark.parametrize("name", ["nothing", "abcdef", "nobody's", "model.units=4", "' OR 1=1 --"])
    def test_what_is_not_there_is_said_so(self, uri: str, name: str) -> None:
        with pytest.raises(StoreError, match="there is no sweep or run called"):
            queries.select(open_backend(uri), [name])


class TestCommand:
    def test_one_row_a_configuration_with_what_failed_beside_it(self, compare: Compare) -> None:
        code, out, _ = compare("first")
        assert code == 0
        assert "Ranked by the mean kept val_accuracy, higher is better" in out
        assert "2 (1 diverged)" in out
        assert "1 of 6 runs gave no value." in out

    def test_the_last_sweep_unless_told_otherwise_and_that_it_still_runs(self, compare: Compare) -> None:
        code, out, err = compare()
        assert code == 0
        assert "not all of these runs have ended" in err
        assert "nothing to compare" in out

    def test_json_has_everything_in_numbers(self, compare: Compare) -> None:
        _, out, _ = compare("first", "--format", "json", "--by", "last", "--metric", "val_loss")
        rows = json.loads(out)
        assert [row["model.units"] for row in rows] == [4, 10]
        assert rows[0]["last val_loss mean"] == 1
        assert rows[0]["n"] == 3
        assert rows[1]["others"] == "1 diverged"

    def test_the_figures_of_a_sweep_are_scipys(self, compare: Compare) -> None:
        """The best val_accuracy is units / 20 + seed / 50 + 0.002; of ten units seed 2 diverged."""
        _, out, _ = compare("first", "--format", "json", "--by", "best")
        ten, four = json.loads(out)
        values = np.array([0.202, 0.222, 0.242])
        assert [four[f"best val_accuracy {name}"] for name in ("mean", "std", "median")] == pytest.approx(
            [values.mean(), values.std(ddof=1), np.median(values)]
        )
        interval = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        assert (four["best val_accuracy low"], four["best val_accuracy high"]) == pytest.approx(interval)
        assert (ten["n"], ten["others"]) == (2, "1 diverged")
        assert four["difference"] == pytest.approx(-0.29)  # of the means of all values, for nothing was judged
        assert (four["verdict"], four["p"], four["low"], four["best_set"]) == ("too few replicates", None, None, None)
        assert (four["replicates"], four["level"]) == ("seed=0 seed=1 seed=2", 0.05)

    def test_every_pair_on_request(self, compare: Compare) -> None:
        _, out, _ = compare("first", "--format", "json", "--pairs")
        (pair,) = json.loads(out)
        assert (pair["a"], pair["b"], pair["n"]) == ("model.units=10", "model.units=4", 2)
        assert pair["verdict"] == "too few replicates"

    def test_a_worth_that_is_no_size_is_refused(self, compare: Compare) -> None:
        for worth in ("0", "-0.1", "nan", "inf"):
            code, out, err = compare("first", "--worth", worth)
            assert (code, out) == (2, "")
            assert "--worth must be greater than 0" in err

    def test_csv_goes_into_a_file(self, compare: Compare, tmp_path_factory: pytest.TempPathFactory) -> None:
        file = tmp_path_factory.mktemp("out") / "ranking.csv"
        code, out, _ = compare("first", "--format", "csv", "--output", str(file))
        assert code == 0
        assert f"written: {file}" in out
        assert list(pd.read_csv(file)["model.units"]) == [10, 4]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["first", "--metric", "test/accuracy"], "would choose by test scores"),
            (["first", "--metric", "my_accuracy", "--direction", "max"], "no run has a metric 'my_accuracy'"),
            (["first", "second"], "used 2 data sets (digits, mnist)"),
            (["nothing"], "there is no sweep or run called 'nothing'"),
            (["first", "--format", "csv", "--output", "/no/such/folder/x.csv"], "cannot be written"),
        ],
    )
    def test_what_cannot_be_done_is_said_in_a_line(self, compare: Compare, arguments: list[str], message: str) -> None:
        code, out, err = compare(*arguments)
        assert (code, out) == (2, "")
        assert message in " ".join(err.split())
        assert "Traceback" not in err

    def test_a_store_that_is_named_wins_over_the_environments(self, compare: Compare, empty: str) -> None:
        code, _, err = compare("first", "--uri", empty)
        assert code == 2
        assert "there is no sweep or run called 'first'" in err

    def test_a_store_without_sweeps(self, compare: Compare, empty: str) -> None:
        code, _, err = compare("--uri", empty)
        assert code == 2
        assert "there is no sweep yet" in err
