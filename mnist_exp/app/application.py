"""The program: a command line in, runs out, an exit code at the end.

The life of a command is in :class:`Command`: compose, preflight, recover, open the sweep, jobs, finalize.
"""

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from mnist_exp.app.compose import explain, run_hydra
from mnist_exp.app.job import deliver, run_job
from mnist_exp.base.errors import INTERRUPTED, TERMINATED, RunFailed
from mnist_exp.base.imports import exit_code_of_interruption, importing, interrupt, interrupted
from mnist_exp.runs.provenance import command_line
from mnist_exp.sweeps import recover as recovery
from mnist_exp.sweeps import sweep as sweeps
from mnist_exp.sweeps.existing import failed_since
from mnist_exp.sweeps.sweep import Postponed, Sweep, SweepPlan
from mnist_exp.terminal import messages, tables
from mnist_exp.tracking.protocols import Backend

if TYPE_CHECKING:
    from mnist_exp.sweeps.finalize import FinalizedSweep

AfterSweep = Callable[[Sweep], None]
"""Called with a sweep when its runs have ended, before its parent run does."""


def main(argv: Sequence[str], after_sweep: AfterSweep | None = None) -> int:
    """Run the application.

    Args:
        argv: the command line, without the program's name.
        after_sweep: called with the sweep, if there is one, before its parent run ends.

    Returns:
        The exit code: 0 all done, 1 a run failed, 2 nothing was started, 130 and 143 interrupted.
    """
    return Command(list(argv), after_sweep).run()


@dataclass
class Command:
    """One command, from its overrides to its exit code.

    Attributes:
        argv: the command line, without the program's name.
        failed: number of jobs of this process that failed. The exit code goes by it if the store cannot be asked.
        began_ms: milliseconds since 1970.
    """

    argv: list[str]
    after_sweep: AfterSweep | None = None
    failed: int = 0
    began_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def run(self) -> int:
        """Run it; return the exit code."""
        with_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise: the line a user sees and the exit code are ours
        interrupted.clear()
        for number in (signal.SIGINT, signal.SIGTERM):  # ended by either signal, a run is closed as KILLED
            signal.signal(number, interrupt)
        code = self._attempt(lambda: run_hydra(self.argv, self.job, self.start), with_traceback=with_traceback)
        code = _later(code, self._attempt(lambda: messages.unsent(deliver()[0])))
        code = self._finalize(code)
        if code in (INTERRUPTED, TERMINATED) and self.after_sweep is None:
            messages.how_to_resume(["python", "-m", "mnist_exp", *self.argv])
        return code

    def start(self, composed: DictConfig, is_sweep: bool) -> int:
        """Check everything, recover what an earlier command left, and open the sweep; return the exit code."""
        try:
            self._start(composed, is_sweep)
        except Exception as error:  # noqa: BLE001  every error is shown
            return self.report(error)
        return 0

    def _start(self, composed: DictConfig, is_sweep: bool) -> None:
        from mnist_exp.app import preflight  # NumPy: --cfg and a wrong config shall not wait for it

        plan = preflight.check_sweep(composed, self.words()) if is_sweep else preflight.check_run(composed)
        if plan.away is None:
            recover(plan.backend)
        else:
            messages.store_is_away(str(plan.away))
        messages.dataset(plan.dataset)
        if plan.sweep is not None and plan.resume and _resumed(plan.sweep):
            return
        # After recovery, which may send the sweep that this one adds replicates to.
        sweep = plan.sweep and preflight.resolve_ids(plan.sweep)
        for name in plan.experiments if plan.away is None else ():
            plan.backend.experiment(name)
        if sweep is not None:
            sweeps.begin(sweep)
            messages.sweep_begins(sweep.keys, len(sweep.jobs), looks="looks" in sweep.judging)

    def job(self, composed: DictConfig) -> float:
        """Run one job; return its validation accuracy, NaN if it failed: to a launcher an exception ends the batch."""
        try:
            return run_job(composed, self.words())
        except RunFailed:
            self.failed += 1
            if Sweep.current() is None:
                raise
            return math.nan

    def words(self) -> str:
        """Return the command as a person would type it, without secrets."""
        return command_line(self.argv)

    def report(self, error: Exception, *, with_traceback: bool = False) -> int:
        """Show a user's mistake as its one line, and one of the program's as a traceback; return its exit code."""
        wrong = explain(error, self.argv)
        if wrong is None or with_traceback:
            messages.traceback(error)
        if wrong is None:
            return 1
        messages.error(str(wrong))
        return wrong.exit_code

    def _attempt(self, step: Callable[[], int | None], *, with_traceback: bool = False) -> int:
        """Run a step; return its exit code or that of its exception: the sweep must be closed in any case."""
        try:
            return step() or 0
        except KeyboardInterrupt:
            return exit_code_of_interruption()
        except RunFailed:
            return RunFailed.exit_code  # shown when it happened
        except SystemExit as left:  # by Hydra's flags, and by our callback if nothing may start
            return left.code if isinstance(left.code, int) else int(left.code is not None)
        except Exception as error:  # noqa: BLE001  see above
            return self.report(error, with_traceback=with_traceback)

    def _finalize(self, code: int) -> int:
        """Rank, report and close the sweep, if there is one; return the exit code."""
        if (sweep := Sweep.current()) is None:
            return code
        if (after := self.after_sweep) is not None:
            code = _later(code, self._attempt(lambda: after(sweep)))
        code = _later(code, self._attempt(lambda: recover(sweep.backend)))  # what could not be sent may be by now
        is_interrupted = code in (INTERRUPTED, TERMINATED)
        return _later(code, self._attempt(lambda: self._rank(sweep, is_interrupted=is_interrupted)))

    def _rank(self, sweep: Sweep, *, is_interrupted: bool) -> int:
        """Rank and close the sweep, and show what came of it; return the exit code."""
        with importing():
            from mnist_exp.review import queue
            from mnist_exp.sweeps import finalize  # reports and statistics, which a single run does not need

        try:
            ending = finalize.finalize(sweep, interrupted=is_interrupted)
        except Postponed as error:
            if (here := finalize.ranked_from_disk(sweep)) is not None:
                self._show(here)
            messages.postponed(str(error), is_ranked=here is not None)
            return int(bool(self.failed) or failed_since(sweep.key, self.began_ms))
        problems = [each for each in (ending.problem, ending.journal_error) if each is not None]
        for problem in problems:
            self.report(problem)
        self._show(ending)
        if ending.unsent is None:
            messages.how_to_look(sweep.uri)
            messages.sweeps_wait(queue.waiting(sweep.backend))
        else:
            messages.unsent([("the sweep", ending.unsent)])
        return int(bool(problems or ending.board.others or self.failed))

    def _show(self, ending: "FinalizedSweep") -> None:
        """Show the ranking of a sweep, what would decide it, and the answer to its question."""
        step = ending.next_step if self.after_sweep is None else None
        if ending.comparison is not None and ending.comparison.has_replicates:
            tables.comparison(ending.comparison, step)
        else:
            tables.leaderboard(ending.board)
            tables.next_step(step)
        if ending.review is not None and ending.review.question:
            messages.answer(ending.review.question, ending.review.answer)


def recover(backend: Backend) -> None:
    """Send what waits for a store and close what vanished there, and show it."""
    messages.recovered(recovery.recover(backend))


def _resumed(sweep: SweepPlan) -> bool:
    """Resume the last sweep of the same command; return False, and show why, if there is none."""
    reason = sweeps.resume(sweep)
    if reason is None:
        messages.sweep_resumes(sweep.keys, len(sweep.jobs))
    else:
        messages.warning(f"not resumed: {reason}; the sweep starts afresh")
    return reason is None


def _later(code: int, later: int) -> int:
    """Return the exit code after one more step: an interruption wins, then the first failure; now code 2 is none."""
    return later if later in (INTERRUPTED, TERMINATED) else code or int(bool(later))
