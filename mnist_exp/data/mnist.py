"""The real MNIST: the digests that identify it, its place in Keras's cache, its download."""

import os
import tempfile
import threading
import urllib.request
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from mnist_exp.base.errors import DataError
from mnist_exp.data.files import NAMES, Arrays, digest, read

# The file that keras.datasets.mnist downloads.
URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
DOWNLOAD_TIMEOUT_S = 10.0
DOWNLOAD_MOST_BYTES = 100_000_000
"""Nine times the size of the real one: a longer download is not MNIST, and is broken off."""

# SHA-256 of the four unpacked IDX files whose MD5 sums are the published 6bbc9ace, a25bea73, 2646ac64, 27ae3e4e.
DIGESTS = {
    "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def differing(arrays: Arrays) -> list[str]:
    """Return the names of the arrays whose content is not MNIST's; empty for the real one."""
    return [name for name in NAMES if digest(arrays[name]) != DIGESTS[name]]


def refusal(path: Path, differs: list[str], arrays: Arrays) -> DataError:
    """Return the error for a file that should have been MNIST, with each array that differs and its shape."""
    what = ", ".join(f"{name} {list(arrays[name].shape)}" for name in differs)
    return DataError(
        f"{path} is not MNIST: {what} differs from the known content. "
        "Fetch it again, or give your own data set with data=auto data.path=FILE under a name of its own"
    )


def cached_or_downloaded() -> tuple[Arrays, Path]:
    """Read MNIST from Keras's cache, or download it into that.

    Returns:
        The arrays, and the file in the cache.

    Raises:
        DataError: the cache has no intact copy and the download failed; one that cannot start fails after
            ``DOWNLOAD_TIMEOUT_S``.
    """
    path = cache_path()
    if path.is_file():
        try:
            arrays = read(path)
        except DataError:
            pass  # damaged, as by an interrupted download: fetch it again
        else:
            if not differing(arrays):
                return arrays, path
    return download(URL, path), path


def cache_path() -> Path:
    """Return the file in Keras's cache, below ``KERAS_HOME``, by default ``~/.keras``."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "datasets" / "mnist.npz"


def download(url: str, target: Path, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> Arrays:
    """Download MNIST from ``url`` to ``target``, which appears only when its content was verified.

    Args:
        url: an ``.npz`` file.
        target: the file to write; its folder is created.
        timeout_s: seconds until the server must have answered.

    Raises:
        DataError: the download failed, or its content is not MNIST. No file is left behind.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            with _connect(url, timeout_s) as response, part.open("wb") as file:
                while chunk := response.read(1 << 20):
                    file.write(chunk)
                    if file.tell() > DOWNLOAD_MOST_BYTES:
                        raise DataError(f"{url} is not MNIST: it has more than {DOWNLOAD_MOST_BYTES:,} bytes")
            arrays = read(part)
            if differs := differing(arrays):
                raise refusal(Path(url), differs, arrays)
            part.replace(target)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise DataError(f"MNIST could not be downloaded from {url}: {error}") from None
    return arrays


def _connect(url: str, timeout_s: float) -> HTTPResponse:
    """Open ``url`` within ``timeout_s`` in total.

    A socket's own timeout holds for each address in turn, and not for resolving the name. So the opening runs in a
    thread, and the thread is left alone after ``timeout_s``.
    """
    opened: Future[HTTPResponse] = Future()

    def opening() -> None:
        try:
            opened.set_result(urllib.request.urlopen(url, timeout=timeout_s))
        except Exception as error:  # noqa: BLE001  raised again in the caller's thread
            opened.set_exception(error)

    threading.Thread(target=opening, daemon=True).start()
    try:
        return opened.result(timeout=timeout_s)
    except FutureTimeoutError:
        opened.add_done_callback(_close_late)
        raise TimeoutError(f"no answer within {timeout_s:g} s") from None


def _close_late(opened: "Future[HTTPResponse]") -> None:
    """Close a connection that opened after the timeout."""
    if opened.exception() is None:
        opened.result().close()
