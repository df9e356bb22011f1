"""The lines that a command prints: its data, the progress and result of each run, errors, and what to type next.

Results go to standard output; warnings, errors and hints after a failure go to standard error. Tables: ``tables``.
"""

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
    from mnist_exp.runs.job import Job
    from mnist_exp.runs.run import Result
    from mnist_exp.sweeps.recover import Found
    from mnist_exp.tracking.protocols import Record
    from mnist_exp.tracking.spool.sender import Unsent

# A pipe or a file has no width: 240 columns hold every table without wrapping.
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 240)
_err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

# About the number of lines for the epochs of a run if no terminal shows a progress bar.
_PLAIN_LINES = 10

WIDE = 100
"""Characters of a terminal that has room for tables with two columns of prose."""

_LONGEST_LINK = 40_000  # characters: the comparison of a thousand runs names each of them


def error(message: str) -> None:
    """Print an error, as one line."""
    _err.print(f"[bold red]error:[/] {shown(message)}")


def traceback(raised: Exception) -> None:
    """Print the traceback of an error in the program itself, without secrets."""
    sys.stderr.write(redact("".join(tracebacks.format_exception(raised))))


def warning(message: str) -> None:
    """Print a warning, as one line."""
    _err.print(f"[bold yellow]warning:[/] {shown(message)}")


def dataset(data: "Dataset") -> None:
    """Print which data set the runs use; five lines with a warning if it stands in for an MNIST that was not found."""
    line = (
        f"data: {data.name}, {len(data.train):,} training and {len(data.test):,} test images "
        f"(sha256 {data.digest[:8]}) from {data.source}"
    )
    if data.fallback is None:
        out.print(f"[bold]{shown(line)}[/]", soft_wrap=True)
        return
    rule = "=" * 88
    reason = f"NOT MNIST: {data.fallback}"
    for each in (rule, line, reason, f"Runs are kept apart, in the experiment {data.name!r}.", rule):
        out.print(f"[bold yellow]{shown(each)}[/]", soft_wrap=True)


def sweep_begins(keys: "Sequence[str]", total: int, *, looks: bool = False) -> None:
    """Print how many runs a sweep has, over which keys, and whether it may be extended (``looks``)."""
    jobs = f"{total} runs" if total else "runs"
    out.print(f"[bold]sweep:[/] {jobs} over {shown(', '.join(keys) or 'nothing')}", soft_wrap=True)
    if looks:
        from mnist_exp.analysis.looks import LEVEL, SCHEDULE
        from mnist_exp.statistics.conclusion import joined, percent

        planned = joined([str(n) for n in SCHEDULE])
        out.print(
            f"  It may be extended: judged with {planned} replicates, each time at {percent(LEVEL)}.", soft_wrap=True
        )


def sweep_resumes(keys: "Sequence[str]", total: int) -> None:
    """Print that the last sweep of the same command is resumed."""
    out.print(f"[bold]sweep resumed:[/] {total} runs over {shown(', '.join(keys) or 'nothing')}")


@contextmanager
def epochs(job: "Job", total: int, done: int = 0) -> "Iterator[Callable[[Epoch], None]]":
    """Show a run's epochs as they are completed: a progress bar on a terminal, at most 11 lines elsewhere.

    Args:
        job: the run.
        total: number of epochs in all.
        done: number of epochs that an earlier command completed.

    Yields:
        The function to call with each completed epoch.
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
    """Print the result of a run: the accuracies of the weights that it keeps."""
    out.print(
        f"[green]✓[/] {_place(job)}[bold]{shown(job.name)}[/]  val_accuracy {result.kept.scores['val_accuracy']:.4f} "
        f"(epoch {result.kept.number})  test {result.test_accuracy:.4f}  {result.seconds:.1f} s",
        soft_wrap=True,
    )


def run_is_kept(job: "Job", record: "Record") -> None:
    """Print that a run was finished by an earlier command and is kept."""
    accuracy = record.figure("kept/val_accuracy", math.nan)
    epoch = f" (epoch {record.metrics['kept/epoch']:.0f})" if "kept/epoch" in record.metrics else ""
    out.print(
        f"[green]✓[/] {_place(job)}[bold]{shown(job.name)}[/]  kept, finished before: "
        f"val_accuracy {accuracy:.4f}{epoch}",
        soft_wrap=True,
    )


def run_is_elsewhere(job: "Job") -> None:
    """Print that another process runs this job."""
    out.print(f"  {_place(job)}{shown(job.name)}  left to another process, which runs it now", soft_wrap=True)


def run_fails(job: "Job", reason: str) -> None:
    """Print that a run failed: its number in the sweep, its overrides and the reason."""
    place = f"{job.number} of {job.total} " if job.total > 1 else ""
    overrides = " ".join(job.overrides) or "no overrides"
    _err.print(f"[bold red]✗ run {place}failed[/] ({shown(overrides)}): {shown(reason)}")


def how_to_look(uri: str) -> None:
    """Print the command that shows the store at ``uri`` in the MLflow UI; the last line of a command that made runs."""
    from mnist_exp.tracking.mlflow.client import uri_from_config, without_credentials

    where = "" if uri == uri_from_config(None) else f" --uri {without_credentials(uri)}"
    out.print(f"See it in the MLflow UI:  [bold]{shown(command_name())} ui{shown(where)}[/]", soft_wrap=True)


def journals_wait(count: int, reason: str) -> None:
    """Print how many runs have entries that were not sent, and why."""
    warning(f"{'1 run waits' if count == 1 else f'{count} runs wait'} to be sent: {reason}")


def how_to_resume(words: "Sequence[str]") -> None:
    """Print the command that resumes an interrupted one; ``words`` are those of the interrupted command."""
    command = shlex.join([*(each for each in words if not each.lstrip("+").startswith("resume=")), "resume=true"])
    _err.print(f"Interrupted. This goes on from there:  [bold]{shown(command)}[/]")


def recovered(found: "Sequence[Found]") -> None:
    """Print which journals were sent before a command began, and how many runs wait."""
    for each in found:
        if each.state != "waiting" and (each.vanished or each.state in ("sent", "ranked", "unreadable")):
            journal(each)
    if waiting := [each for each in found if each.state == "waiting"]:
        journals_wait(len(waiting), waiting[0].remark)


def closed_run(record: "Record") -> None:
    """Print that a run was closed, as its host is gone."""
    host = f" on {shown(record.tags['host'])}" if "host" in record.tags else ""
    out.print(f"[green]✓[/] {shown(record.name)}: its process{host} is gone, closed as KILLED", soft_wrap=True)


def store_is_away(reason: str) -> None:
    """Print that the store does not answer, and that runs are kept in journals until it does."""
    warning(reason)
    _err.print("Training goes on without it: runs are kept in journals, and sent as soon as it answers.")


def unsent(waiting: "Sequence[tuple[str, Unsent]]") -> None:
    """Print how many entries of each run the store does not have, and the command that sends them.

    Args:
        waiting: names of runs, with their unsent entries; nothing is printed if it is empty.
    """
    refused = [(name, each) for name, each in waiting if each.refused]
    away = [(name, each) for name, each in waiting if not each.refused]
    if away:
        runs = "1 run" if len(away) == 1 else f"{len(away)} runs"
        warning(f"{sum(each.entries for _, each in away)} entries of {runs} wait to be sent: {away[-1][1].reason}")
        _err.print(f"Nothing is lost: they are in a journal. Send them with  [bold]{shown(command_name())} sync[/]")
    for name, each in refused:
        warning(f"{each.entries} entries of {name} were refused: {each.reason}")


def postponed(reason: str, *, is_ranked: bool) -> None:
    """Print that a sweep is not ranked yet, or from this disk alone, and the command that ranks it in its store."""
    warning(f"the sweep is {'ranked from this disk alone' if is_ranked else 'not ranked yet'}: {reason}")
    _err.print(f"Nothing is lost. What waits is sent, and the sweep ranked, by  [bold]{shown(command_name())} sync[/]")


def journal(found: "Found") -> None:
    """Print what became of a journal, or what it waits for."""
    name, entries, folder = shown(found.name), f"{found.entries} entries", shown(str(found.folder))
    vanished = "its process vanished, closed as KILLED; " if found.vanished else ""
    remark = f" ({shown(found.remark)})" if found.remark else ""
    sent = vanished.removesuffix("; ") if found.vanished and not found.entries else f"{vanished}{entries} sent"
    waits = f"{entries} wait" if found.entries else "waits"
    lines = {
        "running": f"{name}: goes on",
        "on another host": f"{name}: goes on {shown(found.remark)}; from here its process cannot be checked",
        "waiting": f"[yellow]{name}[/]: {waits}{remark}",
        "sent": f"[green]✓[/] {name}: {sent}{remark}",
        "ranked": f"[green]✓[/] {name}: {vanished}the sweep is ranked and closed{remark}",
        "resumable": f"[green]✓[/] {name}: {vanished}can be resumed with resume=true{remark}",
        "refused": f"[red]{name}[/]: {vanished}the store rejected part of it{remark}, see {folder}",
        "unreadable": f"[red]{name}[/]: {folder} cannot be read{remark}",
    }
    out.print(lines[found.state], soft_wrap=True)


def answer(question: str, sentences: "Sequence[str]") -> None:
    """Print the question of a sweep and the answer to it."""
    out.print(f"[bold]{shown(question)}[/]", soft_wrap=True)
    for sentence in sentences:
        out.print(f"  {shown(sentence)}", soft_wrap=True)


def decision(headline: str) -> None:
    """Print what was decided of a sweep."""
    out.print(shown(headline), soft_wrap=True)


def sweeps_wait(count: int) -> None:
    """Print that sweeps wait for this user, and the command that lists them; nothing for 0."""
    if count:
        waits = "1 sweep waits" if count == 1 else f"{count} sweeps wait"
        _err.print(f"{waits} for you:  [bold]{shown(command_name())} sweeps[/]")


def links(named: Mapping[str, str]) -> None:
    """Print names and addresses to open in a browser, each on its own line."""
    for name, address in named.items():
        out.print(f"  {shown(name)}\n    [bold]{shown(address, _LONGEST_LINK)}[/]", soft_wrap=True)


def shown(text: str, limit: int = 1000) -> str:
    """Make untrusted text safe to print with rich: no markup, no control characters, no secrets, a bounded length."""
    return escape(abridged(visible(redact(text)), limit))


def _place(job: "Job") -> str:
    return f"{job.number}/{job.total} " if job.total > 1 else ""


def command_name() -> str:
    """Return how to call ``mnist-exp``: its name if it is on the path, else the file beside this interpreter."""
    beside = Path(sys.executable).parent / "mnist-exp"
    if shutil.which("mnist-exp") or not beside.exists():
        return "mnist-exp"
    here = Path.cwd()
    return str(beside.relative_to(here)) if beside.is_relative_to(here) else str(beside)


def _plain_line(total: int) -> "Callable[[Epoch], None]":
    every = -(-total // _PLAIN_LINES)

    def show(epoch: "Epoch") -> None:
        if epoch.number % every == 0 or epoch.number in (1, total):
            # No estimate after the first epoch: it includes compiling the training step.
            left = f"  {(total - epoch.number) * epoch.seconds:.0f} s left" if 1 < epoch.number < total else ""
            out.print(f"  epoch {epoch.number}/{total}  {_scores(epoch)}{left}", soft_wrap=True)

    return show


def _scores(epoch: "Epoch") -> str:
    shown = ("loss", "accuracy", "val_accuracy")
    return "  ".join(f"{name} {epoch.scores[name]:.4f}" for name in shown)
