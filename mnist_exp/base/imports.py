"""What a process needs before its work: a system that is supported, signals that interrupt it, the heavy libraries."""

import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mnist_exp.base.errors import INTERRUPTED, TERMINATED, ConfigError

interrupted = threading.Event()
"""Set by :func:`interrupt`: Python swallows an exception that is raised in a weak reference's callback or a finalizer,
so long work asks this, too."""

# The signal that set it.
_ended_by = signal.SIGINT

# How soon an interruption that came during an import is tried again.
_RETRY_S = 0.05


def require_posix(system: str = os.name) -> None:
    """Make sure that the system has what the program is built on: ``pwrite``, ``fcntl`` and POSIX signals.

    Args:
        system: Python's ``os.name``.

    Raises:
        SystemExit: it has not. One line is on standard error; the exit code is 2.
    """
    if system != "posix":
        sys.stderr.write(f"error: mnist_exp needs a POSIX system: Linux, macOS or WSL. Received: {system}\n")
        raise SystemExit(ConfigError.exit_code)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt the program: the handler of SIGINT and SIGTERM.

    An import is not interrupted: that could leave the interpreter's import lock held, and every later import would
    wait for it for ever.

    Raises:
        KeyboardInterrupt: at once, or when the import is complete.
    """
    global _ended_by
    if number != signal.SIGALRM:
        _ended_by = signal.Signals(number)
    interrupted.set()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, _RETRY_S)
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def exit_code_of_interruption() -> int:
    """Return the exit code that tells a shell which signal ended the program: 143 for SIGTERM, else 130."""
    return TERMINATED if _ended_by == signal.SIGTERM else INTERRUPTED


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage in this block, which imports something large.

    What an import creates stays alive; searching it for garbage is a quarter of TensorFlow's and MLflow's import time.
    """
    was_enabled = gc.isenabled() and threading.current_thread() is threading.main_thread()
    if was_enabled:
        gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_tensorflow() -> None:
    """Import TensorFlow and Keras without their messages, which are shown only if that fails."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _held_back_stderr(), importing():
        import keras  # noqa: F401
        import tensorflow as tf

        # Devices are searched at first use, which writes half of the messages.
        tf.config.list_logical_devices()


@contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keep what is written to file descriptor 2, by native code too, and write it only after an exception."""
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
