"""Overrides as text: ``key=value``, as typed on a command line and kept as a run's params."""


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
