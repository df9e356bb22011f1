"""``mnist-exp review``: the review of a sweep on one screen; ask, comment, approve, reject; check a decision."""

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.commands import store

if TYPE_CHECKING:
    from mnist_exp.review.actions import Reviewer
    from mnist_exp.review.copy import Finding
    from mnist_exp.review.review import Review
    from mnist_exp.tracking.protocols import Backend

HELP = "review a sweep: ask, comment, approve, reject, check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "which",
        nargs="?",
        metavar="ID",
        help="the first letters of a sweep's id (default: the last sweep), or a report",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--ask", metavar="NAME", help="ask somebody for a review: it is their turn then")
    action.add_argument("--approve", action="store_true", help="approve what the sweep shows, as it is now")
    action.add_argument("--reject", action="store_true", help="reject it; takes a text")
    action.add_argument("--comment", action="store_true", help="say something; takes a text")
    action.add_argument("--question", metavar="TEXT", help="ask the sweep something now that its results can be seen")
    action.add_argument(
        "--check",
        action="store_true",
        help="is it, or a report, approved? exit code 0 yes, 1 no, 2 cannot tell",
    )
    parser.add_argument("-m", "--message", metavar="TEXT", help="the text; without it, your editor opens if one is due")
    parser.add_argument("--despite", metavar="WHY", help="approve although something forbids it, for this reason")
    parser.add_argument(
        "--worth", type=float, metavar="SIZE", help="of --question: the smallest difference that matters"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    store.add_uri(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show the review of a sweep, after what the arguments do to it.

    Returns:
        0; with --check 0 if it is approved, 1 if not, 2 if that is not known.

    Raises:
        ConfigError: an argument breaks its rule, or a check fails.
        StoreError: the store cannot be read or written: nothing was recorded.
    """
    _check_options(arguments)
    if arguments.check:
        return _check(arguments)
    from mnist_exp.review import actions, person, queue
    from mnist_exp.review.review import gather
    from mnist_exp.terminal import messages

    backend = store.open_store(arguments.uri)
    review = gather(backend, store.find_sweep(backend, arguments.which))
    reviewer = actions.Reviewer(backend, person.current(backend))
    review = _act(arguments, reviewer, review)
    _show(backend, review, is_author=reviewer.is_author(review), form=arguments.format)
    messages.sweeps_wait(queue.waiting(backend))
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.worth is not None:
        if arguments.question is None:
            raise ConfigError.rule("--worth", "goes with --question", arguments.worth)
        if not (math.isfinite(arguments.worth) and arguments.worth > 0):
            raise ConfigError.rule("--worth", "must be greater than 0", arguments.worth)
    if arguments.despite is not None and not arguments.approve:
        raise ConfigError.rule("--despite", "goes with --approve", arguments.despite)
    if arguments.despite is not None and not arguments.despite.strip():
        raise ConfigError.rule("--despite", "must be a reason", arguments.despite)
    if arguments.which and arguments.which.endswith((".html", ".htm")) and not arguments.check:
        raise ConfigError(f"a report is checked: review {arguments.which} --check")
    if arguments.message is not None and not (
        arguments.ask or arguments.approve or arguments.reject or arguments.comment
    ):
        raise ConfigError.rule("-m", "goes with --ask, --approve, --reject or --comment", arguments.message)


def _act(arguments: argparse.Namespace, reviewer: "Reviewer", review: "Review") -> "Review":
    """Do what the arguments say; return the review after it. If they say nothing, only the index is repaired."""
    if arguments.ask is not None:
        return reviewer.ask(review, arguments.ask, arguments.message or "")
    if arguments.approve:
        return reviewer.approve(review, arguments.message or "", arguments.despite or "")
    if arguments.reject:
        return reviewer.reject(review, _text(arguments.message))
    if arguments.comment:
        return reviewer.comment(review, _text(arguments.message))
    if arguments.question is not None:
        return reviewer.question(review, arguments.question, arguments.worth)
    from mnist_exp.review.actions import repair_index

    with suppress(StoreError):  # a reader without the right to write sees the same review
        repair_index(reviewer.backend, review)
    return review


def _text(given: str | None) -> str:
    """Return the text that was given, else the one that the user writes in an editor; empty without a terminal."""
    if given is not None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return given or ""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "review.txt"
        file.touch()
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"the editor {editor!r} did not end well: {error}. Give the text with -m") from None
        return file.read_text(encoding="utf-8", errors="replace")


def _check(arguments: argparse.Namespace) -> int:
    """Check a report or a sweep, and show what was found; return the exit code."""
    from mnist_exp.review import copy
    from mnist_exp.terminal import reviews

    which = arguments.which
    if which is not None and (which.endswith((".html", ".htm")) or _is_file(which)):
        backend, why = _store_if_any(arguments.uri)
        found = copy.check(Path(which), backend, why)
    else:
        found = _check_sweep(arguments.uri, which)
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"code": found.code, "found": list(found.sentences)}, ensure_ascii=False) + "\n")
    else:
        reviews.finding(found)
    return found.code


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # the name is too long
        return False


def _store_if_any(uri: str | None) -> "tuple[Backend | None, str]":
    """Return the store if it can be asked; else None and why not."""
    from mnist_exp.tracking.mlflow.backend import open_existing
    from mnist_exp.tracking.mlflow.client import uri_from_cli

    try:
        backend = open_existing(uri_from_cli(uri))
        backend.connect()
    except StoreError as error:
        return None, str(error)
    return backend, ""


def _check_sweep(uri: str | None, which: str | None) -> "Finding":
    """Say whether a sweep is approved as it is now."""
    from mnist_exp.review import block, copy
    from mnist_exp.review.review import present_decision

    backend, why = _store_if_any(uri)
    if backend is None:
        return copy.Finding(copy.CANNOT_TELL, (f"cannot tell: {why}",))
    try:
        sweep = store.find_sweep(backend, which)
        decision = present_decision(backend, sweep)
    except StoreError as error:
        return copy.Finding(copy.CANNOT_TELL, (f"cannot tell: {error}",))
    code = copy.HOLDS if decision.state == "approved" else copy.DOES_NOT_HOLD
    if decision.event is None and not decision.reason:
        return copy.Finding(code, (f"{sweep.run_id[:4]} is not reviewed",))
    return copy.Finding(code, (block.in_full(decision),))


def _show(backend: "Backend", review: "Review", *, is_author: bool, form: str) -> None:
    from mnist_exp.review.review import since
    from mnist_exp.terminal import reviews, tables

    before = since(backend, review)
    commands = reviews.next_commands(review, is_author=is_author)
    link = backend.link(review.sweep)
    if form == "table":
        reviews.review(review, before, commands, link)
        return
    plain = {
        "id": review.sweep.run_id,
        "name": review.sweep.name,
        "by": review.author,
        "state": review.state,
        "turn": review.decision.turn,
        "changed": review.decision.reason or None,
        "question": {"text": review.question.text, "worth": review.question.worth, "asked": review.question.asked},
        "answer": vars(review.answer),
        "checks": [vars(each) for each in review.checks],
        "content": {"digest": review.content.digest, "runs": review.content.runs, "parts": review.content.parts},
        "events": [{name: value for name, value in vars(each).items() if value} for each in review.record.events],
        "since": {"id": before[0].run_id, "changed": before[1]} if before else None,
        "next": commands,
        "page": link,
    }
    tables.as_json(plain)
