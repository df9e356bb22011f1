"""A data set with a name that can be trusted, and its division into training, validation and test images."""

import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_exp.base.errors import ConfigError, DataError
from mnist_exp.config.schema import DataConfig
from mnist_exp.data import files, mnist
from mnist_exp.data.files import Arrays


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and their labels.

    Attributes:
        images: uint8 [N, 28, 28], 0..255, ink is high.
        labels: uint8 [N], 0..9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> "Examples":
        """The examples at ``rows``, in that order."""
        return Examples(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a run learns from and is tested on.

    Attributes:
        name: ``mnist`` (verified), ``digits``, or the name of the file somebody's own images came from.
        source: the file or folder they were read from, or the library that embeds them.
        digest: SHA-256 over the digests of the four arrays, as hex: the same content has the same digest.
        fallback: why these are not MNIST though MNIST was looked for; None where it was not, or was found.
    """

    name: str
    source: str
    train: Examples
    test: Examples
    digest: str
    fallback: str | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """The three parts: to learn from, to choose by, and to judge once at the end."""

    train: Examples
    validation: Examples
    test: Examples


def load(config: DataConfig) -> Dataset:
    """The data set that ``config`` asks for; read once per process.

    Raises:
        DataError: it cannot be had, is damaged, or is not what its name says.
    """
    return _load(config.name, config.path)


@lru_cache(maxsize=2)  # the runs of a sweep mostly share one
def split(dataset: Dataset, config: DataConfig) -> Split:
    """Hold out the validation images, as scikit-learn's ``train_test_split`` draws them.

    ``config.limit`` first takes that many of the training images, with the share of each class kept. The test
    images are never fewer, so that test scores of limited runs compare.

    Raises:
        ConfigError: the limit exceeds what there is, or too few images are left to hold some of each class out.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.utils import resample

    labels = dataset.train.labels
    rows = np.arange(len(labels))
    if config.limit is not None and config.limit != len(rows):
        if config.limit > len(rows):
            raise ConfigError.rule("data.limit", f"must be at most {len(rows)} with {dataset.name}", config.limit)
        rows = resample(rows, replace=False, n_samples=config.limit, random_state=config.split_seed, stratify=labels)
    try:
        train, validation = train_test_split(
            rows,
            test_size=config.validation,
            random_state=config.split_seed,
            stratify=labels[rows] if config.stratify else None,
        )
    except ValueError as error:
        raise ConfigError.rule("data.validation", f"leaves no usable split: {error}", config.validation) from None
    return Split(dataset.train.take(train), dataset.train.take(validation), dataset.test)


@cache
def _load(name: str, path: str | None) -> Dataset:
    if name == "digits":
        return _dataset("digits", "scikit-learn's load_digits", embedded_digits())
    if path is not None:
        return _from_path(_expanded(path), only_mnist=name == "mnist")
    try:
        arrays, cache_path = mnist.cached_or_downloaded()
    except DataError as error:
        if name == "mnist":
            raise DataError(f"{error}. Give data.path=FILE, or use data=digits") from None
        return _dataset("digits", "scikit-learn's load_digits", embedded_digits(), fallback=str(error))
    return _dataset("mnist", str(cache_path), arrays)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise DataError(f"data.path must begin with a user's name that is known here. Received: {path!r}") from None


def _from_path(path: Path, only_mnist: bool) -> Dataset:
    """MNIST, verified, or else somebody's own data set, named after its file.

    A file of which some arrays are MNIST's and some are not is a damaged MNIST, and one called mnist must be it.
    """
    arrays = files.read(path)
    differs = mnist.differing(arrays)
    if not differs:
        return _dataset("mnist", str(path), arrays)
    name = path.stem if path.is_file() else path.name
    if only_mnist or len(differs) < len(files.NAMES) or name.lower() in ("mnist", "digits"):
        raise mnist.refusal(path, differs, arrays)
    return _dataset(name, str(path), arrays, fallback=f"{path} is a data set of its own, not MNIST")


def _dataset(name: str, source: str, arrays: files.Arrays, fallback: str | None = None) -> Dataset:
    combined = hashlib.sha256("".join(files.digest(arrays[part]) for part in files.NAMES).encode())
    return Dataset(
        name=name,
        source=source,
        train=Examples(arrays["x_train"], arrays["y_train"]),
        test=Examples(arrays["x_test"], arrays["y_test"]),
        digest=combined.hexdigest(),
        fallback=fallback,
    )


# Part of what the data set is, so neither can be configured: another test set would be another data set.
_TEST_SIZE = 297
_TEST_SEED = 0


def embedded_digits() -> Arrays:
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
