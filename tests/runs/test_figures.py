"""Figures say what they show: titles, axes, units, and what is to be read off them."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from mnist_exp.data.datasets import Dataset, Examples
from mnist_exp.data.files import Arrays
from mnist_exp.metrics import Evaluation, evaluate
from mnist_exp.runs import figures
from mnist_exp.training import range_test


@pytest.fixture
def dataset(some_arrays: Arrays) -> Dataset:
    train, test = (Examples(some_arrays[f"x_{part}"], some_arrays[f"y_{part}"]) for part in ("train", "test"))
    return Dataset("own", "own.npz", train, test, digest="0" * 64)


@pytest.fixture
def evaluation(dataset: Dataset) -> Evaluation:
    said = np.eye(10, dtype=np.float32)[np.where(dataset.test.labels == 4, 9, dataset.test.labels)]
    return evaluate(dataset.test.labels, said)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend(figure: Figure) -> list[str]:
    found = figure.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_loss_shows_training_and_validation_and_marks_the_best() -> None:
    axes = figures.loss([0.9, 0.5, 0.3], [0.8, 0.4, 0.6], "model_2").axes[0]
    assert axes.get_title(loc="left") == "Loss · model_2"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "cross-entropy (nats)")
    assert np.array_equal(axes.lines[0].get_ydata(), [0.9, 0.5, 0.3])
    assert legend(axes.figure) == ["training", "validation", "best: 0.4000, epoch 2"]  # type: ignore[arg-type]


def test_accuracy_marks_the_highest() -> None:
    assert legend(figures.accuracy([0.1, 0.2], [0.3, 0.2], "r"))[-1] == "best: 0.3000, epoch 1"


def test_learning_rate_is_logarithmic_where_it_spans_decades() -> None:
    assert figures.learning_rate([1e-4, 1e-2], "r").axes[0].get_yscale() == "log"
    assert figures.learning_rate([1e-3, 1e-3], "r").axes[0].get_yscale() == "linear"


RATES = 1e-4 * 10 ** (np.arange(40) / 10)
VALLEY = 0.4 + 1.9 / (1 + 10 ** (3 * np.log10(RATES) + 9)) + 2e3 * RATES**3


def test_range_test_shows_the_losses_and_what_they_suggest() -> None:
    test = range_test.read(RATES, VALLEY)
    assert test.suggestion is not None
    figure = figures.range_test(test, "model_3")
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "Learning-rate range test · model_3"
    assert axes.get_xscale() == "log"
    assert np.array_equal(axes.lines[0].get_ydata(), VALLEY)
    assert np.array_equal(axes.lines[1].get_ydata(), test.smoothed)
    low, high = test.suggestion.band
    assert (axes.patches[0].get_x(), axes.patches[0].get_width()) == pytest.approx((low, high - low))  # type: ignore[attr-defined]
    marked = [line.get_xdata()[0] for line in axes.lines[-2:]]  # type: ignore[index]
    assert marked == [test.suggestion.steepest_rate, test.suggestion.lowest_rate]
    assert legend(figure) == [
        "training loss",
        "smoothed",
        f"suggested band: {low:.2g} to {high:.2g}",
        f"suggested rate: {test.suggestion.rate:.2g}",
        f"steepest descent, at {test.suggestion.steepest_rate:.2g}",
        f"lowest loss: {test.suggestion.lowest_loss:.3f}, at {high:.2g}",
    ]


def test_range_test_says_that_it_suggests_nothing() -> None:
    figure = figures.range_test(range_test.read(RATES, np.full(40, 2.0)), "model_3")
    (axes,) = figure.axes
    title = "Learning-rate range test · model_3\nNo rate suggested: the loss never falls (by 0, over 0.1 would count)."
    assert axes.get_title(loc="left") == title
    assert not axes.patches
    assert legend(figure) == ["training loss", "smoothed"]


@pytest.mark.parametrize("losses", [[2.0, 1.0, np.nan], [np.nan] * 3])
def test_range_test_draws_what_little_there_is(losses: list[float]) -> None:
    figure = figures.range_test(range_test.read([1e-4, 1e-3, 1e-2], losses), "r")
    assert legend(figure) == ["training loss"]
    assert figures.png(figure).startswith(b"\x89PNG")


def test_range_test_marks_a_rate_that_ran_twice_once() -> None:
    test = range_test.read(np.repeat(RATES, 2), np.repeat(VALLEY, 2))
    assert test.suggestion is not None
    assert figures.range_test(test, "r").axes[0].lines[-1].get_xdata() == [test.suggestion.lowest_rate]


def test_range_test_keeps_everything_within_the_figure() -> None:
    figure = figures.range_test(range_test.read(RATES, VALLEY), "r")
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height


def test_confusion_matrix_has_shares_counts_and_a_colour_bar(evaluation: Evaluation) -> None:
    figure = figures.confusion_matrix(evaluation, "model_6")
    assert figure.axes[0].get_title(loc="left") == "Confusion matrix · model_6\ntest accuracy 90.00%"
    assert texts(figure).count("100%") == 10
    assert texts(figure).count("2") == 10
    assert figure.axes[1].get_ylabel() == "share of the true digit"


def test_mistakes_are_only_mistakes(dataset: Dataset, evaluation: Evaluation) -> None:
    figure = figures.mistakes(dataset.test, evaluation, "r")
    assert texts(figure) == ["9 (100%), is 4"] * 2


def test_predictions_show_the_first_images(dataset: Dataset, evaluation: Evaluation) -> None:
    figure = figures.predictions(dataset.test, evaluation, "r")
    assert texts(figure)[:5] == ["0 (100%)", "1 (100%)", "2 (100%)", "3 (100%)", "9 (100%), is 4"]


def test_every_image_stands_at_its_caption(dataset: Dataset, evaluation: Evaluation) -> None:
    (axes,) = figures.predictions(dataset.test, evaluation, "r").axes
    canvas = np.asarray(axes.images[0].get_array())
    for number, caption in enumerate(axes.texts):
        middle, bottom = caption.get_position()
        left, top = int(middle) - 14, int(bottom) + 2
        assert np.array_equal(canvas[top : top + 28, left : left + 28], dataset.test.images[number])


def test_a_data_set_is_explored_in_three_figures(dataset: Dataset) -> None:
    counts = figures.class_counts(dataset).axes[0]
    assert [bar.get_height() for bar in counts.patches[:10]] == [6] * 10  # type: ignore[attr-defined]
    before, after = figures.pixels(dataset).axes
    assert before.get_yscale() == "log"
    assert before.get_xlim()[1] == pytest.approx(255 * after.get_xlim()[1])
    assert texts(figures.samples(dataset)) == [str(digit) for digit in range(10)]


def test_images_of_another_shape_and_more_classes() -> None:
    labels = np.arange(48, dtype=np.uint8) % 24
    images = np.random.default_rng(0).integers(0, 256, (48, 12, 20), dtype=np.uint8)
    dataset = Dataset("own", "own.npz", Examples(images, labels), Examples(images, labels), digest="0" * 64)
    evaluation = evaluate(labels, np.eye(24, dtype=np.float32)[labels])
    assert texts(figures.samples(dataset)) == [str(label) for label in range(24)]
    assert len(figures.class_counts(dataset).axes[0].patches) == 2 * 24
    assert texts(figures.confusion_matrix(evaluation, "r")).count("100%") == 24
    (axes,) = figures.predictions(dataset.test, evaluation, "r").axes
    canvas = np.asarray(axes.images[0].get_array())
    middle, bottom = axes.texts[1].get_position()
    left, top = int(middle) - 10, int(bottom) + 2
    assert np.array_equal(canvas[top : top + 12, left : left + 20], images[1])


def test_a_name_is_no_formula() -> None:
    figure = figures.loss([1.0, 0.5], [1.0, 0.6], "data.path=$x_{$.npz")
    assert figures.png(figure)
    assert "$x_{$" in figure.axes[0].get_title(loc="left")


def test_a_long_name_stays_within_the_figure() -> None:
    assert len(figures.loss([1], [1], "key=value " * 40).axes[0].get_title(loc="left")) <= 78


def test_png_is_a_png_and_pyplot_is_never_touched() -> None:
    assert figures.png(figures.loss([1.0], [1.0], "r")).startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
