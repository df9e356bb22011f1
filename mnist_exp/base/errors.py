"""What can go wrong, as one tree, and the exit codes.

::

    MnistExpError            exit code
    ├── ConfigError          2   a key, its rule and the value received
    ├── DataError            2   a data set that is missing, damaged or not what its name says
    ├── StoreError           2   a tracking store that cannot be used
    │   ├── StoreAway        2   no answer; sending is retried later
    │   └── Refused          2   rejected permanently
    └── RunFailed            1   a run that started and did not finish
        └── Diverged         1   its loss is NaN or infinite

Each message is one line of bounded length: what is wrong, the value received, what would be right.
"""

from mnist_exp.base.text import abridged, visible
from mnist_exp.base.text import received as quoted

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM: 128 and the number of the signal, as shells have it."""

# A few lines of a terminal; the longest of our own sentences has half as many characters.
_LONGEST = 1000


class MnistExpError(Exception):
    """Base of every error that this program raises on purpose. Shown to a user without a traceback."""

    exit_code: int = 2

    def __init__(self, message: str) -> None:
        super().__init__(abridged(visible(message), _LONGEST))


class ConfigError(MnistExpError):
    """The configuration breaks a rule; nothing was started."""

    @classmethod
    def rule(cls, key: str, rule: str, received: object) -> "ConfigError":
        """Return the standard sentence: ``optimizer.lr must be greater than 0. Received: 0``."""
        return cls(f"{key} {rule}. Received: {quoted(received)}")


class DataError(MnistExpError):
    """A data set is missing, damaged, or not what its name says."""


class StoreError(MnistExpError):
    """The tracking store cannot be reached, created or written."""


class StoreAway(StoreError):
    """The tracking store does not answer. It may later: entries stay in their journals and are sent then."""


class Refused(StoreError):
    """The tracking store answered and rejected a request permanently: repeating it is of no use."""


class RunFailed(MnistExpError):
    """A run started and did not finish; its reason is on the screen and in its tags."""

    exit_code = 1
    reason = "error"


class Diverged(RunFailed):
    """The loss of an epoch is NaN or infinite."""

    reason = "diverged"


def first_line(error: BaseException) -> str:
    """Return the first line of any library's error message; empty if it has none."""
    return (str(error).strip().splitlines() or [""])[0]
