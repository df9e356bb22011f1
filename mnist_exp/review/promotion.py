"""Promotes the model of an approved sweep: which one, what may forbid it, what is kept with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mnist_exp.analysis import samples
from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.base.errors import ConfigError, Refused
from mnist_exp.base.text import shortened, visible
from mnist_exp.review import champion
from mnist_exp.review.challenge import Challenge, challenge
from mnist_exp.review.champion import KIND, Kind
from mnist_exp.review.checks import CONFIRMED, failing
from mnist_exp.review.decision import State
from mnist_exp.review.review import Review
from mnist_exp.statistics.conclusion import percent
from mnist_exp.statistics.estimates import LEVEL
from mnist_exp.statistics.verdicts import natural_key
from mnist_exp.tracking.mlflow import registry
from mnist_exp.tracking.mlflow.registry import Version
from mnist_exp.tracking.protocols import Backend, Record

LONGEST_REASON = 500
"""Characters of the reason to promote despite a refusal, and of that for a rollback."""

_LONGEST_LINE = 600  # characters of a line of the description; the tags have the whole texts
_SECTIONS = ("model", "optimizer", "lr")  # of the config: the name of a configuration that has no others beside it


@dataclass(frozen=True)
class Choice:
    """The run whose model is promoted: of a configuration's finished replicates the one with the median value.

    Attributes:
        run: the run.
        replicate: its name, ``replicate 3``.
        value: its value.
        place: its rank among the replicates, the best first, from 1.
        of: the number of replicates.
    """

    run: Record
    replicate: str
    value: float
    place: int
    of: int

    @property
    def why(self) -> str:
        """Return ``the median of 8 replicates (rank 5), not the luckiest``."""
        if self.of == 1:
            return "the only replicate"
        return f"the median of {self.of} replicates (rank {self.place}), not the luckiest"


@dataclass(frozen=True)
class Promotion:
    """A version that became champion.

    Attributes:
        version: the new version.
        configuration: its name, by the keys in which the sweep's configurations differ.
        choice: whose model it is.
        measure: what the runs were compared by.
        mean, low, high: of the configuration: mean and its interval; NaN for the interval of one replicate.
        former: the champion until then; None if there was none.
        against: the comparison with it; None without a former one, or if they cannot be compared.
        overrode: what would have forbidden the promotion; empty if nothing.
        finished: interrupted promotions, which were finished first.
    """

    version: Version
    configuration: str
    choice: Choice
    measure: str
    mean: float
    low: float
    high: float
    former: Version | None
    against: Challenge | None
    overrode: tuple[str, ...]
    finished: tuple[Version, ...]

    @property
    def uri(self) -> str:
        """Return what loads it: ``models:/mnist@champion``."""
        return f"models:/{self.version.name}@{registry.ALIAS}"


def promote(backend: Backend, review: Review, *, despite: str = "", by: str) -> Promotion:
    """Register the model of a sweep's best configuration, and make it the champion for its data set.

    Args:
        backend: the store.
        review: of the sweep.
        despite: why to promote although something forbids it; empty for nothing.
        by: who promotes, as text.

    Raises:
        ConfigError: something forbids it, the reason breaks its rule, or another version became champion meanwhile.
            Nothing was registered.
        StoreError: the store cannot be asked or may not be written to, or the run has no model.
    """
    check_reason("--despite", despite)
    result = review.comparison
    if result is None or result.first is None:
        raise ConfigError(f"{_sweep(review)} cannot be promoted: {review.answer.text}")
    row = result.first
    choice = choose(result, row)
    own = list(_objections_to(review))
    if own and not despite:
        raise _refusal(review, own)
    name = registry.registered_name(choice.run.tags.get("dataset", ""))
    identity = _identity(review)
    versions, finished = champion.settle(backend.uri, name, identity)
    former = champion.champion_of(versions)
    against, other = _against(backend, result, row, versions)
    overrode = (*own, *other)
    if overrode and not despite:
        raise _refusal(review, overrode)
    label = _label(result, row)
    tags = _tags(review, label, choice, against, by) | identity
    if overrode:
        tags |= {"despite": despite, "overrode": "; ".join(overrode)}
    version = champion.succeed(backend.uri, name, choice.run.run_id, tags, _description(tags), former)
    spread = row.spread
    assert spread is not None, "the first row has finished runs"
    return Promotion(
        version=version,
        configuration=label,
        choice=choice,
        measure=result.measure.name,
        mean=spread.mean,
        low=spread.low,
        high=spread.high,
        former=former,
        against=against,
        overrode=overrode,
        finished=tuple(finished),
    )


def choose(result: Comparison, row: Row) -> Choice:
    """Choose the run of a configuration whose model is promoted.

    Args:
        result: the comparison that it is of.
        row: the configuration, with finished runs.

    Returns:
        The run with the median value; of an even number the worse one of the two in the middle. Of equal values, the
        smaller replicate number counts as the better one.
    """
    names = samples.replicate_names(row.finished)
    sign = -1 if result.measure.higher else 1

    def place(record: Record) -> tuple[float, list[tuple[int, float, str]]]:
        return sign * row.values[record.run_id], natural_key(names[samples.seeds_of(record)])

    ranked = sorted(row.finished, key=place)
    middle = len(ranked) // 2
    run = ranked[middle]
    return Choice(run, names[samples.seeds_of(run)], row.values[run.run_id], middle + 1, len(ranked))


def check_reason(option: str, reason: str) -> None:
    """Check a reason that was given; none is allowed.

    Raises:
        ConfigError: it is blank, or longer than 500 characters.
    """
    if reason and (not reason.strip() or len(reason) > LONGEST_REASON):
        given = reason if len(reason) <= LONGEST_REASON else f"{len(reason):,} characters"
        raise ConfigError.rule(option, f"must be a reason of 1 to {LONGEST_REASON} characters", given)


def _objections_to(review: Review) -> Iterator[str]:
    """Yield the reasons against promoting a sweep that do not depend on the champion."""
    event, reason = review.decision.event, review.decision.reason
    match review.state:
        case State.APPROVED:
            known = event.failed if event else ()  # approved despite these
            for each in failing(review.checks):  # the others are of the content that was approved
                if each.name == CONFIRMED and each.words not in known:
                    yield each.words
        case State.STALE:
            yield f"its approval is stale: {reason}"
        case State.BROKEN:
            yield f"its record cannot be trusted: {reason}"
        case State.REJECTED:
            yield f"it was rejected by {event.by if event else 'somebody'}"
        case _:
            yield "it is not approved"
    if review.sweep.status != "FINISHED":
        yield f"it is {review.sweep.status}, not FINISHED"


def _against(
    backend: Backend, result: Comparison, row: Row, versions: Sequence[Version]
) -> tuple[Challenge | None, list[str]]:
    """Compare a configuration with the champion's.

    Returns:
        The comparison, None if they cannot be compared; and what forbids the promotion.
    """
    if (former := champion.champion_of(versions)) is None:
        last = next((each for each in versions if champion.SINCE in each.tags), None)
        lost = f"no version has the alias champion: version {last.number} was the last to have it" if last else ""
        return None, [lost] if lost else []
    named = f"version {former.number}"
    try:
        holder = backend.find(former.run_id) if former.run_id else None
    except Refused:
        holder = None
    if holder is None:
        return None, [f"the champion, {named}, has no run in this store to compare it with"]
    run = row.finished[0]
    digests = [each.tags.get("dataset.digest", "unknown")[:8] for each in (run, holder)]
    if run.tags.get("dataset.digest") != holder.tags.get("dataset.digest"):
        return None, [f"it was trained on other data ({digests[0]}) than the champion, {named} ({digests[1]})"]
    if samples.config_of(run) == samples.config_of(holder):
        return None, [f"its configuration is champion already: {named}"]
    against = challenge(backend, result, row, holder)
    return against, [objection] if (objection := against.objection()) else []


def _refusal(review: Review, objections: Sequence[str]) -> ConfigError:
    remedy = f"mnist-exp review {review.title} shows its review, --despite WHY overrides this"
    return ConfigError(f"{_sweep(review)} is not promoted: {'; '.join(objections)}. {remedy}")


def _sweep(review: Review) -> str:
    return f"the sweep {review.sweep.name!r} ({review.title})"


def _label(result: Comparison, row: Row) -> str:
    """Return the name of a configuration; that of the only one in a sweep is made of its model and optimizer."""
    return row.label(result.keys or [key for key in row.params if key.partition(".")[0] in _SECTIONS])


def _identity(review: Review) -> dict[str, str]:
    """Return the tags by which a promotion that was interrupted is known to be the same one."""
    event = review.decision.event if review.state is State.APPROVED else None
    tags = {KIND: Kind.PROMOTION.value, "sweep": review.sweep.run_id, "content": review.content.words}
    return tags | ({"approval": event.id} if event else {})


def _tags(review: Review, label: str, choice: Choice, against: Challenge | None, by: str) -> dict[str, str]:
    """Return the tags of the version: what was asked, answered, approved and chosen, in figures. None is empty."""
    result = review.comparison
    assert result is not None, "there is a configuration to promote"
    spread, event = (result.first.spread if result.first else None), review.decision.event
    assert spread is not None, "the first row has finished runs"
    interval = f" ({percent(LEVEL)} interval {spread.low:.4f} to {spread.high:.4f})" if spread.has_interval else ""
    approved = review.state is State.APPROVED and event is not None
    tags = {
        "by": by,
        "question": review.question.text,
        "answer": review.answer.text,
        "approved.by": event.by if approved and event else "",
        "approved.despite": event.despite if approved and event else "",
        "configuration": label,
        "configurations": str(len(result.rows)),
        "replicate": choice.replicate,
        "choice": choice.why,
        "measure": result.measure.name,
        "value": f"{choice.value:.4f}",
        "mean": f"{spread.mean:.4f}{interval}, {spread.n} replicates",
        "against": against.figures() if against else "",
        "dataset.digest": choice.run.tags.get("dataset.digest", ""),
        "report": f"runs:/{review.sweep.run_id}/sweep/report.html",
    }
    return {key: text for key, text in tags.items() if text}


def _description(tags: Mapping[str, str]) -> str:
    """Return the tags that a person reads as markdown."""
    lines = {
        "Question": tags.get("question", "none was asked"),
        "Answer": tags.get("answer", ""),
        "Configuration": tags["configuration"],
        "Model": f"{tags['replicate']}: {tags['choice']}, {tags['measure']} {tags['value']}",
        "Mean": tags["mean"],
        "Against the champion before": tags.get("against", ""),
        "Approved by": tags.get("approved.by", "nobody"),
        "Approved despite objections": tags.get("approved.despite", ""),
        "Promoted by": tags["by"],
        "Promoted despite": tags.get("overrode", ""),
        "Reason": tags.get("despite", ""),
        "Sweep": f"{tags['sweep']}, content {tags['content']}, its report is sweep/report.html",
    }
    return "\n".join(f"- {heading}: {_quoted(text)}" for heading, text in lines.items() if text)


def _quoted(text: str) -> str:
    """Return ``text`` as code in markdown: nothing in it is a link, an image or HTML."""
    return f"`{shortened(visible(text), _LONGEST_LINE).replace('`', chr(39))}`"
