"""The real command, started and watched: the lines it says are events to wait for, and to make faults at.

::

    with Program(checkout, *SWEEP) as program:
        program.wait_for("epoch 20/")
        program.strike(signal.SIGKILL)
    assert program.code == -signal.SIGKILL
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from conftest import OWN_VARIABLES, Checkout

_PATIENCE_S = 300.0  # only for what will never happen: a test that waits in vain fails instead of hanging

# The command, and a way to make it end where it stands, as a crash in a library would: without any cleaning up.
_CRASHING = """
import os, runpy, signal
signal.signal(signal.SIGUSR1, lambda *_: os._exit(70))
runpy.run_module("mnist_exp", run_name="__main__", alter_sys=True)
"""
CRASH = signal.SIGUSR1
"""Makes a program call ``os._exit``."""

_TITLE = re.compile(r"run \d+ of \d+ {2}(\S+)")
_EPOCH = re.compile(r" {2}epoch (\d+)/\d+ ")


class Program:
    """A command that runs in a checkout; within its context, at the end of which it is killed if it still runs.

    Attributes:
        lines: what it has said, errors and all, in order.
        code: how it ended, as subprocess says it; None while it runs.
        first_epoch_s, ended_s: seconds from its start to its first epoch's line, and to its end.
        ended_ms: the same end, in milliseconds since 1970.
        went_on: how many lines on epochs it wrote after it was struck; some may have been on their way.
    """

    def __init__(self, checkout: Checkout, *arguments: str, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
        own = {"PYTHONPATH": str(checkout.root), "KERAS_HOME": str(checkout.root / "keras"), "PYTHONUNBUFFERED": "1"}
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CRASHING, *arguments],
            cwd=checkout.root,
            env={**kept, **own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.code: int | None = None
        self.first_epoch_s: float | None = None
        self.ended_s: float | None = None
        self.ended_ms: int | None = None
        self.went_on = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="reader")

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._reader.join()

    @property
    def said(self) -> str:
        """All its lines as one text."""
        return "\n".join(self.lines)

    def wait_for(self, *texts: str) -> None:
        """Wait until a line has the first text in it, a line behind that the second, and so on."""
        with self._changed:
            self._changed.wait_for(lambda: self.code is not None or self._has(texts), _PATIENCE_S)
            assert self._has(texts), f"it never said {texts}, but:\n{self.said}"

    def wait_for_first_epoch(self) -> None:
        """Wait until it trains, or ends without."""
        with self._changed:
            self._changed.wait_for(lambda: self.code is not None or self.first_epoch_s is not None, _PATIENCE_S)

    def lasts(self, seconds: float) -> bool:
        """Let it go on for ``seconds``; tells whether it still runs then."""
        with self._changed:
            return not self._changed.wait_for(lambda: self.code is not None, seconds)

    def strike(self, number: signal.Signals) -> int:
        """Send it a signal and wait for its end; the code that it ended with."""
        before = self._epoch_lines()
        self._process.send_signal(number)
        code = self.end()
        self.went_on = self._epoch_lines() - before
        return code

    def end(self) -> int:
        """Wait for its end; the code that it ended with."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.code is not None, _PATIENCE_S), self.said
            assert self.code is not None
            return self.code

    def epochs_seen(self) -> Mapping[str, int]:
        """The last epoch that it showed, by the name of the run in its sweep."""
        seen: dict[str, int] = {}
        name = ""
        for line in self.lines:
            if title := _TITLE.match(line):
                name = title[1]
            elif epoch := _EPOCH.match(line):
                seen[name] = int(epoch[1])
        return seen

    def _epoch_lines(self) -> int:
        with self._changed:
            return sum(_EPOCH.match(line) is not None for line in self.lines)

    def _has(self, texts: tuple[str, ...]) -> bool:
        lines = iter(self.lines)
        return all(any(text in line for line in lines) for text in texts)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in _whole_lines(iter(stdout.readline, "")):
                with self._changed:
                    if self.first_epoch_s is None and _EPOCH.match(line):
                        self.first_epoch_s = time.monotonic() - self._began
                    self.lines.append(line)
                    self._changed.notify_all()
        code = self._process.wait()
        with self._changed:
            self.ended_s = time.monotonic() - self._began
            self.ended_ms = int(time.time() * 1000)
            self.code = code
            self._changed.notify_all()


def _whole_lines(lines: Iterator[str]) -> Iterator[str]:
    """Lines without their ends; one that was cut off by a kill is none."""
    return (line.removesuffix("\n") for line in lines if line.endswith("\n"))
