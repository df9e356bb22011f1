"""Importing the heavy libraries."""

import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

interrupted = threading.Event()
"""Set by a Ctrl-C: Python swallows the exception where it falls into a weak reference's callback or a finalizer."""

# How soon an interruption that falls into an import is tried again.
_AGAIN_S = 0.05


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage within.

    What an import makes, stays; looking at all of it again and again is a quarter of TensorFlow's and MLflow's import.
    """
    was_enabled = gc.isenabled() and threading.current_thread() is threading.main_thread()
    if was_enabled:
        gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def interrupt(_number: int, frame: FrameType | None) -> None:
    """A signal's handler: ends what goes on, but no import half-way.

    An import that is broken off can leave the interpreter's lock on it behind, for which any later import would wait
    for ever.

    Raises:
        KeyboardInterrupt: at once, or when the import is done.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def import_tensorflow() -> None:
    """Import TensorFlow and Keras silently; what they wrote appears only when that fails."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _held_back_stderr(), importing():
        import keras  # noqa: F401
        import tensorflow as tf

        # The devices are looked for at first use, which is where the other half of the noise comes from.
        tf.config.list_logical_devices()


@contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Collect what is written to file descriptor 2, by native code too, and show it only after an exception."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
