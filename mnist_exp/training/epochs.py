"""What an epoch left behind, and the epochs of a run together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SCORES = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Epoch:
    """One completed epoch.

    Attributes:
        number: epochs completed, from 1.
        lr: the learning rate it ran with.
        seconds: its duration, validation included.
        scores: the four of ``SCORES``; losses in nats, accuracies 0..1.
    """

    number: int
    lr: float
    seconds: float
    scores: Mapping[str, float]

    def metrics(self) -> dict[str, float]:
        """Everything of it that is logged, by metric name."""
        return {**self.scores, "lr": self.lr, "epoch_seconds": self.seconds}


@dataclass
class History:
    """The completed epochs of a run, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    def series(self, metric: str) -> list[float]:
        """One value for each completed epoch."""
        return [epoch.metrics()[metric] for epoch in self.epochs]

    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy, the earliest of equals."""
        return max(self.epochs, key=lambda epoch: epoch.scores["val_accuracy"])
