"""The real command on a real store. Each outcome is made once and looked at by many tests.

Processes of their own: the README's sweep (in conftest.py), a wheel.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, REAL_MNIST, Checkout, Program, SweepStore, needs_real_mnist

from mnist_exp.config.replicate import SOURCES
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect

pytestmark = pytest.mark.slow

COMBINATIONS = [
    *("model.units=4 optimizer.lr=0.001", "model.units=4 optimizer.lr=0.01"),
    *("model.units=10 optimizer.lr=0.001", "model.units=10 optimizer.lr=0.01"),
]


def highest(sweep_store: SweepStore) -> float:
    return max(child.metrics["kept/val_accuracy"] for child in sweep_store.children)


class TestReadmeSweep:
    def test_its_jobs_are_children_named_after_their_overrides(self, sweep_store: SweepStore) -> None:
        assert [child.name for child in sweep_store.children] == COMBINATIONS
        assert {child.status for child in sweep_store.children} == {"FINISHED"}
        parent = connect(sweep_store.uri).get_run(sweep_store.parent)
        assert parent.info.run_name == "model.units × optimizer.lr"
        assert parent.info.status == "FINISHED"

    def test_params_say_what_each_ran_with(self, sweep_store: SweepStore) -> None:
        for child in sweep_store.children:
            assert (
                f"model.units={child.params['model.units']} optimizer.lr={child.params['optimizer.lr']}" == child.name
            )
            assert child.params["data"] == "digits"
            assert [child.params[key] for key in ("replicate", *SOURCES)] == ["0", "17", "17", "17"]

    def test_every_epoch_is_in_the_store_once(self, sweep_store: SweepStore) -> None:
        client = connect(sweep_store.uri)
        for child in sweep_store.children:
            for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "epoch_seconds"):
                history = client.get_metric_history(child.run_id, metric)
                assert [point.step for point in history] == list(range(1, 21))
            assert {point.value for point in client.get_metric_history(child.run_id, "lr")} == {
                float(child.params["optimizer.lr"])
            }

    def test_what_a_team_compares_lies_at_the_root(self, sweep_store: SweepStore) -> None:
        client = connect(sweep_store.uri)
        for child in sweep_store.children:
            found = {entry.path for entry in client.list_artifacts(child.run_id)}
            assert {"loss.png", "accuracy.png", "lr.png", "confusion_matrix.png"} <= found
            assert {"config", "evaluation", "log", "provenance"} <= found
            assert "data" not in found, "its pictures are the same for all runs"
            config = {entry.path for entry in client.list_artifacts(child.run_id, "config")}
            assert config == {"config/config.yaml", "config/hydra.yaml", "config/overrides.yaml"}

    def test_what_is_the_same_for_all_runs_is_kept_by_the_parent(self, sweep_store: SweepStore) -> None:
        client = connect(sweep_store.uri)
        found = {
            each.path for name in ("data", "provenance") for each in client.list_artifacts(sweep_store.parent, name)
        }
        assert found == {
            *("data/samples.png", "data/class_counts.png", "data/pixels.png", "provenance/environment.txt"),
        }
        assert "version.keras" in client.get_run(sweep_store.parent).data.tags
        assert not [key for child in sweep_store.children for key in child.tags if key.startswith("version.")]

    def test_the_table_is_ranked_and_shows_only_what_differs(self, sweep_store: SweepStore) -> None:
        out = sweep_store.outcome.out
        table = out[out.index("Ranked by the validation accuracy of the weights that were kept") :]
        assert "model.units" in table
        assert "optimizer.lr" in table
        assert "seed" not in table
        assert not re.search(r"^ *# .*replicate", table, re.MULTILINE)
        ranked = [float(line.split()[3]) for line in table.splitlines() if re.match(r"\s+\d ", line)]
        assert len(ranked) == 4
        assert ranked == sorted(ranked, reverse=True)
        assert ranked[0] == pytest.approx(highest(sweep_store), abs=1e-4)

    def test_the_sweep_that_would_bring_a_verdict_is_named(self, sweep_store: SweepStore) -> None:
        said = " ".join(sweep_store.outcome.out.split())
        command = "python -m mnist_exp -m model.units=4,10 optimizer.lr=0.001,0.01 data=digits 'replicate=range(8)'"
        assert re.search(rf"[Aa]t least 6 replicates[^=]*: {re.escape(command)}", said)

    def test_the_parent_keeps_the_ranking_and_the_manifest(self, sweep_store: SweepStore, tmp_path: Path) -> None:
        folder = Path(connect(sweep_store.uri).download_artifacts(sweep_store.parent, "sweep", str(tmp_path)))
        assert len(list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))) == 4
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["command"].startswith("python -m mnist_exp -m model.units=4,10 optimizer.lr=0.001,0.01")
        assert [" ".join(job[:2]) for job in manifest["jobs"]] == COMBINATIONS

    def test_the_parent_keeps_the_report_and_the_conclusion(self, sweep_store: SweepStore, tmp_path: Path) -> None:
        client = connect(sweep_store.uri)
        page = Path(client.download_artifacts(sweep_store.parent, "sweep/report.html", str(tmp_path))).read_text()
        assert page.startswith("<!doctype html>")
        assert all(child.run_id in page for child in sweep_store.children), "a link to each"
        assert all(f"python -m mnist_exp {each}" in page for each in COMBINATIONS), "a command for each"
        parent = open_backend(client.tracking_uri).find(sweep_store.parent)
        assert parent.metrics["kept/val_accuracy"] == highest(sweep_store)
        assert parent.metrics["first/replicates"] == 1
        assert parent.tags["first"] in COMBINATIONS
        assert "best_set" not in parent.tags, "one replicate rules nothing out"
        assert "No verdict: 1 of at least 6 replicates" in parent.tags["conclusion"]
        assert parent.tags["conclusion"] in parent.tags["mlflow.note.content"]

    def test_runs_can_be_grouped_by_configuration_in_mlflow(self, sweep_store: SweepStore) -> None:
        assert [child.tags["group"] for child in sweep_store.children] == [
            f"{each} data=digits" for each in COMBINATIONS
        ]

    def test_the_terminal_is_quiet_but_for_us(self, sweep_store: SweepStore) -> None:
        out, err = sweep_store.outcome.out, sweep_store.outcome.err
        assert err == ""
        assert out.startswith("data: digits, 1,500 training and 297 test images")
        assert "run 3 of 4" in out
        assert "ui" in out.splitlines()[-1]
        assert out.count("✓") == 4

    def test_its_store_is_the_projects_whatever_folder_it_was_started_in(self, sweep_store: SweepStore) -> None:
        assert (sweep_store.checkout.root / "mlruns" / "mlflow.db").is_file()
        assert not (sweep_store.checkout.root / "conf" / "mlruns").exists()

    def test_the_folder_can_be_moved(self, sweep_store: SweepStore, tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        shutil.copytree(sweep_store.checkout.root / "mlruns", moved / "mlruns")
        client = connect(f"sqlite:///{moved / 'mlruns' / 'mlflow.db'}")
        run = client.get_run(sweep_store.children[0].run_id)
        assert run.info.artifact_uri.startswith(str(moved))
        assert run.outputs is not None
        (model,) = run.outputs.model_outputs
        assert Path(client.get_logged_model(model.model_id).artifact_location, "MLmodel").is_file()


def test_a_job_that_fails_is_told_at_once_and_the_others_still_run(
    program: Program, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    overrides = ("data=digits", "optimizer=sgd", "optimizer.lr=1e30,0.01", "training.epochs=1")
    outcome = program("-m", *overrides)
    assert outcome.code == 1
    assert "✗ run 1 of 2 failed (data=digits optimizer=sgd optimizer.lr=1e+30 training.epochs=1)" in outcome.err
    assert "the loss of epoch 1 is nan at learning rate 1e+30" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "✓ 2/2 optimizer.lr=0.01" in outcome.out
    backend = open_backend(uri)
    parent = queries.latest_sweep(backend)
    assert parent is not None
    assert parent.status == "FAILED"
    assert (parent.metrics["jobs/finished"], parent.metrics["jobs/failed"]) == (1, 1)
    assert [child.status for child in queries.children(backend, parent.run_id)] == ["FAILED", "FINISHED"]


@needs_real_mnist
def test_real_mnist_is_verified_named_and_learnt(program: Program, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_EXP_DATA", str(REAL_MNIST))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    outcome = program("experiment=model_3", "training.epochs=6", "lr.epochs_per_decade=2", "data.limit=6000")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("data: mnist, 60,000 training and 10,000 test images (sha256 c6558067)")
    client = connect(uri)
    experiment = client.get_experiment_by_name("mnist")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name.startswith("experiment=model_3")
    assert run.data.params["data"] == "mnist"
    assert run.data.params["experiment"] == "model_3"
    rates = [point.value for point in client.get_metric_history(run.info.run_id, "lr")]
    assert rates == pytest.approx([1e-4 * 10 ** (epoch / 2) for epoch in range(6)])
    assert run.data.metrics["best/val_accuracy"] > 0.5
    assert "lr_range.png" in {entry.path for entry in client.list_artifacts(run.info.run_id)}


def test_a_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    """conf/ and experiments/ travel inside; the store then lies under the current folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source, site, elsewhere = tmp_path / "source", tmp_path / "site", tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns(".*", "mlruns", "outputs", "multirun", "docs", "__pycache__")
    shutil.copytree(PROJECT, source, ignore=ignored)
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    elsewhere.mkdir()
    installed = Checkout(site)
    command = ("data=digits", "experiment=model_6", "training.epochs=1")
    outcome = installed.run(*command, folder=str(elsewhere))
    assert outcome.code == 0, outcome.err
    assert (elsewhere / "mlruns" / "mlflow.db").is_file()
    assert (elsewhere / "outputs").is_dir()
    assert not (site / "mlruns").exists()
