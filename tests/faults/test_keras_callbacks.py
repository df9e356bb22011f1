"""Keras's own tests of its callbacks, which its wheel contains, pass with our callback added to every ``fit``."""

import importlib
import inspect
import unittest
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mnist_exp.tracking.memory import MemoryTracker

pytestmark = pytest.mark.slow

# Their subjects need packages that this project does not use; the last asserts that two sums of floats are equal to the
# last bit, which depends on how many threads added them.
LEFT_OUT = {"orbax_checkpoint_test", "remote_monitor_test", "tensorboard_test", "swap_ema_weights_test"}


def files() -> list[str]:
    keras = find_spec("keras")  # finds it without importing it
    assert keras is not None
    assert keras.origin is not None
    found = {file.stem for file in (Path(keras.origin).parent / "src" / "callbacks").glob("*_test.py")}
    return sorted(found - LEFT_OUT)


def cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from cases(each)
        else:
            yield each


def outcome(case: unittest.TestCase) -> str:
    """Run a test: empty if it passed, else what it raised."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tests warnings of its own
        case.run(result)
    return "\n".join(text for _, text in [*result.errors, *result.failures])


@pytest.fixture(scope="module", autouse=True)
def programs_of_their_own() -> Iterator[None]:
    """Keras's tests reset its global state, by which programs that were compiled before measure wrongly."""
    from mnist_exp.training import compiled

    yield
    compiled._program.cache_clear()


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> list[MemoryTracker]:
    """Adds our callback, with a tracker of its own, to every ``fit``."""
    import keras

    from mnist_exp.training.callback import TrackingCallback

    found: list[MemoryTracker] = []
    fit = keras.Model.fit

    def fit_tracked(model: keras.Model, *arguments: Any, callbacks: Any = None, **options: Any) -> Any:
        given = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
        found.append(MemoryTracker())
        return fit(model, *arguments, callbacks=[*given, TrackingCallback(found[-1])], **options)

    monkeypatch.setattr(keras.Model, "fit", fit_tracked)
    return found


def test_the_wheel_contains_them() -> None:
    assert {"early_stopping_test", "model_checkpoint_test", "terminate_on_nan_test"} <= set(files())


@pytest.mark.parametrize("file", files())
def test_what_passes_without_our_callback_passes_with_it(
    file: str,
    trackers: list[MemoryTracker],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    pytestconfig.addinivalue_line("markers", "requires_trainable_backend: a marker in Keras's own tests")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"keras.src.callbacks.{file}")
    found = list(cases(unittest.defaultTestLoader.loadTestsFromModule(module)))
    assert found
    failed = [(case, text) for case in found if (text := outcome(case))]
    monkeypatch.undo()
    broken = [f"{case.id()}: {text}" for case, text in failed if not outcome(case)]
    assert not broken, "\n".join(broken)
    assert bool(trackers) == (".fit(" in inspect.getsource(module)), "our callback was there"
