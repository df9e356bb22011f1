"""Replicates: numbered repetitions of a run, each with its own initial weights, batch order and data split.

One number draws the seeds of all three sources of variance together, so that configurations with the same replicate
share their batch order and split and can be compared pair by pair. Replicate 0 has seed 17 everywhere, as the tutorial
has.
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
"""The key of each source's seed, and the source in words."""

_TUTORIAL = 17


def seeds(replicate: int) -> dict[str, int]:
    """Draw the seeds of a replicate.

    Args:
        replicate: its number, from 0.

    Returns:
        A seed, 0..2**32-1, by each key of ``SOURCES``; the first 32 bits of SHA-256 over key and number.
    """
    if replicate == 0:
        return dict.fromkeys(SOURCES, _TUTORIAL)
    return {key: int(hashlib.sha256(f"{key} {replicate}".encode()).hexdigest()[:8], 16) for key in SOURCES}


def without_drawn(keys: Sequence[str]) -> list[str]:
    """Return keys without those of seeds, if the replicate that draws them is among the keys."""
    return [key for key in keys if key not in SOURCES or REPLICATE not in keys]


def fill(composed: Mapping[str, Any]) -> dict[str, Any]:
    """Give every seed that is null in a composed config the one that its replicate draws.

    Args:
        composed: nested mapping with the key ``replicate``; it is not changed. Anything malformed stays as it is.

    Returns:
        A copy with the seeds filled in.
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
