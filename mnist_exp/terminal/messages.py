"""Everything that a person sees in the terminal: what is used, how a run goes, how it ended."""

import math
import shlex
import shutil
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mnist_exp.base.text import abridged, redact, visible

if TYPE_CHECKING:
    from mnist_exp.data.datasets import Dataset
    from mnist_exp.metrics import Epoch
    from mnist_exp.runs.run import Job, Result
    from mnist_exp.sweeps.recover import Found
    from mnist_exp.tracking.mlflow.records import Record
    from mnist_exp.tracking.spool.sender import Unsent

# A pipe or a file has no width of its own: there, let tables be as wide as they need.
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 240)
_err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

# Where no terminal shows a moving bar, so many lines tell of a run, however many epochs it has.
_PLAIN_LINES = 10


def error(message: str) -> None:
    """One line to standard error."""
    _err.print(f"[bold red]error:[/] {shown(message)}")


def traceback(raised: Exception) -> None:
    """Where a mistake of the program's own was raised, to standard error."""
    sys.stderr.write(redact("".join(tracebacks.format_exception(raised))))


def warning(message: str) -> None:
    """One line to standard error."""
    _err.print(f"[bold yellow]warning:[/] {shown(message)}")


def dataset(data: "Dataset") -> None:
    """What the runs learn from; in a frame where it is not the MNIST that was looked for."""
    said = (
        f"data: {data.name}, {len(data.train):,} training and {len(data.test):,} test images "
        f"(sha256 {data.digest[:8]}) from {data.source}"
    )
    if data.fallback is None:
        out.print(f"[bold]{shown(said)}[/]", soft_wrap=True)
        return
    rule = "=" * 88
    reason = f"NOT MNIST: {data.fallback}"
    for line in (rule, said, reason, f"Runs are kept apart, in the experiment {data.name!r}.", rule):
        out.print(f"[bold yellow]{shown(line)}[/]", soft_wrap=True)


def sweep_begins(keys: list[str], total: int, *, looks: bool = False) -> None:
    """One line: how many runs, over what, and whether it may be extended."""
    jobs = f"{total} runs" if total else "runs"
    out.print(f"[bold]sweep:[/] {jobs} over {shown(', '.join(keys) or 'nothing')}", soft_wrap=True)
    if looks:
        from mnist_exp.analysis.looks import LEVEL, SCHEDULE
        from mnist_exp.statistics.conclusion import joined, percent

        planned = joined([str(n) for n in SCHEDULE])
        out.print(
            f"  It may be extended: judged with {planned} replicates, each time at {percent(LEVEL)}.", soft_wrap=True
        )


def sweep_resumes(keys: list[str], total: int) -> None:
    """One line: that the last sweep of the same command goes on."""
    out.print(f"[bold]sweep resumed:[/] {total} runs over {shown(', '.join(keys) or 'nothing')}")


@contextmanager
def epochs(job: "Job", total: int, done: int = 0) -> "Iterator[Callable[[Epoch], None]]":
    """Show a run's epochs as they end: a bar on a terminal, plain lines elsewhere; ``done`` were before.

    Yields what is to be called with each completed epoch.
    """
    title = visible(redact(f"run {job.number} of {job.total}  {job.name}" if job.total > 1 else job.name))
    if not out.is_terminal:
        out.print(shown(title), soft_wrap=True)
        if done:
            out.print(f"  goes on after epoch {done}/{total}")
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
        task = progress.add_task(title, total=total, completed=done, scores="starting")

        def show(epoch: "Epoch") -> None:
            progress.update(task, completed=epoch.number, scores=_scores(epoch))

        yield show


def run_ends(job: "Job", result: "Result") -> None:
    """One line: what the run reached."""
    out.print(
        f"[green]✓[/] {_place(job)}[bold]{shown(job.name)}[/]  val_accuracy {result.kept.scores['val_accuracy']:.4f} "
        f"(epoch {result.kept.number})  test {result.test_accuracy:.4f}  {result.seconds:.1f} s",
        soft_wrap=True,
    )


def run_is_kept(job: "Job", record: "Record") -> None:
    """One line: a run that an earlier command finished."""
    accuracy = record.figure("kept/val_accuracy", math.nan)
    epoch = f" (epoch {record.metrics['kept/epoch']:.0f})" if "kept/epoch" in record.metrics else ""
    out.print(
        f"[green]✓[/] {_place(job)}[bold]{shown(job.name)}[/]  kept, finished before: "
        f"val_accuracy {accuracy:.4f}{epoch}",
        soft_wrap=True,
    )


def run_is_elsewhere(job: "Job") -> None:
    """One line: a run that another process is at."""
    out.print(f"  {_place(job)}{shown(job.name)}  left to another process, which runs it now", soft_wrap=True)


def run_fails(job: "Job", reason: str) -> None:
    """One line to standard error, as soon as the run has failed: which, with what overrides, and why."""
    place = f"{job.number} of {job.total} " if job.total > 1 else ""
    overrides = " ".join(job.overrides) or "no overrides"
    _err.print(f"[bold red]✗ run {place}failed[/] ({shown(overrides)}): {shown(reason)}")


def how_to_look(uri: str) -> None:
    """The last line of every command that left runs behind: what shows the store at ``uri``."""
    from mnist_exp.tracking.mlflow import store

    where = "" if uri == store.resolve(None) else f" --uri {store.without_credentials(uri)}"
    out.print(f"See it in the MLflow UI:  [bold]{shown(_command())} ui{shown(where)}[/]", soft_wrap=True)


def journals_wait(count: int, reason: str) -> None:
    """One line: how many runs a store does not have whole, and why."""
    warning(f"{'1 run waits' if count == 1 else f'{count} runs wait'} to be sent: {reason}")


def how_to_resume(words: "Sequence[str]") -> None:
    """The last line after an interruption: what was given, as the command that goes on from there."""
    command = shlex.join([*(each for each in words if not each.lstrip("+").startswith("resume=")), "resume=true"])
    _err.print(f"Interrupted. This goes on from there:  [bold]{shown(command)}[/]")


def orphan(record: "Record") -> None:
    """One line: a run that was closed because nobody gives a sign of life of it."""
    host = f" on {shown(record.tags['host'])}" if "host" in record.tags else ""
    out.print(f"[green]✓[/] {shown(record.name)}: its process{host} vanished, closed as KILLED", soft_wrap=True)


def store_is_away(reason: str) -> None:
    """Two lines: why no server hears of the runs for now, and what becomes of them."""
    warning(reason)
    _err.print("Training goes on without it: runs are kept in journals, and sent as soon as it answers.")


def unsent(waiting: "Sequence[tuple[str, Unsent]]") -> None:
    """What of the runs the store does not have, and how it will."""
    refused = [(name, each) for name, each in waiting if each.refused]
    away = [(name, each) for name, each in waiting if not each.refused]
    if away:
        runs = "1 run" if len(away) == 1 else f"{len(away)} runs"
        warning(f"{sum(each.entries for _, each in away)} entries of {runs} wait to be sent: {away[-1][1].reason}")
        _err.print(f"Nothing is lost: they are in a journal. Send them with  [bold]{shown(_command())} sync[/]")
    for name, each in refused:
        warning(f"{each.entries} entries of {name} were refused: {each.reason}")


def postponed(reason: str) -> None:
    """That a sweep is not ranked yet, and what ranks it."""
    warning(f"the sweep is not ranked yet: {reason}")
    _err.print(f"Nothing is lost. What waits is sent, and the sweep ranked, by  [bold]{shown(_command())} sync[/]")


def journal(found: "Found") -> None:
    """One line: what became of a journal, or what it waits for."""
    name, entries, folder = shown(found.name), f"{found.entries} entries", shown(str(found.folder))
    vanished = "its process vanished, closed as KILLED; " if found.vanished else ""
    remark = f" ({shown(found.remark)})" if found.remark else ""
    sent = vanished.removesuffix("; ") if found.vanished and not found.entries else f"{vanished}{entries} sent"
    waits = f"{entries} wait" if found.entries else "waits"
    said = {
        "running": f"{name}: goes on",
        "on another host": f"{name}: goes on {shown(found.remark)}, as far as can be told from here",
        "waiting": f"[yellow]{name}[/]: {waits}{remark}",
        "sent": f"[green]✓[/] {name}: {sent}{remark}",
        "ranked": f"[green]✓[/] {name}: {vanished}the sweep is ranked and closed{remark}",
        "resumable": f"[green]✓[/] {name}: {vanished}can be taken up again with resume=true{remark}",
        "refused": f"[red]{name}[/]: {vanished}the store will not take all of it{remark}, see {folder}",
        "unreadable": f"[red]{name}[/]: {folder} cannot be read{remark}",
    }
    out.print(said[found.state], soft_wrap=True)


def links(named: Mapping[str, str]) -> None:
    """Addresses to open in a browser, one a line."""
    for name, address in named.items():
        out.print(f"  {shown(name)}\n    [bold]{shown(address)}[/]", soft_wrap=True)


def shown(text: str, limit: int = 1000) -> str:
    """Text that may come from anywhere, as rich prints it: no markup, nothing a terminal obeys, no secret, no flood."""
    return escape(abridged(visible(redact(text)), limit))


def _place(job: "Job") -> str:
    return f"{job.number}/{job.total} " if job.total > 1 else ""


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
