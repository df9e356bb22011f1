"""Promotion: which model it is, what is kept with it, what forbids it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from some_runs import compared, run

from mnist_exp.analysis.ranking import measure
from mnist_exp.base.errors import ConfigError, Refused, StoreError
from mnist_exp.review import promotion
from mnist_exp.review.record import Kind
from mnist_exp.review.review import Review
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow import registry
from mnist_exp.tracking.protocols import Measurement
from promotion.conftest import EIGHT, MEDIAN, Store, record_runs

# Which model


@pytest.mark.parametrize(
    ("accuracies", "chosen", "place"),
    [
        ((0.90,), "replicate 0", 1),
        ((0.90, 0.99, 0.95), "replicate 2", 2),
        ((0.90, 0.99, 0.95, 0.93), "replicate 3", 3),  # of the two in the middle the worse
        ((0.90, 0.90, 0.90), "replicate 1", 2),  # equal: the smaller number counts as the better one
        ((0.90, None, 0.95, 0.93), "replicate 3", 2),  # one that failed does not count
    ],
)
def test_of_the_replicates_the_median_is_chosen(accuracies: Sequence[float | None], chosen: str, place: int) -> None:
    result = compared(*(run(number, accuracy, model__units=4) for number, accuracy in enumerate(accuracies)))
    choice = promotion.choose(result, result.rows[0])
    assert (choice.replicate, choice.place, choice.of) == (chosen, place, len([each for each in accuracies if each]))


def test_of_losses_the_worse_one_in_the_middle_is_the_higher() -> None:
    losses = [0.1, 0.2, 0.3, 0.4]
    records = [run(number, 0.9, metrics={"test/loss": loss}) for number, loss in enumerate(losses)]
    result = compared(*records, by=measure("test/loss", direction="min", allow_test=True))
    assert promotion.choose(result, result.rows[0]).value == 0.3


def test_it_says_why_this_replicate(store: Store) -> None:
    done = store.promote("wide")
    assert (done.choice.replicate, done.choice.why) == (
        f"replicate {MEDIAN}",
        "the median of 8 replicates (rank 5), not the luckiest",
    )
    assert done.version.run_id == done.choice.run.run_id


# What is registered


def test_the_champion_is_loaded_by_its_alias(store: Store, loaded: Callable[[], Any]) -> None:
    done = store.promote("wide")
    assert (done.version.name, done.version.number, done.uri) == ("digits", 1, "models:/digits@champion")
    assert done.former is None
    model = loaded()
    assert model.metadata.run_id == done.choice.run.run_id
    assert model.predict(np.full((2, 28, 28), 255, np.uint8)).shape == (2, 10)


def test_the_version_says_what_was_asked_answered_approved_and_chosen(store: Store) -> None:
    done = store.promote("wide", by="cleo <c@example.org>")
    review = store.review("wide")
    (version,) = store.versions()
    assert version.is_champion
    assert review.decision.event is not None
    expected = {
        "kind": "promotion",
        "sweep": review.sweep.run_id,
        "approval": review.decision.event.id,
        "approved.by": "bob",
        "content": review.content.words,
        "answer": review.answer.text,
        "configuration": "model.units=10",
        "configurations": "2",
        "replicate": f"replicate {MEDIAN}",
        "by": "cleo <c@example.org>",
        "former": "none",
        "report": f"runs:/{review.sweep.run_id}/sweep/report.html",
    }
    assert {key: version.tags[key] for key in expected} == expected
    assert "despite" not in version.tags
    assert version.description == done.version.description
    for text in ("model.units=10", review.answer.text, "not the luckiest", "bob", "cleo <c@example.org>"):
        assert text in version.description


def test_the_only_configuration_of_a_sweep_is_called_by_its_model(store: Store) -> None:
    assert store.promote("worse").configuration == "model=dense model.units=3"


def test_it_beats_the_champion_over_the_replicates_of_both(store: Store) -> None:
    store.promote("narrow")
    done = store.promote("wide")
    assert done.former is not None
    assert done.former.number == 1
    assert done.against is not None
    assert (done.against.name, done.against.champion_name) == ("model.units=10", "model.units=4")
    assert done.against.replicates == tuple(f"replicate {number}" for number in EIGHT)
    assert done.against.difference == pytest.approx(0.1)
    assert 0 < done.against.low < 0.1 < done.against.high
    assert done.against.p == pytest.approx(2 / 2**8)
    (new, old) = store.versions()
    assert (new.number, new.is_champion, new.tags["former"]) == (2, True, "1")
    assert new.tags["against"] == done.against.figures()
    assert (old.number, old.is_champion) == (1, False)


def test_a_text_of_any_length_fits_without_its_secrets(store: Store) -> None:
    review = store.decided("narrow")
    tags = {"kind": "promotion", "note": "x" * 9000, "by": "postgresql://ann:s3cr3t-of-ann@host/db"}
    run_id = promotion.choose(review.comparison, review.comparison.first).run.run_id  # type: ignore[union-attr,arg-type]
    version = registry.register(store.backend.uri, "digits", run_id, tags, "y" * 9000)
    assert version.tags["note"].endswith("(9,000 characters)")
    assert (len(version.tags["note"]), len(version.description)) == (5000, 5000)
    assert version.tags["by"] == "postgresql://***@host/db"


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("mnist", "mnist"), ("my images: a/b@c", "my_images_a_b_c"), ("größe", "größe"), ("..", "model")],
)
def test_the_name_is_the_data_sets_without_what_a_uri_cannot_have(dataset: str, name: str) -> None:
    assert registry.registered_name(dataset) == name


# What forbids it


def approved_then_changed(store: Store) -> Review:
    (changed, *_) = store.decided("wide").runs
    store.backend.tracker(changed.run_id).log_metrics(Measurement({"kept/val_accuracy": 0.99}))
    return store.review("wide")


def approved_record_damaged(store: Store) -> Review:
    sweep = store.decided("wide").sweep
    store.backend.tracker(sweep.run_id).log_params({"review.0005": "{}"})
    return store.review("wide")


def approved_then_overturned(store: Store) -> Review:
    sweep = store.decided("wide").sweep
    record_runs(store.backend, "again", {6: 0.9, 10: 0.85}, range(30, 38), follows=sweep.run_id)
    return store.review("wide")


REFUSED: dict[str, tuple[Callable[[Store], Review], str]] = {
    "not approved": (lambda store: store.review("wide"), "it is not approved"),
    "rejected": (lambda store: store.decided("wide", Kind.REJECT), "it was rejected by bob"),
    "stale": (approved_then_changed, "its approval is stale: metrics changed"),
    "overturned": (approved_then_overturned, "overturned by "),
    "damaged": (approved_record_damaged, "its record cannot be trusted"),
    "not finished": (lambda store: store.decided("failed"), "it is FAILED, not FINISHED"),
    "other data": (lambda store: store.decided("other data"), "it was trained on other data (d2) than the champion"),
    "worse": (lambda store: store.decided("worse"), "it is not better than the champion model.units=4: -0.05"),
    "champion already": (lambda store: store.review("narrow"), "its configuration is champion already: version 1"),
    "too few": (
        lambda store: store.decided("few"),
        "it has 3 replicates in common with the champion, and a verdict takes 6: run both with 3 more replicates",
    ),
    "other replicates": (
        lambda store: store.decided("fresh"),
        "it has 2 replicates in common with the champion, and a verdict takes 6: "
        "run the champion's model.units=4 with replicate=20,21,22,23",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_line_and_a_reason_that_overrides_it_is_kept(store: Store, case: str) -> None:
    store.promote("narrow")
    review, objection = REFUSED[case][0](store), REFUSED[case][1]
    with pytest.raises(ConfigError) as refused:
        promotion.promote(store.backend, review, by="cleo")
    assert objection in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "--despite WHY" in str(refused.value)
    assert (store.numbers, store.champion) == ([1], "model.units=4")
    done = promotion.promote(store.backend, review, despite="the demo is today", by="cleo")
    (version, _) = store.versions()
    assert version.is_champion
    assert version.tags["despite"] == "the demo is today"
    assert version.tags["overrode"] == "; ".join(done.overrode)
    assert objection in version.tags["overrode"]
    assert "the demo is today" in version.description


def test_a_reason_that_overrides_nothing_is_not_kept(store: Store) -> None:
    assert store.promote("wide", despite="just in case").overrode == ()
    assert "despite" not in store.versions()[0].tags


@pytest.mark.parametrize("reason", [" ", "\n", "x" * 501])
def test_a_reason_is_not_blank_and_not_endless(store: Store, reason: str) -> None:
    with pytest.raises(ConfigError, match="--despite must be a reason of 1 to 500 characters"):
        store.promote("wide", despite=reason)
    assert store.numbers == []


def test_missing_replicates_of_the_champion_can_be_run_in_a_sweep_of_their_own(store: Store) -> None:
    store.promote("narrow")
    record_runs(store.backend, "the missing ones", {4: 0.8}, range(20, 24))
    done = store.promote("fresh")
    assert done.against is not None
    assert len(done.against.replicates) == 6
    assert done.against.is_better


def test_a_run_without_a_model_is_refused_before_anything_is_registered(store: Store) -> None:
    with pytest.raises(Refused, match="has no model: there is nothing to register"):
        store.promote("no model")
    assert registry.names(store.backend.uri) == []


def test_a_champion_that_was_registered_by_hand_cannot_be_compared(store: Store) -> None:
    client = store.backend.client
    client.create_registered_model("digits")
    client.create_model_version("digits", "/somewhere/else")
    client.set_registered_model_alias("digits", "champion", "1")
    with pytest.raises(ConfigError, match="the champion, version 1, has no run in this store to compare it with"):
        store.promote("wide")
    assert store.promote("wide", despite="nobody knows that one").version.number == 2


def test_a_registry_that_is_away_is_one_line() -> None:
    with pytest.raises(StoreError, match="no server answers there"):
        registry.versions("http://127.0.0.1:9", "digits")


def test_runs_of_the_sweep_are_not_changed(store: Store) -> None:
    before = queries.children(store.backend, store.decided("wide").sweep.run_id)
    store.promote("wide")
    assert queries.children(store.backend, before[0].tags["mlflow.parentRunId"]) == before
