"""Answers a shell that asks what may come next: quick, silent on any error, reading only.

Click's protocol: the shell's function calls the program with `_MIGRATOR_COMPLETE` and the line so far in the
environment, and gets a line for each completion. What values are offered stands in `migrator.cli.offers`.
"""

import os
from typing import ClassVar, Final

import click
from click.shell_completion import (
    BashComplete,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

VARIABLE: Final = "_MIGRATOR_COMPLETE"

_BASH: Final = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} type value word
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(%(complete_var)s=bash_complete COMP_LINE=$line "$1" 2>/dev/null)
    # Readline replaces only what follows the last colon of the word.
    word=${line##*[[:space:]=]}
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%"${word##*:}"}"}")
    fi
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Click's for bash, for values with colons: the line is split here, as bash would split words at them."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def source(self) -> str:
        """The script alone: which bash prints it says nothing of the one that reads it."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is typed, and that one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        if line[-1:].isspace() or not words:
            return words, ""
        return words[:-1], words[-1]


add_completion_class(_Bash)


def script(shell: str) -> bytes:
    """What a shell evaluates to complete the program."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    return kind(click.Command("migrator"), {}, "migrator", VARIABLE).source().encode()


def asked() -> bool:
    """Whether a shell asks."""
    return VARIABLE in os.environ


def answer(cli: click.Command, session: object) -> int:
    """Print the completions; nothing at all where anything goes wrong. The exit status."""
    shell = os.environ[VARIABLE].removesuffix("_complete")
    kind = get_completion_class(shell)
    if kind is None:
        return 1
    try:
        lines = kind(cli, {"obj": session}, "migrator", VARIABLE).complete()
        click.echo(lines.encode())
    except Exception:  # noqa: BLE001 - whatever it is: somebody presses Tab, and nothing is offered
        return 1
    return 0
