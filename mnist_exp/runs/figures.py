"""The figures of a run: arrays in, a matplotlib Figure out. pyplot and its global state are never used."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mnist_exp.data.datasets import Dataset, Examples
from mnist_exp.metrics import Evaluation
from mnist_exp.training.range_test import RangeTest, Suggestion

TRAINING, VALIDATION, MARK = "#3b6fb6", "#e07b39", "#b3282d"

_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


Margins = tuple[float, float, float]
"""Left, right and bottom margin of a figure's axes, in inches; the title stands above them."""

_CHART: Margins = (0.85, 0.25, 0.6)
_PICTURES: Margins = (0.4, 0.2, 0.15)

_styled = mpl.rc_context(_STYLE)  # as a decorator: matplotlib reads its settings as each part is drawn


def png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


@_styled
def loss(train: Sequence[float], validation: Sequence[float], run: str) -> Figure:
    """Draw training and validation loss (cross-entropy, nats) of each epoch, and mark the lowest validation loss."""
    return _learning_curve(train, validation, f"Loss · {run}", "cross-entropy (nats)", best=np.argmin)


@_styled
def accuracy(train: Sequence[float], validation: Sequence[float], run: str) -> Figure:
    """Draw training and validation accuracy (0..1) of each epoch, and mark the highest validation accuracy."""
    figure = _learning_curve(train, validation, f"Accuracy · {run}", "accuracy", best=np.argmax)
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@_styled
def learning_rate(rates: Sequence[float], run: str) -> Figure:
    """Draw the learning rate of each epoch, on a logarithmic axis if it spans more than a factor of ten."""
    figure, axes = _figure(f"Learning rate · {run}")
    axes.step(_epochs(rates), rates, where="mid", color=TRAINING)
    if max(rates) > 10 * min(rates) > 0:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.25 * max(rates))
    axes.set(xlabel="epoch", ylabel="learning rate")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@_styled
def range_test(test: RangeTest, run: str) -> Figure:
    """Draw loss against learning rate, measured and smoothed, on a logarithmic axis.

    The suggested band is shaded, the points it comes from are marked; if nothing is suggested, the title says why.
    """
    suggestion = test.suggestion
    title = f"Learning-rate range test · {run}" + ("" if suggestion else f"\n{test.sentence}")
    legend = 0.8 if suggestion else 0.35  # inches
    figure, axes = _figure(title, (8, 5 + legend), (0.85, 0.25, 0.6 + legend))
    dots: dict[str, Any] = {"marker": "o", "markersize": 3} if len(test.rates) <= 30 else {}
    axes.semilogx(test.rates, test.losses, color=TRAINING, alpha=0.45, lw=1, label="training loss", **dots)
    there = np.isfinite(test.smoothed)
    if there.any():
        axes.plot(test.rates[there], test.smoothed[there], color=TRAINING, lw=2, label="smoothed")
    if suggestion:
        _mark_suggestion(axes, test, suggestion)
    axes.set(xlabel="learning rate", ylabel="cross-entropy (nats)")
    finite = test.losses[np.isfinite(test.losses)]
    if len(finite):
        # A diverging end would flatten the rest of the curve.
        axes.set_ylim(0, 1.1 * min(finite.max(), 3 * finite[0]))
    # Below the axes, as the curve may pass through every corner.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure


def _mark_suggestion(axes: Axes, test: RangeTest, suggestion: Suggestion) -> None:
    low, high = suggestion.band
    axes.axvspan(low, high, color=VALIDATION, alpha=0.18, lw=0, label=f"suggested band: {low:.2g} to {high:.2g}")
    axes.axvline(suggestion.rate, color=VALIDATION, ls="--", label=f"suggested rate: {suggestion.rate:.2g}")
    for rate, marker, what in (
        (suggestion.steepest_rate, "v", "steepest descent"),
        (suggestion.lowest_rate, "o", f"lowest loss: {suggestion.lowest_loss:.3f}"),
    ):
        (height,) = test.smoothed[(test.rates == rate) & np.isfinite(test.smoothed)]
        axes.plot(rate, height, marker, ms=8, color=MARK, label=f"{what}, at {rate:.2g}", ls="none", zorder=3)


@_styled
def confusion_matrix(evaluation: Evaluation, run: str) -> Figure:
    """Draw the confusion matrix: in each cell the share of the true class, and the count below it."""
    counts = evaluation.confusion
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure, axes = _figure(
        f"Confusion matrix · {run}\ntest accuracy {evaluation.accuracy:.2%}", (8, 7.2), (0.7, 0.95, 0.6)
    )
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    classes = range(len(counts))
    for true in classes:
        for predicted in classes:
            if counts[true, predicted]:
                ink = "white" if shares[true, predicted] > 0.5 else "#222222"
                style: dict[str, Any] = {"ha": "center", "color": ink}
                share = f"{shares[true, predicted]:.0%}" if shares[true, predicted] >= 0.005 else "<1%"
                axes.text(predicted, true - 0.12, share, va="center", fontsize=10, **style)
                axes.text(predicted, true + 0.26, f"{counts[true, predicted]:,}", va="center", fontsize=7, **style)
    axes.set(xlabel="predicted digit", ylabel="true digit", xticks=classes, yticks=classes)
    figure.colorbar(
        image, ax=axes, label="share of the true digit", format=PercentFormatter(1), fraction=0.04, pad=0.03
    )
    return figure


@_styled
def predictions(test: Examples, evaluation: Evaluation, run: str) -> Figure:
    """Draw the first test images with the predicted classes."""
    return _gallery(test, evaluation, np.arange(min(24, len(test))), f"Predictions · {run}")


@_styled
def mistakes(test: Examples, evaluation: Evaluation, run: str) -> Figure:
    """Draw the wrongly predicted test images, those with the highest confidence first."""
    wrong = np.flatnonzero(evaluation.predicted != test.labels)
    worst = wrong[np.argsort(-evaluation.confidence[wrong], kind="stable")][:24]
    title = f"Mistakes, the most confident first · {run}\n{len(wrong):,} of {len(test):,} test images"
    return _gallery(test, evaluation, worst, title)


@_styled
def samples(dataset: Dataset) -> Figure:
    """Draw a row of training images for each class."""
    classes, (height, _) = range(dataset.classes), dataset.train.shape
    rows = [np.flatnonzero(dataset.train.labels == label)[:12] for label in classes]
    tiles = [[dataset.train.images[row] for row in rows_of_class] for rows_of_class in rows]
    figure, axes = _figure(f"Samples · {dataset.name}, one row a label", (8, 0.9 + 0.6 * len(rows)), _PICTURES)
    corners = _mosaic(axes, tiles, dataset.train.shape, places=(len(rows), 12), gap=(5, 5))
    for label, (left, top) in zip(classes, (row[0] for row in corners), strict=True):
        axes.text(left - 6, top + height / 2, str(label), ha="right", va="center", fontsize=13)
    return figure


@_styled
def class_counts(dataset: Dataset) -> Figure:
    """Draw the numbers of training and test images of each class."""
    classes = np.arange(dataset.classes)
    figure, axes = _figure(f"Samples per class · {dataset.name}", (8, 4.5))
    for offset, (part, colour) in enumerate((("train", TRAINING), ("test", VALIDATION))):
        counts = np.bincount(getattr(dataset, part).labels, minlength=dataset.classes)
        bars = axes.bar(classes + 0.4 * offset - 0.2, counts, 0.4, color=colour, label=f"{part}: {counts.sum():,}")
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.set(xlabel="label", ylabel="images", xticks=classes)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend above the bars
    axes.legend(loc="upper right", ncols=2)
    return figure


@_styled
def pixels(dataset: Dataset) -> Figure:
    """Draw a histogram of the pixel values, before and after division by 255; the counts are logarithmic."""
    counts = np.bincount(dataset.train.images.ravel(), minlength=256)
    figure = Figure(figsize=(9, 4))
    before, after = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
    _place(figure, _CHART, "one line")
    mean = float((counts * np.arange(256)).sum() / counts.sum())
    for axes, scale, title in (
        (before, 1.0, f"Pixel values · {dataset.name}"),
        (after, 255.0, "after normalisation (divided by 255)"),
    ):
        axes.stairs(counts, (np.arange(257) - 0.5) / scale, fill=True, color=TRAINING)
        axes.axvline(mean / scale, color=MARK, lw=1, label=f"mean {mean / scale:.3g}")
        axes.set(xlabel="pixel value")
        axes.set_title(title, parse_math=False)
        axes.legend(loc="upper right")
    before.set(yscale="log", ylabel="pixels in the training images")
    before.yaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _figure(title: str, size: tuple[float, float] = (8, 5), margins: Margins = _CHART) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    axes = figure.subplots()
    _place(figure, margins, title)
    axes.set_title(_shorten(title), parse_math=False)  # a dollar is a dollar
    return figure, axes


def _place(figure: Figure, margins: Margins, title: str) -> None:
    """Set the margins explicitly: a layout engine takes as long as drawing does."""
    left, right, bottom = margins
    width, height = figure.get_size_inches()
    top = 0.3 + 0.22 * len(title.split("\n"))
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)


def _learning_curve(
    train: Sequence[float],
    validation: Sequence[float],
    title: str,
    label: str,
    best: Callable[[Sequence[float]], np.intp],
) -> Figure:
    figure, axes = _figure(title)
    dots: dict[str, Any] = {"marker": "o", "markersize": 3} if len(train) <= 30 else {}
    axes.plot(_epochs(train), train, color=TRAINING, label="training", **dots)
    axes.plot(_epochs(validation), validation, color=VALIDATION, label="validation", **dots)
    at = int(best(validation))
    label_of_best = f"best: {validation[at]:.4f}, epoch {at + 1}"
    axes.plot(at + 1, validation[at], "o", ms=9, mfc="none", color=MARK, label=label_of_best)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def _gallery(test: Examples, evaluation: Evaluation, rows: NDArray[np.intp], title: str) -> Figure:
    """Draw four rows of six images, above each the prediction, its probability, and the true class if it differs."""
    figure, axes = _figure(title, (9, 7), _PICTURES)
    places = [rows[start : start + 6] for start in range(0, len(rows), 6)]
    tiles = [[test.images[row] for row in line] for line in places]
    corners = _mosaic(axes, tiles, test.shape, places=(4, 6), gap=(11, 6))
    for line, line_corners in zip(places, corners, strict=False):
        for row, (left, top) in zip(line, line_corners, strict=False):
            right = evaluation.predicted[row] == test.labels[row]
            predicted = f"{evaluation.predicted[row]} ({evaluation.confidence[row]:.0%})"
            axes.text(
                left + test.shape[1] / 2,
                top - 2,
                predicted if right else f"{predicted}, is {test.labels[row]}",
                ha="center",
                va="bottom",
                fontsize=10,
                color="#222222" if right else MARK,
            )
    return figure


def _mosaic(
    axes: Axes,
    tiles: Sequence[Sequence[NDArray[np.uint8]]],
    shape: tuple[int, int],
    places: tuple[int, int],
    gap: tuple[int, int],
) -> list[list[tuple[int, int]]]:
    """Draw images of one ``shape`` as one picture, in a tenth of the time that axes for each image take.

    Returns the left and top pixel of every place, row by row, filled or not; ``gap`` is the space above each place and
    to its left.
    """
    (rows, columns), (above, beside) = places, gap
    height, width = shape[0] + above, shape[1] + beside
    corners = [[(column * width + beside, row * height + above) for column in range(columns)] for row in range(rows)]
    canvas = np.zeros((rows * height, columns * width + beside), np.uint8)
    for line, line_corners in zip(tiles, corners, strict=False):
        for tile, (left, top) in zip(line, line_corners, strict=False):
            canvas[top : top + shape[0], left : left + shape[1]] = tile
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    return corners


def _epochs(values: Sequence[float]) -> NDArray[np.int_]:
    return np.arange(1, len(values) + 1)


def _shorten(title: str, width: int = 78) -> str:
    """Cut each line of a title that is wider than the figure: a run's name may be long."""
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in title.split("\n"))
