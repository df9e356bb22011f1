"""How often the verdicts of a comparison are false, what they find, and how long they take: a simulation.

Calls the functions that judge real runs. Values are normal, have a long lower tail, have 25 % of the runs far below the
others, or are drawn from the values of our own six models (models.json). All are rounded to 1/12000, one of 12,000
validation images. Each cell of a table has its own seed. docs/statistics.md shows the tables.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import measure
import numpy as np
from scipy import stats
from simulated import HUMPED, LONG_TAIL, MODELS, SHAPES, TIGHT, WIDE, Measures, Random, Setting, Tables, former, mixed

from mnist_exp.statistics import estimates, inference
from mnist_exp.statistics.inference import LEVEL

SD = 0.005  # of SHAPES
SIZES = (6, 8, 16, 32)  # replicates
LOOKS = (8, 12, 16, 24, 32)  # replicates at each look of a race


def main() -> None:
    tables = Tables(measure.is_quick(__doc__))
    for part in (nulls, halves, stress, coverage, power, equivalence, race, means, chances, needed):
        part(tables)
        measure.write("inference", {"machine": measure.MACHINE, "cells": tables.records})
    speed(tables.quick)


def null(
    tables: Tables, table: str, row: str, setting: Setting, repeats: int = 1000, sizes: Sequence[int] = SIZES
) -> None:
    """All means are equal: how often does any pair differ, or is any configuration ruled out as best?"""

    def once(n: int, random: Random) -> Measures:
        values = setting.draw(random, n)
        found = {} if setting.shared is None else {"former": float(former(values).any())}
        if n >= inference.min_replicates():
            pairs = setting.compare(values)
            found["false"] = float(pairs.differs.any() or not pairs.best.all())
        return found

    for n in sizes if setting.shared is None else (3, *sizes):  # 3: no verdict, but the former procedure gave one
        tables.cell(table, row, f"k = {len(setting.shapes)}", n, repeats, partial(once, n))


def nulls(tables: Tables) -> None:
    for name, shape in SHAPES.items():
        for k in (2, 4, 8, 16, 64):
            null(tables, "paired", name, mixed(k, shape), 400 if k == 64 else 1000)
        for k in (2, 4, 8, 16):
            null(tables, "unpaired", name, mixed(k, shape, shared=None), {8: 600, 16: 300}.get(k, 1000))
        for shared in (0.0, 0.9):
            null(tables, "paired", f"{name}, {shared:.0%} shared", mixed(8, shape, shared=shared))
    for name, shape in MODELS.items():
        for k in (2, 8):
            null(tables, "paired", name, mixed(k, shape))
            null(tables, "unpaired", name, mixed(k, shape, shared=None), 600)
    for k in (2, 8, 16):
        null(tables, "paired", "normal, sd .002 and .2 in turn", mixed(k, TIGHT, WIDE, shared=0.0))
        unpaired = mixed(k, TIGHT, WIDE, shared=None)
        null(tables, "unpaired", "normal, sd .002 and .2 in turn", unpaired, {8: 600, 16: 300}.get(k, 1000))
    null(tables, "unpaired", "normal", mixed(64, SHAPES["normal"], shared=None), 200, sizes=(8,))
    shown = {"false": "False verdicts, paired, %", "former": "False verdicts of the former procedure, same values, %"}
    tables.show("paired", shown)
    tables.show("unpaired", {"false": "False verdicts, unpaired, %"})


def halves(tables: Tables) -> None:
    """Half of them are equally good, the others equally bad, 20 sd below: what is said within a half?"""

    def once(setting: Setting, n: int, random: Random) -> Measures:
        pairs = setting.compare(setting.draw(random, n))
        equal = setting.means[pairs.first] == setting.means[pairs.second]
        pair, best = pairs.differs[equal].any(), not pairs.best[setting.means == setting.means.max()].all()
        return {"pair": float(pair), "best": float(best), "either": float(pair or best)}

    for name in ("normal", "two-humped"):
        for k in (4, 8, 16):
            setting = mixed(k, SHAPES[name], below=20 * SD * (np.arange(k) % 2))
            for n in SIZES:
                tables.cell("halves", name, f"k = {k}", n, 1500, partial(once, setting, n))
    shown = {"pair": "any equal pair differs", "best": "any of the best is ruled out", "either": "either"}
    tables.show(
        "halves", {name: f"Two levels, k/2 configurations at each: {title}, %" for name, title in shown.items()}
    )


def stress(tables: Tables) -> None:
    for k in (2, 8):
        for shape, name in ((LONG_TAIL, "skewed"), (HUMPED, "two-humped")):
            for shared, how in ((0.0, "paired"), (None, "unpaired")):
                null(tables, "stress", f"half {name}, {how}", mixed(k, TIGHT, shape, shared=shared))
    shown = {"false": "Equal means, one half with sd .1, the other normal with sd .002: false verdicts, %"}
    tables.show("stress", {**shown, "former": "False verdicts of the former procedure, same values, %"})


def coverage(tables: Tables) -> None:
    """How often do all intervals contain the true differences?"""

    def once(setting: Setting, n: int, random: Random) -> Measures:
        pairs = setting.compare(setting.draw(random, n))
        true = setting.means[pairs.first] - setting.means[pairs.second]
        return {"covered": float(((pairs.low <= true) & (true <= pairs.high)).all())}

    for shared, how in ((0.5, "paired"), (None, "unpaired")):
        for k in (2, 4, 8, 16) if shared else (2, 8):
            steps = np.arange(k)
            settings = {f"{name}, each 1 sd lower": mixed(k, SHAPES[name], below=SD * steps) for name in SHAPES}
            settings["normal, each 20 sd lower"] = mixed(k, SHAPES["normal"], below=20 * SD * steps)
            unlike = "half normal, half two-humped and .1 lower, nothing shared"
            settings[unlike] = mixed(k, TIGHT, HUMPED, below=0.1 * (steps % 2))
            for name, each in settings.items():
                own = Setting(each.shapes, 0.0 if shared and name == unlike else shared, each.below)
                repeats = 500 if k == 16 or not shared else 1000
                for n in SIZES:
                    tables.cell("coverage", f"{name}, {how}", f"k = {k}", n, repeats, partial(once, own, n))
    tables.show("coverage", {"covered": "Comparisons whose intervals all contain the true difference, %"})


def power(tables: Tables) -> None:
    """The first is better by 1 sd: what share of the others is ruled out as best?"""

    def once(setting: Setting, n: int, random: Random) -> Measures:
        values = setting.draw(random, n)
        pairs = setting.compare(values)
        return {
            "stepped": float((~pairs.best[1:]).mean()),
            "intervals": float((pairs.low > 0)[pairs.first == 0].mean()),
            "former": float(former(values)[1:].mean()),
            "lost": float(not pairs.best[0]),
        }

    rows = {name: (shape, 0.5) for name, shape in SHAPES.items()}
    for name, (shape, shared) in {**rows, "normal, unpaired": (SHAPES["normal"], None)}.items():
        for k in (2, 8, 16, 64) if shared else (2, 8):
            setting = mixed(k, shape, shared=shared, below=[0.0, *[SD] * (k - 1)])
            for n in SIZES:
                tables.cell("power", name, f"k = {k}", n, 300 if k == 64 else 500, partial(once, setting, n))
    titles = {"stepped": "by the best set", "intervals": "by intervals alone", "former": "by the former procedure"}
    tables.show(
        "power", {name: f"One is better by 1 sd: losers ruled out {title}, %" for name, title in titles.items()}
    )
    tables.show("power", {"lost": "The better one is ruled out, %"})


def equivalence(tables: Tables) -> None:
    """Half of them lie lower by exactly the margin, 3 sd: how often is any such pair called equivalent?"""

    def once(setting: Setting, n: int, random: Random) -> Measures:
        pairs, margin = setting.compare(setting.draw(random, n)), 3 * SD
        apart = setting.means[pairs.first] != setting.means[pairs.second]
        half = stats.t.ppf(0.95, pairs.df) * pairs.sd / math.sqrt(n)
        within = (pairs.equivalence_low > -margin) & (pairs.equivalence_high < margin)
        own = np.abs(pairs.difference) + half < margin
        return {"ours": float(within[apart].any()), "own": float(own[apart].any())}

    for name, shape in SHAPES.items():
        for k in (2, 8, 16):
            setting = mixed(k, shape, below=3 * SD * (np.arange(k) % 2))
            for n in SIZES:
                tables.cell("equivalence", name, f"k = {k}", n, 1000, partial(once, setting, n))
    shown = {"ours": "Any pair at the margin called equivalent, %", "own": "The same, each pair by itself, %"}
    tables.show("equivalence", shown)


def race(tables: Tables) -> None:
    """What is not in the best set at a look is dropped: is one of the best dropped, and how many runs are saved?"""

    def once(setting: Setting, level: float, random: Random) -> Measures:
        values = setting.draw(random, LOOKS[-1])
        left, runs = np.arange(len(values)), 0
        for n, added in zip(LOOKS, np.diff((0, *LOOKS)), strict=True):
            if len(left) > 1:
                runs += len(left) * int(added)
                left = left[setting.compare(values[left, :n], level).best]
        best = np.flatnonzero(setting.means == setting.means.max())
        return {"lost": float(not np.isin(best, left).all()), "saved": 1 - runs / values.size}

    for k in (2, 8, 16):
        effects = {"all equal": np.zeros(k), "one better by 1 sd": SD * (np.arange(k) > 0)}
        effects["each 0.5 sd lower"] = SD / 2 * np.arange(k)
        for name, shape in SHAPES.items():
            for row, below in effects.items():
                repeats = 1000 if row == "all equal" else 400
                for level in (0.01, LEVEL) if row == "all equal" else (0.01,):
                    own = f"{name}, {row}" + (", 5 % at each look" if level == LEVEL else "")
                    at_level = partial(once, mixed(k, shape, below=below), level)
                    tables.cell("race", own, f"k = {k}", LOOKS[-1], repeats, at_level)
    tables.show("race", {"lost": "Races that drop one of the best, %", "saved": "Runs saved, %"})


def means(tables: Tables) -> None:
    """How often does the t interval of one configuration contain its mean?"""

    def once(setting: Setting, n: int, random: Random) -> Measures:
        found = estimates.spread(setting.draw(random, n)[0], share=True)
        return {"covered": float(found.low <= setting.means[0] <= found.high)}

    for name, shape in {**SHAPES, **MODELS}.items():
        for n in (3, 5, 8, 16, 32):
            tables.cell("means", name, "t interval", n, 2000, partial(once, mixed(1, shape, shared=0.0), n))
    tables.show("means", {"covered": "Intervals of a mean that contain it, %"})


def chances(tables: Tables) -> None:
    """How often does the interval of P(A beats B) contain it?"""

    def once(p: float, n: int, paired: bool, random: Random) -> Measures:
        if paired:
            wins = np.array([random.binomial(n, p)])
            found = estimates.chances_paired(wins, np.zeros_like(wins), np.array([n]))
        else:
            a, b = random.normal(math.sqrt(2) * stats.norm.ppf(p), size=n), random.normal(size=n)
            size = np.array([float(n)])
            found = estimates.chances_unpaired(np.array([estimates.mann_whitney(a, b)]), size, size)
        low, high = float(found.low[0]), float(found.high[0])
        return {"covered": float(low <= p <= high), "width": high - low}

    for paired in (True, False):
        for p in (0.5, 0.75, 0.9, 0.98):
            for n in (5, 8, 16, 32):
                row = "paired" if paired else "unpaired"
                tables.cell("chances", row, f"p = {p:g}", n, 2000, partial(once, p, n, paired))
    tables.show("chances", {"covered": "Intervals of P(A beats B) that contain it, %"})
    tables.show("chances", {"width": "Mean width of these intervals, in hundredths"})


def needed(tables: Tables) -> None:
    """A pair is undecided after 8 replicates: is its true difference shown with as many as were said to be needed?"""

    def once(setting: Setting, random: Random) -> Measures:
        pairs = setting.compare(setting.draw(random, 8))
        if pairs.differs[0]:
            return {}
        seen = pairs.sd[:1], pairs.critical[:1], pairs.df[:1]
        count = estimates.replicates_needed(np.array([SD]), *seen, inference.min_replicates())[0]
        if math.isnan(count):
            return {}
        return {"shown": float(setting.compare(setting.draw(random, int(count))).low[0] > 0), "count": count}

    for name in ("normal", "skewed"):
        for k in (2, 8):
            setting = mixed(k, SHAPES[name], below=[0.0, *[SD] * (k - 1)])
            tables.cell("needed", name, f"k = {k}", 8, 1500, partial(once, setting))
    tables.show("needed", {"shown": "Shown with the number of replicates said to be needed, %"})
    tables.show("needed", {"count": "That number, on average"}, scale=1)


def speed(quick: bool) -> None:
    """Time a comparison; SciPy's own procedure of this kind is the reference."""
    random = np.random.default_rng(0)

    def timed(work: Callable[..., object], k: int, n: int, *, apart: bool = False) -> Callable[[], Sequence[float]]:
        values = random.normal(0.93, SD, (k, n))

        def run() -> list[float]:
            began = time.perf_counter()
            work(*values) if apart else work(values)
            return [time.perf_counter() - began]

        return run

    reference = "scipy's tukey_hsd(equal_var=False), 16 configurations x 16 replicates"
    rivals = {reference: timed(partial(stats.tukey_hsd, equal_var=False), 16, 16, apart=True)}
    for k, n in ((16, 16), (64, 32), *(() if quick else ((625, 16),))):
        rivals[f"paired, {k} x {n}"] = timed(inference.paired, k, n)
        rivals[f"unpaired, {k} x {n}"] = timed(inference.unpaired, k, n)
    measure.report(
        "inference_speed", "Comparing", measure.in_turns(rivals, 1 if quick else 3), reference, "made-up figures"
    )


if __name__ == "__main__":
    main()
