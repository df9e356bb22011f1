"""Sweeps that test the result of another one again: the same configurations, with replicates that are new.

The best of several configurations looks better than it is, as it was chosen for that. A sweep with ``follows=ID``
measures it again with replicates that took no part in choosing, so its figure is unbiased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mnist_exp.analysis import frames, samples
from mnist_exp.analysis.comparison import Comparison, Row, compare
from mnist_exp.analysis.ranking import measure
from mnist_exp.base.errors import ConfigError
from mnist_exp.config.replicate import REPLICATE
from mnist_exp.metrics import OBJECTIVE
from mnist_exp.review.answer import Kind, answer_of, contenders, decided_keys
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Backend, Record


class Outcome(StrEnum):
    """What a follow-up says of the result that it tests."""

    CONFIRMED = "confirmed"
    OVERTURNED = "overturned"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class FollowUp:
    """One follow-up.

    Attributes:
        sweep: id of its parent run.
        outcome: what it says.
        words: that, with the figure of the chosen configuration when it was chosen, and when it was tested again.
    """

    sweep: str
    outcome: Outcome
    words: str


def followups(backend: Backend, sweep: Record, result: Comparison | None) -> list[FollowUp]:
    """Return the sweeps that followed ``sweep`` and have ended, with what they say of its result.

    Args:
        backend: the store.
        sweep: the parent run.
        result: its comparison; None if there is none.

    Raises:
        StoreError: the store cannot be asked.
    """
    if result is None or result.first is None:
        return []
    later = [each for each in queries.parents(backend) if each.params.get("follows") == sweep.run_id]
    return [_judged(backend, each, result) for each in later if each.status != "RUNNING"]


def _judged(backend: Backend, later: Record, result: Comparison) -> FollowUp:
    assert result.first is not None
    runs = queries.children(backend, later.run_id)
    if len({run.tags.get("dataset.digest") for run in [*runs, *result.first.finished]}) > 1:
        return FollowUp(later.run_id, Outcome.UNDECIDED, f"{later.run_id[:4]} ran on other data")
    try:
        epochs = frames.epochs_frame(backend, [run.run_id for run in runs])
        again = compare(runs, epochs, measure(OBJECTIVE), worth=result.verdicts.worth)
    except ConfigError as error:
        return FollowUp(later.run_id, Outcome.UNDECIDED, f"{later.run_id[:4]} says nothing: {error}")
    chosen = samples.config_of(result.first.finished[0])
    row = next((each for each in again.rows if each.finished and samples.config_of(each.finished[0]) == chosen), None)
    if row is None or row.spread is None or result.first.spread is None:
        return FollowUp(
            later.run_id, Outcome.UNDECIDED, f"{later.run_id[:4]} has no result of the chosen configuration"
        )
    outcome = _outcome(again, result, row)
    figures = f"{row.spread.mean:.4f} fresh, {result.first.spread.mean:.4f} when chosen"
    return FollowUp(later.run_id, outcome, f"{outcome} by {later.run_id[:4]}: {figures}")


def _outcome(again: Comparison, result: Comparison, chosen: Row) -> Outcome:
    """Return what fresh replicates say of the setting that was decided, or of the first configuration if none was."""
    if again.verdicts.result is None or not chosen.is_judged:
        return Outcome.UNDECIDED
    if answer_of(result).kind is Kind.EQUIVALENT:
        answer, worth = answer_of(again), result.verdicts.worth or 0
        if answer.kind is Kind.EQUIVALENT:
            return Outcome.CONFIRMED
        return Outcome.OVERTURNED if (answer.low or 0) >= worth else Outcome.UNDECIDED
    keys = decided_keys(result) or result.keys
    best = {row.label(keys) for row in contenders(again)}
    if chosen.label(keys) not in best:
        return Outcome.OVERTURNED
    return Outcome.CONFIRMED if len(best) == 1 else Outcome.UNDECIDED


def check_followed(backend: Backend, given: str, jobs: Sequence[Mapping[str, str]], data: str) -> str:
    """Check that a sweep may follow another one; return the whole id of that.

    Args:
        backend: the store.
        given: the first letters of an id, 4 at least.
        jobs: the params of the new sweep's runs.
        data: the digest of their data.

    Raises:
        ConfigError: there is no such sweep, its data or configurations are not these, or a replicate took part in
            choosing.
        StoreError: the store cannot be asked.
    """
    sweep = queries.one_sweep(backend, "follows", given)
    runs, _ = queries.runs_looked_at(backend, sweep)
    if data not in {run.tags.get("dataset.digest") for run in runs}:
        raise ConfigError.rule("follows", "must be the id of a sweep that learned from the same data", given)
    there = {samples.config_of(run) for run in runs}
    configs = set(map(samples.configuration, jobs))
    if configs != there:
        rule = f"must be the id of a sweep of the same configurations: it has {len(there)}, this one {len(configs)}"
        raise ConfigError.rule("follows", f"{rule}, and {len(configs & there)} are in both", given)
    seeds = {samples.seeds_in(params) for params in jobs}
    if again := {samples.seeds_of(run) for run in runs} & seeds:
        first, count = samples.next_replicate(runs), len(seeds)
        raise ConfigError(
            f"{REPLICATE} must name replicates that took no part in choosing, such as "
            f"{REPLICATE}=range({first},{first + count}): {len(again)} of {count} did, in the sweep {given}"
        )
    return sweep.run_id
