"""What a person does in a review: ask a question or for a review, comment, approve, reject.

The event is written to the record first, then the index by which a review is found: tags, the note, the report. If the
second fails, the next command repairs it from the record.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.config.schema import MAX_QUESTION
from mnist_exp.review import block, copy, record
from mnist_exp.review.checks import failing
from mnist_exp.review.content import in_words
from mnist_exp.review.decision import NOBODY, TURN
from mnist_exp.review.person import Person, claimed
from mnist_exp.review.record import HEAD, Event, Kind, new_event
from mnist_exp.review.review import Review, with_event
from mnist_exp.statistics.conclusion import joined
from mnist_exp.tracking.protocols import Backend

REVIEW = "review"
"""Tag of the parent run, by which MLflow's UI can filter: what was decided."""

NOTE = "mlflow.note.content"
"""Tag that MLflow shows as the description of a run."""

_REPORT = "sweep/report.html"
_MAX_TEXT = 4000  # characters


@dataclass(frozen=True)
class Reviewer:
    """A person who acts on the review of a sweep."""

    backend: Backend
    person: Person

    def question(self, review: Review, text: str, worth: float | None) -> Review:
        """Ask a sweep a question after its runs: it is marked as asked when results had been seen.

        Raises:
            ConfigError: it has a question, or this one breaks a rule.
            StoreError: it could not be written.
        """
        if review.question.text:
            raise ConfigError(f"{review.title} was asked already: {review.question.text}")
        if not text.strip() or not text.isprintable() or len(text) > MAX_QUESTION:
            raise ConfigError.rule("--question", f"must be a sentence of at most {MAX_QUESTION} characters", text)
        return self._append(review, Kind.QUESTION, question=text, worth=worth)

    def ask(self, review: Review, name: str, text: str) -> Review:
        """Ask somebody for a review: it is their turn then."""
        if name.strip() in ("", NOBODY):
            raise ConfigError.rule("--ask", "must name somebody: a login, or a name or address as git has it", name)
        return self._append(review, Kind.ASK, to=str(Person.parse(name)), text=_checked(text))

    def comment(self, review: Review, text: str) -> Review:
        """Add a comment; it is the author's turn then, if somebody else wrote it."""
        return self._append(review, Kind.COMMENT, text=_checked(text, needed="--comment"))

    def reject(self, review: Review, text: str) -> Review:
        """Reject what the sweep shows, for the content that it has now."""
        return self._decide(review, Kind.REJECT, _checked(text, needed="--reject"))

    def approve(self, review: Review, text: str, despite: str = "") -> Review:
        """Approve what the sweep shows, for the content that it has now.

        Args:
            review: the review.
            text: what is written with it; may be empty.
            despite: why it is approved although checks fail, or although it is one's own.

        Raises:
            ConfigError: a check fails and no reason is given.
            StoreError: it could not be written.
        """
        failed = [each.words for each in failing(review.checks)]
        if self.is_author(review):
            failed.append("it is your own sweep")
        if failed and not despite.strip():
            raise ConfigError(
                f'{review.title} cannot be approved: {joined(failed)}. To approve it all the same: --despite "why"'
            )
        if despite and not failed:
            raise ConfigError.rule("--despite", "is for what forbids an approval, and nothing does", despite)
        return self._decide(review, Kind.APPROVE, _checked(text), despite=_checked(despite), failed=tuple(failed))

    def promoted(self, review: Review, version: str) -> Review:
        """Note that a model of the sweep was promoted as ``version``."""
        return self._append(review, Kind.PROMOTE, version=version)

    def is_author(self, review: Review) -> bool:
        """Return whether this person began the sweep, by what is claimed."""
        author = Person.parse(review.author)
        return self.person.is_same(author) or claimed().is_same(author)

    def _decide(self, review: Review, kind: Kind, text: str, **fields: object) -> Review:
        """Write a decision, and the report that shows it."""
        content = {name: value for name, value in vars(review.content).items() if value}
        event = new_event(kind, self.person, review.sweep, text=text, content=content, **fields)
        page = _page(self.backend, review, event)
        if page is None:
            return self._append_event(review, event)
        decided = self._append_event(review, replace(event, report=copy.digest(page)))
        own = next(each for each in decided.record.events if each.id == event.id)
        try:
            self.backend.tracker(review.sweep.run_id).log_artifact(_REPORT, copy.sealed(page, own).encode())
        except StoreError as error:
            raise StoreError(f"the decision is recorded, but not shown in {_REPORT}: {error}") from error
        return decided

    def _append(self, review: Review, kind: Kind, **fields: object) -> Review:
        return self._append_event(review, new_event(kind, self.person, review.sweep, **fields))

    def _append_event(self, review: Review, event: Event) -> Review:
        review = with_event(self.backend, review, record.append(self.backend, event))
        with suppress(StoreError):  # the event is recorded; the next command repairs the index
            repair_index(self.backend, review)
        return review


def repair_index(backend: Backend, review: Review) -> bool:
    """Write the tags and the note that follow from the record, if they differ; return whether they did.

    Raises:
        StoreError: the store may not be written to.
    """
    has = review.sweep.tags
    if not (review.record.events or review.record.problem or REVIEW in has or TURN in has):
        return False
    tags = {REVIEW: _state_in_words(review), TURN: review.decision.turn}
    if review.record.events or review.record.problem:
        tags[NOTE] = _note(review)
    if review.record.head:  # a damaged record has none: the tag shows what is lost
        tags[HEAD] = review.record.head
    differing = {name: text for name, text in tags.items() if review.sweep.tags.get(name) != text}
    if differing:
        backend.tracker(review.sweep.run_id).set_tags(differing)
    return bool(differing)


def _note(review: Review) -> str:
    """Return the note with the review at its head: whole, else its headline, else none: people's words are not cut."""
    own, before = block.block_of(review), review.sweep.tags.get(NOTE, "")
    notes = [block.with_block(before, text) for text in (block.markdown(own), block.markdown_head(own))]
    return next((note for note in notes if len(note) <= block.LONGEST_NOTE), before)


def _state_in_words(review: Review) -> str:
    """Return ``approved 4f1c9a2e, 32 runs``: MLflow's UI shows for which content an approval was given."""
    event = review.decision.event
    return str(review.state) if event is None else f"{review.state} {in_words(event.content)}{block.and_why(event)}"


def _page(backend: Backend, review: Review, event: Event) -> str | None:
    """Return the report of a sweep with a decision at its head; None if there is nothing to report."""
    if review.comparison is None:
        return None
    from mnist_exp.reports import sweep_report

    shown = block.block_of(review, event)
    content = sweep_report.gather(backend, review.comparison, review.epochs, review.sweep, review.step, shown)
    return sweep_report.html(content)


def _checked(text: str, needed: str = "") -> str:
    """Return what a person wrote, without space around it.

    Raises:
        ConfigError: it is longer than an event holds, or ``needed``, the option that takes it, has none.
    """
    text = text.strip()
    if needed and not text:
        raise ConfigError(f"{needed} takes a text: -m TEXT")
    if len(text) > _MAX_TEXT:
        raise ConfigError(f"a text must have at most {_MAX_TEXT:,} characters. Received: {len(text):,}")
    return text
