"""What was decided of a sweep, and whose turn it is: read from the events of its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mnist_exp.review.content import Content, changes
from mnist_exp.review.person import AUTHOR, Person
from mnist_exp.review.record import Event, Kind, ReviewRecord
from mnist_exp.tracking.protocols import Record

TURN = "review.turn"
"""Tag of the parent run, by which MLflow's UI can filter: whose turn it is."""

NOBODY = "-"


class State(StrEnum):
    """What was decided of a sweep, for the content that it has now."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    STALE = "stale"
    BROKEN = "broken"


@dataclass(frozen=True)
class Decision:
    """What was decided, and what comes next.

    Attributes:
        state: approved and rejected hold for the present content; stale: its content has changed since it was approved;
            broken: the record is damaged.
        event: the approval or rejection that counts, or the approval that is stale; None if open or broken.
        reason: of stale and broken, what changed; empty otherwise.
        turn: whose turn it is, as text of a person or as the name that was asked; ``-`` for nobody.
    """

    state: State
    event: Event | None
    reason: str
    turn: str


def decide(record: ReviewRecord, content: Content, runs: Sequence[Record], author: str) -> Decision:
    """Read what was decided of a sweep.

    The last decision of each person counts, if it was given for the present content. A rejection outweighs approvals.
    Of several approvals, the last of those counts that were not given despite something; if all were, the last.

    Args:
        record: its events.
        content: what it consists of now.
        runs: its runs.
        author: who began it.
    """
    if record.problem:
        return Decision(State.BROKEN, None, record.problem, author)
    decisions = [each for each in record.events if each.kind in (Kind.APPROVE, Kind.REJECT)]
    given = [each for each in decisions if each.content.get("digest") == content.digest]
    present: list[Event] = []
    for each in given:
        before = next((other for other in present if _is_by_same(each, other)), None)
        if before is None or not _is_weaker(each, before):
            present = [other for other in present if other is not before] + [each]
    rejections = [each for each in present if each.kind is Kind.REJECT]
    if rejections:
        return Decision(State.REJECTED, rejections[-1], "", _turn(record, author, after=author))
    if present:
        approval = ([each for each in present if not each.despite] or present)[-1]
        return Decision(State.APPROVED, approval, "", _turn(record, author, after=NOBODY))
    approvals = [each for each in decisions if each.kind is Kind.APPROVE]
    if approvals:
        reason = changes(approvals[-1].content, content, runs)
        return Decision(State.STALE, approvals[-1], reason, _turn(record, author, after=author))
    return Decision(State.OPEN, None, "", _turn(record, author, after=author if decisions else NOBODY))


def _is_by_same(one: Event, other: Event) -> bool:
    return Person.parse(one.by).is_same(Person.parse(other.by))


def _is_weaker(approval: Event, rejection: Event) -> bool:
    """Return whether an approval cannot take back a rejection by the same name: anybody may claim a name.

    A signed one is taken back by the same key, or by another of the same signer; that of a login by a login.
    """
    if (approval.kind, rejection.kind) != (Kind.APPROVE, Kind.REJECT):
        return False
    if (signed := rejection.verified()) is None:
        return rejection.is_login and not approval.is_login
    again = approval.verified()
    if again is None:
        return True
    is_same_signer = bool(signed.signer) and signed.signer == again.signer
    return not is_same_signer and (not signed.key or signed.key != again.key)


def _turn(record: ReviewRecord, author: str, *, after: str) -> str:
    """Return whose turn it is by the last events; ``after`` a decision if nothing was asked or written since."""
    turn = NOBODY
    for event in record.events:
        match event.kind:
            case Kind.ASK:
                turn = event.to
            case Kind.APPROVE | Kind.REJECT:
                turn = after
            case Kind.COMMENT if not Person.parse(event.by).is_same(Person.parse(author)):
                turn = author
            case _:
                pass
    return turn if record.events else NOBODY


def author_of(sweep: Record) -> str:
    """Return who began a sweep, as claimed: an older one knows the user's name only."""
    return sweep.tags.get(AUTHOR) or sweep.tags.get("mlflow.user", "unknown")
