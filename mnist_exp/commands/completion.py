"""``mnist-exp completion``: shell code that completes both commands.

For ``mnist-exp``, shtab writes it from the parser. For ``python -m mnist_exp`` it asks Hydra at each TAB; Hydra's own
completion knows installed commands and plain scripts, not ``python -m``.
"""

import argparse
import sys
from collections.abc import Iterator

HELP = "print the shell code that completes both commands"

_OVERRIDES = r"""
_mnist_exp_overrides() {
    local line=${COMP_LINE:0:$COMP_POINT} word choices
    if [[ -n ${ZSH_VERSION-} ]]; then setopt bash_rematch; fi
    if [[ $line =~ ^([^ ]*python[0-9.]*)\ +-m\ +mnist_exp\ (.*)$ ]]; then
        word=${line##* }
        choices=$(COMP_LINE="mnist_exp ${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}" -m mnist_exp -sc query=bash 2>/dev/null)
        COMPREPLY=($(compgen -W "$choices" -- "$word"))
        # Readline replaces only what follows the last = (and :), so only that may be offered.
        if [[ $word == *[=:]* && $COMP_WORDBREAKS == *=* ]]; then
            local before=${word%"${word##*[=:]}"}
            COMPREPLY=("${COMPREPLY[@]#"$before"}")
        fi
        if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]]; then
            compopt -o nospace 2>/dev/null
        fi
    fi
}
complete -o bashdefault -o default -F _mnist_exp_overrides python python3
"""

# zsh's own completion system for what shtab writes; its bash emulation for the rest.
_ZSH_SYSTEMS = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=("bash", "zsh"), help='use it with: eval "$(mnist-exp completion bash)"')


def run(arguments: argparse.Namespace) -> int:
    """Print the code; return 0."""
    sys.stdout.write(script(arguments.shell, arguments.parser))
    return 0


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return code for a shell to evaluate.

    Args:
        shell: ``bash`` or ``zsh``.
        parser: that of ``mnist-exp``.
    """
    import shtab

    for action in _actions(parser):
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    systems = _ZSH_SYSTEMS if shell == "zsh" else ""
    return systems + shtab.complete(parser, shell=shell) + "\n" + _OVERRIDES.lstrip()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
