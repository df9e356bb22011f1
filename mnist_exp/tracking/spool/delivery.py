"""Delivers a journal's entries: each becomes a call of the tracker that writes to the store."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mnist_exp.base.errors import Refused
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.entries import sent
from mnist_exp.tracking.spool.journal import Entry, Journal

log = logging.getLogger(__name__)

# Measurements delivered together. More gain nothing: MLflow's tracker splits them into requests of 1,000 metrics.
_MAX_BATCH = 500


def send(journal: Journal, opening: Opening, open_run: Callable[[Opening], Tracker]) -> list[str]:
    """Send the entries that the store does not have yet, and count them as sent in the journal.

    Args:
        journal: the journal, held by this process.
        opening: what its run is created from.
        open_run: gets or creates the run in the store (:meth:`~mnist_exp.tracking.protocols.Backend.open_run`).

    Returns:
        The reason of each rejection; rejected entries are skipped, and stay in the journal.

    Raises:
        StoreError: the store did not answer. The entries that it has by then are counted as sent.
    """
    refused: list[str] = []
    is_second = False
    try:
        tracker, _ = opened(journal, opening, open_run)
    except Refused as error:  # the run was deleted, so every entry would be rejected
        journal.refuse(str(error))
        if waiting := journals.read(journal.folder).waiting:
            journal.mark_sent(waiting[-1].number + 1, "")
        return [str(error)]
    waiting = deque(journals.read(journal.folder).waiting)
    while waiting:
        batch = next_batch(waiting)
        try:
            deliver_batch(batch, journal.folder, tracker)
        except Refused as error:
            if not is_second:
                is_second = True
                with suppress(Refused):  # deleted meanwhile: the second attempt is refused, too
                    tracker, is_other = opened(journal, opening, open_run)
                    waiting = deque(journals.read(journal.folder).waiting) if is_other else waiting
                continue
            journal.refuse(str(error))
            refused.append(str(error))
        is_second = False
        for _ in batch:
            journal.mark_sent(waiting.popleft().number + 1, tracker.run_id)
    return refused


def opened(journal: Journal, opening: Opening, open_run: Callable[[Opening], Tracker]) -> tuple[Tracker, bool]:
    """Get or create the run of a journal in the store.

    A store that was restored from a backup may not have the run, though entries were sent to it: another one is created
    then, and the journal counts as not sent.

    Returns:
        The run's tracker, and whether it is another run than the one that entries were sent to.

    Raises:
        Refused: the run was deleted.
        StoreError: the store did not answer.
    """
    tracker = open_run(opening)
    _, sent_to = sent(journal.folder)
    is_other = sent_to not in ("", tracker.run_id)
    if is_other:
        log.warning("the store does not have run %s any more: all of it is sent again", opening.name)
        journal.mark_sent(0, tracker.run_id)
    return tracker, is_other


def deliver_batch(entries: Sequence[Entry], folder: Path, tracker: Tracker) -> None:
    """Write a batch of entries to a tracker.

    Args:
        entries: several of kind ``metrics``, or one of any kind.
        folder: the journal's folder, where files and models lie.
        tracker: the run in the store.

    Raises:
        Refused: the store rejected them permanently, a file is missing, or the kind is unknown.
        StoreError: the store did not answer.
    """
    first = entries[0]
    content = first.content
    match first.kind:
        case "metrics":
            tracker.log_metrics(*(Measurement(e.content["metrics"], e.content["step"], e.time_ms) for e in entries))
        case "params":
            tracker.log_params(content)
        case "tags":
            tracker.set_tags(content)
        case "artifact":
            tracker.log_artifact(content["path"], _content(folder / content["file"]))
        case "dataset":
            tracker.log_dataset(DatasetInput(**content["dataset"]), content["context"])
        case "model":
            model = folder / content["file"]
            if not model.is_dir():
                raise Refused(f"{model}, the model of a journal, is missing")
            if "files" in content and content["files"] != digests(model):  # an earlier version wrote none
                raise Refused(f"{model}, the model of a journal, was damaged: a file does not have its digest")
            tracker.log_model(model)
        case "close":
            tracker.close(Status(content["status"]), first.time_ms)
        case "resume":
            tracker.resume()
        case "left":
            pass  # not sent: read by the recovery that ranks and closes the sweep (sweeps/recover)
        case kind:
            raise Refused(f"the journal {folder} has an entry of an unknown kind: {kind!r}")


def next_batch(waiting: Sequence[Entry]) -> list[Entry]:
    """Return the first of the waiting entries that are sent together: several of kind ``metrics``, or one of any."""
    batch: list[Entry] = []
    for entry in waiting:
        if batch and (entry.kind != "metrics" or len(batch) == _MAX_BATCH):
            break
        batch.append(entry)
        if entry.kind != "metrics":
            break
    return batch


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in the folder of a model, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _content(file: Path) -> bytes:
    """Return what a file of a journal holds.

    Raises:
        Refused: it is missing, or does not have the digest that is its name.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file}, a file of a journal, cannot be read: {error.strerror}") from error
    is_digest = len(file.name) == hashlib.sha256().digest_size * 2  # an earlier version gave other names
    if is_digest and hashlib.sha256(data).hexdigest() != file.name:
        raise Refused(f"{file}, a file of a journal, was damaged: it does not have the digest that is its name")
    return data
