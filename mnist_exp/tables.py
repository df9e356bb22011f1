"""The tables that a person sees in the terminal: sweeps ranked and compared, claims judged, journals that wait."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mnist_exp.terminal import out, shown

if TYPE_CHECKING:
    from mnist_exp.analysis.comparison import Comparison
    from mnist_exp.analysis.leaderboard import Leaderboard
    from mnist_exp.analysis.statistics import Difference
    from mnist_exp.reproduction.claims import ClaimAnswer
    from mnist_exp.tracking.sync import Found

_STYLE: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": SIMPLE_HEAD}


def leaderboard(board: "Leaderboard") -> None:
    """The ranking of a sweep, as a table of the keys that differ and what was reached."""
    from mnist_exp.analysis.leaderboard import COLUMNS

    table = Table(title="Ranked by best validation accuracy", **_STYLE)
    table.add_column("#", justify="right")
    for key in board.keys:
        table.add_column(shown(key), overflow="fold")
    for _, title in COLUMNS:
        table.add_column(title, justify="right", overflow="fold")
    for rank, record in enumerate(board.ranked, 1):
        params = [shown(record.params.get(key, "")) for key in board.keys]
        metrics = [_cell(metric, record.metrics.get(metric)) for metric, _ in COLUMNS]
        table.add_row(str(rank), *params, *metrics, style="bold" if rank == 1 else None)
    for record in board.others:
        params = [shown(record.params.get(key, "")) for key in board.keys]
        table.add_row("-", *params, f"[red]{record.status}[/]", *[""] * (len(COLUMNS) - 1))
    out.print(table)


def comparison(result: "Comparison") -> None:
    """Configurations over their seeds: the ranking, and how sure it is."""
    by, other = result.measure.by, "last" if result.measure.by == "best" else "best"
    table = Table(title=f"Ranked by the mean {result.measure.words()}", **_STYLE)
    table.add_column("#", justify="right")
    for key in result.keys:
        table.add_column(shown(key), overflow="fold")
    for heading in ("n", f"mean ({by})", "95 % interval", "std", "min", "max", f"mean ({other})", "against the first"):
        table.add_column(heading, justify="left" if heading.startswith("against") else "right")
    for rank, row in enumerate(result.rows, 1):
        params = [shown(row.params.get(key, "")) for key in result.keys]
        if row.spread is None:
            table.add_row("-", *params, "0", *[""] * 6, f"[red]{shown(row.how_others_ended())}[/]")
            continue
        spread = row.spread
        others = f" [red]({shown(row.how_others_ended())})[/]" if row.others else ""
        table.add_row(
            str(rank),
            *params,
            f"{spread.n}{others}",
            f"{spread.mean:.4f}",
            f"{spread.low:.4f} .. {spread.high:.4f}" if spread.n > 1 else "one seed",
            f"{spread.std:.4f}" if spread.n > 1 else "",
            f"{spread.min:.4f}",
            f"{spread.max:.4f}",
            f"{row.other_spread.mean:.4f}" if row.other_spread else "",
            _against(row.against_winner),
            style="bold" if rank == 1 else None,
        )
    out.print(table)
    out.print(shown(result.conclusion(), 4000), soft_wrap=True)
    if result.winner and result.winner.spread and result.winner.spread.n == 1:
        out.print("One seed says nothing of the spread: add seed=range(8) to the sweep for intervals.", soft_wrap=True)


def verdicts(answers: "Sequence[ClaimAnswer]", caveats: "Sequence[str]") -> None:
    """The published claims, each with its figures, ours, and what became of it."""
    table = Table(title="The published claims", show_lines=False, **_STYLE)
    for heading in ("", "published", "ours: mean", "95 % interval", "min .. max", "percentile", "verdict"):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right")
    for number, claim in enumerate(answers, 1):
        table.add_row(f"[bold]{number}. {shown(claim.says)}[/]", *[""] * 5, f"[bold]{claim.verdict}[/]")
        for each in claim.answers:
            spread = each.spread
            table.add_row(
                f"   {shown(each.check.words())}",
                f"{each.check.published:.3g}",
                f"{spread.mean:.4f}" if spread else "no run",
                f"{spread.low:.4f} .. {spread.high:.4f}" if spread and spread.n > 1 else "",
                f"{spread.min:.4f} .. {spread.max:.4f}" if spread else "",
                f"{each.percentile:.0f}" if spread else "",
                f"{each.verdict}{f' ({each.difference.words()})' if each.difference else ''}",
            )
    out.print(table)
    for caveat in caveats:
        out.print(f"[bold yellow]{shown(caveat)}[/]", soft_wrap=True)


def journals(found: "Sequence[Found]") -> None:
    """Every journal, as a table."""
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


def _against(difference: "Difference | None") -> str:
    if difference is None:
        return ""
    interval = "" if math.isnan(difference.low) else f" [{difference.low:+.4f}, {difference.high:+.4f}]"
    return f"{difference.mean:+.4f}{interval} {'' if difference.paired else 'unpaired, '}{difference.words()}"


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if metric == "best/epoch":
        return f"{value:.0f}"
    return f"{value:.1f}" if metric.endswith("seconds") else f"{value:.4f}"
