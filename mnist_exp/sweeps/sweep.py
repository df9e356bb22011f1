"""A sweep: the parent run that its jobs' runs are children of."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mnist_exp.analysis import comparison, frames, leaderboard, records
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.leaderboard import Leaderboard
from mnist_exp.analysis.records import Record
from mnist_exp.errors import Refused, StoreError
from mnist_exp.identity import Identity
from mnist_exp.sweeps import resume
from mnist_exp.tracking import journal as journals
from mnist_exp.tracking import outbox, provenance, store
from mnist_exp.tracking.journal import Busy, Journal, Reading
from mnist_exp.tracking.mlflow import MlflowTracker
from mnist_exp.tracking.tracker import Measurement, Status

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VARIABLE = "MNIST_EXP_SWEEP"

# A process that helped waits so long for the one that leads to end, if that is what it is doing.
_LEADER_ENDS_S = 5.0

# The journals of the sweeps that this process leads: one at most.
_held: dict[str, Journal] = {}


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


def begin(
    uri: str,
    experiment: str,
    keys: Sequence[str],
    jobs: Sequence[Sequence[str]],
    identity: Identity,
    command: Sequence[str],
) -> Sweep:
    """Open the parent run, named after what varies, and make the sweep the current one.

    ``jobs`` holds the overrides of each job; empty where a search decides them as it goes. By ``identity`` and
    ``command``, its overrides, it is found again to be resumed.
    """
    client = store.connect(uri)
    experiment_id = store.experiment_id(client, uri, experiment)
    name = " × ".join(keys) or "sweep"
    # Until the sweep has a journal, this one says that there may be a run to close.
    opening = outbox.opening(name, uri, experiment, None, {"kind": "sweep"})
    beginning = Journal(journals.root() / opening.key, new=True)
    beginning.open(opening)
    try:
        parent = MlflowTracker.open(client, uri, experiment_id, name, key=opening.key, tags=opening.tags)
    except BaseException:
        beginning.release()
        raise
    try:
        code = provenance.code()
        parent.set_tags(
            {
                "sweep.keys": ", ".join(keys),
                "sweep.jobs": str(len(jobs)),
                "sweep.command": _digest(command),
                **identity.tags(),
                **provenance.tags(code),
            }
        )
        manifest = {"command": provenance.command_line(), "keys": list(keys), "jobs": [list(job) for job in jobs]}
        parent.log_artifact("sweep/manifest.json", json.dumps(manifest, indent=2).encode())
        sweep = Sweep(parent.run_id, uri, experiment_id, tuple(keys), len(jobs))
        _hold(sweep, Journal(journals.root() / sweep.run_id, new=True))
    except BaseException:
        parent.close(Status.FAILED)
        raise
    finally:
        beginning.remove()
    return sweep


def take_up(
    uri: str, experiment: str, keys: Sequence[str], jobs: int, identity: Identity, command: Sequence[str]
) -> str | None:
    """Make the last sweep of the same command the current one again; or say why it cannot be.

    Where another process leads it, this one helps.
    """
    client = store.connect(uri)
    experiment_id = store.experiment_id(client, uri, experiment)
    found = [each for each in records.sweeps(client, _digest(command)) if each.experiment_id == experiment_id]
    if not found:
        return "there is no sweep of this command yet"
    parent = found[-1]
    if changed := identity.differing(parent.tags):
        return f"since then {' and '.join(changed)} changed"
    sweep = Sweep(parent.run_id, uri, experiment_id, tuple(keys), jobs)
    try:
        journal = Journal(journals.root() / sweep.run_id, new=True)
    except Busy:
        resume.help_with(sweep.run_id)
        os.environ[_VARIABLE] = json.dumps(asdict(sweep))
    else:
        _hold(sweep, journal)
        MlflowTracker(client, uri, sweep.run_id).resume()
    resume.remember(sweep.run_id, records.children(client, sweep.run_id))
    return None


def _hold(sweep: Sweep, journal: Journal) -> None:
    """Keep the sweep's journal as long as this process lives: by its lock others see that the sweep goes on."""
    content = {**asdict(sweep), "uri": store.redact(sweep.uri), "host": journals.host()}
    journal.append("sweep", content)
    _held[sweep.run_id] = journal
    os.environ[_VARIABLE] = json.dumps(asdict(sweep))


def _digest(command: Sequence[str]) -> str:
    """What a sweep's command is found by, in whatever order its overrides were given."""
    return hashlib.sha256("\n".join(sorted(command)).encode()).hexdigest()[:16]


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


class Postponed(StoreError):
    """A sweep cannot be ranked and closed yet; ``mnist-exp sync`` will."""


def finish(sweep: Sweep, *, interrupted: bool = False) -> Ending:
    """Rank and compare the jobs, keep that on the parent run and close it: FINISHED only if every job is.

    Raises:
        Postponed: the store is away, or does not have all of the runs yet.
    """
    os.environ.pop(_VARIABLE, None)
    journal = _held.pop(sweep.run_id, None)
    now_ms = int(time.time() * 1000)
    if journal is None:  # this process helped another
        resume.help_no_more(sweep.run_id)
        try:
            journal = Journal(journals.root() / sweep.run_id, patience_s=_LEADER_ENDS_S)
        except StoreError:
            raise Postponed("another process leads it, and will rank it") from None
    try:
        ending = close(sweep, interrupted=interrupted, time_ms=now_ms)
    except Refused:  # somebody deleted the parent run
        journal.remove()
        raise
    except BaseException:  # whoever comes next closes it
        journal.append("close", {"interrupted": interrupted}, now_ms)
        journal.release()
        raise
    journal.remove()
    return ending


def close_vanished(reading: Reading, uri: str) -> None:
    """Do for a sweep what its process did not: the sweep whose journal was read, in the store at ``uri``.

    Raises:
        Postponed: the store is away, or does not have all of the runs yet.
    """
    assert reading.sweep is not None
    fields = {name: reading.sweep[name] for name in ("run_id", "experiment_id", "total")}
    sweep = Sweep(uri=uri, keys=tuple(reading.sweep["keys"]), **fields)
    ended = reading.ended
    interrupted = ended is None or bool(ended.content["interrupted"])
    close(sweep, interrupted=interrupted, time_ms=ended.time_ms if ended else reading.last_sign_ms)


def close(sweep: Sweep, *, interrupted: bool, time_ms: int) -> Ending:
    """Rank, compare, keep, close the parent run; doing that again with the same time changes nothing.

    Raises:
        Postponed: the store is away, or does not have all of the runs yet.
    """
    if waiting := [each for each in map(journals.read, journals.folders(journals.root())) if _waits(each, sweep)]:
        raise Postponed(f"{len(waiting)} of its runs are not in the store yet")
    if others := resume.claims(sweep.run_id):
        raise Postponed(f"{others} of its runs go on in another process, which will rank it")
    try:
        client = store.connect(sweep.uri)
        found = records.children(client, sweep.run_id)
    except StoreError as error:
        raise Postponed(str(error)) from error
    parent = MlflowTracker(client, sweep.uri, sweep.run_id)
    board = leaderboard.rank(found)
    ended = {
        "jobs/finished": len(board.ranked),
        "jobs/failed": sum(record.status in ("FAILED", "RUNNING") for record in found),
        "jobs/killed": sum(record.status == "KILLED" for record in found),
        "jobs/never_begun": max(0, sweep.total - len(found)),
    }
    all_finished = len(board.ranked) == max(sweep.total, len(found))
    time_ms = max([time_ms, *(record.ended_ms or 0 for record in found)])
    status = Status.KILLED if interrupted else Status.FINISHED if all_finished else Status.FAILED
    problem: Exception | None = None
    try:
        parent.log_metrics(Measurement(ended, time_ms=time_ms))
        try:
            ending = Ending(board, _compare(client, sweep, found, parent, time_ms) if found else None)
        except Exception as error:  # noqa: BLE001  the ranking is worth more than its report
            ending = Ending(board, problem=error)
        parent.set_tags({"mlflow.note.content": _note(board, ending.comparison)})
        parent.log_artifact("sweep/leaderboard.csv", board.csv().encode())
    except Exception as error:  # noqa: BLE001  it is raised again once the parent is closed
        problem = error
    except BaseException:
        parent.close(Status.KILLED)
        raise
    try:
        parent.close(status, time_ms)
    except Refused:
        raise
    except StoreError as error:
        raise Postponed(str(error)) from error
    if problem is not None:
        raise problem
    return ending


def _waits(run: Reading, sweep: Sweep) -> bool:
    """Whether the store lacks something of a run of this sweep."""
    of_this_sweep = run.opening is not None and run.opening.parent == sweep.run_id
    return of_this_sweep and (run.unsent > 0 or run.ended is None)


def _compare(
    client: "MlflowClient", sweep: Sweep, found: Sequence[Record], parent: MlflowTracker, time_ms: int
) -> Comparison:
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
        parent.log_metrics(Measurement(figures, time_ms=time_ms))
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
