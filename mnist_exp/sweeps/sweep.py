"""A sweep: the parent run that its jobs' runs are children of."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mnist_exp.analysis import leaderboard, records
from mnist_exp.analysis.leaderboard import Leaderboard
from mnist_exp.tracking import provenance, store
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Measurement, Status

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
    sweep = Sweep(parent.run_id, uri, experiment_id, tuple(keys), len(jobs))
    os.environ[_VARIABLE] = json.dumps(asdict(sweep))
    return sweep


def finish(sweep: Sweep, *, interrupted: bool = False) -> Leaderboard:
    """Rank the jobs, log the ranking on the parent run and close it: FINISHED only if every job is."""
    os.environ.pop(_VARIABLE, None)
    client = store.connect(sweep.uri)
    found = records.children(client, sweep.run_id)
    board = leaderboard.rank(found)
    parent = MlflowTracker(client, sweep.uri, sweep.run_id)
    counts = {
        "jobs/finished": len(board.ranked),
        "jobs/failed": max(sweep.total, len(found)) - len(board.ranked),
    }
    best = {key: board.ranked[0].metrics[key] for key in (leaderboard.RANKED_BY,) if board.ranked}
    parent.log_metrics(Measurement({**counts, **best}))
    parent.log_artifact("sweep/leaderboard.csv", board.csv().encode())
    parent.set_tags({"mlflow.note.content": _note(board)})
    ended = Status.FAILED if counts["jobs/failed"] else Status.FINISHED
    parent.close(Status.KILLED if interrupted else ended)
    return board


def _note(board: Leaderboard) -> str:
    """The ranking as markdown, for the top of the parent's page in the MLflow UI."""
    titles = ["#", *board.keys, *(title for _, title in leaderboard.COLUMNS)]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for place, record in enumerate(board.ranked, 1):
        params = [record.params.get(key, "") for key in board.keys]
        metrics = [f"{record.metrics.get(metric, float('nan')):.4g}" for metric, _ in leaderboard.COLUMNS]
        lines.append(f"| {' | '.join([str(place), *params, *metrics])} |")
    lines += [f"\n{record.status}: {record.name}" for record in board.others]
    return "\n".join(lines)
