"""Text that came from outside, made fit to be shown or kept: on one line, of a bounded length, saying what was cut."""

import html
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote


def visible(text: str) -> str:
    r"""``text`` on one line, with what a terminal would obey instead of showing it written out: ``\n``, ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, limit: int, note: str = "") -> str:
    """At most ``limit`` characters: where ``text`` has more, its beginning and how many it had, then ``note``."""
    if len(text) <= limit:
        return text
    tail = f"… ({len(text):,} characters{note})"
    return text[: max(limit - len(tail), 0)] + tail


def abridged(text: str, limit: int) -> str:
    """At most ``limit`` characters: where ``text`` has more, its beginning, how many it had, and its end."""
    if len(text) <= limit:
        return text
    middle = f" … ({len(text):,} characters) … "
    end = (limit - len(middle)) // 2
    return text[: limit - len(middle) - end] + middle + text[-end:]


def received(value: object) -> str:
    """A value as an error quotes it: enough of it to be known by."""
    return shortened(visible(repr(value)), 200)


MARK = "***"
"""Stands where a secret was."""

_WORDS = r"PASS(?:WORD|WD|PHRASE)|SECRET|TOKEN|CREDENTIALS?|API_?KEY|(?:ACCESS|PRIVATE|SIGNING|ENCRYPTION|ACCOUNT)_?KEY"

_SECRET_VARIABLE = re.compile(rf"(?:{_WORDS})S?(?:_|\d|$)|(?:^|_)(?:PASS|PW|PAT|KEY|AUTH)(?:_|$)", re.IGNORECASE)

# Every repetition has a bound: whatever a text holds, looking through it takes time in proportion to its length.
_SCHEME = r"\b[a-z][a-z0-9+.-]{0,30}://"
_NAME = r"[\w.-]{0,64}"

# The user part of an address ends at the first slash; in a database's, a password may hold one unencoded.
_USER = re.compile(rf"({_SCHEME})[^\s/?#\"'<>`]{{0,1000}}@", re.IGNORECASE)
_DATABASE_USER = re.compile(rf"(?!https?:)({_SCHEME})[^\s/?#\"'<>`:@]{{0,100}}:[^\s\"'<>`]{{0,1000}}@", re.IGNORECASE)
_PASSWORD = re.compile(
    rf"{_SCHEME}[^\s/?#:@]{{0,100}}:([^\s@]{{0,1000}}(?:@[^\s/?#@]{{0,100}}){{0,3}})@", re.IGNORECASE
)
_QUERY = re.compile(rf"([?&;](?:{_NAME}(?:{_WORDS}|pwd|sig(?:nature)?)|odbc_connect)=)[^&\s\"'<>`]+", re.IGNORECASE)

_KNOWN_FORMS = re.compile(
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
# As shells, .env files, YAML and overrides write it; not what code computes, as in TOKEN = read(file).
_ASSIGNED = re.compile(
    rf"(\b(?:{_NAME}\.)?(?-i:[A-Z0-9_]{{0,64}}(?:{_WORDS})[A-Z0-9_]{{0,64}})(?:=|:\ ))"
    r"(?![$\"'{(*])([^\s\"'&(){},;]{4,})(?![(\w])"
)

_TEXT_LIKE_WORDS = frozenset({"true", "false", "none", "null"})


def redact(text: str) -> str:
    """``text`` with :data:`MARK` for every secret in it."""
    for known in (_DATABASE_USER, _USER):
        text = known.sub(rf"\1{MARK}@", text)
    text = _QUERY.sub(rf"\1{MARK}", text)
    values = _pattern(frozenset(_secrets()))
    if values is not None:
        text = values.sub(MARK, text)
    text = _KNOWN_FORMS.sub(MARK, text)
    text = _HEADER.sub(rf"\1{MARK}", text)
    text = _ASSIGNED_QUOTED.sub(rf"\1\2{MARK}\2", text)
    return _ASSIGNED.sub(rf"\1{MARK}", text)


def redacted_file(content: bytes) -> bytes:
    """The same for the bytes of a text file."""
    return redact(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")


class Formatter(logging.Formatter):
    """A log's formatter that lets no secret into its lines, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text, redacted."""
        return redact(super().format(record))


def _secrets() -> Iterator[str]:
    """Every value that this process was given and nobody else should see."""
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and not (value.startswith("/") and os.path.exists(value)):  # noqa: PTH110
            yield value
        yield from _PASSWORD.findall(value)
    for argument in sys.argv:
        yield from _PASSWORD.findall(argument)


@lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """What finds any of ``secrets`` in any of the ways they are written."""
    lines = {line.strip() for secret in secrets for line in [secret, unquote(secret), *secret.splitlines()]}
    forms = {form for line in lines if _is_secret(line) for form in _forms(line)}
    if not forms:
        return None
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(_alone, longest_first)))


def _is_secret(value: str) -> bool:
    enough = 6 if value.isalpha() else 4
    return len(value) >= enough and value.lower() not in _TEXT_LIKE_WORDS


def _forms(secret: str) -> Iterator[str]:
    """``secret`` as URIs, JSON, Python, YAML, HTML, Hydra's overrides and shells write it."""
    override = secret.replace("\\", "\\\\").replace("'", "\\'")
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield from (secret.replace("'", "''"), override)
    yield from (shlex.quote(each).strip("'") for each in (secret, override) if "'" in each)


def _alone(form: str) -> str:
    """A short value of letters and figures alone is looked for as a word: by chance it is part of a digest."""
    if len(form) >= 12 or not form.isalnum():
        return re.escape(form)
    return rf"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])){re.escape(form)}(?![A-Za-z0-9])"
