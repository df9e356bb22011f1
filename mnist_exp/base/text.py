"""Text that is shown or kept: on one line, of bounded length, without secrets.

A secret is recognised by where it stands (in a URI, after ``password=``), by its form (a GitHub token), or because this
process was given it: in an environment variable with a name such as ``..._TOKEN``, or as the password of a URI.
"""

import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from mnist_exp.base import paths

MARK = "***"
"""Stands where a secret was."""


def visible(text: str) -> str:
    r"""Return ``text`` on one line, with control characters written out: ``\n``, ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, limit: int, note: str = "") -> str:
    """Return at most ``limit`` characters: of a longer text, its beginning, its length, and ``note``."""
    if len(text) <= limit:
        return text
    tail = f"… ({len(text):,} characters{note})"
    return text[: max(limit - len(tail), 0)] + tail


def abridged(text: str, limit: int) -> str:
    """Return at most ``limit`` characters: of a longer text, its beginning, its length, and its end."""
    if len(text) <= limit:
        return text
    middle = f" … ({len(text):,} characters) … "
    end = (limit - len(middle)) // 2
    return text[: limit - len(middle) - end] + middle + text[-end:]


def time_span(seconds: float) -> str:
    """Return a time span in its largest unit: ``3 min``."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def received(value: object) -> str:
    """Return a value as an error message quotes it: one line, at most 200 characters."""
    return shortened(visible(repr(value)), 200)


def redact(text: str) -> str:
    """Return ``text`` with :data:`MARK` in place of every secret."""
    for user in (_DATABASE_USER, _USER):
        text = user.sub(rf"\1{MARK}@", text)
    text = _QUERY.sub(rf"\1{MARK}", text)
    given = _pattern(frozenset(_secrets()))
    if given is not None:
        text = given.sub(MARK, text)
    text = _TOKEN.sub(MARK, text)
    text = _HEADER.sub(rf"\1{MARK}", text)
    text = _ASSIGNED_QUOTED.sub(rf"\1\2{MARK}\2", text)
    return _ASSIGNED.sub(rf"\1{MARK}", text)


def redacted_file(content: bytes) -> bytes:
    """Return the bytes of a text file with :data:`MARK` in place of every secret; bytes that are not UTF-8 stay."""
    return redact(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")


class Formatter(logging.Formatter):
    """Formats log records, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, redacted."""
        return redact(super().format(record))


if logging.lastResort is not None:  # writes warnings to standard error where logging is not configured
    logging.lastResort.setFormatter(Formatter())


_WORDS = r"PASS(?:WORD|WD|PHRASE)|SECRET|TOKEN|CREDENTIALS?|API_?KEY|(?:ACCESS|PRIVATE|SIGNING|ENCRYPTION|ACCOUNT)_?KEY"

_SECRET_VARIABLE = re.compile(rf"(?:{_WORDS})S?(?:_|\d|$)|(?:^|_)(?:PASS|PW|PAT|KEY|AUTH)(?:_|$)", re.IGNORECASE)

# Every repetition has a bound, so that the time for any text is proportional to its length.
_SCHEME = r"\b[a-z][a-z0-9+.-]{0,30}://"
_NAME = r"[\w.-]{0,64}"

# The user part of a web address ends at the first slash; in a database's, a password may contain a slash.
_USER = re.compile(rf"({_SCHEME})[^\s/?#\"'<>`]{{0,1000}}@", re.IGNORECASE)
_DATABASE_USER = re.compile(rf"(?!https?:)({_SCHEME})[^\s/?#\"'<>`:@]{{0,100}}:[^\s\"'<>`]{{0,1000}}@", re.IGNORECASE)
_PASSWORD = re.compile(
    rf"{_SCHEME}[^\s/?#:@]{{0,100}}:([^\s@]{{0,1000}}(?:@[^\s/?#@]{{0,100}}){{0,3}})@", re.IGNORECASE
)
_QUERY = re.compile(rf"([?&;](?:{_NAME}(?:{_WORDS}|pwd|sig(?:nature)?)|odbc_connect)=)[^&\s\"'<>`]+", re.IGNORECASE)

_TOKEN = re.compile(
    r"""(?sx)
    -----BEGIN\ [A-Z ]{0,30}PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]{0,30}PRIVATE\ KEY-----|\Z)
    | \b(?:gh[pousr]_[A-Za-z0-9]{30,} | github_pat_\w{30,} | glpat-[\w-]{18,} | hf_[A-Za-z0-9]{30,} | sk-[\w-]{20,}
    | xox[abeoprs]-[\w-]{10,} | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[\w-]{35} | dapi[0-9a-f]{32} | pypi-[\w-]{40,}
    | eyJ[\w-]{8,2000}\.eyJ[\w-]{8,2000}\.[\w-]+)
    """
)
_HEADER = re.compile(
    r"(Authorization[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:Basic|Bearer|Token)\s{1,9})[\w.+/=~-]+", re.IGNORECASE
)
_ASSIGNED_QUOTED = re.compile(
    rf"(\b{_NAME}(?:{_WORDS}){_NAME}[\"']?\s{{0,9}}[:=]\s{{0,9}})([\"'])(?!\*\*\*)[^\"'\n]{{4,1000}}\2", re.IGNORECASE
)
# As shells, .env files, YAML and overrides write it; not as code does, which computes: TOKEN = read(file).
_ASSIGNED = re.compile(
    rf"(\b(?:{_NAME}\.)?(?-i:[A-Z0-9_]{{0,64}}(?:{_WORDS})[A-Z0-9_]{{0,64}})(?:=|:\ ))"
    r"(?![$\"'{(*])([^\s\"'&(){},;]{4,})(?![(\w])"
)

# Values that stand for nothing in themselves.
_CONSTANTS = frozenset({"true", "false", "none", "null"})


def _secrets() -> Iterator[str]:
    """Yield every value that this process was given and that nobody else may see."""
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and not (value.startswith("/") and os.path.exists(value)):  # noqa: PTH110
            yield value
        yield from _PASSWORD.findall(value)
    for argument in sys.argv:
        yield from _PASSWORD.findall(argument)


@lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """Return the pattern that finds any of ``secrets``, in every form that it is written in; None if there is none."""
    lines = {line.strip() for secret in secrets for line in [secret, unquote(secret), *secret.splitlines()]}
    forms = {form for line in lines if _is_secret(line) for form in _forms(line)}
    if not forms:
        return None
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(_alone, longest_first)))


def _is_secret(value: str) -> bool:
    """Return False for what is too short or too common to be one: to mask it would hide other text."""
    enough = 6 if value.isalpha() else 4
    return len(value) >= enough and value.lower() not in _CONSTANTS and value not in _config_words(paths.CONF)


@cache
def _config_words(folder: Path) -> frozenset[str]:
    """Return the keys and choices of our own config, such as ``softplus``: to mask one would hide what a run was given.

    Choices are the names of files, and what the comments of ``folder`` list as ``relu | tanh``. Values are not taken:
    one may be a password.
    """
    files = [*folder.rglob("*.yaml"), *folder.parent.glob("experiments/*.yaml")]
    text = "\n".join(file.read_text(errors="replace") for file in folder.rglob("*.yaml"))
    keys = re.findall(r"^[\s-]*(\w+):", text, re.MULTILINE)
    choices = re.findall(r"\w+(?= \|)|(?<=\| )\w+", text)
    return frozenset([*(file.stem for file in files), *keys, *choices])


def _forms(secret: str) -> Iterator[str]:
    """Yield ``secret`` as URIs, JSON, Python, YAML, Hydra's overrides and shells write it."""
    override = secret.replace("\\", "\\\\").replace("'", "\\'")
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield from (secret.replace("'", "''"), override)
    yield from (shlex.quote(each).strip("'") for each in (secret, override) if "'" in each)


def _alone(form: str) -> str:
    """Return the pattern of a form. A short one of letters and digits matches whole words only, no part of a digest."""
    if len(form) >= 12 or not form.isalnum():
        return re.escape(form)
    return rf"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])){re.escape(form)}(?![A-Za-z0-9])"
