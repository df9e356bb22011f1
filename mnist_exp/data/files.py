"""Read the two file formats that MNIST-like data sets come in: Keras's ``.npz`` and LeCun's IDX.

Both readers give the same four arrays, checked for shape, type and labels. Nothing in a file is ever executed.
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_exp.errors import DataError

Arrays = Mapping[str, NDArray[np.uint8]]
"""``x_train``, ``x_test``: uint8 [N, 28, 28], 0..255; ``y_train``, ``y_test``: uint8 [N], 0..9."""

NAMES = ("x_train", "y_train", "x_test", "y_test")

# The stems of the IDX files, as published with MNIST; some copies have a dot for the last hyphen.
_IDX_STEMS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def read(path: Path) -> Arrays:
    """The four arrays of an ``.npz`` file or of a folder of IDX files.

    Raises:
        DataError: nothing is there, the file is damaged, or an array is not what it should be.
    """
    if path.is_dir():
        arrays = {name: _read_idx(_find_idx(path, stem)) for name, stem in _IDX_STEMS.items()}
    elif path.is_file():
        arrays = _read_npz(path)
    else:
        raise DataError(f"data.path must be an .npz file or a folder of IDX files. Received: {str(path)!r}, not there")
    for part in ("train", "test"):
        _check(path, part, arrays)
    return {name: np.ascontiguousarray(array, dtype=np.uint8) for name, array in arrays.items()}


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array in the IDX format: two zero bytes, type 0x08 (uint8), the number of axes, big-endian lengths, data."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()


def digest(array: NDArray[np.uint8]) -> str:
    """Identity of an array's content: SHA-256 of its unpacked IDX file, whichever container it came in.

    For MNIST, ``sha256sum train-images-idx3-ubyte`` prints the same.
    """
    return hashlib.sha256(idx_bytes(array)).hexdigest()


def _read_npz(path: Path) -> dict[str, NDArray[np.uint8]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is a single array: expected an .npz with {', '.join(NAMES)}")
            missing = [name for name in NAMES if name not in archive.files]
            if missing:
                found = ", ".join(archive.files) or "nothing"
                raise DataError(f"{path} lacks {', '.join(missing)}: expected {', '.join(NAMES)}, found {found}")
            return {name: _member(path, archive, name) for name in NAMES}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is no readable .npz file: {error}") from None


def _member(path: Path, archive: "np.lib.npyio.NpzFile", name: str) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: {name} cannot be read: {error}") from None
    return array


def _find_idx(folder: Path, stem: str) -> Path:
    dotted = ".idx".join(stem.rsplit("-idx", 1))
    candidates = [folder / f"{name}{end}" for name in (stem, dotted) for end in ("", ".gz")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(f"{folder} lacks {stem}, plain or as .gz: a folder of IDX files has four files")


def _read_idx(path: Path) -> NDArray[np.uint8]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            zero, kind, axes = struct.unpack(">HBB", stream.read(4))
            if (zero, kind) != (0, 0x08) or axes not in (1, 3):
                raise DataError(f"{path} is no IDX file of bytes with one or three axes")
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            size = int(np.prod(shape, dtype=object))
            content = stream.read(size + 1)  # never more than the header promises, whatever was packed
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is no readable IDX file: {error}") from None
    if len(content) != size:
        more = "more" if len(content) > size else f"only {len(content):,}"
        raise DataError(f"{path} is damaged: its header promises {size:,} bytes, it holds {more}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _check(path: Path, part: str, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise DataError(f"{path}: x_{part} must be uint8 [N, 28, 28]. Received: {images.dtype} {list(images.shape)}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: y_{part} must be integers [{len(images)}], a label for each image. "
            f"Received: {labels.dtype} {list(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path}: y_{part} must be labels 0..9. Received: {labels.min()}..{labels.max()}")
