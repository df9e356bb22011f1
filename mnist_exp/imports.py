"""Importing the heavy libraries, and what must not happen meanwhile."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_depth = 0
_interrupted = False


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage within, and let no Ctrl-C in.

    What an import makes, stays; looking at all of it again and again is a quarter of TensorFlow's and MLflow's import.
    An import that is broken off half-way may leave a lock behind, on which the program would wait for ever. In other
    threads than the main one, which gets the signals, nothing is held back.

    Raises:
        KeyboardInterrupt: at the end, where :func:`interrupt` was called within.
    """
    global _depth, _interrupted
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    was_enabled = gc.isenabled()
    gc.disable()
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if was_enabled:
            gc.enable()
    if _interrupted and not _depth:
        _interrupted = False
        raise KeyboardInterrupt


def interrupt() -> None:
    """What a signal's handler calls: end what goes on, as soon as that can be."""
    global _interrupted
    if not _depth:
        raise KeyboardInterrupt
    _interrupted = True
