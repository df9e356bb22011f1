"""Replicates: numbered repetitions of a run, each with its own initial weights, batch order and data split.

One number draws the seeds of all three sources of variance together, so that two configurations with the same replicate
have the same batch order and split and can be compared as a pair. Replicate 0 has the tutorial's seed, 17, three times.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

REPLICATE = "replicate"

SOURCES = {
    "seed": "initial weights",
    "training.order_seed": "batch order",
    "data.split_seed": "train/validation split",
}
"""The config key of each seed, and the source of variance that it controls."""

Seeds = tuple[str, ...]
"""The seeds of a run as text, in the order of ``SOURCES``."""

_TUTORIAL_SEED = 17


def seeds(replicate: int) -> dict[str, int]:
    """Return the seeds of a replicate.

    Args:
        replicate: its number, from 0.

    Returns:
        A seed, 0..2**32-1, for each key of ``SOURCES``: the first 32 bits of the SHA-256 of key and number.
    """
    if replicate == 0:
        return dict.fromkeys(SOURCES, _TUTORIAL_SEED)
    return {key: int(hashlib.sha256(f"{key} {replicate}".encode()).hexdigest()[:8], 16) for key in SOURCES}


def without_drawn(keys: Sequence[str]) -> list[str]:
    """Return keys without those of seeds, if ``replicate`` is among them: it determines the seeds."""
    return [key for key in keys if key not in SOURCES or REPLICATE not in keys]


def fill(composed: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the seeds that are null in a composed config with those of its replicate.

    Args:
        composed: nested mapping with the key ``replicate``; it is not changed. Malformed parts are copied as they are.

    Returns:
        A copy with all seeds.
    """
    filled = dict(composed)
    number = composed.get(REPLICATE)
    drawn = seeds(number if type(number) is int else 0)
    for key, seed in drawn.items():
        section, _, name = key.rpartition(".")
        node = filled.get(section) if section else filled
        if not isinstance(node, Mapping) or name not in node or node[name] is not None:
            continue
        if section:
            filled[section] = {**node, name: seed}
        else:
            filled[name] = seed
    return filled
