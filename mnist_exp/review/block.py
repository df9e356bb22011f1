"""The review as it stands at the head of a sweep's report and of its note in the MLflow UI."""

from __future__ import annotations

import re
import time

from mnist_exp.base.text import shortened, visible
from mnist_exp.reports.sweep_report import ReviewBlock
from mnist_exp.review.answer import Answer
from mnist_exp.review.checks import ASKED
from mnist_exp.review.checks import State as CheckState
from mnist_exp.review.content import in_words
from mnist_exp.review.decision import Decision, State
from mnist_exp.review.record import Event, Kind
from mnist_exp.review.review import Question, Review

LONGEST_NOTE = 7900
"""Characters of a note; MLflow's limit of a tag is 8,000."""

_BEGIN, _END = "<!-- review -->", "<!-- end of review -->"
_LONGEST_TEXT = 1000  # characters of a person's text, in a note
_LONGEST_REASON = 200  # characters of why something was overridden, on one line
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|!~])")


def unreviewed(question: Question, answer: Answer, sweep_id: str) -> ReviewBlock:
    """Return the block of a sweep that nobody has decided on."""
    return ReviewBlock(
        headline=f"Not reviewed. mnist-exp review {sweep_id[:8]}",
        question=question.text,
        asked=asked_in_words(question),
        answer=answer.sentences,
    )


def block_of(review: Review, event: Event | None = None) -> ReviewBlock:
    """Return the block of a review.

    Args:
        review: the review.
        event: the decision to show, if it is not in the record yet; else the one that counts.
    """
    given = event or review.decision.event
    shown = _state(event) if event else review.state
    head = unreviewed(review.question, review.answer, review.sweep.run_id)
    if given is None and shown is not State.BROKEN:
        return head
    words = {state: [each.words for each in review.checks if each.state is state] for state in CheckState}
    return ReviewBlock(
        headline=headline(shown, given, review.decision.reason),
        question=head.question,
        asked=head.asked,
        answer=head.answer,
        holds=words[CheckState.HOLDS],
        missing=words[CheckState.MISSING],
        fails=words[CheckState.FAILS],
        text=given.text if given else "",
        despite=given.despite if given else "",
    )


def _state(event: Event) -> State:
    return State.APPROVED if event.kind is Kind.APPROVE else State.REJECTED


def headline(state: State, event: Event | None, reason: str) -> str:
    """Return ``APPROVED by ann (claimed), 24 Nov 2026 18:02 UTC, for content 4f1c9a2e, 32 runs``."""
    if event is None:
        return f"{state.upper()}: {reason}"
    given = in_words(event.content)
    if state is State.STALE:
        return f"STALE: {reason}. It was approved by {who(event)}, {when(event.at_ms)}, for content {given}"
    despite = " despite objections" if event.despite else ""
    return f"{state.upper()}{despite} by {who(event)}, {when(event.at_ms)}, for content {given}"


def in_full(decision: Decision) -> str:
    """Return the headline of what was decided of a sweep, with why something that forbade it was overridden."""
    return headline(decision.state, decision.event, decision.reason) + and_why(decision.event)


def and_why(event: Event | None) -> str:
    """Return ``, despite: I am alone`` of an approval that something forbade; empty for any other."""
    return f", despite: {shortened(event.despite, _LONGEST_REASON)}" if event is not None and event.despite else ""


def who(event: Event) -> str:
    """Return who made an event, and how far that is known: ``ann (claimed)``, ``ann (signed by a@b.org)``."""
    verified = event.verified()
    if verified is not None and verified.signer:
        return f"{event.by} (signed by {verified.signer})"
    known = "login" if event.is_login else "claimed"
    return f"{event.by} ({known}, signed by an unknown key)" if verified is not None else f"{event.by} ({known})"


def when(at_ms: int) -> str:
    """Return ``24 Nov 2026 18:02 UTC``."""
    at = time.gmtime(at_ms / 1000)
    return f"{at.tm_mday} {time.strftime('%b %Y %H:%M', at)} UTC"


def asked_in_words(question: Question) -> str:
    """Return when the question was asked and what matters: ``asked before any run (claimed), worth 0.005``."""
    worth = [] if question.worth is None else [f"worth {question.worth:g}"]
    return ", ".join([*filter(None, [ASKED.get(question.asked)]), *worth])


def markdown(block: ReviewBlock) -> str:
    """Return a block as markdown, between comments by which it is found again; text of people is escaped."""
    lines = [f"**{_plain(block.headline)}**"]
    asked = f" ({_plain(block.asked)})" if block.asked else ""
    lines.append(f"{_plain(block.question)}{asked}" if block.question else "No question asked.")
    lines.append(f"Answer: {_plain('; '.join(block.answer))}.")
    if block.despite:
        lines.append(f"Approved despite: {_plain(shortened(block.despite, _LONGEST_TEXT))}")
    lines += [f"{title}: {_plain('; '.join(words))}." for title, words in block.parts() if words]
    if block.text:
        lines.append(f"“{_plain(shortened(block.text, _LONGEST_TEXT))}”")
    return "\n\n".join([_BEGIN, *lines, _END])


def markdown_head(block: ReviewBlock) -> str:
    """Return the headline of a block as markdown, for a note that has no room for more."""
    return "\n\n".join([_BEGIN, f"**{_plain(block.headline)}**", _END])


def with_block(note: str, block: str) -> str:
    """Return a note that begins with a block; the same block that it has already is replaced, everything else is kept.

    Args:
        note: markdown.
        block: markdown that begins and ends with a line of its own, a comment, by which it is found again.
    """
    begin, *_, end = block.splitlines()
    rest = re.sub(rf"{re.escape(begin)}.*?{re.escape(end)}\s*", "", note, flags=re.DOTALL)
    return f"{block}\n\n{rest.lstrip()}".rstrip() + "\n"


def _plain(text: str) -> str:
    """Return text that markdown shows as it is, on one line."""
    marked = _MARKDOWN.sub(r"\\\1", visible(text))
    return marked.replace("<", "&lt;").replace(">", "&gt;")
