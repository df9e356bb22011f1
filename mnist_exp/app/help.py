"""What ``python -m mnist_exp --help`` shows: the files of conf/, with their own comments, without importing Hydra.

Hydra's help would show the keys without a word on them, after a second of listing its own configs.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from mnist_exp.base import paths

_ABOVE = """\
python -m mnist_exp [-m] [key=value ...]

Trains a small network on MNIST and tracks it in MLflow. With -m, keys may hold several values
(model.units=4,10 or replicate=range(8)): every combination is one run of a sweep.
"""

_BELOW = """\
--cfg job shows the config that a command line composes to, without running it.
model=cnn --help shows the keys of cnn; so with every other group.
mnist-exp --help shows the commands around runs, such as the MLflow UI.
--hydra-help shows the flags of Hydra, which composes the configuration."""


def text(arguments: Sequence[str]) -> str:
    """The help; ``arguments`` may choose options (``model=cnn``), whose keys are then shown."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    options = {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in _groups()}
    choices = {**options, "experiment": list(paths.experiment_files())}
    parts = [_ABOVE, "Groups: choose with group=option\n"]
    parts += [f"  {group:11} {' | '.join(names)}" for group, names in choices.items()]
    parts += ["\nKeys: change with group.key=value; these are the defaults\n"]
    for group, default in _defaults().items():
        option = given[group] if given.get(group) in options[group] else default
        parts += [f"  {group}={option}", *_lines(_file(group, option)), ""]
    own_keys = paths.CONF.joinpath("config.yaml").read_text().split("\n\n")[1]
    return "\n".join([*parts, *(f"  {line}" for line in own_keys.splitlines()), "", _BELOW])


def _groups() -> list[Path]:
    return sorted(folder for folder in paths.CONF.iterdir() if folder.is_dir())


def _defaults() -> dict[str, str]:
    """The option of each group that config.yaml names."""
    listed = yaml.safe_load((paths.CONF / "config.yaml").read_text())["defaults"]
    pairs = {group: option for each in listed if isinstance(each, dict) for group, option in each.items()}
    return {group: option for group, option in pairs.items() if option is not None}


def _file(group: str, option: str) -> str:
    """A group's file; where it builds on another, that one, with its own values in place."""
    content = (paths.CONF / group / f"{option}.yaml").read_text()
    if "defaults:" not in content:
        return content
    head, own = content.split("defaults:")
    (base,) = re.findall(r"^  - (?!_self_)(\w+)", own, re.MULTILINE)
    based_on = re.sub(r"^#.*\n", "", _file(group, base), flags=re.MULTILINE)
    for key, value in re.findall(r"^(\w+): *(.*)$", own, re.MULTILINE):
        based_on = re.sub(rf"^{key}:.*$", f"{key}: {value}", based_on, flags=re.MULTILINE)
    return head + based_on


def _lines(content: str) -> list[str]:
    hidden = re.compile(r"# @package|name:")  # the option's name stands above already
    return [f"    {line}" for line in content.splitlines() if line and not hidden.match(line)]
