"""A sweep whose store does not answer is ranked from its journals, with the figures that the store gives later."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import parent_id
from prepared import sweep_plan

from mnist_exp.analysis import comparison
from mnist_exp.analysis.frames import epochs_frame
from mnist_exp.analysis.ranking import measure
from mnist_exp.base.errors import StoreAway
from mnist_exp.commands import cli
from mnist_exp.config.replicate import seeds
from mnist_exp.metrics import OBJECTIVE
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import finalize
from mnist_exp.sweeps import sweep as sweeps
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.protocols import Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Journal
from mnist_exp.tracking.spool.tracker import JournalTracker, new_opening

WIDTHS, REPLICATES = (4, 10), range(6)


def away(_: Opening) -> Tracker:
    raise StoreAway("no server answers there")


@pytest.fixture
def sweep(root: Path, tmp_path: Path, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep whose runs have all ended, and lie on disk."""
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := new_store(tmp_path / "store"))
    jobs = [[f"model.units={units}", f"replicate={number}"] for units in WIDTHS for number in REPLICATES]
    identity = Fingerprint("c", "d", "e", "f")
    sweep = sweeps.begin(sweep_plan(uri, "mnist", ["model.units", "replicate"], jobs, identity, ["a command"]))
    parent_id(sweep)
    for units in WIDTHS:
        for number in REPLICATES:
            leave(sweep, root, units, number)
    return sweep


def leave(sweep: Sweep, root: Path, units: int, number: int) -> None:
    """Leave the journal of a run that ended."""
    opening = new_opening(f"model.units={units}", sweep.uri, "mnist", sweep.key, {"kind": "run"})
    run = JournalTracker(Journal(root / opening.key, new=True), opening, away)
    run.log_params({"model.units": units, "replicate": number, **seeds(number)})
    run.set_tags({"dataset": "mnist", "dataset.digest": "d"})
    accuracy = 0.8 + 0.01 * units + 0.001 * number
    run.log_metrics(Measurement({"val_accuracy": accuracy - 0.1}, 1), Measurement({"val_accuracy": accuracy}, 2))
    run.log_metrics(Measurement({"kept/val_accuracy": accuracy}))
    run.close(Status.FINISHED)
    assert run.settle(0) is not None


def test_it_is_ranked_as_the_store_ranks_it_later(sweep: Sweep) -> None:
    here = finalize.ranked_from_disk(sweep)
    assert here is not None
    assert here.comparison is not None
    with pytest.raises(sweeps.Postponed, match="12 of its runs are not in the store yet"):
        finalize.finalize(sweep)
    assert cli.main(["sync"]) == 0
    backend = open_backend(sweep.uri)
    runs = queries.children(backend, parent_id(sweep))
    later = comparison.compare(runs, epochs_frame(backend, [run.run_id for run in runs]), measure(OBJECTIVE))
    assert [row.label(["model.units"]) for row in here.comparison.rows] == ["model.units=10", "model.units=4"]
    for ours, theirs in zip(here.comparison.rows, later.rows, strict=True):
        assert sorted(ours.values.values()) == pytest.approx(sorted(theirs.values.values()))
    assert here.comparison.verdicts.result is not None
    assert later.verdicts.result is not None
    assert here.board.finished == 12


def test_a_run_that_went_to_the_store_before_leaves_nothing_to_rank_it_by(sweep: Sweep, root: Path) -> None:
    first = next(each for each in journals.folders(root) if each.name != sweep.key)
    Journal(first).remove()
    assert finalize.ranked_from_disk(sweep) is None
    sweeps.lead_no_more(sweep).settle(0)
