"""``mnist-exp compare``: configurations judged over their replicates, as a table, CSV, JSON or a page."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_exp.analysis import comparison, frames, samples
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.next_step import next_step
from mnist_exp.analysis.ranking import measure
from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.sweeps.sweep import looked_at
from mnist_exp.terminal import messages, tables
from mnist_exp.tracking.mlflow import records, store
from mnist_exp.tracking.mlflow.records import Record

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient


def run(arguments: argparse.Namespace) -> int:
    """Compare what ``arguments`` names; the exit code."""
    if arguments.worth is not None and not (math.isfinite(arguments.worth) and arguments.worth > 0):
        raise ConfigError.rule("--worth", "must be greater than 0", arguments.worth)
    if arguments.pairs and arguments.format not in ("csv", "json"):
        raise ConfigError.rule("--pairs", "goes with --format csv or json", f"--format {arguments.format}")
    by = measure(arguments.metric, arguments.by, direction=arguments.direction, allow_test=arguments.allow_test)
    uri = store.named(arguments.uri)
    client = store.connect(uri)
    with store.storing(uri):
        found, planned = _runs(client, uri, arguments.which)
        sweep = planned[-1] if planned else None
        if not found:
            what = (
                f"the sweep {sweep.name!r} has"
                if sweep and not arguments.which
                else f"{' '.join(arguments.which)!r} stands for"
            )
            raise ConfigError(f"{what} no runs (yet): there is nothing to compare")
        epochs = frames.epochs_frame(client, uri, [record.run_id for record in found])
    worth = arguments.worth
    if worth is None and sweep is not None and by.metric == "val_accuracy" and "worth" in sweep.tags:
        worth = float(sweep.tags["worth"])
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
        case "csv":
            _write(_frame(result, pairs=arguments.pairs).to_csv(index=False), arguments.output)
        case "json":
            frame = _frame(result, pairs=arguments.pairs)
            _write(frame.to_json(orient="records", indent=2) + "\n", arguments.output)
        case "html":
            from mnist_exp.reports import sweep_report

            page = sweep_report.html(sweep_report.gather(client, uri, result, epochs, sweep, step))
            _write(page, arguments.output or "comparison.html")
    return 0


def _runs(client: "MlflowClient", uri: str, which: Sequence[str]) -> tuple[list[Record], list[Record]]:
    """The runs to compare, and the parents of their sweeps: of one, or of those that are looked at together.

    A sweep that adds replicates to another brings the runs of that, however it was named.
    """
    if which:
        found = records.select(client, which)
        named = samples.sweeps_of(found)
        parents = [records.find(client, sweep) for sweep in named if sweep]
        if not all(named) or not parents:
            return found, []
    else:
        last = records.latest_sweep(client)
        if last is None:
            raise StoreError("there is no sweep yet: run python -m mnist_exp -m model.units=4,10, or name runs")
        found, parents = records.children(client, last.run_id), [last]
    chains = [looked_at(parent, uri) for parent in parents]
    longest = max(chains, key=len)
    if longest and {parent.run_id for parent in parents} <= {parent.run_id for parent in longest}:
        ids = {record.run_id for record in found}
        earlier = [
            run for parent in longest for run in records.children(client, parent.run_id) if run.run_id not in ids
        ]
        return [*earlier, *found], longest
    return found, parents if len(parents) == 1 else []


def _frame(result: Comparison, *, pairs: bool) -> "pd.DataFrame":
    """One line for each configuration, or for each pair of them."""
    import pandas as pd

    if not pairs:
        return pd.DataFrame([_flat(result, rank, row) for rank, row in enumerate(result.rows, 1)])
    frame = result.verdicts.pairs
    names = dict(zip(result.verdicts.configs, result.verdicts.names, strict=True))
    return frame.assign(a=frame["a"].map(names), b=frame["b"].map(names))


def _flat(result: Comparison, rank: int, row: comparison.Row) -> Mapping[str, object]:
    """One configuration as one line of a table."""
    against = row.against_first
    figures = ("difference", "low", "high", "low90", "high90", "p", "differs", "chance", "chance_low", "chance_high")
    return {
        "rank": rank if row.spread else None,
        **{key: frames.typed(row.params[key]) if key in row.params else None for key in result.keys},
        "n": row.spread.n if row.spread else 0,
        "finished": len(row.finished),
        "others": row.how_others_ended(),
        **{
            f"{result.measure.name} {figure}": getattr(row.spread, figure) if row.spread else None
            for figure in ("mean", "std", "low", "high", "median", "min", "max")
        },
        "best_set": row.is_best if row.is_judged else None,
        **{name: getattr(against, name) if against else None for name in figures},
        "verdict": against.verdict if against else None,
        "level": result.verdicts.level,
        "paired": result.verdicts.is_paired,
        "replicates": " ".join(_replicates(row.finished)),
        "run_ids": " ".join(record.run_id for record in row.finished),
    }


def _replicates(runs: list[Record]) -> list[str]:
    return [name.replace("replicate ", "").replace(" ", "=") for name in samples.replicate_names(runs).values()]


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be written: {error.strerror}") from None
    messages.out.print(f"written: {output}", markup=False, soft_wrap=True)
