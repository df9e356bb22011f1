"""The pictures of a run: arrays in, a matplotlib Figure out. pyplot and its global state are never touched."""

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
from mnist_exp.metrics import DIGITS, Evaluation
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
"""Left, right and bottom of a figure's axes, in inches; above them is room for the title."""

_CHART: Margins = (0.85, 0.25, 0.6)
_PICTURES: Margins = (0.4, 0.2, 0.15)

_styled = mpl.rc_context(_STYLE)  # as a decorator: matplotlib reads its settings as each part is drawn


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


@_styled
def loss(train: Sequence[float], validation: Sequence[float], run: str) -> Figure:
    """Training and validation loss (cross-entropy, nats) of each epoch; the lowest validation loss is marked."""
    return _learning_curve(train, validation, f"Loss · {run}", "cross-entropy (nats)", best=np.argmin)


@_styled
def accuracy(train: Sequence[float], validation: Sequence[float], run: str) -> Figure:
    """Training and validation accuracy (0..1) of each epoch; the highest validation accuracy is marked."""
    figure = _learning_curve(train, validation, f"Accuracy · {run}", "accuracy", best=np.argmax)
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@_styled
def learning_rate(rates: Sequence[float], run: str) -> Figure:
    """The rate each epoch ran with; a log axis where it spans more than a factor of ten."""
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
    """Loss against learning rate on a log axis, as it was and smoothed.

    The suggested band is shaded, the points it comes from are marked; where nothing is suggested, the title says why.
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
        # A diverging end would flatten the part that matters.
        axes.set_ylim(0, 1.1 * min(finite.max(), 3 * finite[0]))
    # Below the axes: a range test leaves no corner free for sure.
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
    """Share of each true class in every cell, the count below it, and a colour bar."""
    counts = evaluation.confusion
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure, axes = _figure(
        f"Confusion matrix · {run}\ntest accuracy {evaluation.accuracy:.2%}", (8, 7.2), (0.7, 0.95, 0.6)
    )
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true in DIGITS:
        for predicted in DIGITS:
            if counts[true, predicted]:
                ink = "white" if shares[true, predicted] > 0.5 else "#222222"
                style: dict[str, Any] = {"ha": "center", "color": ink}
                share = f"{shares[true, predicted]:.0%}" if shares[true, predicted] >= 0.005 else "<1%"
                axes.text(predicted, true - 0.12, share, va="center", fontsize=10, **style)
                axes.text(predicted, true + 0.26, f"{counts[true, predicted]:,}", va="center", fontsize=7, **style)
    axes.set(xlabel="predicted digit", ylabel="true digit", xticks=DIGITS, yticks=DIGITS)
    figure.colorbar(
        image, ax=axes, label="share of the true digit", format=PercentFormatter(1), fraction=0.04, pad=0.03
    )
    return figure


@_styled
def predictions(test: Examples, evaluation: Evaluation, run: str) -> Figure:
    """The first test images with what the model took them for."""
    return _gallery(test, evaluation, np.arange(min(24, len(test))), f"Predictions · {run}")


@_styled
def mistakes(test: Examples, evaluation: Evaluation, run: str) -> Figure:
    """The test images that the model got wrong with the most confidence."""
    wrong = np.flatnonzero(evaluation.predicted != test.labels)
    worst = wrong[np.argsort(-evaluation.confidence[wrong], kind="stable")][:24]
    title = f"Mistakes, the most confident first · {run}\n{len(wrong):,} of {len(test):,} test images"
    return _gallery(test, evaluation, worst, title)


@_styled
def samples(dataset: Dataset) -> Figure:
    """A row of training images for each digit."""
    rows = [np.flatnonzero(dataset.train.labels == digit)[:12] for digit in DIGITS]
    tiles = [[dataset.train.images[row] for row in rows_of_digit] for rows_of_digit in rows]
    figure, axes = _figure(f"Samples · {dataset.name}, one row a label", (8, 6.9), _PICTURES)
    corners = _mosaic(axes, tiles, shape=(10, 12), gap=(5, 5))
    for digit, (left, top) in zip(DIGITS, (row[0] for row in corners), strict=True):
        axes.text(left - 6, top + 14, str(digit), ha="right", va="center", fontsize=13)
    return figure


@_styled
def class_counts(dataset: Dataset) -> Figure:
    """How many images of each digit there are, to train on and to test on."""
    figure, axes = _figure(f"Samples per class · {dataset.name}", (8, 4.5))
    for offset, (part, colour) in enumerate((("train", TRAINING), ("test", VALIDATION))):
        counts = np.bincount(getattr(dataset, part).labels, minlength=10)
        bars = axes.bar(
            np.arange(10) + 0.4 * offset - 0.2, counts, 0.4, color=colour, label=f"{part}: {counts.sum():,}"
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.set(xlabel="label", ylabel="images", xticks=DIGITS)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend above the bars
    axes.legend(loc="upper right", ncols=2)
    return figure


@_styled
def pixels(dataset: Dataset) -> Figure:
    """How pixel values are distributed, before and after division by 255; the count axis is logarithmic."""
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
    """Set the margins by hand: a layout engine takes as long as drawing does."""
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
    axes.plot(
        at + 1,
        validation[at],
        "o",
        ms=9,
        mfc="none",
        color=MARK,
        label=f"best: {validation[at]:.4f}, epoch {at + 1}",
    )
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def _gallery(test: Examples, evaluation: Evaluation, rows: NDArray[np.intp], title: str) -> Figure:
    """Four rows of six images, above each what the model said and how sure it was, and the truth where it differs."""
    figure, axes = _figure(title, (9, 7), _PICTURES)
    places = [rows[start : start + 6] for start in range(0, len(rows), 6)]
    corners = _mosaic(axes, [[test.images[row] for row in line] for line in places], shape=(4, 6), gap=(11, 6))
    for line, line_corners in zip(places, corners, strict=False):
        for row, (left, top) in zip(line, line_corners, strict=False):
            right = evaluation.predicted[row] == test.labels[row]
            said = f"{evaluation.predicted[row]} ({evaluation.confidence[row]:.0%})"
            axes.text(
                left + 14,
                top - 2,
                said if right else f"{said}, is {test.labels[row]}",
                ha="center",
                va="bottom",
                fontsize=10,
                color="#222222" if right else MARK,
            )
    return figure


def _mosaic(
    axes: Axes, tiles: Sequence[Sequence[NDArray[np.uint8]]], shape: tuple[int, int], gap: tuple[int, int]
) -> list[list[tuple[int, int]]]:
    """Images in rows and columns, drawn as one, which takes a tenth of the time that an axes for each would.

    Returns the left and top pixel of every place of ``shape``, row by row, filled or not; ``gap`` is what lies above
    and to the left of each.
    """
    above, beside = gap
    height, width = 28 + above, 28 + beside
    corners = [
        [(column * width + beside, row * height + above) for column in range(shape[1])] for row in range(shape[0])
    ]
    canvas = np.zeros((shape[0] * height, shape[1] * width + beside), np.uint8)
    for line, line_corners in zip(tiles, corners, strict=False):
        for tile, (left, top) in zip(line, line_corners, strict=False):
            canvas[top : top + 28, left : left + 28] = tile
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    return corners


def _epochs(values: Sequence[float]) -> NDArray[np.int_]:
    return np.arange(1, len(values) + 1)


def _shorten(title: str, width: int = 78) -> str:
    """Each line of a title, cut where it would leave the figure: a run's name may be long."""
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in title.split("\n"))
