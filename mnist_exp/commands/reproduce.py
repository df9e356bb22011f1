"""``mnist-exp reproduce``: the six models over many replicates, and a verdict on each published claim."""

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mnist_exp.base.errors import INTERRUPTED, TERMINATED, ConfigError, StoreError
from mnist_exp.config.overrides import OF_A_SWEEP
from mnist_exp.config.replicate import REPLICATE, SOURCES

if TYPE_CHECKING:
    from mnist_exp.analysis.claims import ClaimResult
    from mnist_exp.sweeps.sweep import Sweep
    from mnist_exp.tracking.protocols import Record

HELP = "train the six models repeatedly and judge the published claims"

_MODELS = ",".join(f"model_{number}" for number in range(1, 7))

# --quick shows that everything works, in minutes; two epochs reproduce nothing.
_QUICK = ("training.epochs=2",)
_QUICK_REPLICATES = 2

_FIXED = (REPLICATE, *SOURCES, "experiment", "data", "hydra.mode")
# Overrides with which the models are still those that were published.
_HARMLESS = ("tracking.", "data.path=", "hydra.", "resume=", *(f"{key}=" for key in OF_A_SWEEP))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--replicates", "--seeds", type=int, default=16, help="runs of each model (default: 16)")
    parser.add_argument("--data", choices=("auto", "mnist", "digits"), default="auto", help="default: auto")
    parser.add_argument(
        "--quick", action="store_true", help="two replicates, two epochs: to see it work, no reproduction"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="more overrides for every run")


def run(arguments: argparse.Namespace) -> int:
    """Train the models, judge the claims, show and keep the verdicts; return the exit code of the runs.

    Raises:
        ConfigError: an override would change what is reproduced.
    """
    from mnist_exp.app import application
    from mnist_exp.app.compose import is_sweep
    from mnist_exp.terminal import messages

    replicates = min(arguments.replicates, _QUICK_REPLICATES) if arguments.quick else arguments.replicates
    if replicates < 1:
        raise ConfigError.rule("--replicates", "must be at least 1", replicates)
    given = list(arguments.overrides)
    if wrong := [each for each in given if each.lstrip("+~").partition("=")[0] in _FIXED or is_sweep(each)]:
        raise ConfigError(
            f"reproduce runs each model once per replicate: {', '.join(_FIXED)} and several values of a key cannot be "
            f"given. Received: {' '.join(wrong)}"
        )
    overrides = [f"data={arguments.data}", f"experiment={_MODELS}", f"{REPLICATE}=range({replicates})"]
    if arguments.quick:
        overrides += _QUICK
    caveats = ["Two epochs of each model: this shows that it runs, and reproduces nothing."] if arguments.quick else []
    if changed := [each for each in given if not each.lstrip("+").startswith(_HARMLESS)]:
        caveats.append(f"Not the published models: {' '.join(changed)} was changed for all of them.")
    code = application.main(["-m", *overrides, *given], after_sweep=lambda sweep: _judge(sweep, caveats))
    if code in (INTERRUPTED, TERMINATED):
        messages.how_to_resume(["mnist-exp", *arguments.words])
    return code


def _judge(sweep: "Sweep", caveats: Sequence[str]) -> None:
    """Judge the claims by the runs of a sweep, show the verdicts and keep them on its parent run.

    Raises:
        StoreError: the store does not have all of it yet.
    """
    from mnist_exp.analysis import claims
    from mnist_exp.terminal import tables

    try:
        parent = sweep.parent()
        runs = sweep.runs(parent)
    except StoreError as error:
        raise StoreError(f"no claim is judged: {error}. The same command with resume=true judges them") from error
    if parent is None:
        raise StoreError("no claim is judged: the runs wait to be sent. The same command with resume=true judges them")
    if not runs:
        return
    datasets = sorted({record.tags.get("dataset", "unknown") for record in runs})
    if datasets != ["mnist"]:
        caveats = [*caveats, f"Trained on {', '.join(datasets)}, not on the published data, which are MNIST."]
    finished = Counter(record.params.get("experiment", "") for record in runs if record.status == "FINISHED")
    answers = claims.judge_claims(values(runs), finished)
    unfinished = [record for record in runs if record.status != "FINISHED"]
    if unfinished:
        caveats = [*caveats, f"{len(unfinished)} of {len(runs)} runs did not finish and are left out."]
    tables.claims(answers, caveats)
    from mnist_exp.reports import reproduction

    tracker = sweep.backend.tracker(parent.run_id)
    page = reproduction.html(answers, caveats, len(runs) - len(unfinished), datasets)
    tracker.log_artifact("sweep/reproduction.html", page.encode())
    tracker.log_artifact("sweep/verdicts.json", json.dumps(_plain(answers, caveats), indent=2).encode())
    tracker.set_tags({"kind": "sweep", "reproduction": "; ".join(f"{each.says}: {each.verdict}" for each in answers)})


def values(runs: "Sequence[Record]") -> dict[str, dict[str, dict[str, float]]]:
    """Return every metric of the finished runs: by its name, by model, by replicate.

    A run without the param ``replicate`` is from before there were replicates: its seed stands for one.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in runs:
        if record.status == "FINISHED":
            for metric, value in record.metrics.items():
                by_replicate = found.setdefault(metric, {}).setdefault(record.params.get("experiment", ""), {})
                by_replicate[record.params.get(REPLICATE) or record.params["seed"]] = value
    return found


def _plain(answers: "Sequence[ClaimResult]", caveats: Sequence[str]) -> dict[str, object]:
    """Return the verdicts as JSON has them."""
    return {
        "caveats": list(caveats),
        "claims": [
            {
                "says": each.says,
                "verdict": each.verdict,
                "checks": [_finite(asdict(check)) | {"reason": check.reason()} for check in each.checks],
            }
            for each in answers
        ],
    }


def _finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``fields``, nested ones too, with None for numbers that JSON does not have: NaN and infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return _finite(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: plain(value) for key, value in fields.items()}
