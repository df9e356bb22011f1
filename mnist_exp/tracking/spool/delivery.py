"""A journal's entries, told to a tracker."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mnist_exp.base.errors import Refused
from mnist_exp.tracking.protocols import DatasetInput, Measurement, Status, Tracker
from mnist_exp.tracking.spool import journal as journals
from mnist_exp.tracking.spool.journal import Entry, Journal, Opening

# More metrics than this would be divided by the tracker anyway.
BATCH = 500


def send(journal: Journal, opening: Opening, deliver: Callable[[Opening], Tracker]) -> list[str]:
    """Send what of a journal the store does not have yet; tells what the store refused.

    Raises:
        StoreError: the store is away. What it has is noted.
    """
    refused: list[str] = []
    waiting = deque(journals.read(journal.folder).waiting)
    try:
        tracker = deliver(opening)
    except Refused as error:  # nothing of it will be taken any more
        journal.refuse(str(error))
        if waiting:
            journal.sent = waiting[-1].number + 1
        return [str(error)]
    while waiting:
        batch = next_batch(waiting)
        try:
            tell(batch, journal.folder, tracker)
        except Refused as error:
            journal.refuse(str(error))
            refused.append(str(error))
        for _ in batch:
            journal.sent = waiting.popleft().number + 1
    return refused


def tell(entries: Sequence[Entry], folder: Path, tracker: Tracker) -> None:
    """Tell a tracker what entries say: several measurements, or one thing else.

    Raises:
        Refused: the tracker will not take it, or the file of an artifact is gone.
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
                raise Refused(f"{folder / content['file']}, the model of a journal, is gone")
            tracker.log_model(folder / content["file"])
        case "close":
            tracker.close(Status(content["status"]), first.time_ms)
        case "resume":
            tracker.resume()
        case "left":
            pass  # said to whoever closes the sweep
        case kind:
            raise Refused(f"the journal {folder} has an entry of an unknown kind: {kind!r}")


def next_batch(waiting: Sequence[Entry]) -> list[Entry]:
    """What of the waiting entries is sent together: many measurements, or one thing else."""
    batch: list[Entry] = []
    for entry in waiting:
        if batch and (entry.kind != "metrics" or len(batch) == BATCH):
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
