"""The screens of a team review: the list of sweeps, the review of one, the check of a report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mnist_exp.base.text import time_span
from mnist_exp.terminal.messages import WIDE, command_name, out, shown

if TYPE_CHECKING:
    from mnist_exp.review.copy import Finding
    from mnist_exp.review.queue import Line
    from mnist_exp.review.record import Event
    from mnist_exp.review.review import Review
    from mnist_exp.tracking.protocols import Record

_WIDTH = 80
_MOST_EVENTS, _LONGEST_EVENT = 12, 300  # of the talk, and characters of one; --format json has all
_STATE_STYLES = {"approved": "green", "rejected": "red", "stale": "yellow", "broken": "red", "open": "dim"}


def sweeps(lines: Sequence[Line], limit: int) -> None:
    """Print the list of sweeps, one line each where the terminal is wide enough; else the answer below the question.

    Args:
        lines: the sweeps, newest first.
        limit: how many are printed.
    """
    if not lines:
        out.print("No sweeps.")
        return
    is_narrow = out.is_terminal and out.width < WIDE
    table = Table(box=SIMPLE_HEAD, width=min(out.width, 120) if out.is_terminal else None)
    for heading in ("id", "by", "when", "runs"):
        table.add_column(
            heading, justify="right" if heading in ("when", "runs") else "left", no_wrap=True, max_width=14
        )
    table.add_column(
        "question, answer" if is_narrow else "question", overflow="fold", ratio=3 if out.is_terminal else None
    )
    if not is_narrow:
        table.add_column("answer", overflow="fold", ratio=2 if out.is_terminal else None)
    table.add_column("turn", overflow="fold", max_width=18)
    for line in lines[:limit]:
        state = line.decision.state
        turn = "[bold]YOU[/]" if line.is_yours else shown(_name(line.decision.turn))
        if state != "open":
            despite = " despite objections" if line.decision.event and line.decision.event.despite else ""
            turn = f"[{_STATE_STYLES[state]}]{state}{despite}[/]" + (f", {turn}" if line.decision.turn != "-" else "")
        question = shown(line.question.text) if line.question.text else "[dim](no question asked)[/]"
        answer = shown(line.answer)
        table.add_row(
            line.sweep.run_id[:4],
            shown(line.by),
            "now" if line.at_ms is None else time_span(time.time() - line.at_ms / 1000),
            f"{line.finished}/{line.jobs}" if line.jobs else f"{line.finished}",
            *([f"{question}\n{answer}"] if is_narrow else [question, answer]),
            turn,
        )
    out.print(table)
    if len(lines) > limit:
        out.print(f"{len(lines) - limit} older sweeps are not shown: --since 30d, or --format json")


def review(found: Review, since: tuple[Record, list[str]] | None, commands: Sequence[str], link: str) -> None:
    """Print the review of a sweep on one screen of 80 columns.

    Args:
        found: the review.
        since: the last approved sweep before it and what differs; None if there is none.
        commands: what may be typed next.
        link: its page in the MLflow UI.
    """
    from mnist_exp.review import block

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True, width=8)
    table.add_column(overflow="fold")
    for title, text in _rows(found, since):
        table.add_row(title, text)
    state = found.state
    head = f"[bold]sweep {found.title}[/]  {shown(found.sweep.name)}  [bold {_STATE_STYLES[state]}]{state.upper()}[/]"
    out.print(head, soft_wrap=True)
    if found.decision.event is not None or state == "broken":
        out.print(f"{shown(block.headline(state, found.decision.event, found.decision.reason))}", width=_WIDTH)
    out.print(table, width=_WIDTH)
    for title, command in zip(["next", *[""] * len(commands)], commands, strict=False):
        out.print(f"[dim]{title:<8}[/]  [bold]{shown(command, 3000)}[/]", soft_wrap=True)
    out.print(f"[dim]page[/]      {shown(link)}", soft_wrap=True)


def _rows(found: Review, since: tuple[Record, list[str]] | None) -> Iterator[tuple[str, str]]:
    from mnist_exp.review import block

    tags = found.sweep.tags
    code = tags.get("git.commit", "")[:7]
    clean = "" if not code else ", uncommitted changes" if tags.get("git.dirty") == "true" else " clean"
    ended = "running" if found.sweep.ended_ms is None else block.when(found.sweep.ended_ms)
    yield "by", shown(", ".join(filter(None, [_name(found.author), ended, f"{code}{clean}"])))
    if found.question.text:
        yield "question", f"[bold]{shown(found.question.text)}[/]\n{shown(block.asked_in_words(found.question))}"
    else:
        yield "question", "no question asked"
    first, *rest = found.answer.sentences
    yield "answer", "\n".join([f"[bold]{shown(first)}[/]", *map(shown, rest)])
    for state in ("holds", "missing", "fails"):
        if words := [each.words for each in found.checks if each.state == state]:
            text = shown("; ".join(words))
            yield state, f"[red]{text}[/]" if state == "fails" else text
    if since is not None:
        before, words = since
        yield "since", shown(f"{before.run_id[:4]} ({before.tags.get('review', 'approved')}): {'; '.join(words)}")
    events = found.record.events
    if len(events) > _MOST_EVENTS:
        yield "talk", f"({len(events) - _MOST_EVENTS} earlier)"
    for number, event in enumerate(events[-_MOST_EVENTS:]):
        yield "" if number or len(events) > _MOST_EVENTS else "talk", _said(event)
    if found.decision.turn != "-":
        yield "turn", shown(_name(found.decision.turn))


def _said(event: Event) -> str:
    """Return one event as a line of the talk."""
    from mnist_exp.review import block

    what = {
        "ask": f"asks {event.to}",
        "comment": "",
        "approve": f"approves {str(event.content.get('digest', ''))[:8]}",
        "reject": f"rejects {str(event.content.get('digest', ''))[:8]}",
        "question": f"asks: {event.question}",
        "promote": f"promotes {event.version}",
    }[event.kind]
    despite = f" despite: {event.despite}" if event.despite else ""
    text = ": ".join(filter(None, [f"{what}{despite}", event.text]))
    ago = time_span(time.time() - event.at_ms / 1000)
    who = _name(event.by) + block.who(event).removeprefix(event.by)
    return f"[bold]{shown(who)}[/] [dim]{ago} ago[/]  {shown(text, _LONGEST_EVENT)}"


def _name(turn: str) -> str:
    """Return the name of a person without the e-mail address."""
    return turn.partition(" <")[0]


def finding(found: Finding) -> None:
    """Print what the check of a report, or of a sweep, found."""
    for sentence in found.sentences:
        out.print(shown(sentence), soft_wrap=True)


def next_commands(found: Review, *, is_author: bool) -> list[str]:
    """Return what may be typed next, the most useful first.

    Args:
        found: the review.
        is_author: whether the user began the sweep.
    """
    from mnist_exp.analysis.next_step import confirming
    from mnist_exp.review.checks import CONFIRMED
    from mnist_exp.review.record import Kind

    own = f"{command_name()} review {found.title}"
    commands = []
    if found.state in ("open", "stale", "rejected"):
        if not found.question.text:
            commands.append(f'{own} --question "..."')
        if not is_author and found.state != "rejected":
            commands.append(f'{own} --approve -m "..."')
        elif is_author and found.decision.turn in ("-", found.author):
            commands.append(f"{own} --ask NAME")
    promoted = any(each.kind is Kind.PROMOTE for each in found.record.events)
    if found.state == "approved" and not promoted:
        commands.append(f"{command_name()} promote {found.title}")
    if found.step is not None:
        commands.append(found.step.command)
    unconfirmed = any(each.name == CONFIRMED and each.state == "missing" for each in found.checks)
    if unconfirmed and found.answer.kind == "decided" and found.comparison is not None:
        step = confirming(found.sweep, found.comparison)
        commands += [step.command] if step else []
    return commands
