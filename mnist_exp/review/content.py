"""What an approval is given for: a digest over a sweep's runs and its question, and what changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_exp import metrics
from mnist_exp.analysis import samples
from mnist_exp.config.replicate import REPLICATE
from mnist_exp.statistics.conclusion import joined
from mnist_exp.tracking.protocols import Record

_DIGITS = 8  # of a digest: a reader compares it by eye; forging one is not what it protects against
_DIGITS_OF_RUN = 6
_MOST_RUNS = 300  # whose digests fit into an event


@dataclass(frozen=True)
class Content:
    """What a sweep consists of, as digests. Tags, names, notes and reports do not count.

    Attributes:
        digest: of everything, 16 hex digits.
        runs: number of runs.
        parts: a digest each of ``question``, ``fingerprints``, ``replicates``, ``states`` and ``metrics``.
        each: the first hex digits of each run's own digest, in one text; empty if there are too many runs.
    """

    digest: str
    runs: int
    parts: Mapping[str, str]
    each: str

    @property
    def words(self) -> str:
        """Return ``4f1c9a2e, 32 runs``."""
        return in_words(vars(self))


def content_of(runs: Sequence[Record], question: str, worth: float | None) -> Content:
    """Return the content of a sweep: fingerprints, replicates, states and final metrics of its runs, and its question.

    Args:
        runs: of the sweep, and of those that it adds replicates to.
        question: what it was asked; empty if nothing.
        worth: the smallest difference that matters.
    """
    columns = {"fingerprints": _fingerprint, "replicates": _replicate, "states": _state, "metrics": _final_metrics}
    rows = [{name: _digest(column(run)) for name, column in columns.items()} for run in runs]
    digests = sorted(_digest(row) for row in rows)
    parts = {"question": _digest([question, worth])[:_DIGITS]}
    parts |= {name: _digest(sorted(row[name] for row in rows))[:_DIGITS] for name in columns}
    each = "".join(digest[:_DIGITS_OF_RUN] for digest in digests) if len(runs) <= _MOST_RUNS else ""
    return Content(_digest([digests, question, worth])[:16], len(runs), parts, each)


def in_words(content: Mapping[str, Any]) -> str:
    """Return ``4f1c9a2e, 32 runs`` of the fields of a :class:`Content`, as an event has them."""
    return f"{str(content.get('digest', ''))[:_DIGITS]}, {content.get('runs', 0)} runs"


def changes(before: Mapping[str, Any], now: Content, runs: Sequence[Record]) -> str:
    """Say what differs from the content that an approval was given for: ``metrics of 1 run (model.units=4)``.

    Args:
        before: the event's ``content``: the fields of :class:`Content`.
        now: the content at present.
        runs: its runs.
    """
    parts = before.get("parts", {})
    changed = [name for name in now.parts if parts.get(name) != now.parts[name]]
    words = []
    if (count := before.get("runs", 0)) != now.runs:
        words.append(f"it had {count} runs, and has {now.runs}")
        changed = [name for name in changed if name == "question"]
    if changed:
        words.append(f"{joined(changed)} changed")
    text = str(before.get("each", ""))
    if text and now.each:
        known = {text[at : at + _DIGITS_OF_RUN] for at in range(0, len(text), _DIGITS_OF_RUN)}
        differing = [run for run in runs if content_of([run], "", None).each not in known]
        if differing:
            words.append(f"changed or new: {_named(differing)}")
    return "; ".join(words) or "its content changed"


def _named(runs: Sequence[Record]) -> str:
    names = [f"run {run.run_id[:8]} ({run.name})" for run in runs[:2]]
    return ", ".join(names) + (f" and {len(runs) - 2} more" if len(runs) > 2 else "")


def _fingerprint(run: Record) -> Any:
    return [run.tags.get("fingerprint", ""), samples.config_of(run)]


def _replicate(run: Record) -> Any:
    return [run.params.get(REPLICATE, ""), samples.seeds_of(run)]


def _state(run: Record) -> Any:
    return run.status


def _final_metrics(run: Record) -> Any:
    """Return the last values, without times and the machine's load, which differ when the same run is repeated."""
    return sorted(
        (name, repr(value))
        for name, value in run.metrics.items()
        if not name.startswith("system/") and getattr(metrics.find(name), "unit", "") != "s"
    )


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
