"""Who asks, reviews and decides: the login that the server reports, else a name that git or this machine claims."""

import os
import re
import subprocess
from dataclasses import dataclass

from mnist_exp.base import paths
from mnist_exp.base.text import shortened, visible
from mnist_exp.tracking.protocols import Backend

AUTHOR = "sweep.author"
"""Tag of a sweep's parent run: who began it, as claimed."""

_MAX_NAME = 200

# git needs milliseconds; a network drive that hangs must not hang a review.
_TIMEOUT_S = 10

_NAME_AND_EMAIL = re.compile(r"(?P<name>[^<>]*)<(?P<email>[^<>]*)>\s*")


@dataclass(frozen=True)
class Person:
    """A person who takes part in a review.

    Both fields hold one line of at most 200 characters without control characters and angle brackets, for any input:
    names come from servers, from git and from records that may have been tampered with.

    Attributes:
        name: a login, git's user name, or the name of the account on this machine. If none is given, it is the e-mail
            address, or else ``unknown``.
        email: git's; empty otherwise.
        is_login: whether the server reported the name; any other name is claimed.
    """

    name: str
    email: str = ""
    is_login: bool = False

    def __post_init__(self) -> None:
        email = _cleaned(self.email)
        object.__setattr__(self, "name", _cleaned(self.name) or email or "unknown")
        object.__setattr__(self, "email", email)

    def __str__(self) -> str:
        """Return ``Ann Lee <ann@example.org>``, or ``ann`` without an e-mail address."""
        return f"{self.name} <{self.email}>" if self.email else self.name

    @classmethod
    def parse(cls, text: str) -> "Person":
        """Return the person that ``str`` gave ``text`` for. Text does not carry whether it was a login: it is False."""
        if (match := _NAME_AND_EMAIL.fullmatch(text)) is None:
            return cls(text)
        return cls(match["name"], match["email"])

    def is_called(self, name: str) -> bool:
        """Return whether a user who types ``name`` means this person, in upper or lower case.

        It may be the whole of ``str(person)``, the name, the e-mail address, or its part before the @.
        """
        names = {each.casefold() for each in (str(self), self.name, self.email, self.email.partition("@")[0]) if each}
        return " ".join(name.split()).casefold() in names

    def is_same(self, other: "Person") -> bool:
        """Return whether both are one person: by their e-mail addresses if both have one, else by their names.

        Upper and lower case do not differ. A login and a name of git's are compared as names.
        """
        if self.email and other.email:
            return self.email.casefold() == other.email.casefold()
        return self.name.casefold() == other.name.casefold()


def current(backend: Backend) -> Person:
    """Return the person who uses this program.

    That is the login that the server reports; else git's author, from the environment or git's config; else the account
    on this machine.

    Raises:
        StoreError: the server did not say who is logged in.
    """
    if (login := backend.login()) is not None:
        return Person(login, is_login=True)
    return claimed()


def claimed() -> Person:
    """Return the person who uses this program, without asking a server.

    That is the login that MLflow is given (MLFLOW_TRACKING_USERNAME), else git's author, else the account.
    """
    if login := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return Person(login)
    if (author := _git_author()) is not None:
        return author
    from mnist_exp.tracking.mlflow.tracker import current_user

    return Person(current_user())


def _git_author() -> Person | None:
    """Return the author that git would name in a commit; None without git, or if none is configured.

    Without one, git would make an address up from the account and the host, for which it may wait for a name server.
    """
    command = ["git", "-C", str(paths.root()), "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    ident = done.stdout.decode(errors="replace").strip()
    name_and_email, _, _ = ident.rpartition(">")  # the time of day follows
    return Person.parse(f"{name_and_email}>") if done.returncode == 0 and name_and_email else None


def _cleaned(text: str) -> str:
    """Return ``text`` as a field of a person holds it. What it returns, it leaves as it is."""
    words = text.replace("<", " ").replace(">", " ").split()
    return shortened(visible(" ".join(words)), _MAX_NAME)
