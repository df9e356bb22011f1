"""One champion, however many promote at once, and the way back to a former one."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from mnist_exp.base.errors import ConfigError, Refused
from mnist_exp.review import champion, promotion
from mnist_exp.review.review import Review
from mnist_exp.tracking.mlflow import registry
from promotion.conftest import Died, Store

# One champion


def test_a_version_without_the_alias_is_taken_up_by_the_next_try(store: Store, dies: Callable[[str], None]) -> None:
    store.promote("narrow")
    review = store.decided("wide")
    dies("set_champion")
    with pytest.raises(Died):
        promotion.promote(store.backend, review, by="cleo")
    assert (store.numbers, store.champion) == ([2, 1], "model.units=4")
    done = promotion.promote(store.backend, review, by="cleo")
    assert (done.version.number, done.version.is_champion) == (2, True)
    assert (store.numbers, store.champion) == ([2, 1], "model.units=10")


def test_another_promotion_finishes_it_and_has_to_beat_it(store: Store, dies: Callable[[str], None]) -> None:
    dies("set_champion")
    with pytest.raises(Died):
        store.promote("wide")
    with pytest.raises(ConfigError, match="not better than the champion model.units=10"):
        store.promote("narrow")
    assert (store.numbers, store.champion) == ([1], "model.units=10")


def test_what_it_finished_is_part_of_its_result(store: Store, dies: Callable[[str], None]) -> None:
    dies("set_champion")
    with pytest.raises(Died):
        store.promote("wide")
    done = store.promote("wider")
    assert [version.number for version in done.finished] == [1]
    assert (store.numbers, store.champion) == ([2, 1], "model.units=20")


def test_an_end_right_after_the_alias_leaves_a_champion_like_any_other(
    store: Store, dies: Callable[[str], None]
) -> None:
    dies("set_tag")
    with pytest.raises(Died):
        store.promote("narrow")
    assert store.champion == "model.units=4"
    store.promote("wide")
    assert all("champion.since" in version.tags for version in store.versions())
    assert (store.numbers, store.champion) == ([2, 1], "model.units=10")


Meanwhile = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Lets another person do something right before this process's next call of a function of the registry."""

    def before(function: str, other: Callable[[], object]) -> None:
        real = getattr(registry, function)

        def interrupted(*arguments: Any) -> Any:
            monkeypatch.setattr(registry, function, real)
            other()
            return real(*arguments)

        monkeypatch.setattr(registry, function, interrupted)

    return before


def test_if_another_became_champion_before_it_registers_it_has_to_compare_again(
    store: Store, meanwhile: Meanwhile
) -> None:
    store.promote("narrow")
    review = store.decided("wide")
    meanwhile("register", lambda: store.promote("wider", by="dan"))
    with pytest.raises(ConfigError) as lost:
        promotion.promote(store.backend, review, by="cleo")
    assert "version 2 (model.units=20, promoted by dan) became champion of digits meanwhile" in str(lost.value)
    assert "compare again" in str(lost.value)
    assert (store.numbers, store.champion) == ([2, 1], "model.units=20")


def test_who_registers_first_wins_also_if_the_other_has_to_move_the_alias(store: Store, meanwhile: Meanwhile) -> None:
    store.promote("narrow")
    mine, other = store.decided("wide"), store.decided("wider")
    lost: list[str] = []

    def too_late() -> None:
        former = champion.champion_of(store.versions())
        with pytest.raises(ConfigError, match="became champion of digits meanwhile") as raised:
            champion.succeed(store.backend.uri, "digits", run_of(other), {"kind": "promotion"}, "", former)
        lost.append(str(raised.value))

    meanwhile("set_champion", too_late)
    done = promotion.promote(store.backend, mine, by="cleo")
    assert len(lost) == 1
    assert done.version.number == 2
    assert (store.numbers, store.champion) == ([2, 1], "model.units=10")


def run_of(review: Review) -> str:
    assert review.comparison is not None
    assert review.comparison.first is not None
    return promotion.choose(review.comparison, review.comparison.first).run.run_id


def test_a_slow_process_does_not_put_an_older_version_back(store: Store, meanwhile: Meanwhile) -> None:
    store.promote("narrow")
    review, next_one = store.decided("wide"), store.decided("wider")

    def others() -> None:
        champion.settle(store.backend.uri, "digits", {})  # the alias is moved for the slow process
        promotion.promote(store.backend, next_one, by="dan")

    meanwhile("set_champion", others)
    assert promotion.promote(store.backend, review, by="cleo").version.number == 2
    assert (store.numbers, store.champion) == ([3, 2, 1], "model.units=20")


def test_the_same_promotion_by_two_people_is_one(store: Store, meanwhile: Meanwhile) -> None:
    review = store.decided("wide")
    meanwhile("register", lambda: promotion.promote(store.backend, review, by="dan"))
    assert promotion.promote(store.backend, review, by="cleo").version.tags["by"] == "dan"
    assert (store.numbers, store.champion) == ([1], "model.units=10")


def test_of_two_at_once_one_becomes_champion_and_nothing_is_left_of_the_other(store: Store) -> None:
    store.promote("narrow")
    reviews = {name: store.decided(name) for name in ("wide", "wider")}
    outcomes: dict[str, str] = {}
    start = threading.Barrier(len(reviews))

    def promote(name: str) -> None:
        start.wait(60)
        try:
            promotion.promote(store.backend, reviews[name], by=name)
            outcomes[name] = "champion"
        except ConfigError as error:
            outcomes[name] = str(error)

    threads = [threading.Thread(target=promote, args=[name]) for name in reviews]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    champions = [name for name, outcome in outcomes.items() if outcome == "champion"]
    present = champion.champion_of(store.versions())
    assert present is not None
    assert present.tags["by"] in champions
    assert len(store.versions()) == 1 + len(champions)
    for name, outcome in outcomes.items():
        if name not in champions:
            assert "became champion of digits meanwhile" in outcome or "not better than the champion" in outcome


@pytest.mark.parametrize("call", ["set_registered_model_alias", "set_model_version_tag"])
def test_a_row_that_another_process_inserts_at_the_same_time_is_written_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    client = store.backend.client
    real = getattr(client, call)

    def fails_once(*arguments: Any) -> None:
        monkeypatch.setattr(client, call, real)
        raise MlflowException("UNIQUE constraint failed")

    monkeypatch.setattr(client, call, fails_once)
    store.promote("narrow")
    assert store.champion == "model.units=4"
    assert "champion.since" in store.versions()[0].tags


def test_who_may_not_write_to_the_model_is_told_so_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    monkeypatch.setattr(store.backend.client, "create_model_version", denied)
    with pytest.raises(Refused, match="does not let this user promote to 'digits': that needs EDIT on it"):
        store.promote("narrow")
    assert store.numbers == []


def test_an_alias_that_was_moved_by_hand_stays_where_it_is(store: Store) -> None:
    store.promote("narrow")
    store.promote("wide")
    registry.set_champion(store.backend.uri, "digits", 1)
    versions, finished = champion.settle(store.backend.uri, "digits", {})
    assert finished == []
    assert [version.number for version in versions if version.is_champion] == [1]
    done = store.promote("wider")
    assert done.former is not None
    assert done.former.number == 1
    assert store.champion == "model.units=20"


# The way back


def test_a_rollback_is_a_new_version_of_the_former_champions_model(store: Store, loaded: Callable[[], Any]) -> None:
    former = store.promote("narrow").version
    store.promote("wide")
    done = champion.rollback(store.backend, "digits", by="dan", reason="too slow on the phone")
    assert (done.version.number, done.repeats.number, done.replaced.number) == (3, 1, 2)
    assert done.version.run_id == former.run_id
    (version, *_) = store.versions()
    assert version.is_champion
    expected = {"kind": "rollback", "repeats": "1", "former": "2", "by": "dan", "reason": "too slow on the phone"}
    assert {key: version.tags[key] for key in expected} == expected
    assert version.tags["configuration"] == "model.units=4"
    assert version.description.startswith("Rollback from version 2 to version 1.\n\nReason: `too slow on the phone`")
    assert loaded().metadata.run_id == former.run_id


def test_each_rollback_goes_one_promotion_further_back(store: Store) -> None:
    for name in ("narrow", "wide", "wider"):
        store.promote(name)
    back = [champion.rollback(store.backend, "digits", by="dan").repeats.number for _ in range(2)]
    assert back == [2, 1]
    with pytest.raises(ConfigError, match="is the first champion of 'digits': there is none to go back to"):
        champion.rollback(store.backend, "digits", by="dan")
    assert store.numbers == [5, 4, 3, 2, 1]
    assert store.champion == "model.units=4"


def test_what_was_taken_back_can_be_promoted_and_taken_back_again(store: Store) -> None:
    store.promote("narrow")
    store.promote("wide")
    champion.rollback(store.backend, "digits", by="dan")
    assert store.promote("wide").version.number == 4
    assert champion.rollback(store.backend, "digits", by="dan").repeats.number == 1


def test_a_rollback_that_was_interrupted_is_not_made_twice(store: Store, dies: Callable[[str], None]) -> None:
    for name in ("narrow", "wide", "wider"):
        store.promote(name)
    dies("set_champion")
    with pytest.raises(Died):
        champion.rollback(store.backend, "digits", by="dan")
    assert champion.rollback(store.backend, "digits", by="dan").version.number == 4
    assert (store.numbers, store.champion) == ([4, 3, 2, 1], "model.units=10")


def test_a_rollback_first_finishes_what_was_interrupted_and_asks_again(
    store: Store, dies: Callable[[str], None]
) -> None:
    store.promote("narrow")
    review = store.decided("wide")
    dies("set_champion")
    with pytest.raises(Died):
        promotion.promote(store.backend, review, by="cleo")
    store.decided("narrow")
    with pytest.raises(ConfigError, match="there is none to go back to"):
        champion.rollback(store.backend, "digits", by="dan")
    assert store.champion == "model.units=4"


@pytest.mark.parametrize("name", ["digits", "mnist", "a'b", 'x"y', "../z"])
def test_without_a_champion_there_is_nothing_to_take_back(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no champion of"):
        champion.rollback(store.backend, name, by="dan")


def test_a_former_champion_that_was_deleted_does_not_come_back(store: Store) -> None:
    store.promote("narrow")
    store.promote("wide")
    registry.delete(store.backend.uri, "digits", 1)
    with pytest.raises(ConfigError, match="version 1 of 'digits' was deleted: it cannot become champion again"):
        champion.rollback(store.backend, "digits", by="dan")
