"""Sweeps that test the result of another one again, with replicates that took no part in choosing."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mnist_exp.base.errors import ConfigError
from mnist_exp.config import replicate as replicates
from mnist_exp.config.overrides import as_text
from mnist_exp.config.schema import RunConfig
from mnist_exp.review.checks import Check
from mnist_exp.review.followups import check_followed
from mnist_exp.tracking.protocols import Record
from review.conftest import ALIKE, CLEAR, Sweeps

FRESH = range(8, 16)


def confirmed(sweeps: Sweeps, sweep: Record) -> Check:
    (found,) = [each for each in sweeps.review(sweep).checks if each.name == "confirmed"]
    return found


def followed(
    sweeps: Sweeps, chosen: Mapping[int, float], again: Mapping[int, float], **more: Any
) -> tuple[Check, Record]:
    """The check of a sweep that another one followed, and that one."""
    sweep = sweeps.make(chosen, params=more.pop("params", {}))
    later = sweeps.make(again, more.pop("numbers", FRESH), params={"follows": sweep.run_id}, **more)
    return confirmed(sweeps, sweep), later


class TestOutcome:
    def test_the_same_winner_confirms_it_and_the_unbiased_figure_stands_beside_the_other(self, sweeps: Sweeps) -> None:
        found, later = followed(sweeps, CLEAR, {4: 0.80, 10: 0.86})
        assert (found.state, found.words) == (
            "holds",
            f"confirmed by {later.run_id[:4]}: 0.8635 fresh, 0.8731 when chosen",
        )

    def test_another_winner_overturns_it_and_the_check_fails(self, sweeps: Sweeps) -> None:
        found, later = followed(sweeps, CLEAR, {4: 0.87, 10: 0.80})
        assert found.state == "fails"
        assert found.words.startswith(f"overturned by {later.run_id[:4]}: 0.80")

    def test_no_winner_leaves_it_undecided(self, sweeps: Sweeps) -> None:
        found, later = followed(sweeps, CLEAR, ALIKE)
        assert found.state == "missing"
        assert found.words.startswith(f"undecided by {later.run_id[:4]}: ")

    def test_too_few_replicates_leave_it_undecided(self, sweeps: Sweeps) -> None:
        found, _ = followed(sweeps, CLEAR, CLEAR, numbers=range(8, 11))
        assert found.state == "missing"
        assert found.words.startswith("undecided by ")

    def test_no_difference_is_confirmed_by_no_difference(self, sweeps: Sweeps) -> None:
        worth = {"params": {"question": "does width matter?", "worth": "0.05"}}
        assert followed(sweeps, ALIKE, ALIKE, **worth)[0].words.startswith("confirmed by ")

    def test_no_difference_is_overturned_by_one_that_matters(self, sweeps: Sweeps) -> None:
        worth = {"params": {"question": "does width matter?", "worth": "0.05"}}
        found, _ = followed(sweeps, ALIKE, {4: 0.7, 10: 0.9}, **worth)
        assert found.words.startswith("overturned by ")

    def test_one_without_a_run_says_nothing(self, sweeps: Sweeps) -> None:
        found, later = followed(sweeps, CLEAR, {}, numbers=[])
        assert found.words == f"{later.run_id[:4]} says nothing: there are no runs to compare"

    def test_one_without_the_chosen_configuration_says_nothing_of_it(self, sweeps: Sweeps) -> None:
        found, later = followed(sweeps, CLEAR, {4: 0.8})
        assert found.words == f"{later.run_id[:4]} has no result of the chosen configuration"

    def test_one_that_runs_is_not_asked(self, sweeps: Sweeps) -> None:
        found, _ = followed(sweeps, CLEAR, CLEAR, status="RUNNING")
        assert found.words == "confirmed on fresh replicates"

    def test_one_that_overturns_outweighs_one_that_confirms(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make()
        for again, numbers in ((CLEAR, FRESH), ({4: 0.87, 10: 0.8}, range(16, 24))):
            sweeps.make(again, numbers, params={"follows": sweep.run_id})
        assert confirmed(sweeps, sweep).state == "fails"

    def test_the_follower_says_whose_fresh_test_it_is(self, sweeps: Sweeps) -> None:
        _, later = followed(sweeps, CLEAR, CLEAR)
        found = confirmed(sweeps, later)
        assert (found.state, found.words) == ("holds", f"a fresh test of {later.params['follows'][:4]}")


def jobs(units: Sequence[int], numbers: Sequence[int]) -> list[dict[str, str]]:
    """The params of a sweep's jobs."""
    return [
        as_text({"model.units": width, "replicate": number, **replicates.seeds(number)})
        for width in units
        for number in numbers
    ]


DATA = "c6558067"


class TestBeforeItBegins:
    def test_the_same_configurations_with_new_replicates_may_follow(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make()
        for given in (sweep.run_id, sweep.run_id[:12]):
            assert check_followed(sweeps.backend, given, jobs([4, 10], FRESH), DATA) == sweep.run_id

    @pytest.mark.parametrize(("units", "both"), [([4], 1), ([4, 10, 20], 2), ([5, 11], 0)])
    def test_other_configurations_may_not(self, sweeps: Sweeps, units: list[int], both: int) -> None:
        sweep = sweeps.make()
        words = f"same configurations: it has 2, this one {len(units)}, and {both} are in both"
        with pytest.raises(ConfigError, match=words):
            check_followed(sweeps.backend, sweep.run_id, jobs(units, FRESH), DATA)

    def test_other_data_may_not(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make()
        with pytest.raises(ConfigError, match="must be the id of a sweep that learned from the same data"):
            check_followed(sweeps.backend, sweep.run_id, jobs([4, 10], FRESH), "another")

    def test_replicates_that_took_part_in_choosing_may_not(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make()
        with pytest.raises(ConfigError, match=r"such as replicate=range\(8,18\): 2 of 10 did, in the sweep"):
            check_followed(sweeps.backend, sweep.run_id, jobs([4, 10], range(6, 16)), DATA)

    def test_a_replicate_is_known_by_its_seeds_not_by_its_number(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make()
        renamed = [{**job, "replicate": "99"} for job in jobs([4, 10], [3])]
        with pytest.raises(ConfigError, match="must name replicates that took no part in choosing"):
            check_followed(sweeps.backend, sweep.run_id, renamed, DATA)

    def test_replicates_of_an_earlier_look_took_part_too(self, sweeps: Sweeps) -> None:
        first = sweeps.make(tags={"looks": "true"})
        second = sweeps.make(numbers=range(8, 12), tags={"looks": first.run_id})
        with pytest.raises(ConfigError, match=r"range\(12,16\)"):
            check_followed(sweeps.backend, second.run_id, jobs([4, 10], range(4)), DATA)

    def test_an_id_that_is_none_or_of_several_is_refused(self, alone: Sweeps) -> None:
        ids = [alone.make({}, []).run_id for _ in range(17)]
        shared = next(each[0] for each in ids if [other[0] for other in ids].count(each[0]) > 1)
        with pytest.raises(ConfigError, match=r"must be the id of one sweep, and \d+ sweeps have that id"):
            check_followed(alone.backend, shared, [], DATA)
        for given in ("0" * 32, "x'--", ""):
            with pytest.raises(ConfigError, match="follows must be the id of one sweep, and no sweep has that id"):
                check_followed(alone.backend, given, [], DATA)

    def test_a_run_and_a_deleted_sweep_are_no_sweep(self, sweeps: Sweeps) -> None:
        sweep = sweeps.make(numbers=range(1))
        run = sweeps.runs(sweep)[0].run_id
        sweeps.backend.client.delete_run(sweep.run_id)
        for given in (run, sweep.run_id):
            with pytest.raises(ConfigError, match="no sweep has that id"):
                check_followed(sweeps.backend, given, jobs([4, 10], FRESH), DATA)

    def test_the_params_of_a_real_job_are_those_that_its_run_has(self, sweeps: Sweeps, composed: Any) -> None:
        def config(units: int, replicate: int) -> RunConfig:
            made: RunConfig = composed(f"model.units={units}", f"replicate={replicate}")
            return made

        sweep = sweeps.make({}, [])
        for units in (4, 10):
            tags = {"kind": "run", "mlflow.parentRunId": sweep.run_id, "dataset.digest": DATA}
            run = sweeps.backend.client.create_run(sweep.experiment_id, tags=tags).info.run_id
            sweeps.backend.tracker(run).log_params(config(units, 0).params())
        fresh = [as_text(config(units, 1).params()) for units in (4, 10)]
        assert check_followed(sweeps.backend, sweep.run_id, fresh, DATA) == sweep.run_id
