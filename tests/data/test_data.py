"""Data sets are what their names say: read from any of their formats, verified by content."""

import gzip
import hashlib
import pickle
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_MNIST, needs_real_mnist

from mnist_exp.base.errors import ConfigError, DataError
from mnist_exp.config.schema import DataConfig
from mnist_exp.data import datasets, files, mnist
from mnist_exp.data.files import Arrays


def config(**changes: Any) -> DataConfig:
    defaults = {"name": "auto", "path": None, "normalize": True, "limit": None}
    return DataConfig(**{**defaults, "validation": 0.2, "stratify": False, "split_seed": 17, **changes})


def write_npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def write_idx(folder: Path, arrays: Arrays, *, zipped: bool = False, dotted: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    stems = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
    for name, array in arrays.items():
        kind = "idx3" if array.ndim == 3 else "idx1"
        file = folder / f"{stems[name]}{'.' if dotted else '-'}{kind}-ubyte{'.gz' if zipped else ''}"
        content = files.idx_bytes(array)
        file.write_bytes(gzip.compress(content) if zipped else content)
    return folder


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


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server on loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class TestDownload:
    @needs_real_mnist
    def test_it_is_verified_and_kept_in_keras_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert REAL_MNIST is not None
        (tmp_path / "web").mkdir()
        (tmp_path / "web" / "mnist.npz").symlink_to(REAL_MNIST)
        with served(tmp_path / "web") as address:
            monkeypatch.setattr(mnist, "URL", f"{address}/mnist.npz")
            arrays, kept = mnist.cached_or_downloaded()
        assert not mnist.differing(arrays)
        assert kept == tmp_path / "keras" / "datasets" / "mnist.npz"
        monkeypatch.setattr(mnist, "URL", "http://127.0.0.1:9/never-asked")
        assert mnist.cached_or_downloaded()[1] == kept

    def test_what_is_not_mnist_is_refused_and_nothing_kept(self, tmp_path: Path, some_arrays: Arrays) -> None:
        (tmp_path / "web").mkdir()
        write_npz(tmp_path / "web" / "mnist.npz", some_arrays)
        with served(tmp_path / "web") as address, pytest.raises(DataError, match="is not MNIST"):
            mnist.download(f"{address}/mnist.npz", tmp_path / "cache" / "mnist.npz")
        assert list((tmp_path / "cache").iterdir()) == []

    def test_what_does_not_end_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "web").mkdir()
        (tmp_path / "web" / "mnist.npz").write_bytes(bytes(5000))
        monkeypatch.setattr(mnist, "DOWNLOAD_MOST_BYTES", 4000)
        with (
            served(tmp_path / "web") as address,
            pytest.raises(DataError, match="is not MNIST: it has more than 4,000"),
        ):
            mnist.download(f"{address}/mnist.npz", tmp_path / "cache" / "mnist.npz")
        assert list((tmp_path / "cache").iterdir()) == []

    def test_a_missing_page_is_said_so(self, tmp_path: Path) -> None:
        with served(tmp_path) as address, pytest.raises(DataError, match="could not be downloaded .* 404"):
            mnist.download(f"{address}/mnist.npz", tmp_path / "cache" / "mnist.npz")

    def test_a_download_that_cannot_start_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As when the look-up of a name hangs, which no time limit of a socket counts for."""
        released = threading.Event()

        def hangs(*_: object, **__: object) -> None:
            released.wait()
            raise OSError("too late")

        monkeypatch.setattr(urllib.request, "urlopen", hangs)
        try:
            with pytest.raises(DataError, match="could not be downloaded .* no answer within 0.1 s"):
                mnist.download("http://somewhere.invalid/mnist.npz", tmp_path / "mnist.npz", timeout_s=0.1)
        finally:
            released.set()
        assert mnist.DOWNLOAD_TIMEOUT_S <= 10

    def test_auto_falls_back_to_digits_and_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mnist, "URL", "http://127.0.0.1:9/mnist.npz")
        datasets._load.cache_clear()
        dataset = datasets.load(config())
        assert dataset.name == "digits"
        assert dataset.fallback is not None
        assert "http://127.0.0.1:9/mnist.npz" in dataset.fallback
        datasets._load.cache_clear()

    def test_mnist_itself_never_falls_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mnist, "URL", "http://127.0.0.1:9/mnist.npz")
        with pytest.raises(DataError, match=r"Give data\.path=FILE, or use data=digits"):
            datasets.load(config(name="mnist"))
