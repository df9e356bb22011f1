"""How a run is run again: the command that is printed, and the script that restores the code first."""

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mnist_exp.app.compose import compose, to_run_config
from mnist_exp.config.schema import RunConfig
from mnist_exp.data import datasets
from mnist_exp.data.datasets import Dataset, Examples
from mnist_exp.runs import provenance
from mnist_exp.runs.checkout import Code
from mnist_exp.runs.provenance import rerun_command

Composed = Callable[..., RunConfig]

PATHS = [
    "/data/own.npz",
    "/data/my own.npz",
    '/data/Tim\'s "own".npz',
    "/data/a,b=c.npz",
    "/data/$HOME/`id`/$(id).npz",
    "/data/${oc.env:HOME}/x.npz",
    "/data/a\\b\\'c\\\"d\\",
    "/data/[x](y){z}:;#!~.npz",
    "/data/naïve 日本.npz",
    " /data/x.npz ",
    "null",
    "10",
    "true",
    "~/x.npz",
    "a\tb\nc",
]


def dataset(name: str) -> Dataset:
    nothing = Examples(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8))
    return Dataset(name, "somewhere", nothing, nothing, "d" * 64)


def words_in_bash(command: str) -> list[str]:
    """The arguments that bash gives the program after ``python -m mnist_exp``."""
    line = command.replace("python -m mnist_exp", "printf '%s\\0'", 1)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, cwd="/")
    return done.stdout.decode().split("\0")[:-1]


class TestPathOfADataSetOfOnesOwn:
    @pytest.mark.parametrize("path", PATHS)
    def test_pasted_into_bash_the_command_composes_to_the_same_config(
        self, composed: Composed, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.setenv("MNIST_EXP_DATA", path)
        config = composed("data=auto", "model.units=6")
        assert config.data.path == path
        command = rerun_command(config, dataset("own"), ("data=auto", "model.units=6"))
        monkeypatch.delenv("MNIST_EXP_DATA")
        assert to_run_config(compose(words_in_bash(command))) == config

    def test_so_does_any_other(self, composed: Composed) -> None:
        config = composed("data=auto")
        parser = OverridesParser.create()

        @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
        @example("\\${")
        @example('\\"\\')
        def holds(path: str) -> None:
            own = replace(config, data=replace(config.data, path=path))
            override = parser.parse_override(shlex.split(rerun_command(own, dataset("own"), ()))[3])
            assert OmegaConf.create({override.key_or_group: override.value()})["data.path"] == path

        holds()

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            ("/data/own.npz", "data.path=/data/own.npz"),
            ("~/own.npz", "'data.path=\"~/own.npz\"'"),
            ("/data/my own.npz", "'data.path=\"/data/my own.npz\"'"),
        ],
    )
    def test_it_is_quoted_only_if_it_must_be(self, composed: Composed, path: str, shown: str) -> None:
        config = composed("data=auto")
        own = replace(config, data=replace(config.data, path=path))
        assert rerun_command(own, dataset("own"), ("seed=1",)) == f"python -m mnist_exp seed=1 {shown}"

    @pytest.mark.parametrize("given", ["data.path=/data/own.npz", "++data.path='/data/own.npz'"])
    def test_one_that_was_given_is_not_repeated(self, composed: Composed, given: str) -> None:
        config = composed("data=auto", given)
        assert shlex.split(rerun_command(config, dataset("own"), (given,)))[3:] == [given]


class TestKnownData:
    """MNIST is verified by its digest, and the digits are embedded: their name says which data they are."""

    @pytest.mark.parametrize("name", ["mnist", "digits"])
    @pytest.mark.parametrize(
        ("overrides", "words"), [(["seed=1"], "seed=1 data={}"), (["data=auto", "seed=1"], "data={} seed=1")]
    )
    def test_they_are_named_and_found_anew(
        self, composed: Composed, monkeypatch: pytest.MonkeyPatch, name: str, overrides: list[str], words: str
    ) -> None:
        if name == "mnist":
            monkeypatch.setenv("MNIST_EXP_DATA", "/somewhere/mnist.npz")
        config = composed("data=auto", "seed=1")
        command = rerun_command(config, dataset(name), overrides)
        assert command == f"python -m mnist_exp {words.format(name)}"
        again = to_run_config(compose(shlex.split(command)[3:]))
        assert again.data.name == name
        assert replace(again, data=replace(again.data, name="auto")) == config

    def test_a_path_that_was_given_is_left_out_too(self, composed: Composed) -> None:
        overrides = ("data=auto", "data.path=/elsewhere/copy.npz")
        command = rerun_command(composed(*overrides), dataset("mnist"), overrides)
        assert command == "python -m mnist_exp data=mnist"

    def test_the_rerun_is_the_same_run(self, composed: Composed) -> None:
        digits = datasets.load(composed().data)
        config = composed("data=auto", "seed=1")
        again = to_run_config(compose(shlex.split(rerun_command(config, digits, ("seed=1",)))[3:]))
        assert provenance.fingerprint_of(config, digits) == provenance.fingerprint_of(again, digits)


CODE = Code("abc", True)
DIFF = b"diff --git a/x b/x\n@@ -1 +1 @@\n-1\n+# 2\r# 3\n"


class TestScript:
    """The script is run by sh, with a git and a python that only print how they were called."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
        (tmp_path / "bin").mkdir()
        for program in ("git", "python"):
            (tmp_path / "bin" / program).write_text(f'#!/bin/sh\necho {program} "$@"\n')
            (tmp_path / "bin" / program).chmod(0o755)

        def call(diff: bytes, *arguments: str, code: Code = CODE) -> subprocess.CompletedProcess[str]:
            script = tmp_path / "rerun.sh"
            script.write_text(provenance.rerun_script(code, diff, "python -m mnist_exp seed=1"))
            path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
            return subprocess.run(
                ["sh", str(script), *arguments], env={"PATH": path}, capture_output=True, text=True, check=False
            )

        return call

    def test_it_restores_the_code_and_gives_the_command(
        self, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
    ) -> None:
        done = run(DIFF)
        assert done.stdout.splitlines() == [
            "git checkout abc",
            f"git apply {tmp_path}/git.diff",
            "python -m mnist_exp seed=1",
        ]
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("commit", "said"),
        [
            ("abc", ["git checkout abc", "python -m mnist_exp seed=1"]),
            ("", ["python -m mnist_exp seed=1"]),
        ],
        ids=["unchanged", "no checkout"],
    )
    def test_without_changes_there_is_nothing_to_apply(
        self, run: Callable[..., subprocess.CompletedProcess[str]], commit: str, said: list[str]
    ) -> None:
        assert run(b"", code=Code(commit, False)).stdout.splitlines() == said

    @pytest.mark.parametrize(
        ("diff", "said"),
        [
            (b"# Left out, as it is binary: Tim's \\n.bin\n" + DIFF, "# Left out, as it is binary: Tim's \\n.bin\n"),
            (b"# Left out, as it is binary: a.bin\n", "# Left out, as it is binary: a.bin\n"),
            (b"", "# The code had changes that were not committed; none of them was kept\n"),
        ],
        ids=["some", "all", "not wanted"],
    )
    def test_code_that_it_cannot_restore_stops_it_before_anything_is_done(
        self, run: Callable[..., subprocess.CompletedProcess[str]], diff: bytes, said: str
    ) -> None:
        stopped = run(diff)
        assert (stopped.returncode, stopped.stdout) == (1, "")
        assert stopped.stderr.startswith(said)
        anyway = run(diff, "--incomplete")
        assert anyway.returncode == 0
        assert anyway.stdout.splitlines()[-1] == "python -m mnist_exp seed=1"
        assert ("git apply" in anyway.stdout) == (b"diff --git" in diff)
