"""What each run keeps of what it was given, and what is kept once for all runs of a command."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prepared import prepared

from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.runs import artifacts, checkout
from mnist_exp.runs.checkout import Code
from mnist_exp.runs.job import Job
from mnist_exp.tracking.memory import MemoryTracker

Composed = Callable[..., RunConfig]

DIFF = b"diff --git a/x b/x\n"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("a run", "a configuration", ("model.units=6",), tmp_path, in_sweep=True)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What differs from the commit, for a test to set; asked for, it is taken out."""
    given = [DIFF]
    monkeypatch.setattr(checkout, "code", lambda: Code("abc", True))
    monkeypatch.setattr(checkout, "changes", given.pop)
    return given


def of_a_run(config: RunConfig, job: Job) -> MemoryTracker:
    artifacts.run_inputs(prepared(config, job), tracker := MemoryTracker())
    return tracker


@pytest.mark.usefixtures("changes")
def test_what_is_the_same_for_all_runs_of_a_command_is_kept_once(composed: Composed, job: Job) -> None:
    config = composed("model.units=6")
    run = of_a_run(config, job)
    artifacts.command_inputs(datasets.load(config.data), "python -m mnist_exp -m ...", parent := MemoryTracker())
    assert set(run.artifacts) == {"config/config.yaml", "provenance/rerun.sh", "provenance/git.diff"}
    assert {"host", "git.commit", "git.dirty", "rerun", "dataset.digest"} <= set(run.tags)
    assert set(parent.artifacts) == {
        *("data/samples.png", "data/class_counts.png", "data/pixels.png", "provenance/environment.txt")
    }
    assert {"command", "platform", "version.python", "version.tensorflow", "version.mnist-exp"} <= set(parent.tags)
    assert not set(run.tags) & set(parent.tags)


def test_a_run_keeps_the_changes_that_its_script_applies(composed: Composed, job: Job, changes: list[bytes]) -> None:
    run = of_a_run(composed(), job)
    assert run.artifacts["provenance/git.diff"] == DIFF
    assert b"git apply" in run.artifacts["provenance/rerun.sh"]
    assert changes == []


def test_without_changes_there_is_no_empty_file(composed: Composed, job: Job, changes: list[bytes]) -> None:
    changes[:] = [b""]
    run = of_a_run(composed(), job)
    assert "provenance/git.diff" not in run.artifacts


def test_changes_that_are_not_wanted_are_not_even_looked_for(
    composed: Composed, job: Job, changes: list[bytes]
) -> None:
    run = of_a_run(composed("tracking.git_diff=false"), job)
    assert changes == [DIFF]
    assert "provenance/git.diff" not in run.artifacts
    assert b"none of them was kept" in run.artifacts["provenance/rerun.sh"]
    assert run.tags["git.dirty"] == "true"
