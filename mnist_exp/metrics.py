"""What an epoch left behind, and the epochs of a run together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


DIGITS = range(10)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of one model on N images.

    Attributes:
        predicted: int [N], the likeliest digit of each image.
        confidence: float32 [N], its probability.
        confusion: int [10, 10], images counted by true (row) and predicted (column) digit.
        loss: mean cross-entropy, in nats.
        accuracy: share of images predicted right, 0..1.
        recall: float [10], the same for each true digit; NaN for a digit of which there is no image.
        report: precision, recall, F1 and support per digit and averaged, as scikit-learn's classification_report.
    """

    predicted: NDArray[np.intp]
    confidence: NDArray[np.float32]
    confusion: NDArray[np.int64]
    loss: float
    accuracy: float
    recall: NDArray[np.float64]
    report: dict[str, Any]


def evaluate(labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> Evaluation:
    """Compare ``labels``, uint8 [N], with the model's ``probabilities``, float32 [N, 10]."""
    from sklearn.metrics import classification_report, confusion_matrix

    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=DIGITS)
    support = confusion.sum(axis=1)
    # Keras's bound (its backend epsilon), so that this is the loss that Keras itself would report.
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64).clip(1e-7, 1 - 1e-7)
    return Evaluation(
        predicted=predicted,
        confidence=probabilities.max(axis=1),
        confusion=confusion,
        loss=float(-np.log(likelihood).mean()),
        accuracy=float(confusion.trace() / len(labels)),
        recall=np.divide(confusion.diagonal(), support, out=np.full(10, np.nan), where=support > 0),
        report=classification_report(labels, predicted, labels=DIGITS, output_dict=True, zero_division=0.0),
    )
