"""A configuration compared with that of the champion, over the replicates that both have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mnist_exp.analysis import frames, samples
from mnist_exp.analysis.comparison import Comparison, Row
from mnist_exp.analysis.ranking import differing_keys
from mnist_exp.statistics import inference
from mnist_exp.statistics.conclusion import p_in_words
from mnist_exp.statistics.verdicts import BETTER, TOO_FEW, WORSE, Sample, judge, natural_key
from mnist_exp.tracking.protocols import Backend, Record

_MAX_LISTED = 8  # replicates in a sentence
_CROSSED = "the common replicates share seeds of a source that varies, so they are no independent replicates"


@dataclass(frozen=True)
class Challenge:
    """The result.

    Attributes:
        name: of the configuration, by the keys in which it differs from the champion's: ``model.units=10``.
        champion_name: of the champion's, by the same keys.
        replicates: names of those that both have.
        difference: mean of the configuration minus mean of the champion's, over these; NaN without any.
        low, high: its interval; NaN without a verdict.
        p: its p-value; NaN without a verdict.
        verdict: on the configuration: ``better``, ``worse``, ``equivalent``, ``undecided``, or that there is none.
        refusal: why there may be no verdict although there are enough replicates; empty if there may.
        missing: names of replicates that the configuration has and the champion's has not.
        min_replicates: the smallest number of common replicates that a verdict takes.
    """

    name: str
    champion_name: str
    replicates: tuple[str, ...]
    difference: float
    low: float
    high: float
    p: float
    verdict: str
    refusal: str
    missing: tuple[str, ...]
    min_replicates: int

    @property
    def is_better(self) -> bool:
        """Whether the configuration is better than the champion's."""
        return self.verdict == BETTER

    def figures(self) -> str:
        """Return ``+0.0690 [+0.0580, +0.0800], better (p 0.008), over 8 common replicates``."""
        if not self.replicates:
            return "no common replicates"
        ends = "" if math.isnan(self.low) else f" [{self.low:+.4f}, {self.high:+.4f}]"
        p = f" ({words})" if (words := p_in_words(self.p)) else ""
        count = "1 common replicate" if len(self.replicates) == 1 else f"{len(self.replicates)} common replicates"
        return f"{self.difference:+.4f}{ends}, {self.verdict}{p}, over {count}"

    def objection(self) -> str:
        """Return why the configuration cannot be said to be better; empty if it is."""
        lacking = self.min_replicates - len(self.replicates)
        if lacking > 0:
            shared = f"it has {self._count()} in common with the champion"
            return f"{shared}, and a verdict takes {self.min_replicates}: {self._remedy(lacking)}"
        if self.refusal:
            return self.refusal
        return "" if self.is_better else f"it is not better than the champion {self.champion_name}: {self.figures()}"

    def _count(self) -> str:
        if len(self.replicates) == 1:
            return "1 replicate"
        return f"{len(self.replicates) or 'no'} replicates"

    def _remedy(self, lacking: int) -> str:
        """Return which replicates would have to be run: those that the configuration has, of the champion's."""
        numbers = [name.removeprefix("replicate ") for name in self.missing[:lacking]]
        more = lacking - len(numbers)
        words = []
        if all(number.isdecimal() for number in numbers):
            listed = ",".join(numbers[:_MAX_LISTED])
            words = [f"run the champion's {self.champion_name} with replicate={listed}"] if numbers else []
        elif numbers:
            words = [f"run the champion's {self.champion_name} with {', '.join(numbers[:_MAX_LISTED])}"]
        if more > 0:
            words.append(f"run both with {more} more replicate{'s' if more > 1 else ''}, and have that approved")
        return ", and ".join(words)


def challenge(backend: Backend, result: Comparison, row: Row, champion: Record) -> Challenge:
    """Compare a configuration of a sweep with the champion's.

    The runs of the champion's configuration are all those in the store that finished on the same data, of any sweep:
    replicates that are missing can be run alone. The configuration's are those of its sweep.

    Args:
        backend: the store.
        result: the comparison that the configuration is of; says what is measured, and what difference matters.
        row: the configuration, with finished runs.
        champion: the run whose model is champion.

    Raises:
        StoreError: the store cannot be asked.
    """
    rivals = _runs_like(backend, champion)
    epochs = frames.epochs_frame(backend, [record.run_id for record in rivals])
    rival_values = result.measure.values(rivals, epochs)
    theirs = samples.distinct([record for record in rivals if record.run_id in rival_values]).runs
    seeds = samples.replicate_names([*row.finished, *theirs])
    own = {seeds[samples.seeds_of(each)]: row.values[each.run_id] for each in row.finished}
    other = {seeds[samples.seeds_of(each)]: rival_values[each.run_id] for each in theirs}
    common = sorted(own.keys() & other.keys(), key=natural_key)
    keys = differing_keys([dict(samples.config_of(each)) for each in (row.finished[0], champion)])
    runs = [each for each in (*row.finished, *theirs) if seeds[samples.seeds_of(each)] in common]
    figures = _judged(result, runs, {name: own[name] for name in common}, {name: other[name] for name in common})
    return Challenge(
        name=row.label(keys),
        champion_name=Row(dict(samples.config_of(champion)), [], [], {}).label(keys),
        replicates=tuple(common),
        **figures,
        missing=tuple(sorted(own.keys() - other.keys(), key=natural_key)),
        min_replicates=inference.min_replicates(),
    )


def _runs_like(backend: Backend, champion: Record) -> list[Record]:
    """Return the finished runs with the configuration and the data of the champion's."""
    config, digest = samples.config_of(champion), champion.tags.get("dataset.digest")
    finished = backend.search("attributes.status = 'FINISHED' AND tags.kind = 'run'")
    return [
        each for each in finished if each.tags.get("dataset.digest") == digest and samples.config_of(each) == config
    ]


def _judged(result: Comparison, runs: Sequence[Record], own: Sample, other: Sample) -> dict[str, Any]:
    """Judge a configuration against the champion's by their values of the same replicates.

    Returns:
        The fields of :class:`Challenge` from ``difference`` to ``refusal``.
    """
    if not own:
        return {**dict.fromkeys(("difference", "low", "high", "p"), math.nan), "verdict": TOO_FEW, "refusal": ""}
    images = samples.validation_images(runs) if result.measure.is_validation_share else None
    by_config: dict[samples.Config, list[Record]] = {}
    for record in runs:
        by_config.setdefault(samples.config_of(record), []).append(record)
    crossed = samples.coverage(by_config).crossed
    verdicts = judge(
        {"own": own, "champion": other},
        {"own": "own", "champion": "champion"},
        higher=result.measure.higher,
        worth=result.verdicts.worth,
        resolution=1 / images if images else 0.0,
        refusal=_CROSSED if crossed else "",
    )
    pair = {name: column[0] for name, column in verdicts.against_first.items()}
    sign = 1 if verdicts.configs[0] == "own" else -1  # the verdict is on the one with the better mean
    low, high = sorted((sign * float(pair["low"]), sign * float(pair["high"])))
    opposite = {BETTER: WORSE, WORSE: BETTER} if sign < 0 else {}
    return {
        "difference": sign * float(pair["difference"]),
        "low": low,
        "high": high,
        "p": float(pair["p"]),
        "verdict": opposite.get(pair["verdict"], pair["verdict"]),
        "refusal": verdicts.refusal,
    }
