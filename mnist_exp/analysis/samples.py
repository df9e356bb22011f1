"""Runs as samples: which belong to one configuration, which repeat another, what varies between replicates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from mnist_exp.config.replicate import REPLICATE, SOURCES, seeds
from mnist_exp.statistics.conclusion import joined
from mnist_exp.statistics.verdicts import natural
from mnist_exp.tracking.mlflow.records import Record

Config = tuple[tuple[str, str], ...]
"""The keys of a configuration and their values, sorted."""

Seeds = tuple[str, ...]
"""Of one replicate, in the order of ``SOURCES``."""

NOT_OF_A_CONFIGURATION = (REPLICATE, *SOURCES)

_DATA = ("data", "data.path")  # where the data were found; what they are is known by their digest
_DEFAULTS = {"training.keep": "last"}  # of runs that were made before these keys existed


def config_of(record: Record, *, across_datasets: bool = False) -> Config:
    """Return the configuration of a run: its params, without replicate, seeds and where its data were found."""
    params = _DEFAULTS | {
        key: value for key, value in record.params.items() if key not in (*NOT_OF_A_CONFIGURATION, *_DATA)
    }
    if across_datasets:
        params["data"] = f"{record.tags.get('dataset', 'unknown')} {record.tags.get('dataset.digest', '')[:8]}".strip()
    return tuple(sorted(params.items()))


def seeds_of(record: Record) -> Seeds:
    """Return the seeds that a run had; 17, the tutorial's, where it says nothing of one."""
    return tuple(record.params.get(key, str(seeds(0)[key])) for key in SOURCES)


@dataclass(frozen=True)
class Distinct:
    """Runs without those that repeat another.

    Attributes:
        runs: of the same configuration, seeds and data, the one that ended last.
        repeated: how many were left out for that.
        other_code: of those, how many had other code than the one that counts.
    """

    runs: list[Record]
    repeated: int
    other_code: int

    def sentences(self) -> list[str]:
        """What was left out, in words."""
        if not self.repeated:
            return []
        repeats = "1 run repeats" if self.repeated == 1 else f"{self.repeated} runs repeat"
        code = f"; the code of {self.other_code} of them differed" if self.other_code else ""
        return [
            f"{repeats} another (same configuration, seeds and data): one sample, of which the newest counts{code}."
        ]


def distinct(records: Sequence[Record], *, across_datasets: bool = False) -> Distinct:
    """Keep one of the finished runs that have configuration, seeds and data in common."""
    keys = [
        (config_of(record, across_datasets=across_datasets), seeds_of(record), record.tags.get("dataset.digest", ""))
        for record in records
    ]
    newest: dict[Hashable, Record] = {}
    for key, record in zip(keys, records, strict=True):
        if key not in newest or (record.ended_ms or 0) >= (newest[key].ended_ms or 0):
            newest[key] = record
    counted = {record.run_id for record in newest.values()}
    other_code = sum(
        record.tags.get("fingerprint.code") != newest[key].tags.get("fingerprint.code")
        for key, record in zip(keys, records, strict=True)
    )
    runs = [record for record in records if record.run_id in counted]
    return Distinct(runs, len(records) - len(runs), other_code)


def replicate_names(records: Sequence[Record]) -> dict[Seeds, str]:
    """Return a name for the seeds of each run: ``replicate 3``, or the seeds where no replicate draws them."""
    drawn = {tuple(map(str, seeds(0).values())): "replicate 0"}
    for record in records:
        number = record.params.get(REPLICATE, "")
        if number.isdecimal() and tuple(map(str, seeds(int(number)).values())) == seeds_of(record):
            drawn[seeds_of(record)] = f"replicate {number}"
    return {each: drawn.get(each, _seeds_in_words(each)) for each in map(seeds_of, records)}


def _seeds_in_words(own: Seeds) -> str:
    rest = [str(seeds(0)[key]) for key in SOURCES][1:]
    return f"seed {own[0]}" if list(own[1:]) == rest else f"seeds {'/'.join(own)}"


@dataclass(frozen=True)
class Coverage:
    """Which sources of variance differ between the runs of a configuration.

    Attributes:
        varied: keys of those that do, in every configuration with several runs.
        crossed: whether runs share a seed of a source that varies, so that they are no independent replicates.
        several: whether any configuration has several runs.
    """

    varied: tuple[str, ...]
    crossed: bool
    several: bool

    def sentence(self) -> str:
        """``Covers initial weights only: batch order and train/validation split were the same.``"""
        if not self.several:
            return "One replicate: no source of variance is covered."
        varied = [SOURCES[key] for key in self.varied]
        same = [words for key, words in SOURCES.items() if key not in self.varied]
        if not varied:
            return "The runs of a configuration have no seed in which they differ: no source of variance is covered."
        if not same:
            return f"Covers every source of variance: {joined(varied)}."
        was = "was" if len(same) == 1 and same[0] != SOURCES["seed"] else "were"
        return f"Covers {joined(varied)} only: {joined(same)} {was} the same in all replicates."


def coverage(samples: Mapping[Config, Sequence[Record]]) -> Coverage:
    """Find out which sources vary, and whether runs are independent replicates of their configuration."""
    varied, crossed, several = set(SOURCES), False, False
    for records in samples.values():
        if len(records) < 2:
            continue
        several = True
        for place, key in enumerate(SOURCES):
            values = [seeds_of(record)[place] for record in records]
            distinct_values = len(set(values))
            crossed |= 1 < distinct_values < len(values)
            if distinct_values == 1:
                varied.discard(key)
    return Coverage(tuple(key for key in SOURCES if several and key in varied), crossed, several)


def sweeps_of(records: Sequence[Record]) -> list[str]:
    """Return the ids of the sweeps that runs belong to, in the order in which runs of them began; "" for none."""
    return list(dict.fromkeys(record.tags.get("mlflow.parentRunId", "") for record in records))


def order_of_replicates(records: Sequence[Record], called: Mapping[Seeds, str], sweeps: Sequence[str]) -> list[str]:
    """Return the names of all replicates: those of the first of ``sweeps`` first, within a sweep by number."""
    first: dict[str, int] = {}
    for record in records:
        name, sweep = called[seeds_of(record)], sweeps.index(record.tags.get("mlflow.parentRunId", ""))
        first[name] = min(first.get(name, sweep), sweep)
    return sorted(first, key=lambda name: (first[name], natural(name)))


def validation_images(records: Sequence[Record]) -> int | None:
    """Return on how many images validation figures were taken; None where that is unknown or differs."""
    counts = {record.tags.get("dataset.validation_images", "") for record in records}
    text = counts.pop() if len(counts) == 1 else ""
    return int(text) if text.isdecimal() and int(text) > 0 else None
