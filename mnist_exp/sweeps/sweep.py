"""A sweep: the parent run that its jobs' runs are children of, begun or taken up again."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import MappingProxyType

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.config.schema import RunConfig
from mnist_exp.runs import provenance
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps.jobs import changes, remember
from mnist_exp.tracking.mlflow import keyed, records, store
from mnist_exp.tracking.mlflow.records import Record
from mnist_exp.tracking.protocols import Status
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.entries import LINES
from mnist_exp.tracking.spool.journal import Busy, Jobs, Journal, Opening
from mnist_exp.tracking.spool.tracker import PATIENCE_S, JournalTracker, new_opening

_VARIABLE = "MNIST_EXP_SWEEP"

# As long as it takes to rank a sweep: a process that has just ended it may still be at that.
_CLOSED_S = 3.0

# The parent runs of the sweeps that this process leads: one at most. By the lock of their journals others see that.
_led: dict[str, JournalTracker] = {}


@dataclass(frozen=True)
class Sweep:
    """The sweep under way. It travels to worker processes through the environment.

    Attributes:
        key: what its parent run and the journal of that are called by.
        uri: the store that has it.
        keys: what varies.
        total: how many jobs it has; 0 where a search decides that as it goes.
    """

    key: str
    uri: str
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

    @staticmethod
    def of(opening: Opening, uri: str) -> "Sweep":
        """The sweep whose parent run began so, in the store at ``uri``."""
        assert opening.jobs is not None
        return Sweep(opening.key, uri, tuple(opening.jobs.keys), opening.jobs.total)

    def parent(self) -> Record | None:
        """The parent run as it stands in the store; None where it has not arrived there.

        Raises:
            Refused: somebody deleted it.
            StoreError: the store cannot be asked.
        """
        client = store.connect(self.uri)
        with store.storing(self.uri):
            run_id = keyed.find(client, self.key)
        return records.find(client, run_id) if run_id is not None else None

    def runs(self, parent: Record | None) -> list[Record]:
        """Its jobs' runs as they stand in the store, in the order they began, without those that others replaced.

        Raises:
            StoreError: the store cannot be asked.
        """
        return records.children(store.connect(self.uri), parent.run_id) if parent else []


def begin(
    uri: str,
    experiment: str,
    keys: Sequence[str],
    jobs: Sequence[Sequence[str]],
    fingerprint: Fingerprint,
    command: Sequence[str],
    judged: Mapping[str, str] = MappingProxyType({}),
) -> Sweep:
    """Begin the parent run, named after what varies, and make the sweep the current one.

    ``jobs`` holds the overrides of each job; empty where a search decides them as it goes. By ``fingerprint`` and
    ``command``, its overrides, it is found again to be resumed. ``judged`` are tags that say how it will be judged
    (``looks``, ``worth``).

    Raises:
        StoreError: its journal cannot be written.
    """
    over = Jobs(list(keys), len(jobs))
    opening = new_opening(" × ".join(keys) or "sweep", uri, experiment, None, {"kind": "sweep"}, over)
    sweep = Sweep.of(opening, uri)
    parent = _lead(sweep, Journal(journals.root() / opening.key, new=True), opening)
    try:
        parent.set_tags(
            {
                "sweep.keys": ", ".join(keys),
                "sweep.jobs": str(len(jobs)),
                "sweep.command": _digest(command),
                **judged,
                **fingerprint.tags(),
                **provenance.tags(provenance.code()),
            }
        )
        manifest = {"command": provenance.command_line(), "keys": list(keys), "jobs": [list(job) for job in jobs]}
        parent.log_artifact("sweep/manifest.json", json.dumps(manifest, indent=2).encode())
    except BaseException as error:
        lead_no_more(sweep)
        interrupted = isinstance(error, KeyboardInterrupt)
        with suppress(StoreError):
            parent.set_tags({"failure": "interrupted" if interrupted else type(error).__name__})
        parent.close(Status.KILLED if interrupted else Status.FAILED)
        parent.settle(PATIENCE_S)
        raise
    remember(sweep.key, [])
    return sweep


def take_up(
    uri: str,
    experiment: str,
    keys: Sequence[str],
    jobs: int,
    fingerprint: Fingerprint,
    command: Sequence[str],
    configs: Sequence[RunConfig],
    judged: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """Make the last sweep of the same command the current one again; or say why it cannot be.

    ``configs`` are those of its jobs, ``judged`` is how it is to be judged.

    Raises:
        ConfigError: it began with another ``worth`` or ``looks``.
        StoreError: the store cannot be asked what there is of it, or another process runs it.
    """
    client = store.connect(uri)
    experiment_id = store.experiment_id(client, uri, experiment)
    same = [each for each in records.sweeps(client, _digest(command)) if each.experiment_id == experiment_id]
    found = [each for each in same if "journal" in each.tags]
    if not found:
        return "there is no sweep of this command yet"
    last = found[-1]
    runs = records.children(client, last.run_id)
    if changed := changes(fingerprint, last, runs, configs):
        return changed
    for key, wanted in judged.items():
        began_with = last.tags.get(key, "")
        if began_with != wanted and not (
            key == "looks" and began_with.startswith(wanted)
        ):  # the first letters of an id
            began = f"{key}={began_with}" if began_with else f"without {key}"
            raise ConfigError.rule(key, f"must be as it was when the sweep began ({began}) to resume it", wanted)
    folder = journals.root() / last.tags["journal"]
    if not (folder / LINES).exists() and records.find(client, last.run_id).goes_on:
        host = last.tags.get("host", "another host")
        raise StoreError(
            f"the sweep {last.run_id} goes on on {host}: wait for its end, or say that the host is gone: "
            f"mnist-exp sync --gone {host}"
        )
    over = Jobs(list(keys), jobs)
    opening = new_opening(last.name, uri, experiment, None, {"kind": "sweep"}, over, key=last.tags["journal"])
    sweep = Sweep.of(opening, uri)
    try:
        journal = Journal(folder, new=True, patience_s=_CLOSED_S)
    except Busy:
        raise StoreError(
            f"the sweep {last.run_id} must have ended to be resumed: another process runs it now. Wait for its end"
        ) from None
    try:
        parent = _lead(sweep, journal, opening)
        parent.resume()
        parent.set_tags({"host": journals.host()})
    except StoreError:
        lead_no_more(sweep)
        parent.settle(0)
        raise
    remember(sweep.key, runs)
    return None


def extended(uri: str, which: str) -> str:
    """The whole id of the sweep that a new one adds replicates to.

    Raises:
        ConfigError: there is no such sweep, it did not say that it may be extended, or it was extended already.
        StoreError: the store cannot be asked.
    """
    client = store.connect(uri)
    with store.storing(uri):
        parents = records.parents(client)
    found = [each for each in parents if each.run_id.startswith(which)]
    if len(found) != 1:
        known = "no sweep has" if not found else f"{len(found)} sweeps have"
        raise ConfigError.rule("looks", f"must be true or the id of one sweep, and {known} that id", which)
    (sweep,) = found
    if "looks" not in sweep.tags:
        rule = "must be the id of a sweep that began with looks=true: another is judged once"
        raise ConfigError.rule("looks", rule, which)
    if later := [each.run_id for each in parents if each.tags.get("looks") == sweep.run_id]:
        raise ConfigError.rule("looks", f"must be the last sweep of its looks, which is {later[-1]}", which)
    return sweep.run_id


def looked_at(parent: Record, uri: str) -> list[Record]:
    """The parent runs of the sweeps that are looked at together, up to ``parent``; none if it is judged once.

    Raises:
        StoreError: the store cannot be asked, or lacks one of them.
    """
    client, found = store.connect(uri), [parent]
    while (earlier := found[0].tags.get("looks", "true")) != "true":
        if earlier in {each.run_id for each in found}:
            break
        found = [records.find(client, earlier), *found]
    return found if "looks" in parent.tags else []


def _lead(sweep: Sweep, journal: Journal, opening: Opening) -> JournalTracker:
    """Keep the parent run's journal as long as this process lives."""
    parent = _led[sweep.key] = JournalTracker(journal, opening, keyed.deliver(sweep.uri))
    _make_current(sweep)
    return parent


def _make_current(sweep: Sweep) -> None:
    os.environ[_VARIABLE] = json.dumps(asdict(sweep))


def lead_no_more(sweep: Sweep) -> JournalTracker:
    """Let the sweep be the current one no more; the tracker of its parent run."""
    os.environ.pop(_VARIABLE, None)
    return _led.pop(sweep.key)


def _digest(command: Sequence[str]) -> str:
    """What a sweep's command is found by, in whatever order its overrides were given."""
    return hashlib.sha256("\n".join(sorted(command)).encode()).hexdigest()[:16]
