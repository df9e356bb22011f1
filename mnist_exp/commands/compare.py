"""``mnist-exp compare``: configurations ranked over their seeds, as a table, CSV, JSON or a page."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnist_exp import tables, terminal
from mnist_exp.analysis import comparison, frames, records
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.records import Record
from mnist_exp.errors import ConfigError, StoreError
from mnist_exp.tracking import store


def run(arguments: argparse.Namespace) -> int:
    """Compare what ``arguments`` names; the exit code."""
    by = comparison.measure(
        arguments.metric, arguments.by, direction=arguments.direction, allow_test=arguments.allow_test
    )
    uri = store.named(arguments.uri)
    client = store.connect(uri)
    with store.storing(uri):
        sweep = None if arguments.which else records.latest_sweep(client)
        if not arguments.which and sweep is None:
            raise StoreError("there is no sweep yet: run python -m mnist_exp -m model.units=4,10, or name runs")
        found = records.children(client, sweep.run_id) if sweep else records.select(client, arguments.which)
        if not found:
            what = f"the sweep {sweep.name!r} has" if sweep else f"{' '.join(arguments.which)!r} stands for"
            raise ConfigError(f"{what} no runs (yet): there is nothing to compare")
        epochs = frames.epochs_frame(client, uri, [record.run_id for record in found])
    result = comparison.compare(found, epochs, by, across_datasets=arguments.across_datasets)
    if any(record.status == "RUNNING" for record in [*found, *([sweep] if sweep else [])]):
        terminal.warning("not all of these runs have ended: this is what is there so far")
    match arguments.format:
        case "table":
            tables.comparison(result)
        case "csv":
            _write(_frame(result).to_csv(index=False), arguments.output)
        case "json":
            _write(_frame(result).to_json(orient="records", indent=2) + "\n", arguments.output)
        case "html":
            from mnist_exp.reports import gather
            from mnist_exp.reports import sweep as sweep_report

            page = sweep_report.html(gather.sweep(client, uri, result, epochs, sweep))
            _write(page, arguments.output or "comparison.html")
    return 0


def _frame(result: Comparison) -> "Any":
    import pandas as pd

    return pd.DataFrame([_flat(result, rank, row) for rank, row in enumerate(result.rows, 1)])


def _flat(result: Comparison, rank: int, row: comparison.Row) -> Mapping[str, object]:
    """One configuration as one line of a table."""
    by, other = result.measure.by, "last" if result.measure.by == "best" else "best"
    name = result.measure.metric
    against = row.against_winner
    return {
        "rank": rank if row.spread else None,
        **{key: frames.typed(row.params[key]) if key in row.params else None for key in result.keys},
        "n": len(row.finished),
        "others": row.how_others_ended(),
        **{
            f"{by} {name} {figure}": getattr(row.spread, figure) if row.spread else None
            for figure in ("mean", "std", "low", "high", "median", "min", "max")
        },
        f"{other} {name} mean": row.other_spread.mean if row.other_spread else None,
        "difference": against.mean if against else None,
        "difference low": against.low if against else None,
        "difference high": against.high if against else None,
        "p (Holm)": against.corrected if against else None,
        "paired": against.paired if against else None,
        "verdict": against.words() if against else None,
        "seeds": " ".join(_seeds(row.finished)),
        "run_ids": " ".join(record.run_id for record in row.finished),
    }


def _seeds(runs: list[Record]) -> list[str]:
    return [record.params.get(comparison.SEED, "?") for record in runs]


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be written: {error.strerror}") from None
    terminal.out.print(f"written: {output}", markup=False, soft_wrap=True)
