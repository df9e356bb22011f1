"""Shell completion for ``python -m mnist_exp`` (by asking Hydra) and for ``mnist-exp``.

Hydra's own completion knows installed commands and plain scripts, not ``python -m``.
"""

from typing import Literal

_BASH = r"""
_mnist_exp_overrides() {
    local line=${COMP_LINE:0:COMP_POINT} word choices
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
_mnist_exp_commands() {
    local word=${COMP_WORDS[COMP_CWORD]}
    case ${COMP_WORDS[1]}:$COMP_CWORD in
        *:1) COMPREPLY=($(compgen -W "ui compare reproduce completion --help" -- "$word")) ;;
        ui:*) COMPREPLY=($(compgen -W "--port --host --uri --no-browser --help" -- "$word")) ;;
        compare:*) COMPREPLY=($(compgen -W "--metric --by --worth --direction --format --pairs --output \\
            --across-datasets --allow-test --uri --help" -- "$word")) ;;
        reproduce:*) COMPREPLY=($(compgen -W "--replicates --data --quick --help" -- "$word")) ;;
        completion:*) COMPREPLY=($(compgen -W "bash zsh" -- "$word")) ;;
    esac
}
complete -o bashdefault -o default -F _mnist_exp_overrides python python3
complete -F _mnist_exp_commands mnist-exp
"""


def script(shell: Literal["bash", "zsh"]) -> str:
    """Shell code to evaluate: ``eval "$(mnist-exp completion bash)"``."""
    if shell == "zsh":
        return "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" + _BASH.lstrip()
    return _BASH.lstrip()
