"""Secrets never reach what is kept or shown, whichever way they came in and were written."""

import itertools
import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mnist_exp.base import paths
from mnist_exp.base.text import MARK, Formatter, _config_words, _pattern, redact
from mnist_exp.config.schema import RunConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:hunter2@host:5000/x", "http://***@host:5000/x"),
        ("http://token-alone@host", "http://***@host"),
        ("http://me:p%40ss@host", "http://***@host"),
        ("http://me:p@ss@host", "http://***@host"),
        ("postgresql+psycopg://me:pa/ss?wo#rd@db:5432/runs", "postgresql+psycopg://***@db:5432/runs"),
        ("mysql://db/runs?user=me&password=hunter2&ssl=1", "mysql://db/runs?user=me&password=***&ssl=1"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dhunter2", "mssql+pyodbc:///?odbc_connect=***"),
        ("['tracking.uri=http://me:hunter2@host', 'seed=1']", "['tracking.uri=http://***@host', 'seed=1']"),
        ('{"uri":"https://host:5000","mail":"a@b.c"}', '{"uri":"https://host:5000","mail":"a@b.c"}'),
        ("sqlite:////home/me/runs@work.db", "sqlite:////home/me/runs@work.db"),
        ("git@github.com:me/project.git", "git@github.com:me/project.git"),
        ("Authorization: Basic bWU6aHVudGVyMg==", "Authorization: Basic ***"),
        ("+AWS_SECRET_ACCESS_KEY=abcd/efgh", "+AWS_SECRET_ACCESS_KEY=***"),
        ("hydra.job.env_set.MY_PASSWORD=hunter2 seed=1", "hydra.job.env_set.MY_PASSWORD=*** seed=1"),
        ("MLFLOW_TRACKING_TOKEN: hunter2", "MLFLOW_TRACKING_TOKEN: ***"),
        ('+password = "hunter2"', '+password = "***"'),
        ("+ api_key: 'abcdefgh'", "+ api_key: '***'"),
        ("ghp_" + "a1" * 18, MARK),
        ("AKIAABCDEFGHIJKLMNOP", MARK),
        ("+-----BEGIN RSA PRIVATE KEY-----\n+MIIE\n+-----END RSA PRIVATE KEY-----\n+x", "+***\n+x"),
    ],
    ids=itertools.count(),  # pytest writes ids into the environment, where passwords are looked for
)
def test_what_looks_like_a_secret_goes_and_nothing_else(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "TOKEN = os.environ['TOKEN']",
        "token = parse(line)",
        "PASSWORD=$SECRET",
        "tokens_per_second: 3",
        "best/val_accuracy=0.9931",
        "model.units=4 optimizer.lr=0.001",
    ],
)
def test_code_and_params_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "MY_PAT"]
)
def test_the_value_of_a_secret_variable_goes_wherever_it_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert redact("say hunter2, or (hunter2)\n+hunter2") == "say ***, or (***)\n+***"


@pytest.mark.parametrize(
    ("name", "value"), [("TOKENIZERS_PARALLELISM", "anything"), ("PWD", "/somewhere/else"), ("MY_PASSWORD", "test")]
)
def test_other_variables_are_no_secrets(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert redact(f"a {value} of it") == f"a {value} of it"


def test_a_short_secret_is_no_part_of_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "123456")
    assert redact("sha256 ab123456cd, 123456") == "sha256 ab123456cd, ***"


class TestWordsOfOurConfig:
    """A variable such as SIGNING_KEY may by chance have a value that is a word of every run's params."""

    @pytest.mark.parametrize(
        "text",
        ["model.activation=softplus", "optimizer=rmsprop", "optimizer.momentum=0.9", "training.engine=compiled"],
    )
    def test_they_are_no_secrets(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        key, _, value = text.partition("=")
        monkeypatch.setenv("SIGNING_KEY", value)
        monkeypatch.setenv("MY_TOKEN", key.rpartition(".")[2])
        assert redact(text) == text

    def test_every_key_choice_and_experiment_is_one(self) -> None:
        words = _config_words(paths.CONF)
        assert {*schema_words(RunConfig), *paths.experiment_files()} <= words

    def test_other_words_are_secrets_as_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SIGNING_KEY", "softplus2")
        assert redact("model.activation=softplus2") == "model.activation=***"

    def test_a_value_in_a_config_file_is_none_of_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "tracking").mkdir()
        (tmp_path / "tracking" / "team.yaml").write_text("uri: http://me:hunter2@host\nPASSWORD: hunter2\n")
        monkeypatch.setattr(paths, "CONF", tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
        _pattern.cache_clear()
        assert redact("login with hunter2 failed") == "login with *** failed"
        _pattern.cache_clear()


def schema_words(kind: Any) -> Iterator[str]:
    """Every key of a config class and of those in it, and every choice of a key."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    for inner in get_args(kind):
        yield from schema_words(inner)
    if isinstance(kind, type) and is_dataclass(kind):
        for name, type_ in get_type_hints(kind, include_extras=True).items():
            yield name
            yield from schema_words(type_)


def test_the_password_of_a_uri_that_was_given_goes_without_its_uri_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:p%40ss%2Fword@host")
    monkeypatch.setattr(sys, "argv", ["mnist_exp", "tracking.uri=postgresql://you:h'unt\"er@db"])
    assert redact("login with p@ss/word or p%40ss%2Fword failed") == "login with *** or *** failed"
    assert redact("""h'unt"er""") == MARK


WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": str,
    "uri": lambda secret: f"http://me:{quote(secret, safe='')}@host",
    "json": json.dumps,
    "python": repr,
    "yaml": lambda secret: yaml.safe_dump([secret], width=10**6, allow_unicode=True),
    "shell": shlex.quote,
    "log": lambda secret: Formatter().format(logging.LogRecord("a", 1, "b", 1, f"said {secret}", None, None)),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_however_it_is_written(written: Callable[[str], str]) -> None:
    printable = st.characters(min_codepoint=32, max_codepoint=126)

    @given(st.text(printable, min_size=12, max_size=40).map(lambda text: f"q7{text}x9"))
    def holds(secret: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
            kept = redact(f"before {written(secret)} after")
        assert kept.startswith("before ")
        assert kept.endswith(" after")
        assert secret not in kept
        assert "q7" not in kept
        assert "x9" not in kept

    holds()


@given(st.text(max_size=300))
def test_any_text_can_be_redacted_and_once_is_enough(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_long_text_takes_no_long_time() -> None:
    """Seconds; minutes, if the time grew with the square of the length."""
    code = """
import sys
from mnist_exp.base.text import redact
for piece in sys.argv[1:]:
    redact(piece * (200_000 // len(piece)))
"""
    pieces = ["a.", "a://b:", "?a", "eyJ-", "token", "PASSWORD_", "-----BEGIN PRIVATE KEY-----"]
    subprocess.run([sys.executable, "-c", code, *pieces], check=True, timeout=300)
