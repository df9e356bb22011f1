"""Runs as samples: which belong to one configuration, which repeat another run, which sources of variance differ."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mnist_exp.config.replicate import REPLICATE, SOURCES, Seeds, seeds
from mnist_exp.statistics.conclusion import joined
from mnist_exp.statistics.verdicts import natural_key
from mnist_exp.tracking.protocols import Record

Config = tuple[tuple[str, str], ...]
"""The keys of a configuration and their values, sorted."""

NOT_OF_A_CONFIGURATION = (REPLICATE, *SOURCES)
"""Keys in which the runs of one configuration may differ."""

_DATA_LOCATION = ("data", "data.path")  # where the data were found; their digest says which data they are
_DEFAULTS = {"training.keep": "last"}  # of runs recorded before these keys existed


def config_of(record: Record, *, across_datasets: bool = False) -> Config:
    """Return the configuration of a run: its params without replicate, seeds and location of the data.

    Args:
        record: the run.
        across_datasets: whether the data set is a part of the configuration.
    """
    config = dict(configuration(record.params))
    if across_datasets:
        config["data"] = data_of(record)
    return tuple(sorted(config.items()))


def configuration(params: Mapping[str, str]) -> Config:
    """Return the configuration that a run with these params has, before there is a run."""
    apart = (*NOT_OF_A_CONFIGURATION, *_DATA_LOCATION)
    return tuple(sorted((_DEFAULTS | {key: value for key, value in params.items() if key not in apart}).items()))


def data_of(record: Record) -> str:
    """Return the data that a run learned from, as people read it: ``mnist c6558067``."""
    return f"{record.tags.get('dataset', 'unknown')} {record.tags.get('dataset.digest', '')[:8]}".strip()


def next_replicate(records: Iterable[Record]) -> int:
    """Return the number after the largest replicate number of any run."""
    numbers = [record.params.get(REPLICATE, "") for record in records]
    return max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1


def configurations_digest(configs: Iterable[Config]) -> str:
    """Return a digest of configurations, by which sweeps over the same ones are found: 16 hex digits."""
    return hashlib.sha256(repr(sorted(set(configs))).encode()).hexdigest()[:16]


def seeds_of(record: Record) -> Seeds:
    """Return the seeds of a run; 17, the tutorial's seed, for a source without a param."""
    return seeds_in(record.params)


def seeds_in(params: Mapping[str, str]) -> Seeds:
    """Return the seeds that params say; 17 for a source that they do not name."""
    return tuple(params.get(key, str(seeds(0)[key])) for key in SOURCES)


@dataclass(frozen=True)
class Distinct:
    """Runs without repeats.

    Attributes:
        runs: of all runs with the same configuration, seeds and data, the one that ended last.
        repeated: number of runs left out.
        other_code: how many of these had other code than the one that was kept.
    """

    runs: list[Record]
    repeated: int
    other_code: int

    def sentences(self) -> list[str]:
        """Return a sentence on what was left out; an empty list if nothing was."""
        if not self.repeated:
            return []
        repeats = "1 run repeats" if self.repeated == 1 else f"{self.repeated} runs repeat"
        code = f"; the code of {self.other_code} of them differed" if self.other_code else ""
        return [
            f"{repeats} another (same configuration, seeds and data): one sample, of which the newest counts{code}."
        ]


def distinct(records: Sequence[Record], *, across_datasets: bool = False) -> Distinct:
    """Keep the newest of all runs with the same configuration, seeds and data.

    Args:
        records: finished runs.
        across_datasets: as in :func:`config_of`.
    """
    keys = [
        (config_of(record, across_datasets=across_datasets), seeds_of(record), record.tags.get("dataset.digest", ""))
        for record in records
    ]
    newest: dict[Hashable, Record] = {}
    for key, record in zip(keys, records, strict=True):
        if key not in newest or (record.ended_ms or 0) >= (newest[key].ended_ms or 0):
            newest[key] = record
    kept = {record.run_id for record in newest.values()}
    other_code = sum(
        record.tags.get("fingerprint.code") != newest[key].tags.get("fingerprint.code")
        for key, record in zip(keys, records, strict=True)
    )
    runs = [record for record in records if record.run_id in kept]
    return Distinct(runs, len(records) - len(runs), other_code)


def replicate_names(records: Sequence[Record]) -> dict[Seeds, str]:
    """Return a name by seeds: ``replicate 3`` if that replicate draws them, else ``seed 5`` or ``seeds 1/2/3``."""
    drawn = {tuple(map(str, seeds(0).values())): "replicate 0"}
    for record in records:
        number = record.params.get(REPLICATE, "")
        if number.isdecimal() and tuple(map(str, seeds(int(number)).values())) == seeds_of(record):
            drawn[seeds_of(record)] = f"replicate {number}"
    return {each: drawn.get(each, _seed_name(each)) for each in map(seeds_of, records)}


def _seed_name(own: Seeds) -> str:
    rest = [str(seeds(0)[key]) for key in SOURCES][1:]
    return f"seed {own[0]}" if list(own[1:]) == rest else f"seeds {'/'.join(own)}"


@dataclass(frozen=True)
class Coverage:
    """Which sources of variance differ between the runs of a configuration.

    Attributes:
        varied: keys of the sources that differ in every configuration with several runs.
        crossed: whether runs have a seed of a varied source in common, so that they are no independent replicates.
        has_replicates: whether any configuration has several runs.
    """

    varied: tuple[str, ...]
    crossed: bool
    has_replicates: bool

    def sentence(self) -> str:
        """Return ``Covers initial weights only: batch order and train/validation split were the same ...``."""
        if not self.has_replicates:
            return "One replicate: no source of variance is covered."
        varied = [SOURCES[key] for key in self.varied]
        same = [words for key, words in SOURCES.items() if key not in self.varied]
        if not varied:
            return "The runs of a configuration have no seed in which they differ: no source of variance is covered."
        if not same:
            return f"Covers every source of variance: {joined(varied)}."
        was = "was" if len(same) == 1 and same[0] != SOURCES["seed"] else "were"
        return f"Covers {joined(varied)} only: {joined(same)} {was} the same in all replicates."


def coverage(runs: Mapping[Config, Sequence[Record]]) -> Coverage:
    """Find out which sources vary, and whether runs are independent replicates of their configuration."""
    varied, crossed, has_replicates = set(SOURCES), False, False
    for records in runs.values():
        if len(records) < 2:
            continue
        has_replicates = True
        for index, key in enumerate(SOURCES):
            values = [seeds_of(record)[index] for record in records]
            distinct_values = len(set(values))
            crossed |= 1 < distinct_values < len(values)
            if distinct_values == 1:
                varied.discard(key)
    return Coverage(tuple(key for key in SOURCES if has_replicates and key in varied), crossed, has_replicates)


def sweeps_of(records: Sequence[Record]) -> list[str]:
    """Return the ids of the sweeps that runs belong to, in the order of their first runs; "" for runs of no sweep."""
    return list(dict.fromkeys(record.tags.get("mlflow.parentRunId", "") for record in records))


def order_of_replicates(records: Sequence[Record], names: Mapping[Seeds, str], sweeps: Sequence[str]) -> list[str]:
    """Return the names of all replicates, those of earlier sweeps first, within a sweep by number.

    Args:
        records: the runs.
        names: of the replicates, as :func:`replicate_names` returns them.
        sweeps: ids of the sweeps, in order.
    """
    earliest: dict[str, int] = {}
    for record in records:
        name, sweep = names[seeds_of(record)], sweeps.index(record.tags.get("mlflow.parentRunId", ""))
        earliest[name] = min(earliest.get(name, sweep), sweep)
    return sorted(earliest, key=lambda name: (earliest[name], natural_key(name)))


def validation_images(records: Sequence[Record]) -> int | None:
    """Return the number of validation images. Returns None if it is unknown or differs between runs."""
    counts = {record.tags.get("dataset.validation_images", "") for record in records}
    text = counts.pop() if len(counts) == 1 else ""
    return int(text) if text.isdecimal() and int(text) > 0 else None
