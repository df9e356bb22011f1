"""What the benchmarks share: rivals taking turns, whole processes with a clock on them, a table and a JSON file."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mnist_exp.app.compose import compose, to_run_config
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset, Split
from mnist_exp.tracking.mlflow.client import connect

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MACHINE = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"

Seconds = dict[str, list[float]]


def is_quick(description: str | None) -> bool:
    """Whether --quick was given; --help shows ``description``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="few repeats of little work: shows that it runs")
    return bool(parser.parse_args().quick)


def in_turns(rivals: Mapping[str, Callable[[], Sequence[float]]], rounds: int) -> Seconds:
    """Each rival once a round, so that whatever else the machine does meets them all."""
    seconds: Seconds = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, rival in rivals.items():
            seconds[name] += rival()
    return seconds


def report(name: str, title: str, seconds: Seconds, reference: str, data: str) -> None:
    """Print medians and ratios to ``reference``; write every single figure to results/NAME.json."""
    medians = {rival: statistics.median(values) for rival, values in seconds.items()}
    count = len(seconds[reference])
    print(f"\n{title}\n{data}; {MACHINE}; {f'medians of {count}' if count > 1 else 'measured once'}\n")
    width = max(map(len, medians))
    print(f"| {'':{width}} | seconds | ratio  |\n|{'-' * (width + 2)}|---------|--------|")
    for rival, median in medians.items():
        print(f"| {rival:{width}} | {median:7.3f} | {median / medians[reference]:6.3g} |")
    write(name, {"title": title, "data": data, "machine": MACHINE, "reference": reference, "seconds": seconds})


def write(name: str, result: Mapping[str, object]) -> None:
    """Keep a benchmark's figures as results/NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2))


def config(*overrides: str) -> RunConfig:
    """A checked config, as the command line would compose it."""
    return to_run_config(compose(list(overrides)))


def data(of: RunConfig) -> tuple[Dataset, Split]:
    """The data of a config, divided."""
    dataset = datasets.load(of.data)
    return dataset, datasets.split(dataset, of.data)


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder for stores and outputs, with an empty store in it: creating one takes seconds and is no rival's work."""
    with tempfile.TemporaryDirectory() as folder:
        connect(f"sqlite:///{folder}/empty.db")
        yield Path(folder)


def process(arguments: Sequence[str], folder: Path) -> float:
    """Seconds that a Python process took, with a store of its own; what it prints is shown if it fails."""
    shutil.copy(folder / "empty.db", folder / "mlflow.db")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "TF_CPP_MIN_LOG_LEVEL": "3"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{arguments} failed:\n{done.stdout}\n{done.stderr}")
    return seconds


def ours(*overrides: str, folder: Path) -> float:
    """Seconds of ``python -m mnist_exp OVERRIDES``, its outputs out of the way."""
    places = [f"hydra.run.dir={folder}/outputs", f"hydra.sweep.dir={folder}/multirun"]
    return process(["-m", "mnist_exp", *overrides, *places], folder)
