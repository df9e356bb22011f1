"""Scores on the test images."""

import numpy as np
import pytest

from mnist_exp.metrics import evaluate


def probabilities(predicted: list[int], confidence: float = 0.91) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rest = (1 - confidence) / 9
    return np.where(np.arange(10) == np.array(predicted)[:, None], confidence, rest).astype(np.float32)


def test_counts_stand_by_true_row_and_predicted_column() -> None:
    found = evaluate(np.array([3, 3, 5], np.uint8), probabilities([3, 8, 5]))
    assert (found.confusion[3, 3], found.confusion[3, 8], found.confusion[5, 5]) == (1, 1, 1)
    assert found.confusion.sum() == 3
    assert found.accuracy == pytest.approx(2 / 3)


def test_recall_is_the_share_of_each_true_digit() -> None:
    found = evaluate(np.array([3, 3, 5], np.uint8), probabilities([3, 8, 5]))
    assert (found.recall[3], found.recall[5]) == (0.5, 1.0)
    assert np.isnan(found.recall[0]), "there is no 0 to be recalled"


def test_loss_is_keras_own() -> None:
    import keras

    labels = np.array([3, 3, 5], np.uint8)
    # The last is certain and wrong: infinite, but for Keras's bound.
    given = np.vstack([probabilities([3, 8]), np.eye(10, dtype=np.float32)[[0]]])
    expected = float(keras.losses.sparse_categorical_crossentropy(labels, given).numpy().mean())
    assert evaluate(labels, given).loss == pytest.approx(expected, rel=1e-4)


def test_there_are_as_many_classes_as_probabilities() -> None:
    found = evaluate(np.array([0, 2], np.uint8), np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], np.float32))
    assert found.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert found.recall == pytest.approx([1, np.nan, 0], nan_ok=True)
    assert set(found.scores) == {"loss", "accuracy"}


def test_report_names_precision_recall_and_f1() -> None:
    report = evaluate(np.array([3, 3, 5], np.uint8), probabilities([3, 8, 5])).report
    assert report["3"] == {"precision": 1.0, "recall": 0.5, "f1-score": pytest.approx(2 / 3), "support": 2.0}
