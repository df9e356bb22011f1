"""The configuration of one run: frozen, typed, checked once.

:func:`check` turns the plain mapping that Hydra composed into a :class:`RunConfig`, or raises one
:class:`~mnist_exp.base.errors.ConfigError` that names the key, the rule and the value received. This file has the
rules; the defaults are in ``conf/``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails, PydanticCustomError

from mnist_exp.base.errors import ConfigError
from mnist_exp.base.text import received as quoted
from mnist_exp.config import replicate as replicates
from mnist_exp.config.overrides import OF_A_SWEEP, flatten, suggestion

MAX_EXPERIMENT_NAME = 500  # characters, MLflow's limit
MAX_QUESTION = 500  # characters; two lines of a report


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "Value should hold no NUL character")
    return text


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise PydanticCustomError("one_line", "Value should be a sentence on one line")
    return text


def _sweep_id(value: object) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool) and re.fullmatch("[0-9a-f]{4,32}", str(value)):
        return str(value)  # Hydra parses an id that has only digits as a number
    raise PydanticCustomError("sweep_id", "Value should be the id of a sweep, or its first letters, 4 at least")


def _looks(value: object) -> object:
    try:
        return value if isinstance(value, bool) else _sweep_id(value)
    except PydanticCustomError:
        raise PydanticCustomError("looks", "Value should be true, false or the id of a sweep") from None


_CLOSED = ConfigDict(extra="forbid")

# Strict: no conversion from text or between bool and number; only an integer where a float is expected is allowed.
Bool = Annotated[bool, Strict()]
Int = Annotated[int, Strict()]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Text = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_without_nul)]
Name = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_EXPERIMENT_NAME), AfterValidator(_without_nul)]
Question = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_QUESTION), AfterValidator(_one_line)]
SweepId = Annotated[Any, AfterValidator(_sweep_id)]
Count = Annotated[Int, Field(gt=0)]
Seed = Annotated[Int, Field(ge=0, lt=2**32)]  # NumPy's and scikit-learn's range
Rate = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Share = Annotated[Float, Field(gt=0, lt=1)]
Decay = Annotated[Float, Field(ge=0, lt=1)]
Activation = Literal["relu", "tanh", "sigmoid", "gelu", "elu", "selu", "silu", "leaky_relu", "softplus", "linear"]


@dataclass(frozen=True, config=_CLOSED)
class DataConfig:
    """The data set, and how its training images are split."""

    name: Literal["auto", "mnist", "digits"]
    path: Text | None
    normalize: Bool
    limit: Annotated[Int, Field(ge=20)] | None
    validation: Share
    stratify: Bool
    split_seed: Seed

    @model_validator(mode="after")
    def _digits_are_embedded(self) -> DataConfig:
        if self.name == "digits" and self.path is not None:
            raise ConfigError.rule("data.path", "must be null with data=digits, which is embedded", self.path)
        return self


@dataclass(frozen=True, config=_CLOSED)
class MlpConfig:
    """Dense layers of equal width."""

    name: Literal["mlp"]
    units: Count
    layers: Count
    activation: Activation


@dataclass(frozen=True, config=_CLOSED)
class CnnConfig:
    """Convolution blocks, then one dense layer."""

    name: Literal["cnn"]
    filters: Count
    kernel_size: Annotated[Int, Field(ge=1, le=28)]
    layers: Annotated[Int, Field(ge=1, le=4)]  # 28 pixels can be halved four times
    units: Count
    activation: Activation


@dataclass(frozen=True, config=_CLOSED)
class AdamConfig:
    """Adam; ``lr`` is the base rate that the schedule scales."""

    name: Literal["adam"]
    lr: Rate
    beta_1: Decay
    beta_2: Decay
    epsilon: Rate


@dataclass(frozen=True, config=_CLOSED)
class SgdConfig:
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    lr: Rate
    momentum: Decay
    nesterov: Bool


@dataclass(frozen=True, config=_CLOSED)
class RmspropConfig:
    """RMSprop."""

    name: Literal["rmsprop"]
    lr: Rate
    rho: Decay
    momentum: Decay
    epsilon: Rate


@dataclass(frozen=True, config=_CLOSED)
class ConstantConfig:
    """The base rate in every epoch."""

    name: Literal["constant"]


@dataclass(frozen=True, config=_CLOSED)
class RangeTestConfig:
    """The base rate, ten times higher every ``epochs_per_decade`` epochs."""

    name: Literal["range_test"]
    epochs_per_decade: Rate


@dataclass(frozen=True, config=_CLOSED)
class StepConfig:
    """The base rate, multiplied by ``factor`` every ``every`` epochs."""

    name: Literal["step"]
    every: Count
    factor: Annotated[Float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=_CLOSED)
class CosineConfig:
    """From the base rate along half a cosine towards ``floor`` times the base rate."""

    name: Literal["cosine"]
    floor: Annotated[Float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=_CLOSED)
class EarlyStoppingConfig:
    """Stop after ``patience`` epochs in which ``monitor`` did not improve by ``min_delta``; null never stops."""

    patience: Count | None
    monitor: Literal["loss", "val_loss", "accuracy", "val_accuracy"]
    min_delta: NonNegative


@dataclass(frozen=True, config=_CLOSED)
class TrainingConfig:
    """Number of epochs, batch size, batch order, which weights to keep, and early stopping."""

    epochs: Count
    batch_size: Count
    engine: Literal["compiled", "keras"]
    keep: Literal["last", "best"]
    order_seed: Seed
    early_stopping: EarlyStoppingConfig


@dataclass(frozen=True, config=_CLOSED)
class TrackingConfig:
    """Where runs are kept and what is logged besides. Nothing here changes what a run computes: no key is a param."""

    uri: Text | None
    experiment: Name | None
    system_metrics: Bool
    git_diff: Bool


ModelConfig = Annotated[MlpConfig | CnnConfig, Field(discriminator="name")]
OptimizerConfig = Annotated[AdamConfig | SgdConfig | RmspropConfig, Field(discriminator="name")]
ScheduleConfig = Annotated[ConstantConfig | RangeTestConfig | StepConfig | CosineConfig, Field(discriminator="name")]


@dataclass(frozen=True, config=_CLOSED)
class RunConfig:
    """The configuration of one run, with every seed filled in."""

    data: DataConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    lr: ScheduleConfig
    training: TrainingConfig
    tracking: TrackingConfig
    replicate: Annotated[Int, Field(ge=0)]
    seed: Seed
    resume: Bool = False
    question: Question | None = None
    worth: Rate | None = None
    follows: SweepId | None = None
    looks: Annotated[Any, AfterValidator(_looks)] = False
    experiment: Text | None = None

    def params(self) -> dict[str, str | int | float | bool | None]:
        """Return the run's params, by the key of their override: ``model=mlp``, ``model.units=4``.

        The keys in ``_NOT_OF_A_RUN`` are left out.
        """
        sections = self.plain()
        experiment = sections.pop("experiment")
        chosen = {} if experiment is None else {"experiment": experiment}
        return {**chosen, **dict(flatten(sections))}

    def plain(self) -> dict[str, Any]:
        """Return the config as nested dicts of plain values, without the keys in ``_NOT_OF_A_RUN``."""
        return {key: value for key, value in asdict(self).items() if key not in _NOT_OF_A_RUN}


_RUN = TypeAdapter(RunConfig)
_NOT_OF_A_RUN = ("tracking", "resume", *OF_A_SWEEP)


def check(composed: Mapping[str, Any]) -> RunConfig:
    """Return the checked form of a composed configuration; seeds that are null are drawn from its replicate.

    Raises:
        ConfigError: a key is unknown or missing, or its value has the wrong type or breaks its rule.
    """
    try:
        return _RUN.validate_python(replicates.fill(composed))
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0], composed) from None


def _explain(error: ErrorDetails, composed: Mapping[str, Any]) -> ConfigError:
    """Return an error of pydantic's as the standard sentence of :meth:`ConfigError.rule`."""
    parts: list[str] = []
    node = composed
    for part in error["loc"]:
        if part == node.get("name") and part not in node:
            continue  # pydantic puts the name of the chosen union member into the location; it is not a key
        parts.append(str(part))
        child = node.get(str(part))
        node = child if isinstance(child, Mapping) else {}
    key, received = ".".join(parts), error["input"]
    match error["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            known = {k: v for k, v in composed.items() if k != parts[0]} | {
                parts[0]: _without(composed[parts[0]], parts[1:])
            }
            return ConfigError(f"{key} is not a key.{suggestion(key, known)} Received: {quoted(received)}")
        case "missing":
            return ConfigError(f"{key} is missing. It has no default: check the files in conf/ for it")
        case "union_tag_invalid":
            choices = error["ctx"]["expected_tags"].replace("'", "")
            return ConfigError.rule(key, f"must be one of {choices}", error["ctx"]["tag"])
        case "dataclass_type" | "union_tag_not_found" | "model_attributes_type":
            return ConfigError.rule(key, "must be a group of keys", received)
        case _:
            rule = re.sub(r"^\w+ should", "must", error["msg"])
            if error["type"] == "literal_error":
                rule = rule.replace("must be", "must be one of").replace(" or ", ", ").replace("'", "")
            return ConfigError.rule(key, rule, received)


def _without(node: Any, path: list[str]) -> Any:
    """Return a copy of the nested mapping ``node`` without the key at ``path``."""
    if not (path and isinstance(node, Mapping)):
        return {}
    head, *rest = path
    kept = {k: v for k, v in node.items() if k != head}
    return kept | {head: _without(node[head], rest)} if rest else kept
