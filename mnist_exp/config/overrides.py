"""Keys and values as a command line has them: ``model.units=4``; they are a run's params as well."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mnist_exp.base.text import redact

OF_A_SWEEP = ("question", "worth", "follows", "looks")
"""Keys that say what a sweep is for and how it is judged. They change nothing that a run computes."""


def key_of(override: str) -> str:
    """Return the key that an override sets: ``seed`` of ``++seed=1``; a word without ``=`` as it is."""
    return override.partition("=")[0].lstrip("+")


def as_override(value: str | int | float | bool | None) -> str:
    """Return a value as it is typed in an override: ``null``, ``true``, ``0.01``."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def as_text(params: Mapping[str, str | int | float | bool | None]) -> dict[str, str]:
    """Return params as the store of a run has them: as they are typed, without secrets."""
    return {key: redact(as_override(value)) for key, value in params.items()}


def text_override(key: str, text: str) -> str:
    """Return an override that sets ``key`` to exactly ``text``, quoted for Hydra's grammar: ``question="a, b"``."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # an interpolation otherwise
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text)
    return f'{key}="{escaped}"'


def suggestion(key: str, known: Mapping[str, Any]) -> str:
    """Return `` Did you mean model.units?`` for a mistyped dotted key; empty if no key of ``known`` is similar."""
    close = difflib.get_close_matches(key, [name for name, _ in flatten(known)], n=1, cutoff=0.75)
    return f" Did you mean {close[0]}?" if close else ""


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; a section's ``name`` has the section's own key, as in an override: ``model``."""
    for key, value in node.items():
        dotted = prefix.removesuffix(".") if prefix and key == "name" else f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{dotted}.")
        else:
            yield dotted, value
