"""What a data set knows of its images: their shape, and the number of classes."""

import numpy as np

from mnist_exp.config.schema import DataConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset, Examples


def own() -> Dataset:
    """40 training and 6 test images of 12 x 20 pixels; the highest label is only among the test images."""
    train = Examples(np.zeros((40, 12, 20), np.uint8), np.arange(40, dtype=np.uint8) % 4)
    test = Examples(np.zeros((6, 12, 20), np.uint8), np.arange(6, dtype=np.uint8))
    return Dataset("own", "own.npz", train, test, digest="0" * 64)


def test_the_number_of_classes_is_that_of_all_its_labels() -> None:
    assert own().classes == 6
    assert datasets.load(DataConfig("digits", None, True, None, 0.2, False, 17)).classes == 10


def test_a_split_has_the_shape_and_the_classes_of_the_whole() -> None:
    split = datasets.split(own(), DataConfig("auto", None, True, None, 0.2, True, 17))
    assert (split.shape, split.classes) == ((12, 20), 6)
