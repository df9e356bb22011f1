"""Delivers a journal's entries: each becomes a call of the tracker that writes to the store."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mnist_exp.base.errors import Refused
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Opening, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Entry, Journal

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
    waiting = deque(journals.read(journal.folder).waiting)
    try:
        tracker = open_run(opening)
    except Refused as error:  # the run was deleted, so every entry would be rejected
        journal.refuse(str(error))
        if waiting:
            journal.sent = waiting[-1].number + 1
        return [str(error)]
    while waiting:
        batch = next_batch(waiting)
        try:
            deliver_batch(batch, journal.folder, tracker)
        except Refused as error:
            journal.refuse(str(error))
            refused.append(str(error))
        for _ in batch:
            journal.sent = waiting.popleft().number + 1
    return refused


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
            tracker.log_artifact(content["path"], _bytes(folder / content["file"]))
        case "dataset":
            tracker.log_dataset(DatasetInput(**content["dataset"]), content["context"])
        case "model":
            if not (folder / content["file"]).is_dir():
                raise Refused(f"{folder / content['file']}, the model of a journal, is missing")
            tracker.log_model(folder / content["file"])
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


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Refused(f"{file}, a file of a journal, cannot be read: {error.strerror}") from error
