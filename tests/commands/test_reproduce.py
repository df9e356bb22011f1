"""``mnist-exp reproduce``: what it judges and keeps, and the arguments that it refuses."""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import run_here

from commands.conftest import MnistExp
from mnist_exp.analysis import claims
from mnist_exp.app import application
from mnist_exp.base.errors import ConfigError
from mnist_exp.commands import cli, reproduce
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.protocols import Record


def test_values_are_keyed_by_replicate_or_else_by_seed_and_kept_as_json() -> None:
    def run(status: str, **params: str) -> Record:
        return Record("id", "0", "name", status, {"experiment": "model_6", **params}, {"accuracy": 0.9}, {})

    runs = [run("FINISHED", replicate="3", seed="99"), run("FINISHED", seed="17"), run("FAILED", replicate="4")]
    assert reproduce.values(runs) == {"accuracy": {"model_6": {"3": 0.9, "17": 0.9}}}
    plain = json.dumps(reproduce._plain(claims.judge_claims(reproduce.values(runs)), []), allow_nan=False)
    assert json.loads(plain)["claims"][4]["checks"][0]["spread"]["mean"] == 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicates", "0"], "--replicates must be at least 1. Received: 0"),
        (["--seeds", "0"], "--replicates must be at least 1. Received: 0"),
        (["optimizer.lr=0.1,0.01"], "reproduce runs each model once per replicate"),
        (["replicate=range(3)"], "reproduce runs each model once per replicate"),
        (["seed=3", "training.order_seed=3"], "Received: seed=3 training.order_seed=3"),
        (["+data.split_seed=3"], "Received: +data.split_seed=3"),
        (["experiment=model_2"], "Received: experiment=model_2"),
    ],
)
def test_overrides_that_change_the_replicates_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reproduce", *arguments]) == ConfigError.exit_code
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("code", "hints"), [(0, 0), (1, 0), (2, 0), (130, 1), (143, 1)])
def test_what_resumes_it_is_shown_after_an_interruption_alone(
    mnist_exp: MnistExp, monkeypatch: pytest.MonkeyPatch, code: int, hints: int
) -> None:
    given: list[str] = []

    def main(argv: Sequence[str], after_sweep: object) -> int:
        assert after_sweep is not None
        given.extend(argv)
        return code

    monkeypatch.setattr(application, "main", main)
    before = list(sys.argv)
    shown = mnist_exp("reproduce", "--quick", "--data", "digits", "resume=false", "training.batch_size=64")
    assert shown.code == code
    assert given[:4] == [
        "-m",
        "data=digits",
        "experiment=model_1,model_2,model_3,model_4,model_5,model_6",
        "replicate=range(2)",
    ]
    assert given[4:] == ["training.epochs=2", "resume=false", "training.batch_size=64"]
    hint = "mnist-exp reproduce --quick --data digits training.batch_size=64 resume=true"
    assert shown.err.count(hint) == hints
    assert sys.argv == before


@pytest.mark.slow
def test_every_claim_is_answered_and_what_it_is_not_is_said(
    mnist_exp: MnistExp, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One replicate and two epochs of each model, on the embedded digits."""
    run_here(monkeypatch, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path / "store"))
    shown = mnist_exp("reproduce", "--quick", "--replicates", "1", "--data", "digits")
    assert shown.code == 0, shown.err
    for number in range(1, 7):
        assert re.search(rf"^ *{number}\. .*open: too few replicates", shown.out, re.MULTILINE)
    assert "Two epochs of each model: this shows that it runs, and reproduces nothing." in shown.out
    assert "Trained on digits, not on the published data, which are MNIST." in shown.out

    backend = open_backend(os.environ["MLFLOW_TRACKING_URI"])
    parent = queries.latest_sweep(backend)
    assert parent is not None
    assert len(queries.children(backend, parent.run_id)) == 6
    page = Path(connect(backend.uri).download_artifacts(parent.run_id, "sweep", str(tmp_path)))
    verdicts = json.loads((page / "verdicts.json").read_text())
    assert (len(verdicts["claims"]), len(verdicts["caveats"])) == (6, 2)
    assert "held against what was published" in (page / "reproduction.html").read_text()
