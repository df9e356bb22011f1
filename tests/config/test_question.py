"""The question of a sweep: kept as it was typed in a shell, and no part of what a run computes."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, parent_id
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf
from prepared import sweep_plan

from mnist_exp.app import compose
from mnist_exp.app.preflight import _judging
from mnist_exp.base.errors import ConfigError
from mnist_exp.config.overrides import OF_A_SWEEP
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.runs import provenance
from mnist_exp.runs.provenance import Fingerprint
from mnist_exp.sweeps import finalize, sweep
from mnist_exp.sweeps.sweep import SweepPlan
from mnist_exp.tracking.mlflow.client import connect

IN_A_SHELL = [
    *("a,b", "x=1", "a > b", "f(x)", "it's", "größer?", "a; b", "#1", "null"),
    *('say "no"', "a\\", "${seed}", "\\${x}", "${oc.env:HOME}"),
]
MORE = [
    *("true", "1e3", "007", "1,2", "a=b,c=d", "'a'", '"a"', "''a", '"', "'", "\\", "a\\\\", '\\"', 'a\\"b', "\\'"),
    *("C:\\new", "\\n", "\\,", "${x}", "\\\\${x}", "$x", "${", "{a: b}", "[1, 2]", "(a", ")", "}", "a: b", "????"),
    *(
        "range(3)",
        "choice(a,b)",
        "glob(*)",
        " a ",
        "a  b",
        "-x",
        "--help",
        "-m",
        "~x",
        "+x",
        "a@b",
        "%",
        "!x",
        "==",
        "=",
    ),
    *("日本語", "🙂", "<b>", "a|b", "a & b", "`ls`", "$(ls)", "/* a */", "a // b"),
]


def asked(*words: str) -> list[RunConfig]:
    """The jobs of a sweep that was typed so, composed as the command composes them."""
    found: list[RunConfig] = []

    def start(config: DictConfig, is_sweep: bool) -> int:
        assert is_sweep
        keys, jobs, configs = compose.expand(config)
        assert (keys, len(jobs)) == (["model.units"], 2)
        found.extend(compose.to_run_config(each) for each in configs)
        return 9

    with pytest.raises(SystemExit, match="9"):
        compose.run_hydra(["-m", "model.units=4,10", "data=digits", *words], lambda _: None, start)
    return found


@pytest.fixture(autouse=True)
def project(program: Any) -> None:
    """The test's folder is the project's: Hydra writes there."""


def through_hydra(text: str) -> str:
    """What a config gets that Hydra composes for a job of a sweep: it writes overrides anew from what it has parsed."""
    parser = OverridesParser.create()
    (jobs,) = BasicSweeper.split_arguments(
        parser.parse_overrides([compose._quoted_question(f"question={text}")]), max_batch_size=None
    )
    ((word,),) = jobs
    (override,) = parser.parse_overrides([word])
    config = OmegaConf.create({"question": None})
    OmegaConf.update(config, "question", override.value())
    return str(config.question)


@pytest.mark.parametrize("text", ["a,b", "a > b", "it's", "null", "${oc.env:HOME}"])
def test_a_question_is_what_was_typed(text: str) -> None:
    assert [each.question for each in asked(f"question={text}")] == [text, text]


@pytest.mark.parametrize("text", [*IN_A_SHELL, *MORE])
def test_hydras_grammar_gives_a_question_back(text: str) -> None:
    assert through_hydra(text) == text


SPECIAL = st.sampled_from(["\\", '"', "'", "${", "$", "{", "}", ",", "=", ":", " ", "(", "["])


@given(st.lists(SPECIAL | st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).map("".join))
def test_hydras_grammar_gives_any_text_back(text: str) -> None:
    assume(text != "???")  # OmegaConf's word for a value that is missing
    assert through_hydra(text) == text


@pytest.mark.parametrize("prefix", ["+", "++"])
def test_a_question_may_be_added_as_any_key(prefix: str) -> None:
    assert asked(f"{prefix}question=a, b")[0].question == "a, b"


def test_other_words_are_left_as_they_are() -> None:
    for word in ("model.units=4,10", "question", "-m", "questions=1", "my.question=a,b", "~question"):
        assert compose._quoted_question(word) == word


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "question"),
        (" ", "question must be a sentence on one line"),
        ("two\nlines", "question must be a sentence on one line"),
        ("\x1b[31mred", "question must be a sentence on one line"),
        ("x" * 501, "question must have at most 500 characters"),
    ],
)
def test_what_is_no_question_is_refused(command: Command, text: str, rule: str) -> None:
    code, said = command("-m", "data=digits", "model.units=4,10", f"question={text}")
    assert (code, said.count("\n")) == (2, 1)
    assert rule in said


def test_no_question_is_none(composed: Callable[..., RunConfig]) -> None:
    assert (composed().question, composed().follows) == (None, None)


@pytest.mark.parametrize("override", ["question=a, b?", "worth=0.01", "follows=0a1f"])
def test_a_single_run_is_asked_nothing(command: Command, override: str) -> None:
    code, said = command("data=digits", override)
    key, _, value = override.partition("=")
    assert code == 2
    assert (
        said == f"error: {key} is of a sweep, python -m mnist_exp -m ..., not of one run. Received: {_quoted(value)}\n"
    )


def _quoted(value: str) -> str:
    return value if value.startswith("0.") else repr(value)


@pytest.mark.parametrize("given", ["123", "abc", "0A1F", "x" * 4, "true", "0" * 33])
def test_what_cannot_be_the_id_of_a_sweep_is_not_followed(command: Command, given: str) -> None:
    code, said = command("-m", "data=digits", "model.units=4,10", f"follows={given}")
    assert (code, said.count("\n")) == (2, 1)
    assert "follows must be the id of a sweep, or its first letters, 4 at least" in said


def test_a_sweep_that_does_not_exist_is_not_followed(command: Command, uri: str, journals_root: Any) -> None:
    code, said = command("-m", "data=digits", f"tracking.uri={uri}", "model.units=4,10", "follows=0a1f")
    assert code == 2
    assert "follows must be the id of one sweep, and no sweep has that id. Received: '0a1f'" in said


def test_what_a_sweep_is_asked_is_no_part_of_its_runs(composed: Callable[..., RunConfig]) -> None:
    dataset = datasets.load(composed().data)
    purpose = composed("question='a?'", "worth=0.01", "follows=0a1f", "looks=true")
    assert provenance.fingerprint_of(purpose, dataset) == provenance.fingerprint_of(composed(), dataset)
    assert not set(purpose.params()) & set(OF_A_SWEEP)
    words = ["model.units=4", 'question="a, b"', "++worth=0.1", "follows=0a1f", "seed=1"]
    assert compose.run_overrides(words) == ("model.units=4", "seed=1")


class TestTheParentRun:
    IDENTITY, COMMAND = Fingerprint("config", "data", "code", "libraries"), ("model.units=4,10",)

    @pytest.fixture(autouse=True)
    def led(self, monkeypatch: pytest.MonkeyPatch, journals_root: Path) -> None:  # noqa: ARG002
        monkeypatch.setenv("MNIST_EXP_SWEEP", "for the test to take away again")

    def plan(self, uri: str, judging: dict[str, str]) -> SweepPlan:
        plan = sweep_plan(uri, "mnist", ["model.units"], [], self.IDENTITY, self.COMMAND, judging)
        return replace(plan, author="ann")

    def begun(self, uri: str, judging: dict[str, str]) -> Run:
        begun = sweep.begin(self.plan(uri, judging))
        finalize.finalize(begun)
        return connect(uri).get_run(parent_id(begun))

    def test_keeps_what_it_was_asked_as_params(self, uri: str, composed: Callable[..., RunConfig]) -> None:
        words = ("question='größer, \"oder\"?'", "worth=0.005", "follows=0a1f", "looks=true")
        data = self.begun(uri, _judging(composed(*words))).data
        assert data.params == {"question": 'größer, "oder"?', "worth": "0.005", "follows": "0a1f"}
        assert (data.tags["looks"], data.tags["sweep.author"]) == ("true", "ann")
        assert "worth" not in data.tags

    @pytest.mark.parametrize(
        ("key", "other"), [("question", "another?"), ("worth", "0.1"), ("follows", "ffff"), ("looks", "true")]
    )
    def test_is_not_resumed_for_another_purpose(self, uri: str, key: str, other: str) -> None:
        began = {"question": "a?", "worth": "0.2", "follows": "0a1f"}
        self.begun(uri, began)
        given = f"{key}={began[key]}" if key in began else f"without {key}"
        words = f"{key} must be as it was when the sweep began ({given}) to resume it. Received: '{other}'"
        with pytest.raises(ConfigError, match=re.escape(words)):
            sweep.resume(self.plan(uri, began | {key: other}))

    @pytest.mark.parametrize("judging", [{"question": "a?", "follows": "0a1f"}, {}, {"follows": "0a"}])
    def test_is_resumed_for_the_same_or_if_nothing_is_said(self, uri: str, judging: dict[str, str]) -> None:
        begun = self.begun(uri, {"question": "a?", "follows": "0a1f"})
        assert sweep.resume(self.plan(uri, judging)) is None
        again = sweep.Sweep.current()
        assert again is not None
        assert parent_id(again) == begun.info.run_id
        finalize.finalize(again)
        assert connect(uri).get_run(begun.info.run_id).data.params["question"] == "a?"
