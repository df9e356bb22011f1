"""Runs ranked by their best validation accuracy, told apart by the keys that differ between them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_exp.analysis.records import Record

# What the ranking shows of a run beside its params: a metric and its heading. Test scores are shown, never ranked by.
COLUMNS = (
    ("best/val_accuracy", "best val_accuracy"),
    ("best/epoch", "at epoch"),
    ("best/val_loss", "best val_loss"),
    ("accuracy", "accuracy"),
    ("test/accuracy", "test accuracy"),
    ("train_seconds", "seconds"),
)
RANKED_BY = "best/val_accuracy"


@dataclass(frozen=True)
class Leaderboard:
    """Runs in order.

    Attributes:
        keys: the params in which the runs differ, in the order of the config.
        ranked: finished runs, the best first; equals keep the order they ran in.
        others: runs that have no rank, because they did not finish.
    """

    keys: list[str]
    ranked: list[Record]
    others: list[Record]

    def csv(self) -> str:
        """One line a run, with rank, status, run id, the keys that differ and every column."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["rank", "status", "run_id", "name", *self.keys, *(metric for metric, _ in COLUMNS)])
        for rank, record in [*enumerate(self.ranked, 1), *(("", record) for record in self.others)]:
            params = [record.params.get(key, "") for key in self.keys]
            metrics = [record.metrics.get(metric, "") for metric, _ in COLUMNS]
            writer.writerow([rank, record.status, record.run_id, record.name, *params, *metrics])
        return buffer.getvalue()


def rank(records: Sequence[Record]) -> Leaderboard:
    """Order ``records``; one that is not FINISHED has no rank, whatever it reached."""
    finished = [record for record in records if record.status == "FINISHED" and RANKED_BY in record.metrics]
    return Leaderboard(
        keys=differing_keys(records),
        ranked=sorted(finished, key=lambda record: -record.metrics[RANKED_BY]),
        others=[record for record in records if record not in finished],
    )


def differing_keys(records: Sequence[Record]) -> list[str]:
    """The params that do not have one and the same value in all of ``records``.

    A key that comes and goes with a choice that differs anyway (``optimizer.momentum`` with ``optimizer=sgd``) is
    left out, as long as the runs that have it agree on it.
    """

    def differs(key: str) -> bool:
        values = {record.params.get(key) for record in records}
        section = key.partition(".")[0]
        comes_with_choice = section != key and None in values and differs(section)
        return len(values - {None} if comes_with_choice else values) > 1

    return [key for key in dict.fromkeys(key for record in records for key in record.params) if differs(key)]
