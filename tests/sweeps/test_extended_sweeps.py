"""Sweeps that say how they are judged, and sweeps that add replicates to them, in a real store."""

import json
from collections.abc import Callable, Iterable

import pytest
from conftest import parent_id
from prepared import sweep_plan
from some_runs import run

from mnist_exp.analysis.ranking import rank
from mnist_exp.app.preflight import _extended
from mnist_exp.base.errors import ConfigError
from mnist_exp.commands import cli
from mnist_exp.config.replicate import seeds
from mnist_exp.review.actions import NOTE, Reviewer
from mnist_exp.review.block import LONGEST_NOTE
from mnist_exp.review.person import Person
from mnist_exp.review.review import gather
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import finalize, sweep
from mnist_exp.sweeps.finalize import FinalizedSweep
from mnist_exp.sweeps.note import note
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Measurement, Status

pytestmark = pytest.mark.usefixtures("journals_root")

Made = tuple[Sweep, FinalizedSweep]
Make = Callable[..., Made]
IDENTITY, COMMAND = Fingerprint("config", "data", "code", "libraries"), ("model.units=4,10",)
ACCURACIES = {4: 0.90, 10: 0.9005}


@pytest.fixture
def swept(uri: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a sweep of two configurations that scarcely differ, over some replicates."""
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")

    def make(numbers: Iterable[int], **judged: str) -> Made:
        begun = sweep.begin(sweep_plan(uri, "mnist", ["model.units", "replicate"], [], IDENTITY, COMMAND, judged))
        client = connect(uri)
        for replicate in numbers:
            for units, accuracy in ACCURACIES.items():
                job = MlflowTracker.open(client, uri, "1", "a run", parent=parent_id(begun))
                job.log_params({"model.units": units, "replicate": replicate, **seeds(replicate)})
                job.set_tags({"dataset.digest": "d"})
                wobble = 0.003 * ((replicate * units) % 7)
                job.log_metrics(Measurement({"kept/val_accuracy": accuracy + wobble}))
                job.close(Status.FINISHED)
        return begun, finalize.finalize(begun)

    return make


def tags(begun: Sweep) -> dict[str, str]:
    return dict(connect(begun.uri).get_run(parent_id(begun)).data.tags)


def test_the_worth_of_a_sweep_is_what_it_is_judged_by(swept: Make) -> None:
    begun, ended = swept(range(8), worth="0.1")
    assert ended.comparison is not None
    assert ended.comparison.verdicts.worth == 0.1
    against = ended.comparison.rows[1].against_first
    assert against is not None
    assert against.verdict == "equivalent"
    assert tags(begun)["verdict.level"] == "0.05"


def test_runs_that_a_sweep_adds_are_judged_with_those_of_before(swept: Make) -> None:
    first, at_eight = swept(range(8), looks="true")
    assert (tags(first)["looks"], tags(first)["looks.taken"]) == ("true", "8")
    assert at_eight.comparison is not None
    assert at_eight.comparison.verdicts.level == 0.01

    second, at_twelve = swept(range(8, 12), looks=parent_id(first))
    assert tags(second)["looks.taken"] == "8, 12"
    assert at_twelve.comparison is not None
    assert [len(row.finished) for row in at_twelve.comparison.rows] == [12, 12]

    third, at_sixteen = swept(range(12, 16), looks=parent_id(second))
    assert tags(third)["looks.taken"] == "8, 12, 16"
    assert at_sixteen.comparison is not None
    assert [len(row.finished) for row in at_sixteen.comparison.rows] == [16, 16]
    assert len(at_sixteen.board.ranked) == 8, "the ranking is of its own jobs"


def test_a_sweep_is_compared_with_those_that_it_adds_to_whether_it_is_named_or_the_last(
    uri: str, swept: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = swept(range(8), looks="true")
    second, _ = swept(range(8, 12), looks=parent_id(first))
    found = []
    for which in ([], [parent_id(second)]):
        capsys.readouterr()
        assert cli.main(["compare", *which, "--uri", uri, "--format", "json"]) == 0
        found.append([row["n"] for row in json.loads(capsys.readouterr().out)])
    assert found == [[12, 12], [12, 12]]


def test_a_sweep_that_may_be_extended_is_found_by_the_beginning_of_its_id(uri: str, swept: Make) -> None:
    begun, _ = swept(range(2), looks="true")
    whole = parent_id(begun)
    assert _extended(open_backend(uri), whole) == _extended(open_backend(uri), whole[:12]) == whole


def test_a_sweep_is_extended_once_and_then_the_one_that_extends_it(uri: str, swept: Make) -> None:
    first, _ = swept(range(2), looks="true")
    second, _ = swept(range(2, 4), looks=parent_id(first))
    with pytest.raises(ConfigError, match=f"must be the last sweep of its looks, which is {parent_id(second)}"):
        _extended(open_backend(uri), parent_id(first))
    assert _extended(open_backend(uri), parent_id(second)) == parent_id(second)


@pytest.mark.parametrize("letters", [32, 12])
def test_a_sweep_that_adds_to_another_is_resumed_by_the_command_that_began_it(
    uri: str, swept: Make, letters: int
) -> None:
    """Its command may name the other by the beginning of its id, as ``looks`` allows."""
    first, _ = swept(range(2), looks="true")
    second, _ = swept(range(2, 4), looks=parent_id(first))
    judged = {"looks": parent_id(first)[:letters]}
    assert sweep.resume(sweep_plan(uri, "mnist", second.keys, [], IDENTITY, COMMAND, judged)) is None
    finalize.finalize(second)


def test_a_sweep_is_resumed_as_it_is_judged(uri: str, swept: Make) -> None:
    begun, _ = swept(range(2), worth="0.1")
    with pytest.raises(ConfigError, match=r"worth must be as it was when the sweep began \(worth=0.1\) to resume it"):
        sweep.resume(sweep_plan(uri, "mnist", begun.keys, [], IDENTITY, COMMAND, {"worth": "0.2"}))


def test_a_sweep_that_is_judged_once_is_not_extended(uri: str, swept: Make) -> None:
    begun, _ = swept(range(2))
    with pytest.raises(ConfigError, match=r"must be the id of a sweep that began with looks=true: another is judged"):
        _extended(open_backend(uri), parent_id(begun))
    with pytest.raises(
        ConfigError, match=r"must be true or the id of one sweep, and no sweep has that id. Received: 'ab"
    ):
        _extended(open_backend(uri), "abcd")


def test_a_sweep_that_crosses_seeds_leaves_no_interval_behind(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs are no independent sample: neither its note nor its metrics hold a NaN in place of one."""
    monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")
    begun = sweep.begin(sweep_plan(uri, "mnist", ["seed", "training.order_seed"], [], IDENTITY, COMMAND))
    client = connect(uri)
    for weights, order in ((1, 1), (1, 2), (2, 1), (2, 2)):
        run = MlflowTracker.open(client, uri, "1", "a run", parent=parent_id(begun))
        run.log_params({"model.units": 4, "seed": weights, "training.order_seed": order, "data.split_seed": 17})
        run.set_tags({"dataset.digest": "d"})
        run.log_metrics(Measurement({"kept/val_accuracy": 0.9 + weights / 100 + order / 1000}))
        run.close(Status.FINISHED)
    finalize.finalize(begun)
    parent = client.get_run(parent_id(begun)).data
    assert "nan" not in parent.tags["mlflow.note.content"]
    assert "first/val_accuracy_low" not in parent.metrics
    assert parent.metrics["kept/val_accuracy"] == pytest.approx(0.9165)


def test_what_was_decided_and_written_stays_when_a_sweep_is_closed_again(swept: Make) -> None:
    begun, _ = swept(range(8), worth="0.1")
    backend, run_id = open_backend(begun.uri), parent_id(begun)
    assert tags(begun)[NOTE].count("<!-- ranking -->") == 1
    reviewer = Reviewer(backend, Person.parse("Bob Ray <bob@example.org>"))
    reviewer.approve(gather(backend, backend.find(run_id)), "fine", despite="whoever runs this test began it")
    backend.client.set_tag(run_id, NOTE, f"{tags(begun)[NOTE]}\nWe talked about this.\n")
    last = backend.search(f"tags.`mlflow.parentRunId` = '{run_id}'")[-1]
    backend.client.delete_run(last.run_id)
    finalize.close(
        begun, MlflowTracker(backend.client, begun.uri, run_id), interrupted=False, time_ms=2_000_000_000_000
    )
    note = tags(begun)[NOTE]
    assert note.startswith("<!-- review -->\n\n**STALE: ")
    assert "It was approved by Bob Ray" in note
    assert (note.count("<!-- review -->"), note.count("<!-- ranking -->")) == (1, 1)
    assert "| 1 | 10 | 8 | 0.9" not in note, "one replicate is gone"
    assert note.endswith("<!-- end of ranking -->\n\nWe talked about this.\n")
    assert b"STALE: " in (backend.artifact(run_id, "sweep/report.html") or b"")


def test_a_ranking_too_long_for_a_note_is_cut_and_not_what_stands_around_it() -> None:
    records = [run(number, 0.8, model__units=number, model__note="x" * 90) for number in range(200)]
    text = note(rank(records), None, None, "We talked about this.")
    assert 7000 < len(text) <= LONGEST_NOTE
    assert text.endswith("<!-- end of ranking -->\n\nWe talked about this.\n")
    assert note(rank(records), None, None, text) == text
