"""Runs ranked by the validation accuracy of the weights that they kept, told apart by the keys that differ."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mnist_exp.analysis.records import Record
from mnist_exp.replicate import without_drawn

# What the ranking shows of a run beside its params: a metric and its heading. Test scores are shown, never ranked by.
COLUMNS = (
    ("kept/val_accuracy", "val_accuracy"),
    ("kept/epoch", "at epoch"),
    ("kept/val_loss", "val_loss"),
    ("accuracy", "accuracy"),
    ("best/val_accuracy", "best val_accuracy"),
    ("test/accuracy", "test accuracy"),
)
RANKED_BY = "kept/val_accuracy"


@dataclass(frozen=True)
class Leaderboard:
    """Runs in order.

    Attributes:
        keys: the params in which the runs differ, in the order of the config.
        ranked: finished runs, the best first; equals keep the order they ran in.
        range_tests: finished runs that have no rank, as they tested rates and trained no model.
        others: runs that did not finish, or have no figure to rank by.
    """

    keys: list[str]
    ranked: list[Record]
    others: list[Record]
    range_tests: list[Record] = field(default_factory=list)

    @property
    def finished(self) -> int:
        """How many runs finished."""
        return len(self.ranked) + len(self.range_tests)

    def csv(self) -> str:
        """One line a run, with rank, status, run id, the keys that differ and every column."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["rank", "status", "run_id", "name", *self.keys, *(metric for metric, _ in COLUMNS)])
        without_rank = [*self.range_tests, *self.others]
        for rank, record in [*enumerate(self.ranked, 1), *(("", record) for record in without_rank)]:
            params = [record.params.get(key, "") for key in self.keys]
            figures = [record.figure(metric) for metric, _ in COLUMNS]
            metrics = ["" if figure is None else figure for figure in figures]
            writer.writerow([rank, record.status, record.run_id, record.name, *params, *metrics])
        return buffer.getvalue()


def rank(records: Sequence[Record]) -> Leaderboard:
    """Order the finished runs, the best first. Range tests and runs that did not finish get no rank."""
    figures = {record.run_id: record.figure(RANKED_BY) for record in records if record.status == "FINISHED"}
    range_tests = [record for record in records if record.status == "FINISHED" and record.is_range_test]
    without_rank = {record.run_id for record in range_tests}
    finished = [each for each in records if figures.get(each.run_id) is not None and each.run_id not in without_rank]
    ended_well = without_rank | {record.run_id for record in finished}
    return Leaderboard(
        keys=without_drawn(differing_keys([record.params for record in records])),
        ranked=sorted(finished, key=lambda record: -(figures[record.run_id] or 0.0)),
        range_tests=range_tests,
        others=[record for record in records if record.run_id not in ended_well],
    )


def differing_keys(params: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that do not have one and the same value in the params of all runs or configurations.

    A key that comes and goes with a choice that differs anyway (``optimizer.momentum`` with ``optimizer=sgd``) is
    left out, as long as the runs that have it agree on it.
    """

    def differs(key: str) -> bool:
        values = {each.get(key) for each in params}
        section = key.partition(".")[0]
        comes_with_choice = section != key and None in values and differs(section)
        return len(values - {None} if comes_with_choice else values) > 1

    return [key for key in dict.fromkeys(key for each in params for key in each) if differs(key)]
