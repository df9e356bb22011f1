"""Read the two file formats that MNIST-like data sets come in: Keras's ``.npz`` and LeCun's IDX.

Both readers return the same four arrays, checked for shape, type and labels. Nothing in a file is executed, and the
memory that is used is bounded, even if a file claims another size.
"""

import gzip
import hashlib
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mnist_exp.base.errors import DataError, first_line
from mnist_exp.base.text import received

Arrays = Mapping[str, NDArray[np.uint8]]
"""``x_train``, ``x_test``: uint8 [N, 28, 28], 0..255; ``y_train``, ``y_test``: uint8 [N], 0..9."""

MOST_BYTES = 1_000_000 * 28 * 28
"""A larger array is not read: a million images. EMNIST, the largest data set of this kind, has 814,255."""

NAMES = ("x_train", "y_train", "x_test", "y_test")

# The stems of the IDX files, as published with MNIST; some copies have a dot for the last hyphen.
_IDX_STEMS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

# What the standard library and NumPy raise for damaged files. An encrypted file of a zip raises RuntimeError.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, SyntaxError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


def read(path: Path) -> Arrays:
    """Return the four arrays of an ``.npz`` file or of a folder of IDX files.

    Raises:
        DataError: nothing is there, the file is damaged, or an array is not what it should be.
    """
    try:
        if path.is_dir():
            arrays = {name: _read_idx(_find_idx(path, stem)) for name, stem in _IDX_STEMS.items()}
        elif path.is_file():
            arrays = _read_npz(path)
        else:
            what = "neither of them" if path.exists() else "not there"  # a pipe or a device may never end
            raise DataError(
                f"data.path must be an .npz file or a folder of IDX files. Received: {received(str(path))}, {what}"
            )
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise DataError(f"data.path {received(str(path))} cannot be read: {_reason(error)}") from None
    for part in ("train", "test"):
        _check(path, part, arrays)
    return {name: np.ascontiguousarray(array, dtype=np.uint8) for name, array in arrays.items()}


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Return an array in the IDX format.

    Two zero bytes, type 0x08 (uint8), the number of axes, big-endian lengths, data.
    """
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()


def digest(array: NDArray[np.uint8]) -> str:
    """Return the SHA-256, as hex, of an array's unpacked IDX file, whichever container it came in.

    For MNIST, ``sha256sum train-images-idx3-ubyte`` prints the same.
    """
    return hashlib.sha256(idx_bytes(array)).hexdigest()


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [name for name in NAMES if name not in members]:
                found = ", ".join(members) or "nothing"
                raise DataError(f"{path} lacks {', '.join(missing)}: expected {', '.join(NAMES)}, found {found}")
            return {name: _read_member(path, archive, members[name], name) for name in NAMES}
    except _UNREADABLE as error:
        raise DataError(f"{path} is no readable .npz file: {_reason(error)}") from None


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """Return one array of an ``.npz``. At most ``member.file_size`` bytes are unpacked, and none unpickled."""
    if member.file_size > MOST_BYTES:
        raise _too_large(path, name, member.file_size)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others are unpacked in one piece
        raise DataError(f"{path}: {name} cannot be read: it must be stored or deflated, as NumPy writes it")
    try:
        with archive.open(member) as stream:
            array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
            if stream.read(1):  # at the end, the checksum is verified
                raise DataError(f"{path}: {name} is damaged: it holds more bytes than its header promises")
            return array
    except _UNREADABLE as error:
        raise DataError(f"{path}: {name} cannot be read: {_reason(error)}") from None


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
            if (size := math.prod(shape)) > MOST_BYTES:
                raise _too_large(path, "the array", size)
            content = stream.read(size + 1)  # one more: at the end, the checksum of a .gz is verified
    except _UNREADABLE as error:
        raise DataError(f"{path} is no readable IDX file: {_reason(error)}") from None
    if len(content) != size:
        holds = "more" if len(content) > size else f"only {len(content):,}"
        raise DataError(f"{path} is damaged: its header promises {size:,} bytes, it holds {holds}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _too_large(path: Path, name: str, size: int) -> DataError:
    return DataError(f"{path}: {name} must have at most {MOST_BYTES:,} bytes, a million images. Received: {size:,}")


def _reason(error: Exception) -> str:
    """Return why a library could not read a file; some exceptions have no message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error) or type(error).__name__


def _check(path: Path, part: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise _wrong(path, f"x_{part}", images.dtype, images.shape)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise _wrong(path, f"y_{part}", labels.dtype, labels.shape, f"[{len(images)}]")
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path}: y_{part} must be labels 0..9. Received: {labels.min()}..{labels.max()}")


def _wrong(path: Path, name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...], expected: str = "") -> DataError:
    """Return the error for an array of another type or shape."""
    rule = "uint8 [N, 28, 28]" if name[0] == "x" else f"integers {expected}, a label for each image"
    return DataError(f"{path}: {name} must be {rule}. Received: {dtype} {list(shape)}")
