"""Hydra's configs: composed from conf/, experiments/ and overrides, handed on as plain checked ones.

Only this room, :mod:`mnist_exp.app`, knows Hydra.
"""

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import yaml
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError, MnistExpError, StoreError, first_line
from mnist_exp.base.text import received as quoted
from mnist_exp.base.text import redact, shortened, visible
from mnist_exp.config.replicate import REPLICATE, SOURCES
from mnist_exp.config.schema import RunConfig, check, suggestion
from mnist_exp.terminal import messages

if TYPE_CHECKING:
    from mnist_exp.runs.run import Job

_LONGEST_NAME = 250  # what MLflow takes


def register() -> None:
    """Tell Hydra of the project's folder and its experiments; needed once before anything is composed."""
    if os.environ.get("MNIST_EXP_DATA") == "":  # set to nothing is not set
        del os.environ["MNIST_EXP_DATA"]
    OmegaConf.register_new_resolver("project_root", lambda: str(paths.root()), replace=True)
    store = ConfigStore.instance()
    for name, file in paths.experiment_files().items():
        try:
            store.store(group="experiment", name=name, node=OmegaConf.load(file), package="_global_")
        except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
            messages.warning(f"{file} is left out, it cannot be read: {first_line(error)}")


def compose(overrides: Sequence[str]) -> DictConfig:
    """What a command line with ``overrides`` composes to, Hydra's own part included, without running it."""
    register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides), return_hydra_config=True)


def to_run_config(composed: DictConfig) -> RunConfig:
    """Leave Hydra's world: a composed config as a checked, plain one.

    Raises:
        ConfigError: it breaks a rule.
    """
    if "hydra" in composed and composed.hydra.job.chdir:
        raise ConfigError.rule("hydra.job.chdir", "must be false, paths being relative to where you are", True)
    plain = {
        str(key): OmegaConf.to_container(composed[key], resolve=True)
        if OmegaConf.is_config(composed[key])
        else composed[key]
        for key in composed
        if key != "hydra"
    }
    # Which experiment was chosen is known to Hydra alone; within a job its part of the config is kept apart.
    own = composed.hydra if "hydra" in composed else HydraConfig.get()
    return check({**plain, "experiment": own.runtime.choices.get("experiment")})


def expand(config: DictConfig) -> tuple[list[str], list[list[str]], list[DictConfig]]:
    """A sweep as Hydra's basic sweeper will run it: the keys that vary, each job's overrides, each job composed.

    No jobs where another sweeper is in charge: it decides as it goes.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    loader = GlobalHydra.instance().config_loader()
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    overrides = parser.parse_overrides([*given, *config.hydra.overrides.task])
    swept = [key_of(override.get_key_element()) for override in overrides if override.is_sweep_override()]
    keys = list(dict.fromkeys(swept))  # an experiment may sweep over a key that the command line sweeps over, too
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return keys, [], []
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return keys, jobs, [loader.load_sweep_config(config, job) for job in jobs]


def this_job() -> "Job":
    """The job that Hydra is at, as a run knows it."""
    from mnist_exp.runs.run import Job
    from mnist_exp.sweeps.sweep import Sweep

    own = HydraConfig.get()
    overrides = of_the_run(own.overrides.task)
    sweep = Sweep.current()
    if sweep is None:
        return Job(_name(overrides), _group(overrides, ()), overrides, Path(own.runtime.output_dir))
    varied = [override for override in overrides if key_of(override) in sweep.keys]
    name = _name(varied or overrides)
    if own.runtime.choices.get("experiment") is not None:
        overrides = (*overrides, "hydra.mode=RUN")  # an experiment may itself be a sweep; this is one run of it
    return Job(
        name=name,
        group=_group(of_the_run(own.overrides.task), varied),
        overrides=overrides,
        output=Path(own.runtime.output_dir),
        number=own.job.num + 1,
        total=sweep.total,
    )


def of_the_run(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that decide what runs compute: without whether they are resumed and how their sweep is judged."""
    return tuple(each for each in overrides if key_of(each) not in ("resume", "worth", "looks"))


def launched_here() -> bool:
    """Whether all jobs of the sweep run in this process, one after another."""
    return str(HydraConfig.get().launcher._target_).endswith(".BasicLauncher")


def is_sweep(override: str) -> bool:
    """Whether an override holds several values. One that cannot be parsed does not: Hydra will say what is wrong."""
    try:
        return bool(OverridesParser.create().parse_override(override).is_sweep_override())
    except HydraException:
        return False


def explain(error: Exception) -> MnistExpError | None:
    """An error that a user can mend as our one line; None for a mistake of the program's."""
    if isinstance(error, MnistExpError):
        return error
    if isinstance(error, OSError) and error.filename and not isinstance(error, HydraException):
        return StoreError(f"{error.filename} cannot be used: {error.strerror}")
    if not (isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError) or _raised_by_hydra(error)):
        return None
    if isinstance(error, RecursionError):
        return ConfigError("an override or a config file must not be nested this deeply, nor refer to itself")
    text = str(error)
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, received = error.missing_cfg_file.partition("/")
        return ConfigError.rule(group, f"must be one of {', '.join(sorted(error.options))}", received)
    if found := re.match(r"Could not (?:override|append to config).*?'([^']+)'", text):
        key = found[1]
        received = next((given for given in sys.argv[1:] if given.lstrip("+~").startswith(f"{key}=")), key)
        return ConfigError(f"{key} is not a key.{suggestion(key, _defaults())} Received: {quoted(received)}")
    if found := re.match(r"Ambiguous value for argument '([^']+)'", text):
        return ConfigError(f"{found[1]!r} holds several values: sweep over them with python -m mnist_exp -m {found[1]}")
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{quoted(error.override)} is no override of the form key=value: {first_line(error)}")
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"a config file is no valid YAML: {' '.join(text.split())}")
    cause = error.__cause__
    return ConfigError(" ".join(text.split()) + (f": {first_line(cause)}" if cause else ""))


def key_of(override: str) -> str:
    """The key that an override sets: ``seed`` of ``++seed=1``."""
    return override.partition("=")[0].lstrip("+")


def _name(overrides: Sequence[str]) -> str:
    """What a run is called, as a line of a list and the title of its pictures show it."""
    return shortened(visible(redact(" ".join(overrides))), _LONGEST_NAME) or "default"


def _group(overrides: Sequence[str], varied: Sequence[str]) -> str:
    """The overrides that all replicates of a configuration share, those that vary in the sweep first."""
    apart = (REPLICATE, *SOURCES, "data.path")
    shared = [each for each in [*varied, *overrides] if key_of(each) not in apart and not each.startswith("hydra")]
    return " ".join(dict.fromkeys(shared)) or "default"


def _defaults() -> Mapping[str, Any]:
    """The config that no override touches, to suggest keys from; empty where even that cannot be composed."""
    try:
        if GlobalHydra.instance().is_initialized():
            composed = GlobalHydra.instance().config_loader().load_configuration("config", [], RunMode.RUN)
        else:
            composed = compose([])
        plain = OmegaConf.to_container(composed)
    except (HydraException, OmegaConfBaseException):
        return {}
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def _raised_by_hydra(error: Exception) -> bool:
    """Whether an error came out of Hydra's code or what that called: some mistakes leave it as plain ValueErrors."""
    frames = traceback.walk_tb(error.__traceback__)
    rooms = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    return [room for room in rooms if room in ("hydra", "omegaconf", "mnist_exp")][-1:] not in ([], ["mnist_exp"])
