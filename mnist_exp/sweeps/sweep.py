"""A sweep: the parent run that its jobs' runs are children of."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mnist_exp.analysis import comparison, frames, leaderboard, records
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.leaderboard import Leaderboard
from mnist_exp.analysis.records import Record
from mnist_exp.tracking import provenance, store
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Measurement, Status

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VARIABLE = "MNIST_EXP_SWEEP"


@dataclass(frozen=True)
class Sweep:
    """The sweep under way. It travels to worker processes through the environment.

    Attributes:
        run_id: its parent run.
        uri, experiment_id: where that is kept.
        keys: what varies.
        total: how many jobs it has; 0 where a search decides that as it goes.
    """

    run_id: str
    uri: str
    experiment_id: str
    keys: tuple[str, ...]
    total: int

    @staticmethod
    def current() -> "Sweep | None":
        """The sweep that this process works for."""
        text = os.environ.get(_VARIABLE)
        if text is None:
            return None
        fields = json.loads(text)
        return Sweep(**{**fields, "keys": tuple(fields["keys"])})


def begin(uri: str, experiment: str, keys: Sequence[str], jobs: Sequence[Sequence[str]]) -> Sweep:
    """Open the parent run, named after what varies, and make the sweep the current one.

    ``jobs`` holds the overrides of each job; empty where a search decides them as it goes.
    """
    client = store.connect(uri)
    experiment_id = store.experiment_id(client, uri, experiment)
    name = " × ".join(keys) or "sweep"
    parent = MlflowTracker.open(client, uri, experiment_id, name)
    try:
        code = provenance.code()
        parent.set_tags(
            {
                "kind": "sweep",
                "sweep.keys": ", ".join(keys),
                "sweep.jobs": str(len(jobs)),
                **provenance.tags(code),
            }
        )
        manifest = {"command": provenance.command_line(), "keys": list(keys), "jobs": [list(job) for job in jobs]}
        parent.log_artifact("sweep/manifest.json", json.dumps(manifest, indent=2).encode())
    except BaseException:
        parent.close(Status.FAILED)
        raise
    sweep = Sweep(parent.run_id, uri, experiment_id, tuple(keys), len(jobs))
    os.environ[_VARIABLE] = json.dumps(asdict(sweep))
    return sweep


@dataclass(frozen=True)
class Ending:
    """What came of a sweep.

    Attributes:
        board: its runs, ranked.
        comparison: its configurations compared; None where no run began, or where comparing failed.
        problem: why comparing or reporting failed.
    """

    board: Leaderboard
    comparison: Comparison | None = None
    problem: Exception | None = None


def finish(sweep: Sweep, *, interrupted: bool = False) -> Ending:
    """Rank and compare the jobs, keep that on the parent run and close it: FINISHED only if every job is."""
    os.environ.pop(_VARIABLE, None)
    client = store.connect(sweep.uri)
    parent = MlflowTracker(client, sweep.uri, sweep.run_id)
    status = Status.KILLED if interrupted else Status.FAILED
    try:
        found = records.children(client, sweep.run_id)
        board = leaderboard.rank(found)
        failed = max(sweep.total, len(found)) - len(board.ranked)
        status = Status.FINISHED if not failed and not interrupted else status
        try:
            ending = Ending(board, _compare(client, sweep, found, parent) if found else None)
        except Exception as error:  # noqa: BLE001  the ranking is worth more than its report
            ending = Ending(board, problem=error)
        parent.log_metrics(Measurement({"jobs/finished": len(board.ranked), "jobs/failed": failed}))
        parent.set_tags({"mlflow.note.content": _note(board, ending.comparison)})
        parent.log_artifact("sweep/leaderboard.csv", board.csv().encode())
    finally:
        parent.close(status)
    return ending


def _compare(client: "MlflowClient", sweep: Sweep, found: Sequence[Record], parent: MlflowTracker) -> Comparison:
    """Compare the configurations; the parent gets the report, and the winner in MLflow's own terms."""
    from mnist_exp.reports import gather
    from mnist_exp.reports import sweep as page

    epochs = frames.epochs_frame(client, sweep.uri, [record.run_id for record in found])
    result = comparison.compare(found, epochs, comparison.measure("val_accuracy"))
    shown = records.find(client, sweep.run_id)
    parent.log_artifact("sweep/report.html", page.html(gather.sweep(client, sweep.uri, result, epochs, shown)).encode())
    parent.set_tags({"conclusion": result.conclusion()})
    if (winner := result.winner) is not None and winner.spread is not None:
        parent.set_tags({"winner": winner.label(result.keys)})
        figures = {
            "best/val_accuracy": max(winner.best.values()),
            "winner/val_accuracy_mean": winner.spread.mean,
            "winner/seeds": winner.spread.n,
        }
        if winner.spread.n > 1:
            figures |= {"winner/val_accuracy_low": winner.spread.low, "winner/val_accuracy_high": winner.spread.high}
        parent.log_metrics(Measurement(figures))
    return result


def _note(board: Leaderboard, result: Comparison | None) -> str:
    """The ranking as markdown, for the top of the parent's page in the MLflow UI."""
    said = [f"{result.conclusion()}\n", "Artifacts: `sweep/report.html`\n"] if result else []
    if result and result.has_seeds:
        return "\n".join([*said, *_configurations(result)])
    titles = ["#", *board.keys, *(title for _, title in leaderboard.COLUMNS)]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for place, record in enumerate(board.ranked, 1):
        params = [record.params.get(key, "") for key in board.keys]
        metrics = [f"{record.metrics.get(metric, float('nan')):.4g}" for metric, _ in leaderboard.COLUMNS]
        lines.append(f"| {' | '.join([str(place), *params, *metrics])} |")
    lines += [f"\n{record.status}: {record.name}" for record in board.others]
    return "\n".join([*said, *lines])


def _configurations(result: Comparison) -> list[str]:
    metric = result.measure.metric
    titles = ["#", *result.keys, "seeds", f"mean {metric}", "95 % interval", "against the first", "without a result"]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for place, row in enumerate(result.rows, 1):
        figures = ["", "", ""]
        if row.spread:
            interval = f"{row.spread.low:.4f} .. {row.spread.high:.4f}" if row.spread.n > 1 else "one seed"
            against = row.against_winner.words() if row.against_winner else ""
            figures = [f"{row.spread.mean:.4f}", interval, against]
        keys = [row.params.get(key, "") for key in result.keys]
        cells = [str(place) if row.spread else "-", *keys, str(len(row.finished)), *figures, row.how_others_ended()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
