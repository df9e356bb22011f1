"""Read the two file formats that MNIST-like data sets come in: Keras's ``.npz`` and LeCun's IDX.

Both readers give the same four arrays, checked for shape, type and labels. Nothing in a file is ever executed.
"""

import gzip
import hashlib
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mnist_exp.base.errors import DataError, first_line
from mnist_exp.base.text import received

Arrays = Mapping[str, NDArray[np.uint8]]
"""``x_train``, ``x_test``: uint8 [N, 28, 28], 0..255; ``y_train``, ``y_test``: uint8 [N], 0..9."""

Array = NDArray[np.uint8]

MOST_IMAGES = 1_000_000
"""More are not read: what asks for more memory is damaged, or a trap. EMNIST, the largest of its kind, has 814,255."""

NAMES = ("x_train", "y_train", "x_test", "y_test")

# The stems of the IDX files, as published with MNIST; some copies have a dot for the last hyphen.
_IDX_STEMS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

# What the standard library and NumPy raise for files that are not what they should be.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, SyntaxError, RecursionError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, NotImplementedError, TypeError),
)

_NPY_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

_PORTION = 1 << 20


def read(path: Path) -> Arrays:
    """The four arrays of an ``.npz`` file or of a folder of IDX files.

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
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise DataError(f"data.path {received(str(path))} cannot be read: {_reason(error)}") from None
    for part in ("train", "test"):
        _check(path, part, arrays)
    return {name: np.ascontiguousarray(array, dtype=np.uint8) for name, array in arrays.items()}


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array in the IDX format: two zero bytes, type 0x08 (uint8), the number of axes, big-endian lengths, data."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()


def digest(array: NDArray[np.uint8]) -> str:
    """Fingerprint of an array's content: SHA-256 of its unpacked IDX file, whichever container it came in.

    For MNIST, ``sha256sum train-images-idx3-ubyte`` prints the same.
    """
    return hashlib.sha256(idx_bytes(array)).hexdigest()


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [name for name in NAMES if name not in members]:
                found = ", ".join(members) or "nothing"
                raise DataError(f"{path} lacks {', '.join(missing)}: expected {', '.join(NAMES)}, found {found}")
            return {name: _read_member(path, archive, members[name], name) for name in NAMES}
    except _UNREADABLE as error:
        raise DataError(f"{path} is no readable .npz file: {_reason(error)}") from None


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Array:
    """One array of an ``.npz``. Its header is believed only where the size of the member agrees.

    NumPy's own reader takes memory for whatever a header promises, and knows of no limit.
    """
    if member.flag_bits & 0x1:
        raise DataError(f"{path}: {name} cannot be read: it is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
        raise DataError(f"{path}: {name} cannot be read: it must be stored or deflated, as NumPy writes it")
    try:
        with archive.open(member) as stream:
            read_header = _NPY_HEADERS.get(npy.read_magic(stream))
            if read_header is None:
                raise DataError(f"{path}: {name} cannot be read: its version of NumPy's format is unknown")
            shape, transposed, dtype = read_header(stream)
            if dtype.hasobject:
                raise DataError(f"{path}: {name} cannot be read: it holds pickled objects, which could run code")
            if dtype.itemsize > 8 or len(shape) not in (1, 3) or (name[0] == "x" and dtype != np.uint8):
                raise _wrong(path, name, dtype, shape)
            size = _bounded(path, name, shape) * dtype.itemsize
            holds = member.file_size - stream.tell()
            if holds != size:
                raise DataError(f"{path}: {name} is damaged: its header promises {size:,} bytes, it holds {holds:,}")
            flat = _content(path, stream.read, size).view(dtype)
            return flat.reshape(shape[::-1]).T if transposed else flat.reshape(shape)
    except _UNREADABLE as error:
        raise DataError(f"{path}: {name} cannot be read: {_reason(error)}") from None


def _find_idx(folder: Path, stem: str) -> Path:
    dotted = ".idx".join(stem.rsplit("-idx", 1))
    candidates = [folder / f"{name}{end}" for name in (stem, dotted) for end in ("", ".gz")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(f"{folder} lacks {stem}, plain or as .gz: a folder of IDX files has four files")


def _read_idx(path: Path) -> Array:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            zero, kind, axes = struct.unpack(">HBB", stream.read(4))
            if (zero, kind) != (0, 0x08) or axes not in (1, 3):
                raise DataError(f"{path} is no IDX file of bytes with one or three axes")
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            return _content(path, stream.read, _bounded(path, "it", shape)).reshape(shape)
    except _UNREADABLE as error:
        raise DataError(f"{path} is no readable IDX file: {_reason(error)}") from None


def _bounded(path: Path, name: str, shape: tuple[int, ...]) -> int:
    """How many elements an array of ``shape`` has, where that is a size to take memory for."""
    count = math.prod(shape)
    if count > MOST_IMAGES * 28 * 28 or (len(shape) == 1 and count > MOST_IMAGES):
        raise DataError(
            f"{path}: {name} must hold at most {MOST_IMAGES:,} images of 28x28 or labels. Received: {list(shape)}"
        )
    return count


def _content(path: Path, read_on: Callable[[int], bytes], size: int) -> Array:
    """The ``size`` bytes that ``read_on`` gives, which must end with them.

    Read a portion at a time, so that no more memory is used than a file that promises too much does hold.
    """
    content = np.empty(size, np.uint8)  # memory is taken when it is first written to
    left = content.data
    while left:
        portion = read_on(min(len(left), _PORTION))
        if not portion:
            raise DataError(
                f"{path} is damaged: its header promises {size:,} bytes, it holds only {size - len(left):,}"
            )
        left[: len(portion)] = portion
        left = left[len(portion) :]
    if read_on(1):  # where the content is packed, its checksum is looked at here
        raise DataError(f"{path} is damaged: its header promises {size:,} bytes, it holds more")
    return content


def _reason(error: Exception) -> str:
    """Why a library could not read a file; some of them say nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error) or type(error).__name__


def _check(path: Path, part: str, arrays: Mapping[str, Array]) -> None:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise _wrong(path, f"x_{part}", images.dtype, images.shape)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise _wrong(path, f"y_{part}", labels.dtype, labels.shape, f"[{len(images)}]")
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path}: y_{part} must be labels 0..9. Received: {labels.min()}..{labels.max()}")


def _wrong(path: Path, name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...], expected: str = "[N]") -> DataError:
    """The error for an array of another type or shape."""
    rule = "uint8 [N, 28, 28]" if name[0] == "x" else f"integers {expected}, a label for each image"
    return DataError(f"{path}: {name} must be {rule}. Received: {dtype} {list(shape)}")
