"""The download of MNIST: verified, kept in Keras's cache, or refused."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL_MNIST, needs_real_mnist
from data_files import config, write_npz

from mnist_exp.base.errors import DataError
from mnist_exp.data import datasets, mnist
from mnist_exp.data.files import Arrays


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
