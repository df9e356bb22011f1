"""Importing the heavy libraries."""

import gc
import signal
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
