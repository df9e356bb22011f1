"""``mnist-exp reproduce``: the six models over many replicates, and a verdict on each published claim."""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mnist_exp.analysis import claims
from mnist_exp.analysis.claims import ClaimAnswer
from mnist_exp.app.compose import is_sweep
from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.config.replicate import REPLICATE, SOURCES
from mnist_exp.sweeps.sweep import Sweep
from mnist_exp.terminal import messages, tables
from mnist_exp.tracking.mlflow import store
from mnist_exp.tracking.mlflow.records import Record
from mnist_exp.tracking.mlflow.tracker import MlflowTracker

_MODELS = ",".join(f"model_{number}" for number in range(1, 7))

# --quick shows that everything works, in minutes; two epochs reproduce nothing.
_QUICK = ("training.epochs=2",)
_QUICK_REPLICATES = 2

_FIXED = (REPLICATE, *SOURCES, "experiment", "data", "hydra.mode")
# Overrides with which the models are still those that were published.
_HARMLESS = ("tracking.", "data.path=", "hydra.", "resume=", "worth=", "looks=")


def run(arguments: argparse.Namespace) -> int:
    """Train, judge, show and keep; the exit code is that of the runs."""
    from mnist_exp.app import application

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
    as_given, sys.argv = sys.argv, ["mnist_exp", "-m", *overrides, *given]
    code = application.main(after_sweep=lambda sweep: _judge(sweep, caveats))
    if code == application.INTERRUPTED:
        messages.how_to_resume(["mnist-exp", *as_given[1:]])
    return code


def _judge(sweep: Sweep, caveats: Sequence[str]) -> None:
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
    answers = claims.answer(values(runs), finished)
    unfinished = [record for record in runs if record.status != "FINISHED"]
    if unfinished:
        caveats = [*caveats, f"{len(unfinished)} of {len(runs)} runs did not finish and are left out."]
    tables.verdicts(answers, caveats)
    from mnist_exp.reports import reproduction

    tracker = MlflowTracker(store.connect(sweep.uri), sweep.uri, parent.run_id)
    page = reproduction.html(answers, caveats, len(runs) - len(unfinished), datasets)
    tracker.log_artifact("sweep/reproduction.html", page.encode())
    tracker.log_artifact("sweep/verdicts.json", json.dumps(_plain(answers, caveats), indent=2).encode())
    tracker.set_tags({"kind": "sweep", "reproduction": "; ".join(f"{each.says}: {each.verdict}" for each in answers)})


def values(runs: Sequence[Record]) -> dict[str, dict[str, dict[str, float]]]:
    """Return every metric of the finished runs: by its name, by model, by replicate.

    A run without the param ``replicate`` goes by its seed: it was made before there were replicates.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in runs:
        if record.status == "FINISHED":
            for metric, value in record.metrics.items():
                by_replicate = found.setdefault(metric, {}).setdefault(record.params.get("experiment", ""), {})
                by_replicate[record.params.get(REPLICATE) or record.params["seed"]] = value
    return found


def _plain(answers: Sequence[ClaimAnswer], caveats: Sequence[str]) -> dict[str, object]:
    return {
        "caveats": list(caveats),
        "claims": [
            {
                "says": each.says,
                "verdict": each.verdict,
                "checks": [_finite(asdict(check)) | {"reason": check.reason()} for check in each.answers],
            }
            for each in answers
        ],
    }


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Return ``fields``, nested ones too, with None for numbers that JSON does not have: NaN and infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return _finite(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: plain(value) for key, value in fields.items()}
