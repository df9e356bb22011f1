"""The text of ``python -m mnist_exp --help``: the files of conf/ with their comments, without importing Hydra.

Hydra's own help shows the keys without their comments, and takes a second longer.
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
    """Return the help; ``arguments`` may choose an option of a group (``model=cnn``), whose keys are then shown."""
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
    return sorted(folder for folder in paths.CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def _defaults() -> dict[str, str]:
    """Return the default option of each group, as config.yaml has it."""
    listed = yaml.safe_load((paths.CONF / "config.yaml").read_text())["defaults"]
    pairs = {group: option for each in listed if isinstance(each, dict) for group, option in each.items()}
    return {group: option for group, option in pairs.items() if option is not None and "hydra/" not in group}


def _file(group: str, option: str) -> str:
    """Return the content of an option's file; if that extends another option, with the keys of both."""
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
    hidden = re.compile(r"# @package|name:")  # the option's name is the heading already
    return [f"    {line}" for line in content.splitlines() if line and not hidden.match(line)]
