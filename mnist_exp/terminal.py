"""Everything that a person sees in the terminal: what is used, how a run goes, how it ended."""

import math
import shutil
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mnist_exp.redaction import redact
from mnist_exp.text import abridged, visible

if TYPE_CHECKING:
    from mnist_exp.analysis.comparison import Comparison
    from mnist_exp.analysis.leaderboard import Leaderboard
    from mnist_exp.analysis.statistics import Difference
    from mnist_exp.data.datasets import Dataset
    from mnist_exp.reproduction.claims import ClaimAnswer
    from mnist_exp.run import Job, Result
    from mnist_exp.training.epochs import Epoch

# A pipe or a file has no width of its own: there, let tables be as wide as they need.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
_err = Console(stderr=True, highlight=False, soft_wrap=True)

_TABLE: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": SIMPLE_HEAD}

# Where no terminal shows a moving bar, so many lines tell of a run, however many epochs it has.
_PLAIN_LINES = 10


def error(message: str) -> None:
    """One line to standard error."""
    _err.print(f"[bold red]error:[/] {_shown(message)}")


def traceback(raised: Exception) -> None:
    """Where a mistake of the program's own was raised, to standard error."""
    sys.stderr.write(redact("".join(tracebacks.format_exception(raised))))


def warning(message: str) -> None:
    """One line to standard error."""
    _err.print(f"[bold yellow]warning:[/] {_shown(message)}")


def dataset(data: "Dataset") -> None:
    """What the runs learn from; in a frame where it is not the MNIST that was looked for."""
    said = (
        f"data: {data.name}, {len(data.train):,} training and {len(data.test):,} test images "
        f"(sha256 {data.digest[:8]}) from {data.source}"
    )
    if data.fallback is None:
        out.print(f"[bold]{_shown(said)}[/]", soft_wrap=True)
        return
    rule = "=" * 88
    reason = f"NOT MNIST: {data.fallback}"
    for line in (rule, said, reason, f"Runs are kept apart, in the experiment {data.name!r}.", rule):
        out.print(f"[bold yellow]{_shown(line)}[/]", soft_wrap=True)


def sweep_begins(keys: list[str], total: int) -> None:
    """One line: how many runs, over what."""
    jobs = f"{total} runs" if total else "runs"
    out.print(f"[bold]sweep:[/] {jobs} over {_shown(', '.join(keys) or 'nothing')}")


@contextmanager
def epochs(job: "Job", total: int) -> "Iterator[Callable[[Epoch], None]]":
    """Show a run's epochs as they end: a bar on a terminal, plain lines elsewhere.

    Yields what is to be called with each completed epoch.
    """
    title = visible(redact(f"run {job.number} of {job.total}  {job.name}" if job.total > 1 else job.name))
    if not out.is_terminal:
        out.print(_shown(title), soft_wrap=True)
        yield _plain_line(total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[scores]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(title, total=total, scores="starting")

        def show(epoch: "Epoch") -> None:
            progress.update(task, completed=epoch.number, scores=_scores(epoch))

        yield show


def run_ends(job: "Job", result: "Result") -> None:
    """One line: what the run reached."""
    place = f"{job.number}/{job.total} " if job.total > 1 else ""
    out.print(
        f"[green]✓[/] {place}[bold]{_shown(job.name)}[/]  val_accuracy {result.best.scores['val_accuracy']:.4f} "
        f"(epoch {result.best.number})  test {result.test_accuracy:.4f}  {result.seconds:.1f} s",
        soft_wrap=True,
    )


def run_fails(job: "Job", reason: str) -> None:
    """One line to standard error, as soon as the run has failed: which, with what overrides, and why."""
    place = f"{job.number} of {job.total} " if job.total > 1 else ""
    overrides = " ".join(job.overrides) or "no overrides"
    _err.print(f"[bold red]✗ run {place}failed[/] ({_shown(overrides)}): {_shown(reason)}")


def leaderboard(board: "Leaderboard") -> None:
    """The ranking of a sweep, as a table of the keys that differ and what was reached."""
    from mnist_exp.analysis.leaderboard import COLUMNS

    table = Table(title="Ranked by best validation accuracy", **_TABLE)
    table.add_column("#", justify="right")
    for key in board.keys:
        table.add_column(_shown(key), overflow="fold")
    for _, title in COLUMNS:
        table.add_column(title, justify="right", overflow="fold")
    for rank, record in enumerate(board.ranked, 1):
        params = [_shown(record.params.get(key, "")) for key in board.keys]
        metrics = [_cell(metric, record.metrics.get(metric)) for metric, _ in COLUMNS]
        table.add_row(str(rank), *params, *metrics, style="bold" if rank == 1 else None)
    for record in board.others:
        params = [_shown(record.params.get(key, "")) for key in board.keys]
        table.add_row("-", *params, f"[red]{record.status}[/]", *[""] * (len(COLUMNS) - 1))
    out.print(table)


def comparison(result: "Comparison") -> None:
    """Configurations over their seeds: the ranking, and how sure it is."""
    by, other = result.measure.by, "last" if result.measure.by == "best" else "best"
    table = Table(title=f"Ranked by the mean {result.measure.words()}", **_TABLE)
    table.add_column("#", justify="right")
    for key in result.keys:
        table.add_column(_shown(key), overflow="fold")
    for heading in ("n", f"mean ({by})", "95 % interval", "std", "min", "max", f"mean ({other})", "against the first"):
        table.add_column(heading, justify="left" if heading.startswith("against") else "right")
    for rank, row in enumerate(result.rows, 1):
        params = [_shown(row.params.get(key, "")) for key in result.keys]
        if row.spread is None:
            table.add_row("-", *params, "0", *[""] * 6, f"[red]{_shown(row.how_others_ended())}[/]")
            continue
        spread = row.spread
        others = f" [red]({_shown(row.how_others_ended())})[/]" if row.others else ""
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
    out.print(_shown(result.conclusion(), 4000), soft_wrap=True)
    if result.winner and result.winner.spread and result.winner.spread.n == 1:
        out.print("One seed says nothing of the spread: add seed=range(8) to the sweep for intervals.", soft_wrap=True)


def verdicts(answers: "Sequence[ClaimAnswer]", caveats: "Sequence[str]") -> None:
    """The published claims, each with its figures, ours, and what became of it."""
    table = Table(title="The published claims", show_lines=False, **_TABLE)
    for heading in ("", "published", "ours: mean", "95 % interval", "min .. max", "percentile", "verdict"):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right")
    for number, claim in enumerate(answers, 1):
        table.add_row(f"[bold]{number}. {_shown(claim.says)}[/]", *[""] * 5, f"[bold]{claim.verdict}[/]")
        for each in claim.answers:
            spread = each.spread
            table.add_row(
                f"   {_shown(each.check.words())}",
                f"{each.check.published:.3g}",
                f"{spread.mean:.4f}" if spread else "no run",
                f"{spread.low:.4f} .. {spread.high:.4f}" if spread and spread.n > 1 else "",
                f"{spread.min:.4f} .. {spread.max:.4f}" if spread else "",
                f"{each.percentile:.0f}" if spread else "",
                f"{each.verdict}{f' ({each.difference.words()})' if each.difference else ''}",
            )
    out.print(table)
    for caveat in caveats:
        out.print(f"[bold yellow]{_shown(caveat)}[/]", soft_wrap=True)


def how_to_look(uri: str) -> None:
    """The last line of every command that left runs behind: what shows the store at ``uri``."""
    from mnist_exp.tracking import store

    where = "" if uri == store.resolve(None) else f" --uri {store.redact(uri)}"
    out.print(f"See it in the MLflow UI:  [bold]{_shown(_command())} ui{_shown(where)}[/]", soft_wrap=True)


def links(named: Mapping[str, str]) -> None:
    """Addresses to open in a browser, one a line."""
    for name, address in named.items():
        out.print(f"  {_shown(name)}\n    [bold]{_shown(address)}[/]", soft_wrap=True)


def _shown(text: str, limit: int = 1000) -> str:
    """Text that may come from anywhere, as rich prints it: no markup, nothing a terminal obeys, no secret, no flood."""
    return escape(abridged(visible(redact(text)), limit))


def _command() -> str:
    """``mnist-exp`` as this user can type it: by name where it is on the path, else where it lies."""
    beside = Path(sys.executable).parent / "mnist-exp"
    if shutil.which("mnist-exp") or not beside.exists():
        return "mnist-exp"
    here = Path.cwd()
    return str(beside.relative_to(here)) if beside.is_relative_to(here) else str(beside)


def _against(difference: "Difference | None") -> str:
    if difference is None:
        return ""
    interval = "" if math.isnan(difference.low) else f" [{difference.low:+.4f}, {difference.high:+.4f}]"
    return f"{difference.mean:+.4f}{interval} {'' if difference.paired else 'unpaired, '}{difference.words()}"


def _plain_line(total: int) -> "Callable[[Epoch], None]":
    every = -(-total // _PLAIN_LINES)

    def show(epoch: "Epoch") -> None:
        if epoch.number % every == 0 or epoch.number in (1, total):
            # The first epoch is no measure: it holds what is done once.
            left = f"  {(total - epoch.number) * epoch.seconds:.0f} s left" if 1 < epoch.number < total else ""
            out.print(f"  epoch {epoch.number}/{total}  {_scores(epoch)}{left}", soft_wrap=True)

    return show


def _scores(epoch: "Epoch") -> str:
    shown = ("loss", "accuracy", "val_accuracy")
    return "  ".join(f"{name} {epoch.scores[name]:.4f}" for name in shown)


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if metric == "best/epoch":
        return f"{value:.0f}"
    return f"{value:.1f}" if metric.endswith("seconds") else f"{value:.4f}"
