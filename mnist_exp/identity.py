"""What makes two runs the same run: config, data, code and the libraries that compute."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from mnist_exp import project
from mnist_exp.config import RunConfig
from mnist_exp.data.datasets import Dataset
from mnist_exp.replicate import REPLICATE

# The code that a run's figures depend on; how they are tracked, drawn or compared changes none of them.
_CODE = ("config.py", "replicate.py", "models.py", "optimizers.py", "evaluation.py", "data/*.py", "training/*.py")
_LIBRARIES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Identity:
    """Digests of the four things; runs that agree in all of them are the same run.

    Attributes:
        config: the resolved config, without what changes no figure: where data lie, where runs are kept, ``resume``.
        data: the data set's content.
        code: the modules that compute.
        libraries: their versions.
    """

    config: str
    data: str
    code: str
    libraries: str

    @property
    def fingerprint(self) -> str:
        """All four as one."""
        return _digest(asdict(self))

    def tags(self) -> dict[str, str]:
        """What a run keeps of it."""
        return {"fingerprint": self.fingerprint, **{f"fingerprint.{name}": text for name, text in asdict(self).items()}}

    def differing(self, tags: Mapping[str, str]) -> list[str]:
        """Which of the four are not those of the run with these tags."""
        return [name for name, text in asdict(self).items() if tags.get(f"fingerprint.{name}") != text]


def of(config: RunConfig, dataset: Dataset) -> Identity:
    """The identity of the run that ``config`` makes with ``dataset``."""
    plain = {key: value for key, value in config.plain().items() if key != REPLICATE}  # its seeds say it all
    plain["data"] = {key: value for key, value in plain["data"].items() if key not in ("name", "path")}
    return Identity(_digest(plain), dataset.digest[:16], _code(), _libraries())


def together(identities: list[Identity]) -> Identity:
    """The identity of a sweep over those runs."""
    first = identities[0]
    return Identity(_digest(sorted(each.config for each in identities)), first.data, first.code, first.libraries)


@cache
def _code() -> str:
    files = sorted(file for pattern in _CODE for file in project.PACKAGE.glob(pattern))
    texts = {str(file.relative_to(project.PACKAGE)): file.read_text("utf-8") for file in files}
    return _digest(texts)


@cache
def _libraries() -> str:
    return _digest({name: version(name) for name in _LIBRARIES})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
