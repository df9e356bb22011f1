"""Data files that are damaged, or made to harm: refused in one line, and no memory is taken for what they promise."""

import gzip
import io
import os
import resource
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_exp.base.errors import DataError
from mnist_exp.config.schema import DataConfig
from mnist_exp.data import datasets, files
from mnist_exp.data.files import Arrays

_RANDOM = np.random.default_rng(0)
SMALL: Arrays = {
    "x_train": _RANDOM.integers(0, 256, (3, 28, 28), dtype=np.uint8),
    "y_train": np.array([7, 2, 1], np.uint8),
    "x_test": _RANDOM.integers(0, 256, (2, 28, 28), dtype=np.uint8),
    "y_test": np.array([0, 9], np.uint8),
}
STEMS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
MEMORY = 100 << 20


def npz(arrays: Arrays = SMALL, *, save: Callable[..., None] = np.savez) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def npy(shape: tuple[int, ...], content: bytes, dtype: str = "|u1", *, fortran: bool = False) -> bytes:
    """A file in NumPy's format whose header says what it is told to."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": fortran, "shape": shape})
    return file.getvalue() + content


def zipped(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """An ``.npz`` of ``members`` and, for whatever they lack, of the small data set."""
    sound = {name: npy(array.shape, array.tobytes()) for name, array in SMALL.items()}
    with zipfile.ZipFile(folder / "own.npz", "w", compression) as archive:
        for name, content in {**sound, **members}.items():
            archive.writestr(f"{name}.npy", content)
    return folder / "own.npz"


def idx(folder: Path, contents: dict[str, bytes], suffix: str = "") -> Path:
    """A folder of IDX files: ``contents``, and for whatever they lack, the small data set."""
    for name, array in SMALL.items():
        content = contents.get(name, files.idx_bytes(array))
        (folder / f"{STEMS[name]}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


def refused(path: Path) -> str:
    """What is said of a file that is not read; not much memory goes with it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as caught:
        files.read(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
    said = str(caught.value)
    assert said.isprintable()
    return said.replace(str(path), "FILE")


class TestNpz:
    def test_arrays_in_fortrans_order_and_big_endian_labels_are_read_as_what_they_are(self, tmp_path: Path) -> None:
        columns = {
            name: np.asfortranarray(array) if array.ndim == 3 else array.astype(">i4") for name, array in SMALL.items()
        }
        (tmp_path / "own.npz").write_bytes(npz(columns))
        read = files.read(tmp_path / "own.npz")
        assert all(np.array_equal(read[name], SMALL[name]) for name in files.NAMES)
        assert {(array.dtype, array.flags.c_contiguous) for array in read.values()} == {(np.dtype(np.uint8), True)}

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("x_train", npy((10**9, 28, 28), b""), "x_train cannot be read"),
            ("x_train", npy((2**40, 2**40, 2**40), b""), "x_train cannot be read"),
            ("y_train", npy((10**12,), b""), "y_train cannot be read"),
            ("x_train", npy((1_000_000, 28, 28), b"\0" * 784), "x_train cannot be read"),
            ("x_train", npy((1, 28, 28), b"\0" * 785), "x_train is damaged: it holds more bytes than its header"),
            ("x_train", npy((-3, 28, 28), b""), "x_train cannot be read"),
            ("x_train", npy((-3, -28, 28), b"\0" * 2352), "x_train cannot be read"),
            ("x_train", npy((3, 28, 28), b"", "<f8"), "x_train cannot be read"),
            ("y_train", npy((3,), b"\0" * 30, "|S1000000000"), "y_train cannot be read"),
            ("y_train", npy((3,), b"\0" * 30, "|S10"), "y_train must be integers [3], a label for each image"),
            ("y_train", npy((3,), struct.pack("<3d", 1, float("nan"), 2), "<f8"), "y_train must be integers [3]"),
            ("y_train", npy((3,), b"abc", "|O"), "y_train cannot be read: Object arrays cannot be loaded"),
            ("y_train", b"\x80\x04K\x01.", "y_train cannot be read"),
            ("y_train", b"", "y_train cannot be read"),
            ("y_train", b"\x93NUMPY\x09\x00" + b"\0" * 90, "y_train cannot be read"),
            ("y_train", b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, "y_train cannot be read"),
        ],
    )
    def test_a_member_that_is_not_what_it_says_is_named(
        self, tmp_path: Path, name: str, content: bytes, said: str
    ) -> None:
        assert said in refused(zipped(tmp_path, {name: content}))

    def test_a_zip_bomb_is_known_by_its_size(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
        path = zipped(tmp_path, {"x_train": npy((2_000, 28, 28), b"\0" * (2_000 * 784))})
        assert path.stat().st_size < 1 << 14
        assert "x_train must have at most 1,048,576 bytes" in refused(path)

    def test_of_a_bomb_no_more_is_unpacked_than_its_header_promises(self, tmp_path: Path) -> None:
        path = zipped(tmp_path, {"x_train": npy((3, 28, 28), b"\0" * (300 << 20))})
        assert "x_train is damaged: it holds more" in refused(path)

    def test_a_bomb_that_understates_its_size_is_damaged(self, tmp_path: Path) -> None:
        honest = npy((3, 28, 28), b"\0" * (50 << 20))
        path = zipped(tmp_path, {"x_train": honest})
        stated, true = (struct.pack("<I", size) for size in (128 + 3 * 784, len(honest)))
        path.write_bytes(path.read_bytes().replace(true, stated))
        assert "x_train cannot be read: Bad CRC-32" in refused(path)

    @pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
    def test_what_numpy_does_not_write_is_not_unpacked(self, tmp_path: Path, compression: int) -> None:
        assert "must be stored or deflated, as NumPy writes it" in refused(zipped(tmp_path, {}, compression))

    def test_an_encrypted_member_is_said_to_be_that(self, tmp_path: Path) -> None:
        path = zipped(tmp_path, {})
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)
        assert "is encrypted" in refused(path)

    def test_members_in_folders_are_no_arrays(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
            for name in files.NAMES:
                archive.writestr(f"../{name}.npy", b"")
        said = refused(tmp_path / "own.npz")
        assert "lacks x_train, y_train, x_test, y_test" in said
        assert "found ../x_train, ../y_train" in said
        assert list(tmp_path.iterdir()) == [tmp_path / "own.npz"]

    def test_no_more_is_told_of_a_file_than_fits(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
            for number in range(1000):
                archive.writestr(f"\x1b[31mname{number}", b"")
        said = refused(tmp_path / "own.npz")
        assert len(said) <= 1000
        assert "lacks x_train" in said


class TestIdx:
    @pytest.mark.parametrize("suffix", ["", ".gz"], ids=["plain", "gzipped"])
    @pytest.mark.parametrize(
        ("header", "said"),
        [
            (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "at most 784,000,000 bytes"),
            (struct.pack(">HBB3I", 0, 8, 3, 1_000_000, 28, 28), "promises 784,000,000 bytes, it holds only 0"),
            (struct.pack(">HBB255I", 0, 8, 255, *[1] * 255), "no IDX file of bytes with one or three axes"),
            (struct.pack(">HBB3I", 0, 13, 3, 3, 28, 28), "no IDX file of bytes"),
            (struct.pack(">HBBI", 0, 8, 3, 3), "no readable IDX file"),
            (b"", "no readable IDX file"),
        ],
    )
    def test_a_header_is_not_believed(self, tmp_path: Path, header: bytes, said: str, suffix: str) -> None:
        assert said in refused(idx(tmp_path, {"x_train": header}, suffix))

    def test_of_a_gzip_bomb_no_more_is_unpacked_than_its_header_promises(self, tmp_path: Path) -> None:
        bomb = files.idx_bytes(SMALL["x_train"]) + b"\0" * (300 << 20)
        assert "promises 2,352 bytes, it holds more" in refused(idx(tmp_path, {"x_train": bomb}, ".gz"))


class TestPaths:
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.npz")
        assert refused(tmp_path / "pipe.npz").endswith("FILE', neither of them")

    def test_a_device_is_not_read(self) -> None:
        assert refused(Path("/dev/zero")).endswith("Received: 'FILE', neither of them")

    def test_a_folder_without_the_four_files_is_said_so(self, tmp_path: Path) -> None:
        assert refused(tmp_path) == (
            "FILE lacks train-images-idx3-ubyte, plain or as .gz: a folder of IDX files has four files"
        )

    @pytest.mark.parametrize("path", ["x" * 10_000, "~nobody-is-called-that/mnist.npz", "a\nb\x1b[31m"])
    def test_a_path_that_cannot_be_is_one_line(self, path: str) -> None:
        config = DataConfig("auto", path, True, None, 0.2, False, 17)
        with pytest.raises(DataError, match=r"^data\.path .* Received: |^data\.path .* cannot be read: ") as caught:
            datasets.load(config)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


@st.composite
def broken(draw: st.DrawFn, sound: bytes) -> bytes:
    """``sound``, with some of its bytes changed, taken out, put in, or moved."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(start + draw(st.integers(1, 64)), len(content))
        match draw(st.sampled_from(["change", "truncate", "take out", "put in", "repeat", "move"])):
            case "change":
                content[start:stop] = draw(st.binary(min_size=stop - start, max_size=stop - start))
            case "truncate":
                del content[start:]
            case "take out":
                del content[start:stop]
            case "put in":
                content[start:start] = draw(st.binary(max_size=64))
            case "repeat":
                content[stop:stop] = content[start:stop]
            case "move":
                piece = content[start:stop]
                del content[start:stop]
                where = draw(st.integers(0, len(content)))
                content[where:where] = piece
    return bytes(content)


def reads(path: Path) -> Arrays | None:
    """What is read; None where it is refused as it should be, and nothing else may happen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of headers as Python 2 wrote them
            arrays = files.read(path)
    except DataError:
        return None
    for part, count in (("train", len(arrays["y_train"])), ("test", len(arrays["y_test"]))):
        assert arrays[f"x_{part}"].shape == (count, 28, 28)
        assert {arrays[f"x_{part}"].dtype, arrays[f"y_{part}"].dtype} == {np.dtype(np.uint8)}
        assert arrays[f"y_{part}"].max() <= 9
    return arrays


class TestFuzz:
    """Whatever became of a file, it is read exactly, or refused as a DataError."""

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
    def test_npz(self, save: Any) -> None:
        @given(broken(npz(save=save)))
        def holds(content: bytes) -> None:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "own.npz").write_bytes(content)
                arrays = reads(Path(folder) / "own.npz")
            assert arrays is None or all(np.array_equal(arrays[name], SMALL[name]) for name in files.NAMES)

        holds()

    @pytest.mark.parametrize("name", ["x_train", "y_train"])
    def test_a_member_of_an_npz_with_a_true_checksum(self, name: str) -> None:
        @given(broken(npy(SMALL[name].shape, SMALL[name].tobytes())))
        def holds(content: bytes) -> None:
            with tempfile.TemporaryDirectory() as folder:
                reads(zipped(Path(folder), {name: content}))

        holds()

    @pytest.mark.parametrize("name", ["x_test", "y_test"])
    def test_idx(self, name: str) -> None:
        @given(broken(files.idx_bytes(SMALL[name])))
        def holds(content: bytes) -> None:
            with tempfile.TemporaryDirectory() as folder:
                reads(idx(Path(folder), {name: content}))

        holds()

    def test_gzipped_idx(self) -> None:
        """Its checksum tells exactly the right content from any other."""

        @given(broken(gzip.compress(files.idx_bytes(SMALL["x_test"]), mtime=0)))
        def holds(content: bytes) -> None:
            with tempfile.TemporaryDirectory() as folder:
                idx(Path(folder), {}, ".gz")
                (Path(folder) / f"{STEMS['x_test']}.gz").write_bytes(content)
                arrays = reads(Path(folder))
            assert arrays is None or np.array_equal(arrays["x_test"], SMALL["x_test"])

        holds()
