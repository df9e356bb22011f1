"""A data set is called what it is, and is divided as scikit-learn divides it."""

from pathlib import Path

import numpy as np
import pytest
from conftest import REAL_MNIST, needs_real_mnist
from data_files import config, write_npz

from mnist_exp.base.errors import ConfigError, DataError
from mnist_exp.data import datasets, files
from mnist_exp.data.files import Arrays


class TestIdentity:
    def test_somebodys_own_images_are_named_after_their_file(self, tmp_path: Path, some_arrays: Arrays) -> None:
        dataset = datasets.load(config(path=str(write_npz(tmp_path / "kuzushiji.npz", some_arrays))))
        assert dataset.name == "kuzushiji"
        assert dataset.fallback is not None

    def test_they_are_never_called_mnist(self, tmp_path: Path, some_arrays: Arrays) -> None:
        with pytest.raises(DataError, match=r"is not MNIST: x_train \[60, 28, 28\]"):
            datasets.load(config(path=str(write_npz(tmp_path / "mnist.npz", some_arrays))))

    def test_data_mnist_takes_nothing_else(self, tmp_path: Path, some_arrays: Arrays) -> None:
        with pytest.raises(DataError, match="is not MNIST"):
            datasets.load(config(name="mnist", path=str(write_npz(tmp_path / "own.npz", some_arrays))))

    @needs_real_mnist
    def test_the_real_mnist_is_known_by_its_content(self) -> None:
        dataset = datasets.load(config(name="mnist", path=str(REAL_MNIST)))
        assert (dataset.name, dataset.fallback) == ("mnist", None)
        assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
        assert list(np.bincount(dataset.train.labels))[1:4] == [6742, 5958, 6131]

    @needs_real_mnist
    def test_one_wrong_pixel_is_found_and_its_array_named(self, tmp_path: Path) -> None:
        assert REAL_MNIST is not None
        arrays = dict(files.read(REAL_MNIST))
        arrays["x_test"] = arrays["x_test"].copy()
        arrays["x_test"][-1, 0, 0] = 1
        with pytest.raises(DataError, match=r"is not MNIST: x_test \[10000, 28, 28\] differs"):
            datasets.load(config(path=str(write_npz(tmp_path / "other.npz", arrays))))

    def test_digits_are_the_1797_embedded_images_at_mnists_size(self) -> None:
        dataset = datasets.load(config(name="digits"))
        assert (dataset.name, len(dataset.train), len(dataset.test)) == ("digits", 1500, 297)
        assert dataset.train.images.shape == (1500, 28, 28)
        assert dataset.train.images.dtype == np.uint8
        assert dataset.train.images.max() == 255
        assert not dataset.train.images[:, :4].any(), "a border of four pixels, as in MNIST"

    def test_enlarging_keeps_black_black_and_white_white(self) -> None:
        assert not datasets.enlarge(np.zeros((1, 8, 8))).any()
        assert (datasets.enlarge(np.full((1, 8, 8), 16.0))[0, 4:24, 4:24] == 255).all()


class TestSplit:
    def test_it_is_scikit_learns(self) -> None:
        from sklearn.model_selection import train_test_split

        dataset = datasets.load(config(name="digits"))
        split = datasets.split(dataset, config(name="digits"))
        expected = train_test_split(dataset.train.images, dataset.train.labels, test_size=0.2, random_state=17)
        assert np.array_equal(split.train.images, expected[0])
        assert np.array_equal(split.validation.labels, expected[3])
        assert split.test is dataset.test

    @needs_real_mnist
    def test_mnist_is_divided_48000_to_12000(self) -> None:
        asked = config(name="mnist", path=str(REAL_MNIST))
        split = datasets.split(datasets.load(asked), asked)
        assert (len(split.train), len(split.validation), len(split.test)) == (48_000, 12_000, 10_000)

    def test_its_seed_is_its_own(self) -> None:
        dataset = datasets.load(config(name="digits"))
        first, other = (datasets.split(dataset, config(name="digits", split_seed=seed)) for seed in (1, 2))
        assert not np.array_equal(first.validation.labels, other.validation.labels)

    def test_a_limit_keeps_the_share_of_each_class(self) -> None:
        dataset = datasets.load(config(name="digits"))
        split = datasets.split(dataset, config(name="digits", limit=500))
        labels = np.concatenate([split.train.labels, split.validation.labels])
        assert len(labels) == 500
        assert np.abs(np.bincount(labels) / 500 - np.bincount(dataset.train.labels) / 1500).max() < 0.01
        assert len(split.test) == 297, "test scores of limited runs compare"

    @pytest.mark.parametrize("limit", [20, 1490, 1499, 1500])
    def test_any_limit_up_to_all_there_is_can_be_had(self, limit: int) -> None:
        split = datasets.split(datasets.load(config(name="digits")), config(name="digits", limit=limit))
        assert len(split.train) + len(split.validation) == limit

    def test_a_limit_beyond_what_there_is_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="data.limit must be at most 1500 with digits. Received: 1501"):
            datasets.split(datasets.load(config(name="digits")), config(name="digits", limit=1501))

    def test_stratified_holds_out_the_same_share_of_each_class(self) -> None:
        dataset = datasets.load(config(name="digits"))
        split = datasets.split(dataset, config(name="digits", stratify=True))
        assert np.abs(np.bincount(split.validation.labels) - np.bincount(dataset.train.labels) / 5).max() <= 1
