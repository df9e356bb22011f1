"""``mnist-exp promote``: the model of an approved sweep becomes the champion, or a former champion does again."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mnist_exp.base.errors import ConfigError, MnistExpError
from mnist_exp.commands import store

if TYPE_CHECKING:
    from mnist_exp.review.promotion import Promotion
    from mnist_exp.tracking.mlflow.registry import Version
    from mnist_exp.tracking.protocols import Backend

HELP = "promote an approved sweep, list champions, roll back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "which",
        nargs="?",
        metavar="SWEEP|NAME",
        help="id of a sweep or its first letters (default: the last sweep); with --list and --rollback the name of a "
        "registered model (default: the only one)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="show the versions of a registered model, change nothing")
    instead.add_argument("--rollback", action="store_true", help="make the champion before the present one champion")
    parser.add_argument("--despite", metavar="WHY", help="promote although something forbids it; the reason is kept")
    parser.add_argument("-m", "--message", metavar="WHY", help="the reason for a rollback; it is kept")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    store.add_uri(parser)


def run(arguments: argparse.Namespace) -> int:
    """Promote, take back or list, and show the result; return 0.

    Raises:
        ConfigError: an option breaks its rule, something forbids the promotion, or there is nothing to take back.
        StoreError: the store cannot be asked or may not be written to, or has nothing of that name.
    """
    if arguments.despite is not None and (arguments.list or arguments.rollback):
        raise ConfigError.rule("--despite", "goes with a sweep, not with --list or --rollback", arguments.despite)
    if arguments.message is not None and not arguments.rollback:
        raise ConfigError.rule("-m", "goes with --rollback; the reason for a promotion is --despite", arguments.message)
    from mnist_exp.review import promotion

    for option, reason in (("--despite", arguments.despite), ("-m", arguments.message)):
        if reason is not None:
            promotion.check_reason(option, reason or " ")
    backend = store.open_store(arguments.uri)
    if arguments.list:
        _list(backend, arguments.which, arguments.format)
    elif arguments.rollback:
        _rollback(backend, _name(backend, arguments.which), arguments.message or "", arguments.format)
    else:
        _promote(backend, arguments.which, arguments.despite or "", arguments.format)
    return 0


def _promote(backend: "Backend", which: str | None, despite: str, form: str) -> None:
    from mnist_exp.review import person, promotion
    from mnist_exp.review.actions import Reviewer
    from mnist_exp.review.review import gather
    from mnist_exp.terminal import messages, promotions, tables
    from mnist_exp.tracking.mlflow.client import without_credentials

    review = gather(backend, store.find_sweep(backend, which))
    reviewer = Reviewer(backend, person.current(backend))
    done = promotion.promote(backend, review, despite=despite, by=str(reviewer.person))
    try:
        reviewer.promoted(review, f"{done.version.name}/{done.version.number}")
    except MnistExpError as error:
        messages.warning(f"it was promoted, and the review of the sweep does not say so: {error}")
    if form == "json":
        tables.as_json(_promotion_as_json(done))
    else:
        promotions.promoted(done, without_credentials(backend.uri))


def _rollback(backend: "Backend", name: str, reason: str, form: str) -> None:
    from mnist_exp.review import champion, person
    from mnist_exp.terminal import promotions, tables
    from mnist_exp.tracking.mlflow.client import without_credentials

    done = champion.rollback(backend, name, by=str(person.current(backend)), reason=reason)
    if form == "json":
        tables.as_json({**_as_json(done.version), "repeats": done.repeats.number, "former": done.replaced.number})
    else:
        promotions.rolled_back(done, without_credentials(backend.uri))


def _list(backend: "Backend", given: str | None, form: str) -> None:
    from mnist_exp.review import champion
    from mnist_exp.terminal import promotions, tables
    from mnist_exp.tracking.mlflow import registry

    if form == "json" and given is None and not registry.names(backend.uri):
        tables.as_json([])
        return
    name = _name(backend, given)
    versions = champion.history(backend, name)
    if form == "json":
        tables.as_json([_as_json(version) for version in versions])
    elif versions:
        promotions.history(versions)
    else:
        raise ConfigError(f"nothing was promoted to {name!r}: mnist-exp promote SWEEP does")


def _name(backend: "Backend", given: str | None) -> str:
    """Return the name of the registered model: the given one, else the only one.

    Raises:
        ConfigError: none was given, and there is not exactly one.
    """
    from mnist_exp.tracking.mlflow import registry

    if given is not None:
        return given
    known = registry.names(backend.uri)
    if not known:
        raise ConfigError("nothing was promoted in this store yet: mnist-exp promote SWEEP does")
    if len(known) > 1:
        raise ConfigError(f"several models were promoted in this store: name one of {', '.join(known)}")
    return known[0]


def _promotion_as_json(done: "Promotion") -> dict[str, Any]:
    return {
        **_as_json(done.version),
        "uri": done.uri,
        "configuration": done.configuration,
        "replicate": done.choice.replicate,
        "why": done.choice.why,
        "measure": done.measure,
        "value": done.choice.value,
        "mean": done.mean,
        "low": done.low,
        "high": done.high,
        "former": done.former.number if done.former else None,
        "against": asdict(done.against) if done.against else None,
        "overrode": list(done.overrode),
    }


def _as_json(version: "Version") -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.number,
        "is_champion": version.is_champion,
        "run_id": version.run_id,
        "created_ms": version.created_ms,
        "tags": dict(version.tags),
    }
