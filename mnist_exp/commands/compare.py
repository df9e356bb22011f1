"""``mnist-exp compare``: configurations judged over their replicates, as a table, CSV, JSON or a page."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.commands import store

if TYPE_CHECKING:
    import pandas as pd

    from mnist_exp.analysis.comparison import Comparison, Row
    from mnist_exp.tracking.protocols import Backend, Record

HELP = "rank configurations and judge their differences over replicates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "which",
        nargs="*",
        metavar="SWEEP|RUN",
        help="ids or their first letters, names, a filter such as \"params.model = 'cnn'\" (default: the last sweep; "
        "on a server, your own)",
    )
    parser.add_argument("--metric", default="val_accuracy", help="what to rank by (default: val_accuracy)")
    parser.add_argument(
        "--by",
        choices=("kept", "best", "last"),
        default="kept",
        help="the epoch whose weights each run kept (the default), its best, or its last",
    )
    parser.add_argument(
        "--worth", type=float, metavar="SIZE", help="the smallest difference that matters: adds the verdict equivalent"
    )
    parser.add_argument("--direction", choices=("max", "min"), help="which way is better, for metrics of your own")
    parser.add_argument(
        "--format", choices=("table", "csv", "json", "html"), default="table", help="html is the report of a sweep"
    )
    parser.add_argument("--pairs", action="store_true", help="csv and json list every pair of configurations instead")
    parser.add_argument("--output", metavar="FILE", help="where csv and json go (default: the screen), and html")
    parser.add_argument("--across-datasets", action="store_true", help="rank runs on different data all the same")
    parser.add_argument("--allow-test", action="store_true", help="rank by a test score all the same")
    store.add_uri(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare the runs that ``arguments`` name, and show or write the result; return 0.

    Raises:
        ConfigError: an option breaks its rule, or these runs cannot be compared.
        StoreError: the store cannot be read, or has nothing of that name.
    """
    if arguments.worth is not None and not (math.isfinite(arguments.worth) and arguments.worth > 0):
        raise ConfigError.rule("--worth", "must be greater than 0", arguments.worth)
    if arguments.pairs and arguments.format not in ("csv", "json"):
        raise ConfigError.rule("--pairs", "goes with --format csv or json", f"--format {arguments.format}")
    from mnist_exp.analysis import comparison, frames
    from mnist_exp.analysis.next_step import next_step
    from mnist_exp.analysis.ranking import measure
    from mnist_exp.metrics import OBJECTIVE
    from mnist_exp.review import queue
    from mnist_exp.terminal import messages, tables

    by = measure(arguments.metric, arguments.by, direction=arguments.direction, allow_test=arguments.allow_test)
    backend = store.open_store(arguments.uri)
    found, planned = _named(backend, arguments.which) if arguments.which else _last(backend, arguments.format)
    sweep = planned[-1] if planned else None
    epochs = frames.epochs_frame(backend, [record.run_id for record in found])
    worth = arguments.worth
    if worth is None and sweep is not None and by.metric == OBJECTIVE:
        worth = sweep.worth
    looks = [each.run_id for each in planned] if sweep and "looks" in sweep.tags else []
    result = comparison.compare(
        found, epochs, by, across_datasets=arguments.across_datasets, worth=worth, planned=looks
    )
    step = next_step(sweep, result) if sweep else None
    if any(record.status == "RUNNING" for record in [*found, *([sweep] if sweep else [])]):
        messages.warning("not all of these runs have ended: this is what is there so far")
    match arguments.format:
        case "table":
            tables.comparison(result, step)
            if sweep is not None:
                _show_decision(backend, sweep)
        case "csv":
            _write(_frame(result, pairs=arguments.pairs).to_csv(index=False), arguments.output)
        case "json":
            frame = _frame(result, pairs=arguments.pairs)
            _write(frame.to_json(orient="records", indent=2) + "\n", arguments.output)
        case "html":
            from mnist_exp.reports import sweep_report

            page = sweep_report.html(sweep_report.gather(backend, result, epochs, sweep, step))
            _write(page, arguments.output or "comparison.html")
    messages.sweeps_wait(queue.waiting(backend))
    return 0


def _show_decision(backend: "Backend", sweep: "Record") -> None:
    """Show what was decided of a sweep, if it was."""
    from mnist_exp.review import block
    from mnist_exp.review.review import present_decision
    from mnist_exp.terminal import messages

    decided = present_decision(backend, sweep)
    if decided.event is not None or decided.reason:
        messages.decision(block.in_full(decided))


def _last(backend: "Backend", form: str) -> "tuple[list[Record], list[Record]]":
    """Return the runs of the last sweep, and show which it is if a person reads the result; as :func:`_named`."""
    from mnist_exp.terminal import messages
    from mnist_exp.tracking import queries

    last = store.last_sweep(backend)
    if last is None:
        raise StoreError("there is no sweep yet: run python -m mnist_exp -m model.units=4,10, or name runs")
    found = queries.children(backend, last.parent.run_id)
    if not found:
        raise ConfigError(f"the sweep {last.parent.name!r} has no runs (yet): there is nothing to compare")
    if form == "table":
        messages.out.print(f"comparing {messages.shown(f'{last.title}: {store.described(last.parent)}')}")
    runs, chain = queries.looked_at(backend, last.parent, found)
    return runs, chain or [last.parent]


def _named(backend: "Backend", which: Sequence[str]) -> "tuple[list[Record], list[Record]]":
    """Return the runs that a user names, and the parent runs of their sweeps.

    A sweep that adds replicates to another one brings the runs of that, however it was named.

    Returns:
        The runs; the parent run of the one sweep that they are of, or those of several that are judged together, in
        order. No parent runs for any other runs.
    """
    from mnist_exp.analysis import samples
    from mnist_exp.tracking import queries

    found = queries.select(backend, which)
    if not found:
        raise ConfigError(f"{' '.join(which)!r} stands for no runs (yet): there is nothing to compare")
    sweeps = samples.sweeps_of(found)
    if not all(sweeps):
        return found, []
    parents = [backend.find(sweep) for sweep in sweeps]
    for parent in parents:
        runs, chain = queries.looked_at(backend, parent, found)
        if set(sweeps) <= {each.run_id for each in chain}:
            return runs, chain
    return found, parents if len(parents) == 1 else []


def _frame(result: "Comparison", *, pairs: bool) -> "pd.DataFrame":
    """Return a row for each configuration, or for each pair of them."""
    import pandas as pd

    if not pairs:
        return pd.DataFrame([_flat(result, rank, row) for rank, row in enumerate(result.rows, 1)])
    frame = result.verdicts.pairs
    names = dict(zip(result.verdicts.configs, result.verdicts.names, strict=True))
    return frame.assign(a=frame["a"].map(names), b=frame["b"].map(names))


def _flat(result: "Comparison", rank: int, row: "Row") -> Mapping[str, object]:
    """Return a configuration as a row of that frame."""
    from mnist_exp.analysis import frames, samples

    names = samples.replicate_names(row.finished).values()
    against = row.against_first
    figures = ("difference", "low", "high", "low90", "high90", "p", "differs", "chance", "chance_low", "chance_high")
    return {
        "rank": rank if row.spread else None,
        **{key: frames.typed(row.params[key]) if key in row.params else None for key in result.keys},
        "n": row.spread.n if row.spread else 0,
        "finished": len(row.finished),
        "others": row.failures_in_words(),
        **{
            f"{result.measure.name} {figure}": getattr(row.spread, figure) if row.spread else None
            for figure in ("mean", "std", "low", "high", "median", "min", "max")
        },
        "best_set": row.in_best_set if row.is_judged else None,
        **{name: getattr(against, name) if against else None for name in figures},
        "verdict": against.verdict if against else None,
        "level": result.verdicts.level,
        "paired": result.verdicts.is_paired,
        "replicates": " ".join(name.replace("replicate ", "").replace(" ", "=") for name in names),
        "run_ids": " ".join(record.run_id for record in row.finished),
    }


def _write(text: str, output: str | None) -> None:
    """Write to a file, or to standard output if there is none."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be written: {error.strerror}") from None
    from mnist_exp.terminal import messages

    messages.out.print(f"written: {output}", markup=False, soft_wrap=True)
