"""``mnist-exp sweeps``: the sweeps of a store, their questions and answers, and whose turn it is."""

import argparse
from typing import TYPE_CHECKING

from mnist_exp.commands import store

if TYPE_CHECKING:
    from mnist_exp.review.queue import Line
    from mnist_exp.tracking.protocols import Backend

HELP = "list the sweeps: what was asked, what came out, whose turn it is"

_MOST = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--mine", action="store_true", help="only those that you began")
    parser.add_argument(
        "--open", action="store_true", help="only those that nobody has approved or rejected as they are"
    )
    parser.add_argument("--since", metavar="TIME", help="only those of the last 90m, 12h, 7d or 2w")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json has all of them")
    store.add_uri(parser)


def run(arguments: argparse.Namespace) -> int:
    """List the sweeps; return 0.

    Raises:
        ConfigError: --since is no time span.
        StoreError: the store cannot be read.
    """
    from mnist_exp.review import person, queue
    from mnist_exp.terminal import reviews, tables

    since = queue.seconds(arguments.since) if arguments.since is not None else None
    backend = store.open_store(arguments.uri)
    user = person.current(backend)
    lines = queue.lines(backend, user, mine=arguments.mine, undecided=arguments.open, since_s=since)
    if arguments.format == "json":
        tables.as_json([_plain(backend, line) for line in lines])
    else:
        reviews.sweeps(lines, _MOST if since is None else len(lines))
    return 0


def _plain(backend: "Backend", line: "Line") -> dict[str, object]:
    """Return a line as JSON has it."""
    return {
        "id": line.sweep.run_id,
        "name": line.sweep.name,
        "by": line.by,
        "ended_ms": line.at_ms,
        "finished": line.finished,
        "jobs": line.jobs,
        "question": line.question.text or None,
        "answer": line.answer,
        "state": line.decision.state,
        "changed": line.decision.reason or None,
        "despite": (line.decision.event.despite if line.decision.event else "") or None,
        "turn": line.decision.turn,
        "is_yours": line.is_yours,
        "page": backend.link(line.sweep),
    }
