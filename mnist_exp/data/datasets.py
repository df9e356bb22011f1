"""Data sets: named after what they contain, and divided into training, validation and test images."""

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
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
        images: uint8 [N, height, width], 0..255, ink is high.
        labels: uint8 [N], the class of each, from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        height, width = self.images.shape[1:]
        return height, width

    def take(self, rows: NDArray[np.intp]) -> "Examples":
        """Return the examples at ``rows``, in that order."""
        return Examples(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images.

    Attributes:
        name: ``mnist`` (verified), ``digits``, or the name of the file that a user's own images came from.
        source: the file or folder that they were read from, or the library that embeds them.
        digest: SHA-256 over the digests of the four arrays, as hex: the same content has the same digest.
        fallback: why this is not MNIST, if MNIST was looked for; else None.
    """

    name: str
    source: str
    train: Examples
    test: Examples
    digest: str
    fallback: str | None = None

    @cached_property
    def classes(self) -> int:
        """The number of classes, by the highest label."""
        return 1 + max(int(part.labels.max()) for part in (self.train, self.test))


@dataclass(frozen=True, eq=False)
class Split:
    """A data set in three parts: training, validation (to choose by) and test images (evaluated once, at the end).

    Attributes:
        classes: the number of classes of the data set, whether or not each part has images of all of them.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.train.shape


def load(config: DataConfig) -> Dataset:
    """Return the data set that ``config`` asks for; it is read once per process.

    Raises:
        DataError: it cannot be read or downloaded, is damaged, or is not what its name says.
    """
    return _load(config.name, config.path)


@lru_cache(maxsize=2)  # the runs of a sweep mostly share one
def split(dataset: Dataset, config: DataConfig) -> Split:
    """Hold out validation images, drawn by scikit-learn's ``train_test_split``.

    If ``config.limit`` is set, it first takes that many of the training images, and keeps the share of each class. The
    test images stay all there, so that the test scores of limited runs compare.

    Raises:
        ConfigError: the limit exceeds the number of training images, or too few are left to hold some of each class
            out.
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
    return Split(dataset.train.take(train), dataset.train.take(validation), dataset.test, dataset.classes)


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
    """Read MNIST, verified by its digest, or a user's own data set, which is named after its file.

    Raises:
        DataError: some arrays are those of MNIST and others are not, so this is a damaged MNIST; or it is called mnist
            and is not MNIST.
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


# Not configurable: with other test images it would be another data set.
_TEST_SIZE = 297
_TEST_SEED = 0


def embedded_digits() -> Arrays:
    """Return scikit-learn's 1,797 digits: 1,500 training and 297 test images, with the same share of each class."""
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
    """Scale 8x8 images with values 0..16 to uint8 [N, 28, 28], 0..255, bilinearly.

    As in MNIST, a digit fills a box of 20x20 pixels, with a border of four pixels around it.
    """
    from scipy.ndimage import zoom

    box = zoom(images, (1, 20 / 8, 20 / 8), order=1, mode="nearest", grid_mode=True)
    pixels = np.rint(box * (255 / 16)).clip(0, 255).astype(np.uint8)
    return np.pad(pixels, ((0, 0), (4, 4), (4, 4)))
