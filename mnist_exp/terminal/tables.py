"""Tables printed in the terminal: the ranking and comparison of a sweep, published claims, journals; and JSON."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mnist_exp.terminal.messages import out, shown

if TYPE_CHECKING:
    from mnist_exp.analysis.claims import ClaimResult
    from mnist_exp.analysis.comparison import Comparison
    from mnist_exp.analysis.next_step import NextStep
    from mnist_exp.analysis.ranking import Leaderboard
    from mnist_exp.statistics.components import Components
    from mnist_exp.statistics.conclusion import AgainstFirst
    from mnist_exp.sweeps.recover import Found

_STYLE: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": SIMPLE_HEAD}


def leaderboard(board: "Leaderboard") -> None:
    """Print the ranking of a sweep's runs: rank, the keys that differ, metrics."""
    from mnist_exp.analysis.ranking import COLUMNS

    table = Table(title="Ranked by the validation accuracy of the weights that were kept", **_STYLE)
    table.add_column("#", justify="right")
    for key in board.keys:
        table.add_column(shown(key), overflow="fold")
    for _, title in COLUMNS:
        table.add_column(title, justify="right", overflow="fold")
    for rank, record in enumerate(board.ranked, 1):
        params = [shown(record.params.get(key, "")) for key in board.keys]
        metrics = [_cell(metric, record.figure(metric)) for metric, _ in COLUMNS]
        table.add_row(str(rank), *params, *metrics, style="bold" if rank == 1 else None)
    for record in board.range_tests:
        params = [shown(record.params.get(key, "")) for key in board.keys]
        table.add_row("-", *params, "range test", *[""] * (len(COLUMNS) - 1))
    for record in board.others:
        params = [shown(record.params.get(key, "")) for key in board.keys]
        table.add_row("-", *params, f"[red]{record.status}[/]", *[""] * (len(COLUMNS) - 1))
    out.print(table)


def comparison(result: "Comparison", step: "NextStep | None" = None) -> None:
    """Print the ranking of configurations with their verdicts, the conclusion, and the next step.

    Args:
        result: the configurations.
        step: the sweep that would decide what is undecided; None if there is none.
    """
    from mnist_exp.statistics.conclusion import percent

    has_verdicts = result.verdicts.result is not None
    table = Table(title=f"Ranked by the mean {result.measure.words()}", **_STYLE)
    table.add_column("#", justify="right")
    for key in result.keys:
        table.add_column(shown(key), overflow="fold")
    for heading in ("n", "mean", "95 % interval", "min .. max", *(["best set"] if has_verdicts else [])):
        table.add_column(heading, justify="left" if heading == "best set" else "right")
    level = f" [{percent(1 - result.verdicts.level)}, all pairs]" if has_verdicts else ""
    table.add_column(f"minus the first{level}")
    for heading in ("verdict", "beats the first"):
        table.add_column(heading)
    for rank, row in enumerate(result.rows, 1):
        params = [shown(row.params.get(key, "")) for key in result.keys]
        if row.spread is None:
            failures = f"[red]{shown(row.failures_in_words())}[/]"
            table.add_row("-", *params, "0", *[""] * (5 if has_verdicts else 4), failures, "")
            continue
        spread, against = row.spread, row.against_first
        failures = f" [red]({shown(row.failures_in_words())})[/]" if row.without_value else ""
        table.add_row(
            str(rank),
            *params,
            f"{spread.n}{failures}",
            f"{spread.mean:.4f}",
            f"{'~ ' if spread.approximate else ''}{spread.low:.4f} .. {spread.high:.4f}" if spread.has_interval else "",
            f"{spread.min:.4f} .. {spread.max:.4f}" if spread.n > 1 else "",
            *([row.best_set_in_words()] if has_verdicts else []),
            against.interval() if against else "",
            shown(against.words()) if against else "",
            _chance(against),
            style="bold" if row.in_best_set and row.is_judged else None,
        )
    out.print(table)
    if any(row.spread and row.spread.approximate and row.spread.has_interval for row in result.rows):
        out.print("~ approximate: fewer than 16 values", style="dim")
    if result.components is not None:
        components(result.components)
    out.print(shown(result.conclusion(), 4000), soft_wrap=True)
    next_step(step)


def components(found: "Components") -> None:
    """Print the variance components of a crossed sweep."""
    table = Table(title="Sources of the variance between runs", **_STYLE)
    for heading in ("source", "seeds", "standard deviation", "share of the variance"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for name, deviation, share in found.rows():
        table.add_row(name, str(found.levels.get(name, "")), f"{deviation:.4f}", f"{100 * share:.0f} %")
    out.print(table)


def next_step(step: "NextStep | None") -> None:
    """Print the command of the sweep that would decide what is undecided; nothing for None."""
    if step is not None:
        out.print(f"{shown(step.why)}\n  [bold]{shown(step.command, 2000)}[/]", soft_wrap=True)


def claims(results: "Sequence[ClaimResult]", caveats: "Sequence[str]") -> None:
    """Print the published claims, each with the published figures, ours, and its verdict.

    Args:
        results: every claim, judged.
        caveats: reasons why this may not reproduce what was published.
    """
    from mnist_exp.statistics.estimates import APPROXIMATE_BELOW

    table = Table(title="The published claims", show_lines=False, **_STYLE)
    for heading in ("", "published", "ours: mean", "95 % interval", "min .. max", "percentile", "n", "verdict"):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right")
    for number, claim in enumerate(results, 1):
        table.add_row(f"[bold]{number}. {shown(claim.says)}[/]", *[""] * 6, f"[bold]{claim.verdict}[/]")
        for each in claim.checks:
            spread, decimals = each.spread, "+.4f" if each.check.than else ".4f"
            reason = each.reason()
            table.add_row(
                f"   {shown(each.check.words())}",
                f"{each.check.published:{'+.3g' if each.check.than else '.3g'}}",
                f"{spread.mean:{decimals}}" if spread else "no run",
                f"{'~ ' if each.approximate else ''}{spread.low:{decimals}} .. {spread.high:{decimals}}"
                if spread and spread.has_interval
                else "",
                f"{spread.min:{decimals}} .. {spread.max:{decimals}}" if spread else "",
                f"{each.percentile:.0f}" if spread else "",
                f"{spread.n if spread else 0}",
                f"{each.verdict}{f' ({reason})' if reason else ''}",
            )
    out.print(table)
    note = "Intervals of differences are simultaneous, the others are t intervals of the mean."
    if any(each.approximate for claim in results for each in claim.checks):
        note += f" ~ approximate: fewer than {APPROXIMATE_BELOW} replicates."
    out.print(note, soft_wrap=True)
    for caveat in caveats:
        out.print(f"[bold yellow]{shown(caveat)}[/]", soft_wrap=True)


def journals(found: "Sequence[Found]") -> None:
    """Print the state of every journal."""
    if not found:
        out.print("Nothing waits.")
        return
    table = Table(title="Journals", **_STYLE)
    for heading in ("run", "state", "entries to send", "journal"):
        table.add_column(heading, justify="right" if heading.startswith("entries") else "left", overflow="fold")
    for each in found:
        state = "process vanished" if each.vanished else str(each.state)
        table.add_row(shown(each.name), f"{state} {shown(each.remark)}".strip(), str(each.entries), each.folder.name)
    out.print(table)


def as_json(content: object) -> None:
    """Write what ``--format json`` shows to standard output; null for numbers that are not known (NaN, infinity)."""
    sys.stdout.write(json.dumps(_known(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _known(content: object) -> object:
    """Return dicts, lists and values with None in place of numbers that JSON does not have."""
    match content:
        case Mapping():
            return {key: _known(value) for key, value in content.items()}
        case list() | tuple():
            return [_known(value) for value in content]
        case float() if not math.isfinite(content):
            return None
        case _:
            return content


def _chance(against: "AgainstFirst | None") -> str:
    """Return the probability that one more run beats one more run of the first: ``12% (0% to 53%)``."""
    if against is None or math.isnan(against.chance_low):
        return ""
    return f"{against.chance:.0%} ({against.chance_low:.0%} to {against.chance_high:.0%})"


def _cell(metric: str, value: float | None) -> str:
    """Return a metric as the ranking shows it; an empty text for None."""
    from mnist_exp import metrics

    return "" if value is None else metrics.shown(metric, value)
