"""Signatures of review events, by the real ssh-keygen: what is verified, what is unknown, and what was changed."""

import base64
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError
from mnist_exp.review import signature
from mnist_exp.review.signature import NAMESPACE, State, sign, verify

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen, of OpenSSH's client")

TEXT = '{"kind": "approve", "text": "größer? Yes.\\n"}'


@dataclass(frozen=True)
class Git:
    """A folder that stands for the home of a user and the project, with git's config and keys in it."""

    folder: Path

    def set(self, name: str, value: str) -> None:
        subprocess.run(["git", "config", "--global", name, value], check=True)

    def key(self, name: str = "key", passphrase: str = "") -> str:
        file = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", file], check=True)
        return file.with_name(f"{name}.pub").read_text().strip()

    def sign_with(self, key: str) -> None:
        self.set("gpg.format", "ssh")
        self.set("user.signingkey", key)

    def allow(self, *lines: str) -> None:
        (self.folder / "allowed_signers").write_text("".join(f"{line}\n" for line in lines))
        self.set("gpg.ssh.allowedSignersFile", "~/allowed_signers")


@pytest.fixture(autouse=True)
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    for name in ("GIT_DIR", "GIT_CONFIG_COUNT", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    return Git(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary files are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def public(git: Git) -> str:
    """The public key that git is set up to sign with."""
    public = git.key()
    git.sign_with("~/key")
    return public


def signed(text: str = TEXT) -> str:
    made = sign(text)
    assert made is not None
    return made


class TestSign:
    def test_where_git_does_not_sign_nothing_is_signed(self) -> None:
        assert not signature.is_set_up()
        assert sign(TEXT) is None

    def test_where_git_signs_with_gpg_nothing_is_signed(self, git: Git) -> None:
        git.set("user.signingkey", "0123456789ABCDEF")
        assert sign(TEXT) is None

    @pytest.mark.usefixtures("public")
    def test_a_signature_is_one_line_of_base64(self) -> None:
        assert signature.is_set_up()
        assert re.fullmatch(r"[A-Za-z0-9+/]+=*", signed())
        assert base64.b64decode(signed(), validate=True).startswith(b"SSHSIG")

    @pytest.mark.parametrize("setting", ["~/key", "~/key.pub", "key"])
    def test_the_key_is_a_file_private_or_public(self, public: str, git: Git, setting: str) -> None:
        git.sign_with(setting)
        git.allow(f"ann@example.org {public}")
        assert verify(TEXT, signed()).state is State.VERIFIED

    @pytest.mark.usefixtures("public")
    def test_no_temporary_file_stays(self, scratch: Path) -> None:
        verify(TEXT, signed())
        assert list(scratch.iterdir()) == []

    @pytest.mark.usefixtures("public")
    def test_the_repositorys_settings_count_too(self, git: Git) -> None:
        subprocess.run(["git", "init", "-q", git.folder], check=True)
        subprocess.run(["git", "-C", git.folder, "config", "gpg.format", "openpgp"], check=True)
        assert sign(TEXT) is None


class TestAgent:
    @pytest.fixture
    def agent(self, git: Git, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """An agent that has a private key which is nowhere else; gives the public one."""
        public = git.key("held")
        with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
            started = subprocess.run(["ssh-agent", "-a", f"{folder}/s"], check=True, capture_output=True, text=True)
            found = re.search(r"SSH_AGENT_PID=(\d+)", started.stdout)
            assert found is not None
            monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/s")
            subprocess.run(["ssh-add", "-q", git.folder / "held"], check=True)
            (git.folder / "held").unlink()
            yield public
            os.kill(int(found[1]), signal.SIGTERM)

    @pytest.mark.parametrize("prefix", ["key::", ""])
    def test_a_key_in_the_setting_itself_is_used_through_the_agent(
        self, agent: str, git: Git, prefix: str, scratch: Path
    ) -> None:
        git.sign_with(prefix + agent)
        git.allow(f"ann@example.org {agent}")
        assert verify(TEXT, signed()).signer == "ann@example.org"
        assert list(scratch.iterdir()) == []

    def test_a_public_key_file_is_used_through_the_agent(self, agent: str, git: Git) -> None:
        git.sign_with("~/held.pub")
        git.allow(f"ann@example.org {agent}")
        assert verify(TEXT, signed()).signer == "ann@example.org"


class TestSigningFails:
    @pytest.mark.parametrize("setting", ["~/nowhere", "~no-such-user/nowhere"])
    def test_a_file_that_is_missing(self, git: Git, setting: str) -> None:
        git.sign_with(setting)
        with pytest.raises(
            ConfigError, match=r"user\.signingkey must be a file, or a public key\. Received: .*nowhere"
        ):
            sign(TEXT)

    def test_a_key_that_needs_a_passphrase_is_not_asked_for_it(self, git: Git) -> None:
        git.key("locked", passphrase="a passphrase")
        git.sign_with("~/locked")
        with pytest.raises(ConfigError, match=r"passphrase.*Add the key to an agent first: ssh-add .*/locked"):
            sign(TEXT)

    def test_a_text_that_begins_with_the_passphrase_does_not_open_the_key(self, git: Git) -> None:
        git.key("locked", passphrase="a passphrase")
        git.sign_with("~/locked")
        with pytest.raises(ConfigError):
            sign("a passphrase\n")

    def test_a_public_key_without_its_agent(self, git: Git, scratch: Path) -> None:
        git.sign_with(f"key::{git.key()}")
        with pytest.raises(ConfigError, match=r"An agent must have the private key"):
            sign(TEXT)
        assert list(scratch.iterdir()) == []

    def test_a_file_that_is_not_a_key(self, git: Git) -> None:
        (git.folder / "text").write_text("not a key")
        git.sign_with("~/text")
        with pytest.raises(ConfigError, match=r"signing with git's user\.signingkey .* failed"):
            sign(TEXT)

    def test_a_key_that_others_may_read(self, git: Git) -> None:
        git.key()
        (git.folder / "key").chmod(0o644)
        git.sign_with("~/key")
        with pytest.raises(ConfigError, match=r"Others may read its file: chmod 600 .*/key"):
            sign(TEXT)

    @pytest.mark.usefixtures("public")
    def test_a_program_that_is_missing(self, git: Git) -> None:
        git.set("gpg.ssh.program", "~/no-such-program")
        with pytest.raises(ConfigError, match=r"no-such-program cannot be run.*Is OpenSSH's client installed\?"):
            sign(TEXT)


class TestVerified:
    def test_a_key_in_allowed_signers_names_its_signer(self, public: str, git: Git) -> None:
        git.allow(f"ann@example.org {public}")
        found = verify(TEXT, signed())
        assert (found.state, found.signer, found.key[:7]) == (State.VERIFIED, "ann@example.org", "SHA256:")

    @pytest.mark.parametrize("namespaces", [(f"git,{NAMESPACE}",), ("git", NAMESPACE)])
    def test_a_line_may_permit_the_namespace(self, public: str, git: Git, namespaces: tuple[str, ...]) -> None:
        git.allow(*(f'ann@example.org namespaces="{each}" {public}' for each in namespaces))
        assert verify(TEXT, signed()).state is State.VERIFIED

    @pytest.mark.parametrize("text", ["", "x" * 100_000, "\0\r\n", "\udc80", "größer 李"])
    def test_any_text_can_be_signed(self, public: str, git: Git, text: str) -> None:
        git.allow(f"ann@example.org {public}")
        assert verify(text, signed(text)).state is State.VERIFIED


class TestUnknown:
    @pytest.mark.usefixtures("public")
    def test_no_file_of_known_keys(self) -> None:
        found = verify(TEXT, signed())
        assert (found.state, found.signer) == (State.UNKNOWN, "")
        assert "gpg.ssh.allowedSignersFile is not set: whose is key SHA256:" in found.reason

    @pytest.mark.usefixtures("public")
    def test_a_file_of_known_keys_that_does_not_exist(self, git: Git) -> None:
        git.set("gpg.ssh.allowedSignersFile", "~/nowhere")
        found = verify(TEXT, signed())
        assert found.state is State.UNKNOWN
        assert "allowedSignersFile does not exist" in found.reason

    @pytest.mark.usefixtures("public")
    def test_a_key_that_is_not_listed(self, git: Git) -> None:
        git.allow(f"bob@example.org {git.key('other')}", "a damaged line")
        found = verify(TEXT, signed())
        assert found.state is State.UNKNOWN
        assert "allowed_signers has no valid line for key SHA256:" in found.reason
        assert found.reason.isprintable()

    def test_a_namespace_that_is_not_permitted_is_named(self, public: str, git: Git) -> None:
        git.allow(f'ann@example.org namespaces="git" {public}')
        found = verify(TEXT, signed())
        assert found.state is State.UNKNOWN
        assert "allowed_signers:1" in found.reason
        assert found.reason.endswith(f'add it there, as in namespaces="git,{NAMESPACE}"')

    def test_a_key_that_has_expired(self, public: str, git: Git) -> None:
        git.allow(f'ann@example.org valid-before="20200101" {public}')
        found = verify(TEXT, signed())
        assert found.state is State.UNKNOWN
        assert "key has expired" in found.reason

    def test_a_key_that_is_revoked(self, public: str, git: Git) -> None:
        git.allow(f"ann@example.org {public}")
        git.set("gpg.ssh.revocationFile", "~/key.pub")  # git accepts a list of public keys as well
        found = verify(TEXT, signed())
        assert found.state is State.UNKNOWN
        assert "revokes key SHA256:" in found.reason

    @pytest.mark.usefixtures("public")
    def test_no_program_to_check_with(self, git: Git) -> None:
        made = signed()
        git.set("gpg.ssh.program", "~/no-such-program")
        found = verify(TEXT, made)
        assert found.state is State.UNKNOWN
        assert "cannot be checked" in found.reason

    @pytest.mark.usefixtures("public")
    def test_a_kind_of_key_that_this_ssh_does_not_know(self) -> None:
        later = base64.b64decode(signed()).replace(b"ssh-ed25519", b"ssh-ed99999")
        assert verify(TEXT, base64.b64encode(later).decode()).state is State.UNKNOWN


class TestInvalid:
    @pytest.mark.parametrize("is_known", [True, False])
    def test_a_changed_text(self, public: str, git: Git, is_known: bool) -> None:
        if is_known:
            git.allow(f"ann@example.org {public}")
        found = verify(TEXT.replace("approve", "reject"), signed())
        assert (found.state, found.signer) == (State.INVALID, "")
        assert "was changed" in found.reason

    @pytest.mark.usefixtures("public")
    def test_a_changed_signature(self) -> None:
        changed = bytearray(base64.b64decode(signed()))
        changed[-1] ^= 1
        assert verify(TEXT, base64.b64encode(changed).decode()).state is State.INVALID

    def test_a_signature_for_another_purpose(self, public: str, git: Git) -> None:
        git.allow(f"ann@example.org {public}")
        (git.folder / "commit").write_bytes(TEXT.encode())
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", "key", "commit"], cwd=git.folder, check=True
        )
        lines = (git.folder / "commit.sig").read_text().splitlines()
        found = verify(TEXT, "".join(lines[1:-1]))
        assert found.state is State.INVALID
        assert "namespace does not match" in found.reason

    @pytest.mark.parametrize(
        "text",
        ["", "x", "=", "U1NIU0lH", "é", "A" * 10_000, "U1NIU0lH\n", "-----BEGIN SSH SIGNATURE-----", "\x1b[2J", "\0"],
    )
    @pytest.mark.usefixtures("public")
    def test_what_is_no_signature(self, text: str) -> None:
        found = verify(TEXT, text)
        assert found.state is State.INVALID
        assert found.reason.isprintable()
