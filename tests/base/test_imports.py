"""A signal interrupts the program, but no import; the system must be POSIX; a table needs no heavy library."""

import gc
import importlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_exp.base.imports import (
    exit_code_of_interruption,
    importing,
    interrupt,
    interrupted,
    require_posix,
)


class TestInterruption:
    @pytest.fixture(autouse=True)
    def _handler(self) -> Iterator[None]:
        kept = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
        for number, before in kept.items():
            signal.signal(number, before)
        interrupted.clear()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_one_that_comes_during_an_import_is_raised_when_the_import_is_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
    ) -> None:
        source = f"import signal\nsignal.raise_signal({int(number)})\nfrom fractions import Fraction\nwhole = True\n"
        (tmp_path / "struck.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "struck", raising=False)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            struck = importlib.import_module("struck")
            signal.pause()  # until it is tried again
        assert struck.whole
        assert exit_code_of_interruption() == code

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_any_other_is_raised_at_once_and_gives_the_exit_code_of_its_signal(
        self, number: signal.Signals, code: int
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert exit_code_of_interruption() == code

    def test_it_can_be_asked_for_after_python_swallowed_the_exception(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupted.is_set()


def test_no_garbage_is_collected_during_an_import() -> None:
    with pytest.raises(ImportError), importing():  # noqa: PT012
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


class TestSystem:
    def test_another_than_posix_is_refused_in_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            require_posix("nt")
        assert refused.value.code == 2
        assert capsys.readouterr().err == ("error: mnist_exp needs a POSIX system: Linux, macOS or WSL. Received: nt\n")

    @pytest.mark.parametrize("start", ["runpy.run_module('mnist_exp', run_name='__main__')", "cli.main(['--help'])"])
    def test_both_commands_ask_for_it_before_they_do_anything(self, start: str) -> None:
        code = (
            "import runpy\nfrom mnist_exp.base import imports\nfrom mnist_exp.commands import cli\n"
            "imports.require_posix.__defaults__ = ('nt',)\nimport sys\nsys.argv = ['mnist_exp', '--cfg', 'job']\n"
        )
        done = subprocess.run([sys.executable, "-c", code + start], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: mnist_exp needs a POSIX system")


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
