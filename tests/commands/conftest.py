"""What the tests of commands share: no journals of the project's, the signal handlers of the test run, one command."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, command_here

from mnist_exp.tracking.spool import journal as journals

MnistExp = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def no_journals(journals_root: Path) -> None:
    """Every command sends what waits first: none of the project's."""
    assert journals.root() == journals_root


@pytest.fixture(autouse=True)
def handlers(signal_handlers: None) -> None:
    """Every test here gives commands."""


@pytest.fixture
def mnist_exp(capsys: pytest.CaptureFixture[str]) -> MnistExp:
    """``mnist-exp ARGUMENTS`` in this process."""
    return lambda *arguments: command_here(capsys, arguments)
