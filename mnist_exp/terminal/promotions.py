"""What ``mnist-exp promote`` prints: the new champion and why it is, the history of a registered model."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table

from mnist_exp.terminal.messages import WIDE, out, shown, warning

if TYPE_CHECKING:
    from mnist_exp.review.champion import Rollback
    from mnist_exp.review.promotion import Promotion
    from mnist_exp.tracking.mlflow.registry import Version

_LONGEST_LABEL = 60  # characters of a configuration in the list; --format json has all


def promoted(done: "Promotion", uri: str) -> None:
    """Print what was registered, whose model it is and why, what it beat and by how much, and how to load it.

    Args:
        done: the promotion.
        uri: the store, without credentials.
    """
    from mnist_exp.review import champion

    for version in done.finished:
        warning(f"{champion.words(version)} took over first: its promotion had been interrupted")
    choice, version = done.choice, done.version
    _headline(version, done.configuration)
    spread = "" if math.isnan(done.low) else f" ({done.low:.4f} to {done.high:.4f})"
    lines = {
        "model": f"{choice.replicate}, {choice.why}: {done.measure} {choice.value:.4f}",
        "mean": f"{done.mean:.4f}{spread}",
        "before": champion.words(done.former) if done.former else "no champion: there was nothing to beat",
        "against it": done.against.figures() if done.against else "",
        "despite": "; ".join(done.overrode),
        "reason": version.tags.get("despite", "") if done.overrode else "",
    }
    _lines(lines)
    _how_to_load(version, uri)


def rolled_back(done: "Rollback", uri: str) -> None:
    """Print which version is champion again, what it replaced, and how to load it; ``uri`` as in :func:`promoted`."""
    from mnist_exp.review import champion

    _headline(done.version, done.version.tags.get("configuration", ""))
    _lines(
        {
            "model": f"that of version {done.repeats.number}, {done.repeats.tags.get('replicate', '')}".rstrip(", "),
            "before": champion.words(done.replaced),
            "reason": done.version.tags.get("reason", ""),
        }
    )
    _how_to_load(done.version, uri)


def history(versions: "Sequence[Version]") -> None:
    """Print the versions of a registered model, newest first; in a narrow terminal what is special below each."""
    is_narrow = out.is_terminal and out.width < WIDE
    table = Table(title=shown(versions[0].name), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for heading in ("version", "since", "configuration", "model", "mean", "by", *([] if is_narrow else [""])):
        is_prose = heading in ("configuration", "")
        justify: JustifyMethod = "right" if heading == "version" else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=not is_prose)
    for version in versions:
        tags = version.tags
        label = shown(tags.get("configuration", "registered by hand"), _LONGEST_LABEL)
        remark = shown(_remark(version, versions))
        table.add_row(
            str(version.number),
            shown(tags.get("champion.since", "-").partition(" ")[0]),
            "\n".join(filter(None, [label, remark])) if is_narrow else label,
            shown(tags.get("replicate", "")),
            shown(tags.get("mean", "").partition(" ")[0]),
            shown(tags.get("by", "").partition(" <")[0]),
            *([] if is_narrow else [remark]),
            style="bold" if version.is_champion else None,
        )
    out.print(table)


def _remark(version: "Version", versions: "Sequence[Version]") -> str:
    """Return what is special about a version: champion, interrupted, a rollback, promoted despite an objection."""
    from mnist_exp.review import champion

    tags = version.tags
    parts = ["champion"] if version.is_champion else []
    if champion.is_pending(version, versions):
        parts.append("interrupted: the next promotion finishes it")
    if champion.REPEATS in tags:
        parts.append(f"rollback to {tags[champion.REPEATS]}" + (f": {tags['reason']}" if "reason" in tags else ""))
    if "despite" in tags:
        parts.append(f"despite: {tags['despite']}")
    if "approved.despite" in tags:
        parts.append(f"approved despite: {tags['approved.despite']}")
    return "; ".join(parts)


def _headline(version: "Version", configuration: str) -> None:
    line = f"{version.name} version {version.number} is champion: {configuration}"
    out.print(f"[green]✓[/] [bold]{shown(line)}[/]", soft_wrap=True)


def _lines(texts: dict[str, str]) -> None:
    """Print the texts that are not empty, each after its heading."""
    for heading, text in texts.items():
        if text:
            out.print(f"  {heading:11} {shown(text, 2000)}", soft_wrap=True)


def _how_to_load(version: "Version", uri: str) -> None:
    from mnist_exp.tracking.mlflow.registry import ALIAS

    command = f'mlflow.pyfunc.load_model("models:/{version.name}@{ALIAS}")'
    out.print(f"Load it:  [bold]{shown(command)}[/]  with MLFLOW_TRACKING_URI={shown(uri)}", soft_wrap=True)
