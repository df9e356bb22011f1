"""The code of the checkout that ran: its commit, and a diff that is bounded, without secrets, and whole or left out."""

import os
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mnist_exp.base import paths
from mnist_exp.base.text import MARK
from mnist_exp.runs import checkout
from mnist_exp.runs.checkout import Code

Git = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkout"


@pytest.fixture
def git(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Git]:
    """Calls git in a checkout of its own, which the program takes for the project's."""
    (root / "conf").mkdir(parents=True)
    monkeypatch.setattr(paths, "root", lambda: root)
    monkeypatch.setattr(paths, "CONF", root / "conf")
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "init.defaultBranch=main"]

    def call(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)
        return os.fsdecode(done.stdout)

    call("init", "-q")
    forget()
    yield call
    forget()


def forget() -> None:
    checkout.code.cache_clear()
    checkout.changes.cache_clear()


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


def commit(git: Git, root: Path, files: dict[str, str | bytes]) -> None:
    write(root, files)
    git("add", "--force", ".")
    git("commit", "-q", "-m", "all")


def heads(diff: bytes) -> list[str]:
    """The comment lines before the first diff."""
    return [line.decode() for line in diff.splitlines() if line.startswith(b"#")]


def test_outside_a_checkout_there_is_no_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "root", lambda: root)
    forget()
    assert (checkout.code(), checkout.changes()) == (Code("", False), b"")
    forget()


def test_no_change_no_diff(git: Git, root: Path) -> None:
    commit(git, root, {"code.py": "a = 1\n"})
    os.utime(root / "code.py", (0, 0))
    assert checkout.code() == Code(git("rev-parse", "HEAD").strip(), False)
    assert checkout.changes() == b""


class TestApplied:
    """What ``git apply`` makes of the commit and the diff is the code that ran."""

    @pytest.mark.parametrize(
        ("before", "now"),
        [
            ("a = 1\n", "a = 2\n"),
            ("a = 1\r\nb = 1\r\n", "a = 1\r\nb = 2\r\n"),
            ("# caf\xe9\n".encode("latin-1"), "# caf\xe9s\n".encode("latin-1")),
            ("a = 1", "a = 2"),
            ("a\n" * 20, "a\n" * 10 + "b\n" + "a\n" * 10),
        ],
        ids=["plain", "CRLF", "latin-1", "no newline", "context"],
    )
    def test_a_changed_file(self, git: Git, root: Path, before: str | bytes, now: str | bytes) -> None:
        commit(git, root, {"code.py": before, "other.py": "b = 1\n"})
        write(root, {"code.py": now, "other.py": "b = 2\n"})
        ran = (root / "code.py").read_bytes()
        assert heads(checkout.changes()) == []
        self.apply(git, root)
        assert (root / "code.py").read_bytes() == ran
        assert (root / "other.py").read_text() == "b = 2\n"

    @pytest.mark.parametrize("name", ["a b.py", "naïve.py", 'q"uote.py', "tab\t.py", os.fsdecode(b"\xff.py"), "b/ b"])
    def test_a_file_with_any_name(self, git: Git, root: Path, name: str) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        commit(git, root, {name: "a = 1\n"})
        write(root, {name: "a = 2\n"})
        self.apply(git, root)
        assert (root / name).read_text() == "a = 2\n"

    def test_files_that_came_or_went(self, git: Git, root: Path) -> None:
        commit(git, root, {"gone.py": "a = 1\n", "kept.py": "a = 1\n"})
        (root / "gone.py").unlink()
        write(root, {"new.py": "c = 1\n"})
        git("add", "new.py")
        (root / "kept.py").chmod(0o755)
        self.apply(git, root)
        assert sorted(file.name for file in root.glob("*.py")) == ["kept.py", "new.py"]
        assert os.access(root / "kept.py", os.X_OK)

    def test_without_the_files_that_were_left_out(self, git: Git, root: Path) -> None:
        commit(git, root, {"code.py": "a = 1\n", "a.bin": b"\0one", "big.csv": "", ".env": "one"})
        write(root, {"code.py": "a = 2\n", "a.bin": b"\0two", "big.csv": "1\n" * 600_000, ".env": "two"})
        self.apply(git, root)
        assert (root / "code.py").read_text() == "a = 2\n"
        assert (root / "big.csv").read_text() == ""

    @pytest.mark.parametrize(
        "setting",
        [
            *(("color.ui", "always"), ("diff.noprefix", "true"), ("diff.external", "echo"), ("diff.context", "0")),
            *(("diff.mnemonicPrefix", "true"), ("diff.submodule", "log"), ("core.quotePath", "true")),
        ],
    )
    def test_whatever_the_users_own_settings_of_git(self, git: Git, root: Path, setting: tuple[str, str]) -> None:
        commit(git, root, {"code.py": "a = 1\nb = 1\nc = 1\n"})
        git("config", *setting)
        write(root, {"code.py": "a = 1\nb = 2\nc = 1\n"})
        assert checkout.changes().startswith(b"diff --git a/code.py b/code.py\n")
        self.apply(git, root)
        assert (root / "code.py").read_text() == "a = 1\nb = 2\nc = 1\n"

    @staticmethod
    def apply(git: Git, root: Path) -> None:
        diff = root.parent / "git.diff"
        diff.write_bytes(checkout.changes())
        git("reset", "-q", "--hard")
        git("apply", str(diff))


class TestSecrets:
    @pytest.mark.parametrize(
        "name",
        [
            *(".env", ".env.local", "prod.env", "server.pem", "me.key", "id_rsa", "id_ed25519.old", "credentials"),
            *(".netrc", "aws_credentials.json", "secrets.yaml", ".npmrc", ".pypirc", "store.p12"),
        ],
    )
    def test_a_file_with_the_name_of_a_secret_is_left_out(self, git: Git, root: Path, name: str) -> None:
        commit(git, root, {"code.py": "a = 1\n", name: "one\n"})
        write(root, {"code.py": "a = 2\n", name: "hunter2\n"})
        diff = checkout.changes()
        assert b"hunter2" not in diff
        assert b"+a = 2" in diff
        assert diff.decode().startswith(f"# Left out, as its name or .gitignore asks for: {name}\ndiff --git ")

    def test_what_git_ignores_is_left_out_though_it_was_committed_once(self, git: Git, root: Path) -> None:
        commit(git, root, {"code.py": "a = 1\n", "local.cfg": "one\n", ".gitignore": "local.cfg\n"})
        write(root, {"local.cfg": "hunter2\n"})
        assert checkout.changes() == b"# Left out, as its name or .gitignore asks for: local.cfg\n"

    def test_a_secret_in_a_file_of_code_is_marked(self, git: Git, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        commit(git, root, {"code.py": "a = 1\n"})
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2")
        write(root, {"code.py": "uri = 'https://me:pass1@host'\nplain = 'hunter2'\napi_key = 'abcdefg'\n"})
        diff = checkout.changes().decode()
        assert not [secret for secret in ("hunter2", "pass1", "abcdefg") if secret in diff]
        assert diff.startswith(f"# {MARK} stands for what looked like a secret: put it back before applying this\n")


class TestSize:
    LIMIT = "# Left out, as a diff holds 1,000,000 bytes at most: "

    def test_a_file_whose_changes_are_too_long_is_left_out_whole(self, git: Git, root: Path) -> None:
        commit(git, root, {"code.py": "a = 1\n", "long.csv": ""})
        write(root, {"code.py": "a = 2\n", "long.csv": "1\n" * 600_000})
        diff = checkout.changes()
        (said,) = heads(diff)
        assert said.startswith(f"{self.LIMIT}long.csv (1,800,")
        assert said.endswith(" bytes of changes)")
        assert b"+a = 2" in diff
        assert b"\n+1" not in diff

    def test_the_longest_go_first_until_the_others_fit(self, git: Git, root: Path) -> None:
        lengths = {"a.csv": 100_000, "b.csv": 150_000, "c.csv": 120_000, "d.csv": 90_000}
        commit(git, root, dict.fromkeys(lengths, ""))
        write(root, {name: "1\n" * length for name, length in lengths.items()})
        diff = checkout.changes()
        assert [line.split()[-5] for line in heads(diff)] == ["b.csv"]
        assert len(diff) < 1_000_000

    @pytest.mark.parametrize("became", ["larger", "smaller", "deleted"])
    def test_a_large_file_is_left_out_without_being_compared(self, git: Git, root: Path, became: str) -> None:
        """Git would take minutes for it, and a multiple of its size in memory."""
        large, small = b"1\n" * 2_500_000, b"1\n"
        commit(git, root, {"code.py": "a = 1\n", "large.csv": small if became == "larger" else large})
        write(root, {"code.py": "a = 2\n", "large.csv": large if became == "larger" else small})
        if became == "deleted":
            (root / "large.csv").unlink()
        diff = checkout.changes()
        assert heads(diff) == [f"{self.LIMIT}large.csv (5,000,000 bytes)"]
        assert b"+a = 2" in diff

    def test_no_more_is_held_in_memory_than_is_kept(self, git: Git, root: Path) -> None:
        files = {f"{number}.csv": (b"1" * 999 + b"\n") * 3_000 for number in range(4)}
        commit(git, root, dict.fromkeys(files, b""))
        write(root, {**files, "0.csv": b"1" * 3_000_000})  # a line, too, may be long
        tracemalloc.start()
        diff = checkout.changes()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(heads(diff)) == 4
        assert peak < 5_000_000

    def test_a_binary_file_is_left_out(self, git: Git, root: Path) -> None:
        commit(git, root, {"code.py": "a = 1\n", "a.bin": b"\0one"})
        write(root, {"code.py": "a = 2\n", "a.bin": b"\0two"})
        assert heads(checkout.changes()) == ["# Left out, as it is binary: a.bin"]

    def test_of_many_that_are_left_out_a_hundred_are_named(self, git: Git, root: Path) -> None:
        names = [f"{number}.bin" for number in range(150)]
        commit(git, root, dict.fromkeys(names, b"\0one"))
        write(root, dict.fromkeys(names, b"\0two"))
        said = heads(checkout.changes())
        assert len(said) == 101
        assert said[-1] == "# Left out: 50 more files"
