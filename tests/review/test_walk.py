"""Two people review real sweeps on the embedded digits: ask, reject, add replicates, approve, confirm, promote.

It is the walk of docs/review.md. The basic-auth server of it is in tests/faults.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, Program, command_here

from mnist_exp.base import paths
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Measurement
from review.conftest import ANN, BOB

QUESTION = "does width 16 beat 2?"
TRAINING = ("training.epochs=3", "training.batch_size=100", "data=digits")
SWEEP = ("-m", "model.units=2,16", *TRAINING, f"question={QUESTION}", "worth=0.005")

Give = Callable[..., Outcome]


@pytest.fixture
def give(
    program: Program, acts_as: Callable[[str], None], capsys: pytest.CaptureFixture[str], signal_handlers: None
) -> Give:
    """Somebody gives a command: ``python -m mnist_exp`` if it begins with ``-m``, else ``mnist-exp``."""

    def call(person: str, *arguments: str) -> Outcome:
        acts_as(person)
        return program(*arguments) if arguments[0] == "-m" else command_here(capsys, arguments)

    return call


def on_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_two_people_review_a_sweep_until_its_model_is_champion(
    give: Give, new_store: Callable[[Path], str], tmp_path: Path
) -> None:
    uri = new_store(paths.root() / "mlruns")

    def latest() -> str:
        return str(json.loads(give(ANN, "sweeps", "--format", "json").out)[0]["id"])

    # Ann asks Bob, who cannot approve what one replicate shows, and rejects it.
    small = give(ANN, *SWEEP, "replicate=range(1)")
    assert f"{QUESTION}\n  too few replicates: 1 of at least 6" in small.out, small.err
    first = latest()
    assert give(ANN, "review", first[:6], "--ask", "bob").code == 0
    assert "1 sweep waits for you:" in give(BOB, "compare", first).err
    assert "cannot be approved: too few replicates" in give(BOB, "review", first, "--approve").err
    assert "REJECTED by Bob Ray" in give(BOB, "review", first, "--reject", "-m", "one replicate cannot tell").out
    assert give(BOB, "review", first, "--check").code == 1

    # More replicates answer; nobody approves, or promotes unapproved, what is their own.
    assert give(ANN, *SWEEP, "replicate=range(6)").code == 0
    second = latest()
    assert "it is not approved" in give(ANN, "promote", second).err
    assert "it is your own sweep" in give(ANN, "review", second, "--approve").err
    approved = give(BOB, "review", second, "--approve", "-m", "convincing")
    assert "model.units=16 is better" in approved.out
    assert "APPROVED by Bob Ray" in approved.out
    assert give(ANN, "review", second, "--check").code == 0

    # Fresh replicates confirm it, and its model becomes champion.
    assert give(ANN, *SWEEP[:5], "replicate=range(6,12)", f"follows={second[:8]}").code == 0
    assert "confirmed by" in on_one_line(give(ANN, "review", second).out)
    assert "digits version 1 is champion: model.units=16" in give(ANN, "promote", second).out
    assert "is champion already" in give(ANN, "promote", second).err

    # The approved report can be checked anywhere, until somebody changes a figure in it, or a run.
    backend = open_backend(uri)
    report = tmp_path / "report.html"
    report.write_bytes(backend.artifact(second, "sweep/report.html") or b"")
    assert give(BOB, "review", str(report), "--check").code == 0
    changed = tmp_path / "changed.html"
    changed.write_text(report.read_text().replace("6 replicates, p 0.0", "6 replicates, p 0.1"))
    assert changed.read_text() != report.read_text()
    assert "was changed after Bob Ray" in give(BOB, "review", str(changed), "--check").out
    (some, *_) = backend.search(f"tags.`mlflow.parentRunId` = '{second}'")
    backend.tracker(some.run_id).log_metrics(Measurement({"kept/val_accuracy": 0.99}))
    stale = give(BOB, "review", second, "--check")
    assert (stale.code, "metrics changed" in stale.out) == (1, True)
    assert give(BOB, "review", str(report), "--check").code == 1
    assert "its approval is stale" in give(ANN, "promote", second).err
