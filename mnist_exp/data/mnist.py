"""The real MNIST: what identifies it, where Keras keeps it, where it is downloaded from."""

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
"""Nine times the real one: whatever sends more is not it, and is not waited for."""

# SHA-256 of the four unpacked IDX files whose MD5 sums are the published 6bbc9ace, a25bea73, 2646ac64, 27ae3e4e.
DIGESTS = {
    "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def differing(arrays: Arrays) -> list[str]:
    """The names of the arrays whose content is not MNIST's; empty for the real one."""
    return [name for name in NAMES if digest(arrays[name]) != DIGESTS[name]]


def refusal(path: Path, differs: list[str], arrays: Arrays) -> DataError:
    """The error for a file that should have been MNIST: it names each array that differs, and its shape."""
    what = ", ".join(f"{name} {list(arrays[name].shape)}" for name in differs)
    return DataError(
        f"{path} is not MNIST: {what} differs from the known content. "
        "Fetch it again, or give your own data set with data=auto data.path=FILE under a name of its own"
    )


def cached_or_downloaded() -> tuple[Arrays, Path]:
    """MNIST from Keras's cache or, where that lacks it, from its download, kept in that cache.

    Raises:
        DataError: the cache has no sound copy and the download failed; a download that cannot start gives up
            within ``DOWNLOAD_TIMEOUT_S``.
    """
    path = cache_path()
    if path.is_file():
        try:
            arrays = read(path)
        except DataError:
            pass  # damaged, as an interrupted download leaves it: fetch it again
        else:
            if not differing(arrays):
                return arrays, path
    return download(URL, path), path


def cache_path() -> Path:
    """Where Keras keeps its copy: ``KERAS_HOME``, by default ``~/.keras``."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "datasets" / "mnist.npz"


def download(url: str, target: Path, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> Arrays:
    """Fetch MNIST from ``url`` and keep it as ``target``, which appears only when its content was verified.

    Raises:
        DataError: it could not be fetched, or what came is not MNIST. Nothing is left behind then.
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
    """Open ``url`` within ``timeout_s`` in all.

    A socket's own time limit counts for each address in turn and not at all for the look-up of the name,
    so the opening runs in a thread that is waited for no longer than that.
    """
    opened: Future[HTTPResponse] = Future()

    def opening() -> None:
        try:
            opened.set_result(urllib.request.urlopen(url, timeout=timeout_s))
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised again in the caller's thread
            opened.set_exception(error)

    threading.Thread(target=opening, daemon=True).start()
    try:
        return opened.result(timeout=timeout_s)
    except FutureTimeoutError:
        opened.add_done_callback(_close_late)
        raise TimeoutError(f"no answer within {timeout_s:g} s") from None


def _close_late(opened: "Future[HTTPResponse]") -> None:
    """Nobody waits for this answer any more."""
    if opened.exception() is None:
        opened.result().close()
