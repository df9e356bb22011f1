"""scikit-learn's embedded handwritten digits in MNIST's format: real images that need no network and no file."""

import numpy as np
from numpy.typing import NDArray

from mnist_exp.data.files import Arrays

# Part of what the data set is, so neither can be configured: another test set would be another data set.
_TEST_SIZE = 297
_TEST_SEED = 0


def load() -> Arrays:
    """The 1,797 images, 1,500 of them to train on and 297 to test on (the same share of every class)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        enlarge(digits.images),
        digits.target.astype(np.uint8),
        test_size=_TEST_SIZE,
        random_state=_TEST_SEED,
        stratify=digits.target,
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def enlarge(images: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Bring 8x8 images with 0..16 to uint8 [N, 28, 28] with 0..255.

    As in MNIST, a digit fills a box of 20x20 pixels with a border of four around it; in between, bilinear.
    """
    from scipy.ndimage import zoom

    box = zoom(images, (1, 20 / 8, 20 / 8), order=1, mode="nearest", grid_mode=True)
    pixels = np.rint(box * (255 / 16)).clip(0, 255).astype(np.uint8)
    return np.pad(pixels, ((0, 0), (4, 4), (4, 4)))
