"""What the tests of commands share: no journals of the project's, the signal handlers of the test run, one command."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Outcome

from mnist_exp.base.imports import interrupted
from mnist_exp.commands import cli
from mnist_exp.tracking.spool import journal as journals

MnistExp = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def no_journals(journals_root: Path) -> None:
    """Every command sends what waits first: none of the project's."""
    assert journals.root() == journals_root


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A command handles signals as long as its process lives: here, as long as its test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupted.clear()


@pytest.fixture
def mnist_exp(capsys: pytest.CaptureFixture[str]) -> MnistExp:
    """``mnist-exp ARGUMENTS`` in this process."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        try:
            code = cli.main(arguments)
        except SystemExit as left:  # argparse
            code = int(str(left.code))
        shown = capsys.readouterr()
        return Outcome(code, shown.out, shown.err)

    return call
