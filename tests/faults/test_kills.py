"""Processes that are killed, crash or are interrupted: the same command with ``resume=true`` loses and doubles nothing.

``FAULT_ROUNDS=50 pytest tests/faults/test_kills.py -k random -s`` strikes at many more random moments, and prints a
table of what became of them.
"""

import os
import random
import re
import shlex
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from conftest import Checkout
from rich.console import Console
from rich.table import Table

from faults import ledger
from faults.conftest import EPOCHS, NAMES, SWEEP, Undisturbed, sweep_in
from faults.ledger import Wrong
from faults.program import CRASH, Program
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.spool import journal as journals

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
FIRST_ROUND = int(os.environ.get("FAULT_FIRST_ROUND", "0"))
STRIKES = {
    "kill -9": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "Ctrl-C": signal.SIGINT,
    "os._exit": CRASH,
}
AT_ONCE = 3
"""So many lines on epochs may follow a strike: under way to us, or of the epoch that it fell into."""
MOST_STRIKES = 3 if "FAULT_ROUNDS" in os.environ else 2
"""In a round; then it is left in peace."""


DONE = re.compile(r"✓ \d/3 (\S+)  val_accuracy")
"""The line of a run that a program has done itself."""


def left_over(checkout: Checkout) -> list[str]:
    """The journals that are still there."""
    return [folder.name for folder in journals.folders(checkout.root / "mlruns" / "journal")]


def everything_wrong(checkout: Checkout, undisturbed: Undisturbed, *programs: Program) -> Wrong:
    kept = sweep_in(checkout)
    wrong = ledger.wrong(kept, NAMES, EPOCHS, programs)
    wrong.differing += ledger.differences(kept, undisturbed.kept)
    wrong.untrue += [f"the journal {name} is left over" for name in left_over(checkout)]
    running = ledger.running(connect(checkout.uri))
    wrong.untrue += [f"{run.name} ({run.run_id}) is still RUNNING" for run in running]
    return wrong


@dataclass
class Tally:
    """What became of all rounds."""

    rounds: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    before_training: int = 0
    resumed: int = 0
    rerun: int = 0
    shown: int = 0
    wrong: Wrong = field(default_factory=Wrong)

    def table(self) -> Table:
        table = Table(title="Struck at random moments, resumed until finished")
        table.add_column("")
        table.add_column("", justify="right")
        rows: dict[str, int] = {"rounds (sweeps of three runs)": self.rounds, "strikes": self.strikes.total()}
        rows |= {f"  {name}": self.strikes[name] for name in STRIKES}
        rows |= {
            "  of them before a first epoch": self.before_training,
            "runs that went on from a checkpoint": self.resumed,
            "runs that were run again": self.rerun,
            "epochs shown before a strike": self.shown,
            "epochs lost": len(self.wrong.lost),
            "duplicates": len(self.wrong.doubled),
            "wrong statuses": len(self.wrong.untrue),
            "results that differ": len(self.wrong.differing),
        }
        for name, count in rows.items():
            table.add_row(name, f"{count:,}")
        return table


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    if "FAULT_ROUNDS" in os.environ:
        console = Console(width=100)
        console.print(tally.table())
        for each in tally.wrong.everything():
            console.print(each, markup=False)


@pytest.mark.parametrize("seed", range(FIRST_ROUND, FIRST_ROUND + ROUNDS))
def test_struck_at_random_moments_and_resumed_it_ends_as_if_nothing_had_happened(
    checkout: Checkout, undisturbed: Undisturbed, tally: Tally, seed: int
) -> None:
    draw = random.Random(seed)
    struck: list[Program] = []
    ignored: list[str] = []
    code: int | None = None
    for strikes_left in range(draw.randint(1, MOST_STRIKES), -1, -1):
        with Program(checkout, *SWEEP, *(["resume=true"] if struck else [])) as program:
            name, training = draw.choice(list(STRIKES)), draw.random() < 0.7
            if training:
                program.wait_for_first_epoch()
                # Rather early: one that was resumed has less to do, and is not to be through before.
                moment_s = draw.random() ** 2 * (undisturbed.ended_s - undisturbed.first_epoch_s)
            else:
                moment_s = draw.uniform(0, undisturbed.first_epoch_s)
            if not strikes_left or not program.lasts(moment_s):
                code = program.end()
                break
            program.strike(STRIKES[name])
        struck.append(program)
        ignored += [f"{name}: {program.went_on} epochs were shown after it"] if program.went_on > AT_ONCE else []
        tally.strikes[name] += 1
        tally.before_training += program.first_epoch_s is None
        tally.shown += sum(program.epochs_seen().values())
    wrong = everything_wrong(checkout, undisturbed, *struck)
    wrong.untrue += ignored
    if code != 0:
        wrong.untrue.append(f"the last process ended with {code}")
    kept = sweep_in(checkout)
    tally.rounds += 1
    tally.resumed += sum("resumed" in run.record.tags for run in kept.runs)
    tally.rerun += len(kept.superseded)
    for all_rounds, this_one in zip(vars(tally.wrong).values(), vars(wrong).values(), strict=True):
        all_rounds.extend(f"round {seed}: {each}" for each in this_one)
    assert not wrong.everything(), "\n\n".join(each.said for each in (*struck, program))


def test_the_last_line_after_an_interruption_is_the_command_that_goes_on(
    checkout: Checkout, undisturbed: Undisturbed
) -> None:
    with Program(checkout, *SWEEP) as interrupted:
        interrupted.wait_for("run 2 of 3", "epoch 10/")
        assert interrupted.strike(signal.SIGINT) == 130
    said, _, command = interrupted.lines[-1].partition(":  ")
    assert said == "Interrupted. This goes on from there"
    python, *arguments = shlex.split(command)
    assert (python, arguments[:2]) == ("python", ["-m", "mnist_exp"])
    with Program(checkout, *arguments[2:]) as resumed:
        assert resumed.end() == 0, resumed.said
    assert "sweep resumed: 3 runs over seed" in resumed.lines
    assert not everything_wrong(checkout, undisturbed, interrupted).everything()
