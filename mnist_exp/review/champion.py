"""One champion at a time: how a version takes over, however many people promote at once, and how it is taken back.

A version names the champion that it is to replace (tag ``former``) when it is registered, and the alias is moved in a
second call. Between the two it is *pending*. Of several pending versions with one ``former``, the one with the smallest
number takes over, as MLflow gives numbers in order: every process sees the same winner, moves the alias to it, and
deletes its own version if that is another. If a process ends between the two calls, the next one moves the alias.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from mnist_exp.base.errors import ConfigError
from mnist_exp.tracking.mlflow import registry
from mnist_exp.tracking.mlflow.registry import Version
from mnist_exp.tracking.protocols import Backend

KIND, FORMER, SINCE, REPEATS = "kind", "former", "champion.since", "repeats"
NO_VERSION = "none"

# The tags that tell one promotion from another: two versions with the same are one promotion that was tried twice.
_PURPOSE = (KIND, "sweep", "approval", "content", REPEATS)


class Kind(StrEnum):
    """How a version came to be; the tag ``kind``."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Rollback:
    """A former champion that took over again.

    Attributes:
        version: the new version.
        repeats: the version whose model it has.
        replaced: the champion until then.
    """

    version: Version
    repeats: Version
    replaced: Version


def history(backend: Backend, name: str) -> list[Version]:
    """Return all versions of a registered model, newest first; an empty list if nothing was promoted to that name.

    Raises:
        StoreError: the store cannot be asked.
    """
    return registry.versions(backend.uri, name)


def champion_of(versions: Sequence[Version]) -> Version | None:
    """Return the version that the alias points to."""
    return next((version for version in versions if version.is_champion), None)


def is_pending(version: Version, versions: Sequence[Version]) -> bool:
    """Return whether a version is to replace the present champion, and the alias was not moved to it yet."""
    champion = champion_of(versions)
    return (
        KIND in version.tags
        and SINCE not in version.tags
        and not version.is_champion
        and version.tags.get(FORMER) == _number(champion)
    )


def words(version: Version) -> str:
    """Return ``version 3 (model.units=10, promoted by ana)``."""
    what = version.tags.get("configuration", "registered by hand")
    by = f", promoted by {version.tags['by']}" if "by" in version.tags else ""
    return f"version {version.number} ({what}{by})"


def settle(uri: str, name: str, own: Mapping[str, str]) -> tuple[list[Version], list[Version]]:
    """Finish what interrupted promotions left: a pending version takes over, one that lost is deleted.

    Args:
        uri: the store.
        name: of the registered model.
        own: tags of the version that the caller is about to register. If it is there and pending, it stays so.

    Returns:
        All versions, newest first; and those that took over.
    """
    finished: list[Version] = []
    while True:
        versions = registry.versions(uri, name)
        champion = champion_of(versions)
        if champion is not None and KIND in champion.tags and SINCE not in champion.tags:
            _mark(uri, champion)
        winner = _first_pending(versions)
        if winner is None or _purpose(winner.tags) == _purpose(own):
            return _without_losers(uri, versions), finished
        _take_over(uri, winner)
        finished.append(winner)


def succeed(
    uri: str, name: str, run_id: str, tags: Mapping[str, str], description: str, former: Version | None
) -> Version:
    """Register the model of a run and make it the champion, or do what an interrupted call left of that.

    Args:
        uri: the store.
        name: of the registered model.
        run_id: of the run.
        tags: of the version; ``kind`` among them.
        description: of the version, in markdown.
        former: the champion that it is to replace; None if there is none.

    Raises:
        ConfigError: another version became champion meanwhile. Nothing of this one is left.
        StoreError: the store cannot be asked or may not be written to, or the run has no model.
    """
    pending = _first_pending(registry.versions(uri, name))
    if pending and _purpose(pending.tags) == _purpose(tags) and pending.tags[FORMER] == _number(former):
        own = pending
    else:
        own = registry.register(uri, name, run_id, {**tags, FORMER: _number(former)}, description)
    versions = registry.versions(uri, name)
    if _was_champion(own, versions):  # another process moved the alias to it
        return _again(own, versions)
    winner = champion_of(versions)
    if _number(winner) == _number(former):
        winner = _first_pending(versions) or own
        _take_over(uri, winner)
    if winner is None or winner.number != own.number:
        registry.delete(uri, name, own.number)
    versions = _without_losers(uri, registry.versions(uri, name))
    if winner is not None and (winner.number == own.number or _purpose(winner.tags) == _purpose(tags)):
        return _again(winner, versions)
    instead = f"{words(winner)} became champion" if winner else "the alias was deleted"
    raise ConfigError(f"{instead} of {name} meanwhile, so nothing was promoted: compare again with mnist-exp promote")


def rollback(backend: Backend, name: str, *, by: str, reason: str = "") -> Rollback:
    """Make the champion before the present one champion again, as a new version with the same model.

    Each rollback goes one promotion further back: after promotions 1, 2 and 3, the first one repeats version 2 and the
    next one version 1. A version that was taken back is promoted again from its sweep.

    Args:
        backend: the store.
        name: of the registered model.
        by: who, as text.
        reason: why; it is kept with the version.

    Raises:
        ConfigError: there is no former champion, or another version became champion meanwhile.
        StoreError: the store cannot be asked or may not be written to.
    """
    versions = registry.versions(backend.uri, name)
    replaced = champion_of(versions)
    if replaced is None:
        raise ConfigError(f"there is no champion of {name!r}, so none can be rolled back: see mnist-exp promote --list")
    target = _former(replaced, versions)
    kept = {key: text for key, text in target.tags.items() if key not in (FORMER, SINCE)}
    own = {KIND: Kind.ROLLBACK.value, "by": by, "reason": reason, REPEATS: str(target.number)}
    tags = kept | {key: text for key, text in own.items() if text}
    _, finished = settle(backend.uri, name, tags)
    if finished:
        raise ConfigError(
            f"{words(finished[-1])}, whose promotion had been interrupted, is champion now: look at mnist-exp promote "
            "--list, then decide again"
        )
    why = f"\n\nReason: `{reason.replace('`', chr(39))}`" if reason else ""
    text = f"Rollback from version {replaced.number} to version {target.number}.{why}\n\n{target.description}"
    version = succeed(backend.uri, name, target.run_id, tags, text, replaced)
    return Rollback(version, target, replaced)


def _former(replaced: Version, versions: Sequence[Version]) -> Version:
    """Return the version whose model was champion before that of ``replaced``: one that was promoted, no rollback."""
    by_number = {str(version.number): version for version in versions}

    def promoted(number: str) -> Version:
        """Return the version with that number, or the one that it repeats."""
        found = by_number.get(number)
        if found is None:
            raise ConfigError(f"version {number} of {replaced.name!r} was deleted: it cannot become champion again")
        return promoted(found.tags[REPEATS]) if REPEATS in found.tags and found.tags[REPEATS] != number else found

    present = promoted(str(replaced.number))
    former = present.tags.get(FORMER)
    if former is None:
        raise ConfigError(f"{words(present)} does not say which version it replaced: there is none to go back to")
    if former == NO_VERSION:
        raise ConfigError(f"{words(present)} is the first champion of {replaced.name!r}: there is none to go back to")
    return promoted(former)


def _first_pending(versions: Sequence[Version]) -> Version | None:
    """Return the pending version that takes over: the one with the smallest number."""
    return min((each for each in versions if is_pending(each, versions)), key=lambda each: each.number, default=None)


def _take_over(uri: str, version: Version) -> None:
    """Move the alias to a version, and on to those that replaced it meanwhile: this process may be the slower one."""
    later: Version | None = version
    while later is not None:
        registry.set_champion(uri, later.name, later.number)
        _mark(uri, later)
        after = [each for each in registry.versions(uri, later.name) if each.tags.get(FORMER) == _number(later)]
        later = min(after, key=lambda each: each.number, default=None)


def _mark(uri: str, version: Version) -> None:
    """Write since when a version is champion. One that was is never pending again, wherever the alias is moved."""
    if SINCE not in version.tags:
        registry.set_tag(uri, version.name, version.number, SINCE, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")


def _without_losers(uri: str, versions: Sequence[Version]) -> list[Version]:
    """Delete the versions that were to replace a champion which another one replaced; return the rest."""
    champion = champion_of(versions)
    lost = [
        version
        for version in versions
        if KIND in version.tags
        and version.tags.get(FORMER) != _number(champion)
        and not _was_champion(version, versions)
    ]
    for version in lost:
        registry.delete(uri, version.name, version.number)
    return [version for version in versions if version not in lost]


def _was_champion(version: Version, versions: Sequence[Version]) -> bool:
    """Return whether a version is or was champion, by what is known of it at present."""
    present = _again(version, versions)
    replaced = {each.tags.get(FORMER) for each in versions}
    return present.is_champion or SINCE in present.tags or _number(version) in replaced


def _again(version: Version, versions: Sequence[Version]) -> Version:
    """Return a version as it is among ``versions``; as given if it is not there."""
    return next((each for each in versions if each.number == version.number), version)


def _number(version: Version | None) -> str:
    """Return the number of a version as the tag ``former`` has it."""
    return NO_VERSION if version is None else str(version.number)


def _purpose(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(tags.get(key, "") for key in _PURPOSE)
