"""Hydra: composes configs from conf/, experiments/ and overrides; this file turns them into checked, plain ones.

No package but :mod:`mnist_exp.app` imports Hydra.
"""

import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import hydra
import yaml
from hydra import initialize_config_dir, version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_exp.base import paths
from mnist_exp.base.errors import ConfigError, MnistExpError, StoreError, first_line
from mnist_exp.base.text import received as quoted
from mnist_exp.base.text import redact, redacted_file, shortened, visible
from mnist_exp.config.overrides import OF_A_SWEEP, key_of, suggestion, text_override
from mnist_exp.config.replicate import REPLICATE, SOURCES
from mnist_exp.config.schema import RunConfig, check
from mnist_exp.runs.job import Job
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.terminal import messages

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


_LONGEST_NAME = 250  # characters, MLflow's limit

Start = Callable[[DictConfig, bool], int]
"""Checks a command and opens its sweep, given its config and whether it is a sweep; returns an exit code, 0 if all is
well."""


def run_hydra(argv: Sequence[str], task: Callable[[DictConfig], Any], start: Start) -> None:
    """Compose the configs of a command line and run its jobs, as ``hydra.main`` does for ``sys.argv``.

    Args:
        argv: the command line, without the program's name.
        task: called with the config of each job.
        start: called once, before the first job, with the config of the command.

    Raises:
        SystemExit: ``start`` returned another code than 0.
        Exception: what Hydra or ``task`` raised; :func:`explain` turns a user's mistakes into one line.
    """
    register()
    HydraCallback.start = start
    version.setbase("1.3")
    parser = get_args_parser()
    arguments = parser.parse_args([_quoted_question(word) for word in argv])
    if arguments.experimental_rerun is not None:
        raise ConfigError.rule(
            "--experimental-rerun", "must not be given: a run keeps provenance/rerun.sh", arguments.experimental_rerun
        )
    _run_hydra(
        args=arguments,
        args_parser=parser,
        task_function=task,
        config_path=str(paths.CONF),
        config_name="config",
    )


class HydraCallback(Callback):
    """Calls ``start`` before the first job, and removes secrets from the files that Hydra writes.

    Hydra creates it, as conf/config.yaml names it. Hydra turns an Exception raised by a callback into a warning and
    continues, so an exit code is raised as SystemExit.
    """

    start: ClassVar[Start | None] = None  # set by run_hydra

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Start a single run."""
        self._start(config, is_sweep=False)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Start a sweep."""
        self._start(config, is_sweep=True)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Remove secrets from the files in which Hydra keeps the job's config."""
        if config.hydra.output_subdir is not None:
            for file in (Path(config.hydra.runtime.output_dir) / config.hydra.output_subdir).glob("*.yaml"):
                _redact_file(file)

    def on_job_end(self, config: DictConfig, job_return: "JobReturn", **_: Any) -> None:  # noqa: ARG002
        """Free the job's configs, half a megabyte each: Hydra would keep them until the sweep ends."""
        job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Remove secrets from the file in which Hydra keeps the sweep's config."""
        _redact_file(Path(config.hydra.sweep.dir) / "multirun.yaml")

    def _start(self, config: DictConfig, *, is_sweep: bool) -> None:
        assert HydraCallback.start is not None, "Hydra is run by run_hydra()"
        if code := HydraCallback.start(config, is_sweep):
            raise SystemExit(code)


def register() -> None:
    """Register the project's folder and its experiments with Hydra; needed before anything is composed."""
    if os.environ.get("MNIST_EXP_DATA") == "":  # an empty variable counts as not set
        del os.environ["MNIST_EXP_DATA"]
    OmegaConf.register_new_resolver("project_root", lambda: str(paths.root()), replace=True)
    store = ConfigStore.instance()
    for name, file in paths.experiment_files().items():
        try:
            store.store(group="experiment", name=name, node=OmegaConf.load(file), package="_global_")
        except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
            messages.warning(f"{file} is left out, it cannot be read: {first_line(error)}")


def compose(overrides: Sequence[str]) -> DictConfig:
    """Return the config that a command line with ``overrides`` composes to, Hydra's own part included."""
    register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides), return_hydra_config=True)


def to_run_config(composed: DictConfig) -> RunConfig:
    """Turn a config that Hydra composed into a checked, plain one.

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
    # Only Hydra's own part of the config names the chosen experiment; within a job, HydraConfig has that part.
    own = composed.hydra if "hydra" in composed else HydraConfig.get()
    return check({**plain, "experiment": own.runtime.choices.get("experiment")})


def expand(config: DictConfig) -> tuple[list[str], list[list[str]], list[DictConfig]]:
    """Compose the jobs of a sweep as Hydra's basic sweeper will.

    Returns:
        The keys that vary; the overrides of each job; the config of each job. No jobs with another sweeper, which
        decides them as it goes.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    loader = GlobalHydra.instance().config_loader()
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    typed = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # as Hydra: an escaped ${x} stays one
    assert isinstance(typed, list)
    overrides = parser.parse_overrides([*given, *typed])
    swept = [key_of(override.get_key_element()) for override in overrides if override.is_sweep_override()]
    keys = list(dict.fromkeys(swept))  # unique: an experiment and the command line may sweep over the same key
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return keys, [], []
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return keys, jobs, [loader.load_sweep_config(config, job) for job in jobs]


def this_job(sweep: Sweep | None, command: str) -> Job:
    """Return the job that Hydra is running; ``command`` is the command line, without secrets."""
    own = HydraConfig.get()
    overrides = run_overrides(own.overrides.task)
    if sweep is None:
        output = Path(own.runtime.output_dir)
        return Job(_name(overrides), _group(overrides, ()), overrides, output, command=command)
    varied = [override for override in overrides if key_of(override) in sweep.keys]
    name = _name(varied or overrides)
    if own.runtime.choices.get("experiment") is not None:
        overrides = (*overrides, "hydra.mode=RUN")  # an experiment may itself be a sweep; this is one run of it
    return Job(
        name=name,
        group=_group(run_overrides(own.overrides.task), varied),
        overrides=overrides,
        output=Path(own.runtime.output_dir),
        number=own.job.num + 1,
        total=sweep.total,
        in_sweep=True,
    )


def run_overrides(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that change what runs compute: all but ``resume`` and what a sweep is for (``question``)."""
    return tuple(each for each in overrides if key_of(each) not in ("resume", *OF_A_SWEEP))


def launched_here() -> bool:
    """Whether all jobs of the sweep run in this process, one after another."""
    return str(HydraConfig.get().launcher._target_).endswith(".BasicLauncher")


def is_sweep(override: str) -> bool:
    """Whether an override has several values; False if it cannot be parsed, an error that Hydra reports later."""
    try:
        return bool(OverridesParser.create().parse_override(override).is_sweep_override())
    except HydraException:
        return False


def explain(error: Exception, argv: Sequence[str] = ()) -> MnistExpError | None:
    """Return the one-line form of an error that a user can correct.

    Args:
        error: what was raised.
        argv: the command line, for values that Hydra's messages leave out.

    Returns:
        The error to show; None for an error in the program itself.
    """
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
        received = next((given for given in argv if given.lstrip("+~").startswith(f"{key}=")), key)
        return ConfigError(f"{key} is not a key.{suggestion(key, _defaults())} Received: {quoted(received)}")
    if found := re.match(r"Ambiguous value for argument '([^']+)'", text):
        return ConfigError(f"{found[1]!r} holds several values: sweep over them with python -m mnist_exp -m {found[1]}")
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{quoted(error.override)} is no override of the form key=value: {first_line(error)}")
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"a config file is no valid YAML: {' '.join(text.split())}")
    cause = error.__cause__
    more = first_line(cause) if cause else ""
    return ConfigError(" ".join(text.split()) + (f": {more}" if more and more not in text else ""))


def _quoted_question(word: str) -> str:
    """Quote a question for Hydra's grammar, in which commas, brackets and quotes have a meaning: it is plain text."""
    key, equals, text = word.partition("=")
    return text_override(key, text) if equals and key.lstrip("+") == "question" else word


def _name(overrides: Sequence[str]) -> str:
    """Return the name of a run: its overrides, on one line, within MLflow's limit."""
    return shortened(visible(redact(" ".join(overrides))), _LONGEST_NAME) or "default"


def _group(overrides: Sequence[str], varied: Sequence[str]) -> str:
    """Return the overrides that all replicates of a configuration share, those that vary in the sweep first."""
    apart = (REPLICATE, *SOURCES, "data.path")
    shared = [each for each in [*varied, *overrides] if key_of(each) not in apart and not each.startswith("hydra")]
    return " ".join(dict.fromkeys(shared)) or "default"


def _defaults() -> Mapping[str, Any]:
    """Return the config without overrides, to suggest keys from; empty if it cannot be composed."""
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
    """Whether an error was raised in Hydra or in what Hydra called: some of its errors are plain ValueErrors."""
    frames = traceback.walk_tb(error.__traceback__)
    packages = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    return [name for name in packages if name in ("hydra", "omegaconf", "mnist_exp")][-1:] not in ([], ["mnist_exp"])


def _redact_file(file: Path) -> None:
    content = file.read_bytes() if file.is_file() else b""
    if (kept := redacted_file(content)) != content:
        file.write_bytes(kept)
