"""The two formats of data files: read whole, and whatever is wrong with one is named."""

import gzip
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import config, write_idx, write_npz

from mnist_exp.base.errors import DataError
from mnist_exp.data import datasets, files
from mnist_exp.data.files import Arrays


class TestFormats:
    def test_npz(self, tmp_path: Path, some_arrays: Arrays) -> None:
        read = files.read(write_npz(tmp_path / "own.npz", some_arrays))
        assert all(np.array_equal(read[name], some_arrays[name]) for name in files.NAMES)

    @pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
    @pytest.mark.parametrize("dotted", [False, True], ids=["hyphens", "dots"])
    def test_idx_folder(self, tmp_path: Path, some_arrays: Arrays, zipped: bool, dotted: bool) -> None:
        read = files.read(write_idx(tmp_path / "own", some_arrays, zipped=zipped, dotted=dotted))
        assert all(np.array_equal(read[name], some_arrays[name]) for name in files.NAMES)

    def test_labels_of_any_integer_type_become_uint8(self, tmp_path: Path, some_arrays: Arrays) -> None:
        wide = {**some_arrays, "y_train": some_arrays["y_train"].astype(np.int64)}
        assert files.read(write_npz(tmp_path / "own.npz", wide))["y_train"].dtype == np.uint8  # type: ignore[arg-type]

    def test_content_has_one_digest_whatever_the_container(self, tmp_path: Path, some_arrays: Arrays) -> None:
        paths = [write_npz(tmp_path / "own.npz", some_arrays), write_idx(tmp_path / "own", some_arrays, zipped=True)]
        assert len({datasets.load(config(path=str(path))).digest for path in paths}) == 1

    def test_the_digest_of_an_array_is_that_of_its_idx_file(self) -> None:
        labels = np.array([7, 2], np.uint8)
        assert files.digest(labels) == hashlib.sha256(b"\x00\x00\x08\x01\x00\x00\x00\x02\x07\x02").hexdigest()


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "broken", "said"),
        [
            (
                "x_train",
                np.zeros((60, 28, 27), np.uint8),
                "x_train must be uint8 [N, 28, 28]. Received: uint8 [60, 28, 27]",
            ),
            ("x_test", np.zeros((20, 28, 28), np.float32), "x_test must be uint8 [N, 28, 28]. Received: float32"),
            ("x_train", np.zeros((0, 28, 28), np.uint8), "x_train must be uint8 [N, 28, 28]. Received: uint8 [0"),
            ("y_train", np.zeros(59, np.uint8), "y_train must be integers [60], a label for each image"),
            ("y_train", np.zeros(60, np.float64), "y_train must be integers [60]"),
            ("y_test", np.full(20, 10, np.uint8), "y_test must be labels 0..9. Received: 10..10"),
            ("y_test", np.full(20, -1), "y_test must be labels 0..9. Received: -1..-1"),
        ],
    )
    def test_an_array_that_is_wrong_is_named(
        self, tmp_path: Path, some_arrays: Arrays, name: str, broken: np.ndarray[Any, Any], said: str
    ) -> None:
        path = write_npz(tmp_path / "own.npz", {**some_arrays, name: broken})
        with pytest.raises(DataError) as caught:
            files.read(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)

    def test_a_missing_array_is_named(self, tmp_path: Path, some_arrays: Arrays) -> None:
        path = write_npz(tmp_path / "own.npz", {k: v for k, v in some_arrays.items() if k != "y_test"})
        with pytest.raises(DataError, match="lacks y_test"):
            files.read(path)

    def test_a_truncated_npz_is_refused(self, tmp_path: Path, some_arrays: Arrays) -> None:
        path = write_npz(tmp_path / "own.npz", some_arrays)
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(DataError, match="no readable .npz"):
            files.read(path)

    def test_nothing_in_an_npz_is_unpickled(self, tmp_path: Path, some_arrays: Arrays) -> None:
        trap = tmp_path / "sprung"

        class Trap:
            def __reduce__(self) -> Any:
                return (Path.touch, (trap,))

        pickled = np.empty(60, object)
        pickled[0] = Trap()
        with pytest.raises(DataError, match="y_train cannot be read"):
            files.read(write_npz(tmp_path / "own.npz", {**some_arrays, "y_train": pickled}))
        (tmp_path / "plain.npz").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(DataError, match="no readable .npz"):
            files.read(tmp_path / "plain.npz")
        assert not trap.exists()

    @pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
    def test_an_idx_file_that_holds_less_than_it_promises_is_refused(
        self, tmp_path: Path, some_arrays: Arrays, zipped: bool
    ) -> None:
        folder = write_idx(tmp_path / "own", some_arrays)
        file = folder / "train-images-idx3-ubyte"
        content = file.read_bytes()[:-100]
        file.unlink()
        (folder / f"{file.name}{'.gz' if zipped else ''}").write_bytes(gzip.compress(content) if zipped else content)
        with pytest.raises(DataError, match="its header promises 47,040 bytes, it holds only 46,940"):
            files.read(folder)

    def test_an_idx_file_that_holds_more_than_it_promises_is_refused(self, tmp_path: Path, some_arrays: Arrays) -> None:
        folder = write_idx(tmp_path / "own", some_arrays)
        with (folder / "t10k-labels-idx1-ubyte").open("ab") as file:
            file.write(b"\x00")
        with pytest.raises(DataError, match="it holds more"):
            files.read(folder)

    def test_a_missing_idx_file_is_named(self, tmp_path: Path, some_arrays: Arrays) -> None:
        folder = write_idx(tmp_path / "own", some_arrays)
        (folder / "t10k-labels-idx1-ubyte").unlink()
        with pytest.raises(DataError, match="lacks t10k-labels-idx1-ubyte"):
            files.read(folder)

    def test_a_path_that_is_not_there_is_said_so(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.path must be .* Received: .*nowhere"):
            datasets.load(config(path=str(tmp_path / "nowhere")))
