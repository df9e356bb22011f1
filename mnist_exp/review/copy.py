"""Copies of a decision: the report that shows it can be mailed around, and checked with or without the store.

A decided report ends with the event of its decision, in a comment. The event holds the SHA-256 of the page without that
comment, so a changed figure shows; the event's signature shows who decided; and the store shows whether it still holds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.review import record
from mnist_exp.review.block import and_why, who
from mnist_exp.review.decision import State
from mnist_exp.review.record import Event, Kind
from mnist_exp.review.review import present_decision
from mnist_exp.review.signature import State as Signature
from mnist_exp.tracking import queries
from mnist_exp.tracking.protocols import Backend

HOLDS, DOES_NOT_HOLD, CANNOT_TELL = 0, 1, 2
"""Exit codes of a check."""

_EVENT = r"\n<!-- review-event ([A-Za-z0-9+/=]*) -->"
_SEAL = re.compile(rf"{_EVENT}\s*\Z")
_LARGEST = 200_000_000  # bytes of a report; plotly and thousands of runs take some ten million


@dataclass(frozen=True)
class Finding:
    """What a check of a report found.

    Attributes:
        code: the exit code.
        sentences: what was found, the most important first.
    """

    code: int
    sentences: tuple[str, ...]


def digest(page: str) -> str:
    """Return the SHA-256 of a page, without the event that it may end with, and however its lines end."""
    lines = re.sub(r"\r\n?", "\n", page)  # as the page is read back, and as mail may deliver it
    return hashlib.sha256(_SEAL.sub("", lines).rstrip().encode()).hexdigest()


def sealed(page: str, event: Event) -> str:
    """Return a page that ends with an event."""
    text = base64.b64encode(record.serialized(event).encode()).decode()
    return f"{_SEAL.sub('', page).rstrip()}\n<!-- review-event {text} -->\n"


def check(file: Path, backend: Backend | None, why_no_store: str = "") -> Finding:
    """Check a report: whether it is untouched, who decided, and whether that still holds.

    Args:
        file: the report.
        backend: the store; None if there is none at hand.
        why_no_store: why not.

    Raises:
        ConfigError: the file cannot be read.
    """
    page = _read(file)
    found = _SEAL.search(page)
    if found is None and re.search(_EVENT, page):
        return Finding(DOES_NOT_HOLD, ("this report was changed: something follows the decision at its end",))
    if found is None:
        return Finding(CANNOT_TELL, ("this report carries no decision: it was made before one, or lost its end",))
    event = _event(found[1])
    if event is None or event.kind not in (Kind.APPROVE, Kind.REJECT):
        return Finding(DOES_NOT_HOLD, ("the decision at the end of this report was changed",))
    if event.report != digest(page):
        return Finding(DOES_NOT_HOLD, (f"this report was changed after {who(event)} decided on it",))
    verified = event.verified()
    if verified is not None and verified.state is Signature.INVALID:
        return Finding(DOES_NOT_HOLD, (f"the signature of this report is not valid: {verified.reason}",))
    signed_by = verified.signer if verified is not None and verified.state is Signature.VERIFIED else ""
    reason = f" ({verified.reason})" if verified is not None and not signed_by else ""
    if backend is None:
        return _without_store(event, signed_by, reason, why_no_store)
    return _with_store(backend, event, signed_by, reason)


def _without_store(event: Event, signed_by: str, reason: str, why: str) -> Finding:
    if not signed_by:
        kind = "signed by a key that is not known here" if event.signature else "not signed"
        return Finding(CANNOT_TELL, (f"cannot tell: it is {kind}{reason}, and the store does not tell: {why}",))
    words = f"untouched: {_decided(event)}, signed by {signed_by}{and_why(event)}"
    code = HOLDS if event.kind is Kind.APPROVE else DOES_NOT_HOLD
    return Finding(code, (words, f"whether it still holds, the store would tell: {why}"))


def _with_store(backend: Backend, event: Event, signed_by: str, reason: str) -> Finding:
    signature = f", signed by {signed_by}" if signed_by else f", signed by an unknown key{reason}" if reason else ""
    try:
        found = queries.sweeps_with_id(backend, event.sweep)  # a deleted one is not among them
    except StoreError as error:
        return _without_store(event, signed_by, reason, str(error))
    if len(found) != 1 or found[0].run_id != event.sweep:
        return _without_store(event, signed_by, reason, f"it does not have the sweep {event.sweep[:8]}")
    (sweep,) = found
    kept = record.read(sweep)
    if kept.problem:
        return Finding(DOES_NOT_HOLD, (f"the record in the store is damaged: {kept.problem}",))
    if record.serialized(event) not in map(record.serialized, kept.events):
        return Finding(DOES_NOT_HOLD, ("the store does not have this decision",))
    untouched = f"untouched: {_decided(event)}{signature}{and_why(event)}"
    now = present_decision(backend, sweep, kept)
    holds = now.state is State.APPROVED and event.kind is Kind.APPROVE
    if holds and event.content.get("digest") == (now.event.content.get("digest") if now.event else None):
        return Finding(HOLDS, (untouched, "it still holds"))
    why = f": {now.reason}" if now.reason else f" by {now.event.by}" if now.event else ""
    return Finding(DOES_NOT_HOLD, (f"it does not hold: the sweep is {now.state}{why}", untouched))


def _decided(event: Event) -> str:
    return f"{'approved' if event.kind is Kind.APPROVE else 'rejected'} by {event.by}"


def _event(text: str) -> Event | None:
    try:
        return record.parse(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError):
        return None


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise ConfigError(f"{file} must be a report: at most {_LARGEST:,} bytes")
        return file.read_text(encoding="utf-8-sig")  # mail programs add a mark
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} must be a report, an HTML page in UTF-8") from None
