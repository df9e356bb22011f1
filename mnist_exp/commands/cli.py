"""``mnist-exp COMMAND``: everything around the runs.

A command is a module of this package that has what :class:`Command` says. Its own imports stand in its
functions: help and completion load every command, and none of what it needs to run.
"""

import argparse
import errno
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from mnist_exp.base.errors import MnistExpError
from mnist_exp.base.imports import exit_code_of_interruption, interrupt, require_posix

_DESCRIPTION = """\
Everything around the runs of mnist_exp. The runs themselves are started with

  python -m mnist_exp [-m] [key=value ...]
"""


class Command(Protocol):
    """A module with one command."""

    HELP: str
    """What it does, in a line of ``mnist-exp --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its arguments."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Run it; return the exit code.

        Args:
            arguments: those that it declared; ``words``, the command line behind ``mnist-exp``; ``parser``, that of
                ``mnist-exp``.
        """
        ...


def _commands() -> Mapping[str, Command]:
    """Return every module of this package that is a command, by its name."""
    names = [each.name for each in pkgutil.iter_modules([str(Path(__file__).parent)]) if each.name != "cli"]
    modules = {name: importlib.import_module(f"mnist_exp.commands.{name}") for name in names}
    return {name: cast(Command, module) for name, module in modules.items() if hasattr(module, "HELP")}


COMMANDS = _commands()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the command line behind ``mnist-exp``; None for that of this process.

    Returns:
        The exit code: 0 done, 2 a mistake in one line, 130 after Ctrl-C, 143 after SIGTERM, else as the command has it.
    """
    require_posix()
    words = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    arguments = parser.parse_args(words, argparse.Namespace(words=words, parser=parser))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except MnistExpError as error:
        from mnist_exp.terminal import messages

        messages.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return exit_code_of_interruption()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush fails, too
        if error.errno == errno.EPIPE:  # the reader has seen enough: | head
            return 0
        sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        return MnistExpError.exit_code
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``mnist-exp``, with that of every command."""
    parser = argparse.ArgumentParser(
        prog="mnist-exp", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.HELP, description=f"{command.HELP[0].upper()}{command.HELP[1:]}.")
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
