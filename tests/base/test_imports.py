"""An interruption breaks no import off, anywhere else it does not wait; a table is compared without what trains."""

import gc
import importlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_exp.base.imports import importing, interrupt


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    kept = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, before in kept.items():
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_comes_during_an_import_is_raised_when_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    code = f"import signal\nsignal.raise_signal({int(number)})\nfrom fractions import Fraction\nwhole = True\n"
    (tmp_path / "struck.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "struck", raising=False)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        struck = importlib.import_module("struck")
        signal.pause()  # until it is tried again
    assert struck.whole


def test_any_other_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_no_garbage_is_collected_during_an_import() -> None:
    with pytest.raises(ImportError), importing():  # noqa: PT012
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


COMPARING = """
import sys, pandas
from mnist_exp import compare
table = pandas.DataFrame({"units": [4, 10] * 8, "accuracy": [0.5, 0.75] * 8})
table["replicate"] = table.index // 2
found = compare(table, "accuracy", ["units"])
assert found.best_set == [(10,)], found
assert len(found.pairs) == 1 and "units=10 is best" in found.words()
heavy = {"tensorflow", "keras", "mlflow", "sklearn", "matplotlib", "hydra", "plotly"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def test_a_table_is_compared_without_tensorflow_and_mlflow() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
