"""The record of a review: events in write-once params of the sweep's parent run, each chained to the one before.

The params are ``review.0000``, ``review.0001``, ... MLflow never changes a param, so the first who writes a number has
it, and two people who write at once both find a number. An event is JSON with the digest of the event before it: one
that was changed or taken out in the store's database breaks the chain.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Any

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.base.text import redact
from mnist_exp.review.person import Person
from mnist_exp.review.signature import State, Verified, sign, verify
from mnist_exp.tracking.protocols import INFINITE, Backend, Record

LONGEST = 5500
"""Characters of an event; MLflow silently cuts a param at 6,000."""

_NAME = re.compile(r"review\.([0-9]{4}|[1-9][0-9]{4,})")  # one name for each number: another would hide an event
_ATTEMPTS = 200  # at finding a free number, each after another person took one
_SIGNATURE = 700  # characters that are left for one: Ed25519's has 300, that of RSA with 2,048 bits 600
_END_OF_TIME = 4_102_444_800_000  # 2100, in milliseconds since 1970

HEAD = "review.head"
"""Tag of the parent run: the number of events and the digest of the last. A shorter record has lost some."""


class Kind(StrEnum):
    """What happened."""

    QUESTION = "question"
    ASK = "ask"
    COMMENT = "comment"
    APPROVE = "approve"
    REJECT = "reject"
    PROMOTE = "promote"


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        sweep: id of the parent run whose record it is in.
        id: random, so that an event that was sent twice is known.
        by: who: a login, or a name and address that nobody checked (``is_login``).
        at_ms: when, by the clock of the machine it was written on: milliseconds since 1970.
        text: what the person wrote.
        to: whom the review was asked of.
        content: of an approval or rejection, what it is for: the fields of ``content.Content``.
        despite: of an approval, why it was given although checks failed; ``failed`` names these.
        question, worth: of a question that was asked after the sweep.
        report: of an approval or rejection, the SHA-256 of the report that shows it.
        version: of a promotion, the registered model, ``mnist/3``.
        before: the digest of the event before it; empty for the first.
        signature: over all of this, made by ``ssh-keygen``; empty if unsigned.
    """

    kind: Kind
    by: str
    sweep: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    is_login: bool = False
    at_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    text: str = ""
    to: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    despite: str = ""
    failed: tuple[str, ...] = ()
    question: str = ""
    worth: float | None = None
    report: str = ""
    version: str = ""
    before: str = ""
    signature: str = ""

    def payload(self) -> str:
        """Return what is signed: the event without its signature, as JSON."""
        return serialized(replace(self, signature=""))

    def verified(self) -> Verified | None:
        """Check the signature; None if there is none."""
        return _verify(self.payload(), self.signature) if self.signature else None


@dataclass(frozen=True)
class ReviewRecord:
    """The events of one sweep.

    Attributes:
        events: in order; those up to the first damage.
        problem: what is wrong with the record; empty if nothing is. Nothing that it says can be trusted then.
        head: number of events and digest of the last, as the tag ``review.head`` has it.
    """

    events: tuple[Event, ...]
    problem: str = ""
    head: str = ""


_NO_TEXTS = ("at_ms", "is_login", "content", "failed", "worth")

_verify = cache(verify)  # a check takes three processes


def new_event(kind: Kind, person: Person, sweep: Record, **fields: Any) -> Event:
    """Return an event by a person; every text in it without secrets, and as UTF-8 can hold it."""

    def kept(value: Any) -> Any:
        return redact(value).encode(errors="backslashreplace").decode() if isinstance(value, str) else value

    own = {name: kept(each) for name, each in fields.items()}
    return Event(kind, str(person), sweep.run_id, is_login=person.is_login, **own)


def read(sweep: Record) -> ReviewRecord:
    """Return the record of a sweep, as far as its chain holds."""
    texts = {int(found[1]): text for name, text in sweep.params.items() if (found := _NAME.fullmatch(name))}
    events: list[Event] = []
    before = ""
    for number in range(len(texts)):
        if number not in texts:
            return ReviewRecord(tuple(events), f"{_name(number)} of its record is missing")
        if (event := parse(texts[number])) is None:
            return ReviewRecord(tuple(events), f"{_name(number)} of its record cannot be read")
        if event.before != before or event.sweep != sweep.run_id:
            return ReviewRecord(tuple(events), f"{_name(number)} of its record does not follow from the one before it")
        verified = event.verified()
        if verified is not None and verified.state is State.INVALID:
            return ReviewRecord(tuple(events), f"{_name(number)} of its record: {verified.reason}")
        events.append(event)
        before = _digest(texts[number])
    head = f"{len(events)} {before}" if events else ""
    was, _, digest = sweep.tags.get(HEAD, "").partition(" ")
    if was.isdecimal():
        count = int(was)
        if count > len(events):
            lost = count - len(events)
            words = "the last event of its record is" if lost == 1 else f"the last {lost} events of its record are"
            return ReviewRecord(tuple(events), f"{words} missing")
        if count and _digest(texts[count - 1]) != digest:
            return ReviewRecord(tuple(events), f"{_name(count - 1)} of its record was changed")
    return ReviewRecord(tuple(events), head=head)


def append(backend: Backend, event: Event) -> Record:
    """Append an event to the record of its sweep, after those that are appended meanwhile; signed if git signs.

    Args:
        backend: the store.
        event: without ``before`` and ``signature``.

    Returns:
        The parent run with the event.

    Raises:
        ConfigError: it is too long, or cannot be signed.
        StoreError: the store cannot be asked or may not be written to, or the record is damaged. Nothing was written.
    """
    for _ in range(_ATTEMPTS):
        record = read(backend.find(event.sweep))
        if record.problem:
            raise StoreError(f"nothing can be added to the review of {event.sweep[:8]}: {record.problem}")
        own = _fitting(replace(event, before=record.head.partition(" ")[2]))
        own = replace(own, signature=sign(own.payload()) or "")
        text = serialized(own)
        if len(text) > LONGEST:
            raise ConfigError(f"the text must be {len(text) - LONGEST:,} characters shorter: MLflow would cut its end")
        if backend.write_once(event.sweep, _name(len(record.events)), text):
            return backend.find(event.sweep)
    raise StoreError(f"the review of {event.sweep[:8]} could not be written: {_ATTEMPTS} events were added meanwhile")


def _fitting(event: Event) -> Event:
    """Return an event that is too long without the digests of single runs: they only tell which of them changed."""
    if len(event.payload()) + _SIGNATURE <= LONGEST or "each" not in event.content:
        return event
    return replace(event, content={name: value for name, value in event.content.items() if name != "each"})


def serialized(event: Event) -> str:
    """Return an event as JSON, the way its param has it."""
    filled = {name: value for name, value in asdict(event).items() if value not in ("", None, (), {}, False)}
    return json.dumps(filled, ensure_ascii=False, sort_keys=True)


def parse(text: str) -> Event | None:
    """Return the event that a text is, which may be anything, such as the end of a report; None if it is not one."""
    try:
        fields = json.loads(text)
        fields["kind"], fields["failed"] = Kind(fields["kind"]), tuple(fields.get("failed", ()))
        event = Event(**{"id": "", "at_ms": 0, **fields})
        return event if serialized(event) == text and _is_sound(event) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is_sound(event: Event) -> bool:
    """Return whether every field has its type: anybody who may write to the store may have written the event."""
    texts = [value for name, value in vars(event).items() if name not in _NO_TEXTS]
    content = event.content
    parts = content.get("parts", {}) if isinstance(content, dict) else None
    return (
        all(isinstance(each, str) for each in (*texts, *event.failed))
        and type(event.at_ms) is int
        and 0 <= event.at_ms < _END_OF_TIME
        and type(event.is_login) is bool
        and (event.worth is None or (type(event.worth) in (int, float) and 0 < event.worth <= INFINITE))
        and isinstance(parts, dict)
        and type(content.get("runs", 0)) is int
        and all(isinstance(each, str) for each in (content.get("digest", ""), content.get("each", ""), *parts.values()))
    )


def _name(number: int) -> str:
    """Return the name of an event's param."""
    return f"review.{number:04d}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
