"""Everything that a person sees in the terminal: what is used, how a run goes, how it ended."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from mnist_exp.analysis.leaderboard import Leaderboard
    from mnist_exp.data.datasets import Dataset
    from mnist_exp.run import Job, Result
    from mnist_exp.training.epochs import Epoch

# A pipe or a file has no width of its own: there, let tables be as wide as they need.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
_err = Console(stderr=True, highlight=False, soft_wrap=True)

# Where no terminal shows a moving bar, so many lines tell of a run, however many epochs it has.
_PLAIN_LINES = 10


def error(message: str) -> None:
    """One line to standard error."""
    _err.print(f"[bold red]error:[/] {escape(message)}")


def warning(message: str) -> None:
    """One line to standard error."""
    _err.print(f"[bold yellow]warning:[/] {escape(message)}")


def dataset(data: "Dataset") -> None:
    """What the runs learn from; in a frame where it is not the MNIST that was looked for."""
    said = (
        f"data: {data.name}, {len(data.train):,} training and {len(data.test):,} test images "
        f"(sha256 {data.digest[:8]}) from {data.source}"
    )
    if data.fallback is None:
        out.print(f"[bold]{escape(said)}[/]", soft_wrap=True)
        return
    rule = "=" * 88
    reason = f"NOT MNIST: {data.fallback}"
    for line in (rule, said, reason, f"Runs are kept apart, in the experiment {data.name!r}.", rule):
        out.print(f"[bold yellow]{escape(line)}[/]", soft_wrap=True)


def sweep_begins(keys: list[str], total: int) -> None:
    """One line: how many runs, over what."""
    jobs = f"{total} runs" if total else "runs"
    out.print(f"[bold]sweep:[/] {jobs} over {escape(', '.join(keys) or 'nothing')}")


@contextmanager
def epochs(job: "Job", total: int) -> "Iterator[Callable[[Epoch], None]]":
    """Show a run's epochs as they end: a bar on a terminal, plain lines elsewhere.

    Yields what is to be called with each completed epoch.
    """
    title = f"run {job.number} of {job.total}  {job.name}" if job.total > 1 else job.name
    if not out.is_terminal:
        out.print(escape(title), soft_wrap=True)
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
        f"[green]✓[/] {place}[bold]{escape(job.name)}[/]  val_accuracy {result.best.scores['val_accuracy']:.4f} "
        f"(epoch {result.best.number})  test {result.test_accuracy:.4f}  {result.seconds:.1f} s",
        soft_wrap=True,
    )


def run_fails(job: "Job", reason: str) -> None:
    """One line to standard error, as soon as the run has failed: which, with what overrides, and why."""
    place = f"{job.number} of {job.total} " if job.total > 1 else ""
    overrides = " ".join(job.overrides) or "no overrides"
    _err.print(f"[bold red]✗ run {place}failed[/] ({escape(overrides)}): {escape(reason)}")


def leaderboard(board: "Leaderboard") -> None:
    """The ranking of a sweep, as a table of the keys that differ and what was reached."""
    from mnist_exp.analysis.leaderboard import COLUMNS

    table = Table(title="Ranked by best validation accuracy", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("#", justify="right")
    for key in board.keys:
        table.add_column(escape(key), overflow="fold")
    for _, title in COLUMNS:
        table.add_column(title, justify="right", overflow="fold")
    for rank, record in enumerate(board.ranked, 1):
        params = [escape(record.params.get(key, "")) for key in board.keys]
        metrics = [_cell(metric, record.metrics.get(metric)) for metric, _ in COLUMNS]
        table.add_row(str(rank), *params, *metrics, style="bold" if rank == 1 else None)
    for record in board.others:
        params = [escape(record.params.get(key, "")) for key in board.keys]
        table.add_row("-", *params, f"[red]{record.status}[/]", *[""] * (len(COLUMNS) - 1))
    out.print(table)


def how_to_look(uri: str) -> None:
    """The last line of every command that left runs behind: what shows the store at ``uri``."""
    from mnist_exp.tracking import store

    where = "" if uri == store.resolve(None) else f" --uri {store.redact(uri)}"
    out.print(f"See it in the MLflow UI:  [bold]{escape(_command())} ui{escape(where)}[/]", soft_wrap=True)


def links(named: Mapping[str, str]) -> None:
    """Addresses to open in a browser, one a line."""
    for name, address in named.items():
        out.print(f"  {escape(name)}\n    [bold]{escape(address)}[/]", soft_wrap=True)


def _command() -> str:
    """``mnist-exp`` as this user can type it: by name where it is on the path, else where it lies."""
    beside = Path(sys.executable).parent / "mnist-exp"
    if shutil.which("mnist-exp") or not beside.exists():
        return "mnist-exp"
    here = Path.cwd()
    return str(beside.relative_to(here)) if beside.is_relative_to(here) else str(beside)


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
