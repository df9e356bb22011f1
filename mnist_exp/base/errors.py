"""What can go wrong, as one tree.

::

    MnistExpError            exit code
    ├── ConfigError          2   a key, its rule and the value received
    ├── DataError            2   a data set that is missing, damaged or not what it is said to be
    ├── StoreError           2   a tracking store that cannot be used
    │   ├── StoreAway        2   now; it may be later
    │   └── Refused          2   for this, ever
    └── RunFailed            1   a run that started and did not finish
        └── Diverged         1   its loss stopped being a number

Each message is one line that says what is wrong, what was received and what would be right, however much was received.
"""

from mnist_exp.base.text import abridged, visible
from mnist_exp.base.text import received as quoted

# A few lines of a terminal; the longest of our own sentences has half as many characters.
_LONGEST = 1000


class MnistExpError(Exception):
    """Base of every error this program raises on purpose. Shown to a user without a traceback."""

    exit_code: int = 2

    def __init__(self, message: str) -> None:
        super().__init__(abridged(visible(message), _LONGEST))


class ConfigError(MnistExpError):
    """The configuration breaks a rule; nothing was started."""

    @classmethod
    def rule(cls, key: str, rule: str, received: object) -> "ConfigError":
        """The standard sentence: ``optimizer.lr must be greater than 0. Received: 0``."""
        return cls(f"{key} {rule}. Received: {quoted(received)}")


class DataError(MnistExpError):
    """A data set cannot be had, or is not what it claims to be."""


class StoreError(MnistExpError):
    """The tracking store cannot be reached, created or written."""


class StoreAway(StoreError):
    """The tracking store does not answer now. It may later: what it is to have waits in journals."""


class Refused(StoreError):
    """The tracking store answers, and will never take what it was told: telling it again is of no use."""


class RunFailed(MnistExpError):
    """A run started and did not finish; its reason is already on the screen and in its tags."""

    exit_code = 1
    reason = "error"


class Diverged(RunFailed):
    """The loss of an epoch is NaN or infinite."""

    reason = "diverged"


def first_line(error: BaseException) -> str:
    """What an error of any library says, without the lines that follow its first."""
    return (str(error).strip().splitlines() or [""])[0]
