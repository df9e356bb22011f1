"""The metrics: one table that declares each of them, the epochs of a run, and the scores on its test images.

A line of ``METRICS`` that names a class of ``keras.metrics`` is all that a further metric takes::

    Metric("top_3", "images", True, is_share=True, keras_class="SparseTopKCategoricalAccuracy", options={"k": 3})

Keras then computes it in every epoch; runs log it as ``top_3``, ``val_top_3``, ``kept/val_top_3`` and ``test/top_3``;
it can be read back, compared by and drawn like any other.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

LOSS = "sparse_categorical_crossentropy"
"""Keras's name of the loss that models are trained with."""

OBJECTIVE = "val_accuracy"
"""What epochs and runs are chosen by, the higher the better: never a score on the test images."""


@dataclass(frozen=True)
class Metric:
    """A metric that runs log.

    Attributes:
        name: without what may stand around it: ``val_``, a section (``kept/``), the number of a class (``_3``).
        scope: ``images`` if it is computed in each epoch on the training images (``NAME``) and the validation images
            (``val_NAME``), and once on the test images (``test/NAME``); ``epoch`` if it is another value of each
            epoch; ``run`` if it is one of the whole run.
        higher: True if more is better, False if less is, None if neither.
        is_share: whether it is a share of images, 0..1.
        unit: ``s``, ``nats``, or nothing for a plain number.
        keras_class: the class in ``keras.metrics`` that computes it; None for the loss and for what is not computed by
            Keras.
        options: the arguments of that class.
        format_spec: how its values are shown, as in an f-string.
        heading: of its column in a table, if that is not its name.
        spans_decades: whether its values may differ by powers of ten: a chart then has a logarithmic axis.
    """

    name: str
    scope: Literal["images", "epoch", "run"]
    higher: bool | None = None
    is_share: bool = False
    unit: str = ""
    keras_class: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    format_spec: str = ".4f"
    heading: str = ""
    spans_decades: bool = False

    def build(self) -> "keras.Metric":
        """Return a new Keras metric that computes it, with nothing accumulated yet. Raises ValueError if none does."""
        if self.keras_class is None:
            raise ValueError(f"the metric must name a class of keras.metrics. Received: {self.name}")
        import keras

        return getattr(keras.metrics, self.keras_class)(name=self.name, **self.options)


METRICS = (
    Metric("loss", "images", higher=False, unit="nats", spans_decades=True),
    Metric("accuracy", "images", higher=True, is_share=True, keras_class="SparseCategoricalAccuracy"),
    Metric("lr", "epoch", format_spec=".3g", spans_decades=True),
    Metric("epoch_seconds", "epoch", higher=False, unit="s", format_spec=".1f"),
    Metric("train_seconds", "run", higher=False, unit="s", format_spec=".1f"),
    Metric("parameters", "run", higher=False, format_spec=",.0f"),
    Metric("epoch", "run", format_spec=".0f", heading="at epoch"),
    Metric("recall", "run", higher=True, is_share=True),
    # What a learning-rate range test suggests.
    Metric("lowest_loss", "run", higher=False, unit="nats"),
    Metric("suggested_rate", "run", format_spec=".3g"),
    Metric("steepest_rate", "run", format_spec=".3g"),
    Metric("lowest_rate", "run", format_spec=".3g"),
    Metric("band_low", "run", format_spec=".3g"),
    Metric("band_high", "run", format_spec=".3g"),
)


def find(name: str) -> Metric | None:
    """Return the metric of which ``name`` is a logged value; None if it is not in the table.

    ``kept/val_accuracy`` is an accuracy, ``test/recall_3`` a recall.
    """
    known = {each.name: each for each in METRICS}
    base = name.rpartition("/")[2].removeprefix("val_")
    return known.get(base) or known.get(re.sub(r"_\d+$", "", base))


def is_share(name: str) -> bool:
    """Return whether the metric is known to be a share of images, 0..1."""
    known = find(name)
    return known is not None and known.is_share


def spans_decades(name: str) -> bool:
    """Return whether the metric is known to differ by powers of ten."""
    known = find(name)
    return known is not None and known.spans_decades


def validated() -> tuple[str, ...]:
    """Return what is measured on the validation images in each epoch, ``OBJECTIVE`` first."""
    names = [f"val_{each.name}" for each in METRICS if each.scope == "images"]
    return tuple(sorted(names, key=lambda name: name != OBJECTIVE))


def per_epoch() -> tuple[str, ...]:
    """Return everything that a run logs after each epoch."""
    measured = [each.name for each in METRICS if each.scope == "images"]
    others = [each.name for each in METRICS if each.scope == "epoch"]
    return (*measured, *(f"val_{name}" for name in measured), *others)


def by_keras() -> tuple[Metric, ...]:
    """Return the metrics that Keras computes besides the loss."""
    return tuple(each for each in METRICS if each.keras_class is not None)


def compile_options() -> dict[str, Any]:
    """Return the loss and new metric objects, as ``keras.Model.compile`` takes them."""
    return {"loss": LOSS, "metrics": [each.build() for each in by_keras()]}


def heading(name: str) -> str:
    """Return the heading of a metric's column, such as ``val_accuracy`` for ``kept/val_accuracy``."""
    known = find(name)
    section, _, base = name.rpartition("/")
    title = known.heading if known and known.heading else base
    return title if section in ("", "kept") else f"{section} {title}"


def shown(name: str, value: float) -> str:
    """Return a value of the metric as text, without its unit."""
    known = find(name)
    return format(value, known.format_spec if known else ".4f")


@dataclass(frozen=True)
class Epoch:
    """One completed epoch.

    Attributes:
        number: epochs completed, from 1.
        lr: the learning rate it ran with; None if the optimizer has none that is a number.
        seconds: its duration, validation included.
        scores: every number in Keras's ``logs``, by its name there.
    """

    number: int
    lr: float | None
    seconds: float
    scores: Mapping[str, float]

    def metrics(self) -> dict[str, float]:
        """Return everything of it that is logged, by metric name. Where names meet, Keras's ``logs`` win."""
        own = {"epoch_seconds": self.seconds} if self.lr is None else {"lr": self.lr, "epoch_seconds": self.seconds}
        return {**self.scores, **{name: value for name, value in own.items() if name not in self.scores}}


@dataclass
class History:
    """The completed epochs of a run, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    def series(self, metric: str) -> list[float]:
        """Return one value for each completed epoch, NaN for one that has none."""
        return [epoch.metrics().get(metric, math.nan) for epoch in self.epochs]

    def best(self) -> Epoch:
        """Return the epoch with the highest ``OBJECTIVE``, the earliest of equals.

        Raises:
            KeyError: an epoch was not validated, or its accuracy not measured.
        """
        return max(self.epochs, key=lambda epoch: epoch.scores[OBJECTIVE])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of one model on N images of C classes.

    Attributes:
        predicted: int [N], the likeliest class of each image.
        confidence: float32 [N], its probability.
        confusion: int [C, C], images counted by true (row) and predicted (column) class.
        scores: every metric with scope ``images``: the loss is the mean cross-entropy, in nats.
        report: precision, recall, F1 and support per class and averaged, as scikit-learn's classification_report.
    """

    predicted: NDArray[np.intp]
    confidence: NDArray[np.float32]
    confusion: NDArray[np.int64]
    scores: Mapping[str, float]
    report: dict[str, Any]

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        return self.scores["loss"]

    @property
    def accuracy(self) -> float:
        """Share of images predicted right, 0..1."""
        return self.scores["accuracy"]

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """Share of each true class predicted right, float [C], 0..1; NaN for a class without an image."""
        support = self.confusion.sum(axis=1)
        recall: NDArray[np.float64] = np.full(len(support), np.nan)
        np.divide(self.confusion.diagonal(), support, out=recall, where=support > 0)
        return recall


def evaluate(labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> Evaluation:
    """Compare the true classes of images with what a model predicts.

    Args:
        labels: uint8 [N], each less than C.
        probabilities: float32 [N, C], the model's for each class.
    """
    from sklearn.metrics import classification_report, confusion_matrix

    classes = range(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=classes)
    # Keras's bound (its backend epsilon), so that this is the loss that Keras itself would report.
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64).clip(1e-7, 1 - 1e-7)
    own = {"loss": float(-np.log(likelihood).mean()), "accuracy": float(confusion.trace() / len(labels))}
    return Evaluation(
        predicted=predicted,
        confidence=probabilities.max(axis=1),
        confusion=confusion,
        scores=own | {each.name: _by_keras(each, labels, probabilities) for each in by_keras() if each.name not in own},
        report=classification_report(labels, predicted, labels=classes, output_dict=True, zero_division=0.0),
    )


def _by_keras(metric: Metric, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> float:
    computed = metric.build()
    computed.update_state(labels, probabilities)
    return float(computed.result())
