"""What benchmarks/inference.py draws and prints: made-up runs of several configurations, and tables of rates."""

import json
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import measure
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mnist_exp.statistics import inference
from mnist_exp.statistics.inference import LEVEL, Pairs
from mnist_exp.statistics.resampling import Floats

Random = np.random.Generator
Measures = Mapping[str, float]
Steps = Sequence[float] | NDArray[np.floating[Any]]
"""How far the mean of each configuration lies below that of its shape."""


@dataclass(frozen=True)
class Shape:
    """A distribution of values; ``draw(random, size)`` gives deviations from ``mean`` in standard deviations ``sd``."""

    draw: Callable[[Random, tuple[int, ...]], Floats]
    sd: float = 0.005
    mean: float = 0.93


def _normal(random: Random, size: tuple[int, ...]) -> Floats:
    return random.normal(size=size)


def _skewed(random: Random, size: tuple[int, ...]) -> Floats:
    """A lognormal distribution in the mirror."""
    return (math.exp(0.5) - random.lognormal(size=size)) / math.sqrt((math.e - 1) * math.e)


def _humps(random: Random, size: tuple[int, ...]) -> Floats:
    """75 % scatter about one value, 25 % about another, 40 of their standard deviations below."""
    return (random.normal(size=size) - 40 * (random.random(size) < 0.25) + 10) / math.sqrt(1 + 1600 * 3 / 16)


def _resampled(values: Floats, random: Random, size: tuple[int, ...]) -> Floats:
    return np.asarray((random.choice(values, size) - values.mean()) / values.std())


def _models() -> dict[str, Shape]:
    stored = json.loads((measure.ROOT / "benchmarks" / "models.json").read_text())
    values = {name: np.array(stored[name]["kept/val_accuracy"]) for name in stored if name != "what"}
    return {name: Shape(partial(_resampled, own), own.std(), own.mean()) for name, own in values.items()}


SHAPES = {"normal": Shape(_normal), "skewed": Shape(_skewed), "two-humped": Shape(_humps)}
MODELS = _models()
TIGHT, WIDE = Shape(_normal, 0.002), Shape(_normal, 0.2)
LONG_TAIL, HUMPED = Shape(_skewed, 0.1), Shape(_humps, 0.1)


@dataclass(frozen=True)
class Setting:
    """k configurations. ``shared`` is the share of a value's variance that its replicate decides; None: unpaired."""

    shapes: Sequence[Shape]
    shared: float | None = 0.5
    below: Steps = ()

    def draw(self, random: Random, n: int) -> Floats:
        """Return values: float [k, n]."""
        shared, first = self.shared or 0.0, self.shapes[0]
        common = (first.draw if len(set(self.shapes)) == 1 else _normal)(random, (n,))
        own = np.array([shape.draw(random, (n,)) for shape in self.shapes])
        sd = np.array([shape.sd for shape in self.shapes])[:, None]
        values = self.means[:, None] + sd * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
        return np.asarray(np.round(values * 12_000) / 12_000)

    @property
    def means(self) -> Floats:
        return np.array([shape.mean for shape in self.shapes]) - (np.array(self.below) if len(self.below) else 0.0)

    def compare(self, values: Floats, level: float = LEVEL) -> Pairs:
        """Compare values as the project compares runs: paired, or unpaired if nothing is shared."""
        if self.shared is None:
            return inference.unpaired(list(values), level=level)
        return inference.paired(values, level=level)


def mixed(k: int, *shapes: Shape, shared: float | None = 0.5, below: Steps = ()) -> Setting:
    """k configurations, their shapes in turn."""
    return Setting([shapes[at % len(shapes)] for at in range(k)], shared, below)


def former(values: Floats) -> np.ndarray:
    """What this project did before: which configurations are worse than the best mean, by Holm's paired t-tests."""
    k, n = values.shape
    winner = int(values.mean(axis=1).argmax())
    others = np.delete(np.arange(k), winner)
    d = values[winner] - values[others]
    spread = np.maximum(d.std(axis=1, ddof=1), 1e-300)
    p = 2 * stats.t.sf(d.mean(axis=1) / spread * math.sqrt(n), n - 1)
    order = np.argsort(p)
    corrected = np.maximum.accumulate((k - 1 - np.arange(k - 1)) * p[order])
    worse = np.zeros(k, dtype=bool)
    worse[others[order[corrected < LEVEL]]] = True
    return worse


@dataclass
class Tables:
    """Runs cells, keeps their figures and prints them as tables."""

    quick: bool
    records: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def cell(self, table: str, row: str, column: str, n: int, repeats: int, once: Callable[[Random], Measures]) -> None:
        """Repeat ``once`` and keep the mean of each of its measures. A repeat without measures is not counted."""
        repeats = max(2, repeats // 100) if self.quick else repeats
        random = np.random.default_rng(zlib.crc32(f"{table}, {row}, {column}, {n}".encode()))
        found = [each for each in (once(random) for _ in range(repeats)) if each]
        rates = {name: float(np.mean([each[name] for each in found])) for name in (found[0] if found else ())}
        repeats = len(found)
        self.records.append({"table": table, "row": row, "column": column, "n": n, "repeats": repeats, **rates})

    def show(self, table: str, measures: Mapping[str, str], scale: float = 100) -> None:
        """Print a table for each measure; a cell shows one figure for each number of replicates."""
        records = [each for each in self.records if each["table"] == table]
        rows, columns = (list(dict.fromkeys(str(each[key]) for each in records)) for key in ("row", "column"))
        for name, title in measures.items():
            shown = [each for each in records if name in each]
            sizes = sorted({each["n"] for each in shown})
            repeats = sorted({each["repeats"] for each in shown})
            print(f"\n{title}. n = {' / '.join(map(str, sizes))}; {repeats[0]} to {repeats[-1]} repeats.\n")
            print(f"| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
            for row in rows:
                cells = [
                    " / ".join(
                        _figure(scale * each[name]) for each in shown if (each["row"], each["column"]) == (row, at)
                    )
                    for at in columns
                ]
                if any(cells):
                    print(f"| {row} | {' | '.join(cells)} |")
        print(f"\n({time.perf_counter() - self.began:.0f} s so far)", flush=True)


def _figure(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 9.95 else f"{value:.0f}"
