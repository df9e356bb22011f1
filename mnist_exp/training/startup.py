"""Importing TensorFlow without the lines it writes past every log setting."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mnist_exp.imports import importing


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
