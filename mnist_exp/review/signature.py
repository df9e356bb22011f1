"""Signatures of review events, made and checked by ``ssh-keygen -Y`` if git is set up to sign with ssh.

Git's own settings apply: ``gpg.format``, ``user.signingkey``, ``gpg.ssh.program``, ``gpg.ssh.allowedSignersFile`` and
``gpg.ssh.revocationFile``. A signature is valid in our namespace only: one of a commit cannot pass for one of a review.

``ssh-keygen`` runs without a terminal and cannot ask for a passphrase: an encrypted key needs an agent. What its errors
mean was tried with OpenSSH 9.2.
"""

import base64
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError, first_line
from mnist_exp.base.text import received, redact, shortened, visible

NAMESPACE = "mnist-exp-review"
"""What signatures are made for: ``allowed_signers`` may permit a key some namespaces only."""

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"

# Base64 characters: an Ed25519 key's signature has 300, that of an RSA key of 16,384 bits 5,600.
_MAX_SIGNATURE = 6000
_LINE = 70

_MAX_REASON = 500

# A key on a hardware token waits for a touch.
_SIGNING_TIMEOUT_S = 60

_TIMEOUT_S = 10


class State(StrEnum):
    """What a check of a signature found."""

    VERIFIED = "verified"
    UNKNOWN = "unknown"
    INVALID = "invalid"


@dataclass(frozen=True)
class Verified:
    """The result of checking a signature.

    Attributes:
        state: VERIFIED if a key in ``allowed_signers`` made it; UNKNOWN if its form is good and it cannot be checked
            who made it; INVALID if it is not a signature of this text.
        signer: the principal that ``allowed_signers`` names for the key; empty unless VERIFIED.
        reason: why it is not VERIFIED, on one line; empty if it is.
        key: the fingerprint of the key that made it; empty if that is not known.
    """

    state: State
    signer: str = ""
    reason: str = ""
    key: str = ""


@dataclass(frozen=True)
class _Done:
    """How a command ended.

    Attributes:
        code: its exit code; None if it could not be run, or did not end in time.
        output, error: what it printed.
    """

    code: int | None
    output: str
    error: str

    @property
    def reason(self) -> str:
        """The last line of its standard error, where ``ssh-keygen`` says what failed."""
        lines = self.error.strip().splitlines() or [f"exit code {self.code}"]
        return _reason(lines[-1].removeprefix("Enter passphrase: "))


def is_set_up() -> bool:
    """Return whether git is set up to sign with ssh: ``gpg.format`` is ``ssh``, and ``user.signingkey`` is set."""
    return _setting("gpg.format") == "ssh" and bool(_setting("user.signingkey"))


def sign(text: str) -> str | None:
    """Sign ``text`` with the key that git signs with.

    Returns:
        The signature in base64, on one line; None if git is not set up to sign with ssh.

    Raises:
        ConfigError: git is set up for that, and signing failed.
    """
    if not is_set_up():
        return None
    key = _setting("user.signingkey")
    with tempfile.TemporaryDirectory() as scratch:
        file = _key_file(key, Path(scratch))
        message = Path(scratch) / "message"
        message.write_bytes(_encoded(text))  # a file: from its standard input, ssh-keygen would read a passphrase
        done = _keygen("sign", "-n", NAMESPACE, "-f", str(file), str(message), timeout_s=_SIGNING_TIMEOUT_S)
        if done.code != 0:
            raise ConfigError(
                f"signing with git's user.signingkey {redact(received(key))} failed: {done.reason}{_remedy(done, file)}"
            )
        armored = message.with_name("message.sig").read_text(encoding="ascii").strip()
    return "".join(armored.removeprefix(_BEGIN).removesuffix(_END).split())


def verify(text: str, signature: str) -> Verified:
    """Check that ``signature`` is one of ``text``, and find out who made it.

    Args:
        text: what was signed.
        signature: as :func:`sign` returns it. It is not trusted.

    Returns:
        The result. A signature of another text is INVALID whether or not its maker is known.
    """
    if not _is_signature(signature):
        return Verified(State.INVALID, reason="this is not an ssh signature")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "signature"
        lines = [signature[start : start + _LINE] for start in range(0, len(signature), _LINE)]
        file.write_text("\n".join([_BEGIN, *lines, _END, ""]), encoding="ascii")
        done = _keygen("check-novalidate", "-n", NAMESPACE, "-s", str(file), given=_encoded(text))
        if (
            done.code not in (0, 255) or "supported" in done.error
        ):  # a missing or old ssh-keygen, or a newer kind of key
            return Verified(State.UNKNOWN, reason=_reason(f"the signature cannot be checked: {done.reason}"))
        if done.code != 0:
            return Verified(State.INVALID, reason=_reason(f"the text or its signature was changed: {done.reason}"))
        key = done.output.strip().rpartition(" ")[2]
        return replace(_signer(text, file, key), key=key)


def _signer(text: str, file: Path, key: str) -> Verified:
    """Find out who made a signature, by the files that git knows keys from.

    Args:
        text: what was signed.
        file: its signature, armored, which fits the text.
        key: the fingerprint of the key that made it.
    """
    allowed = _setting("gpg.ssh.allowedSignersFile")
    if not allowed:
        return Verified(State.UNKNOWN, reason=f"git's gpg.ssh.allowedSignersFile is not set: whose is key {key}?")
    signers = paths.root() / allowed
    if not _is_file(signers):
        return Verified(State.UNKNOWN, reason=_reason(f"git's gpg.ssh.allowedSignersFile does not exist: {signers}"))
    found = _keygen("find-principals", "-s", str(file), "-f", str(signers))
    if found.code != 0:
        notes = [line for line in found.error.splitlines() if "No principal matched" not in line]
        return Verified(
            State.UNKNOWN, reason=_reason(": ".join([f"{signers} has no valid line for key {key}", *notes[:1]]))
        )
    options = ["-n", NAMESPACE, "-s", str(file), "-f", str(signers)]
    if revoked := _setting("gpg.ssh.revocationFile"):
        options += ["-r", str(paths.root() / revoked)]
    done = found
    for principal in found.output.splitlines():
        done = _keygen("verify", *options, "-I", principal, given=_encoded(text))
        if done.code == 0:
            return Verified(State.VERIFIED, signer=shortened(visible(principal), _MAX_REASON))
    if "signature namespace" in done.error:
        return Verified(
            State.UNKNOWN, reason=_reason(f'{done.reason}: add it there, as in namespaces="git,{NAMESPACE}"')
        )
    if revoked and not done.error:  # ssh-keygen says nothing about it
        return Verified(State.UNKNOWN, reason=_reason(f"{revoked} revokes key {key}, or cannot be read"))
    return Verified(State.UNKNOWN, reason=done.reason)


def _key_file(key: str, scratch: Path) -> Path:
    """Return the file of git's signing key; a public key that stands in the setting itself is written to ``scratch``.

    Raises:
        ConfigError: there is no such file.
    """
    if key.startswith(("key::", "ssh-")):  # as git tells them apart
        file = scratch / "key.pub"
        file.write_text(f"{key.removeprefix('key::')}\n", encoding="utf-8")
        return file
    file = paths.root() / key
    if not _is_file(file):
        raise ConfigError(f"git's user.signingkey must be a file, or a public key. Received: {redact(received(key))}")
    return file


def _remedy(done: _Done, file: Path) -> str:
    """Return what to do about a key that could not sign, to follow the reason; empty if the reason is all there is."""
    if "passphrase" in done.error:
        return f". Add the key to an agent first: ssh-add {shlex.quote(str(file))}"
    if "UNPROTECTED" in done.error:
        return f". Others may read its file: chmod 600 {shlex.quote(str(file))}"
    if "agent" in done.error or "No private key" in done.error:
        return ". An agent must have the private key: ssh-add -L lists what it has"
    return ""


def _is_signature(text: str) -> bool:
    """Return whether ``text`` may be a signature in base64: only that is written to a file for ``ssh-keygen``."""
    try:
        return len(text) <= _MAX_SIGNATURE and base64.b64decode(text, validate=True).startswith(b"SSHSIG")
    except ValueError:
        return False


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # no two texts have the same bytes


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its name is too long
        return False


def _reason(text: str) -> str:
    return shortened(redact(visible(text)), _MAX_REASON)


def _setting(name: str) -> str:
    """Return a setting of git, with ``~`` expanded; empty if it is not set, or if this machine has no git."""
    command = ["git", "-C", str(paths.root()), "config"]
    done = _run(*command, "--type=path", "--get", name)
    if done.code not in (0, 1):  # not 1, as for one that is not set: ~nobody/key, of a user who does not exist
        done = _run(*command, "--get", name)
    return done.output.removesuffix("\n")


def _keygen(operation: str, *options: str, given: bytes = b"", timeout_s: int = _TIMEOUT_S) -> _Done:
    """Run an operation of ``ssh-keygen -Y``."""
    program = _setting("gpg.ssh.program") or "ssh-keygen"
    return _run(program, "-Y", operation, *options, given=given, timeout_s=timeout_s)


def _run(*command: str, given: bytes = b"", timeout_s: int = _TIMEOUT_S) -> _Done:
    """Run a command that can ask nobody: without a terminal, and without a window for passphrases."""
    silent = {**os.environ, "SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "never"}
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            check=False,
            cwd=paths.root(),
            env=silent,
            start_new_session=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return _Done(None, "", f"{command[0]} did not end within {timeout_s} s")
    except (OSError, ValueError) as error:
        return _Done(None, "", f"{command[0]} cannot be run: {first_line(error)}. Is OpenSSH's client installed?")
    return _Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
