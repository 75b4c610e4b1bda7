"""Says what is wrong with a command line, in the words that all other errors have."""

from collections.abc import Sequence

import click


def explain(error: click.ClickException) -> tuple[str, str]:
    """The message, and a hint; where a command is missing, its group's help is shown before."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return _plain(error.format_message()), "--help after the command has its options and examples"
    path = ctx.command_path
    hint = f"`{path} --help` has its options and examples"
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(ctx.get_help() + "\n", err=True)
            return f"`{path}` needs a command", f"`{path} --help` lists them"
        case click.NoSuchCommand():
            known = _nearest(error.possibilities)
            return f"`{path}` has no command {error.command_name!r}{known}", f"`{path} --help` lists them"
        case click.NoSuchOption():
            return f"`{path}` has no option {error.option_name}{_nearest(error.possibilities)}", hint
        case click.MissingParameter() if error.param is not None:
            return f"`{path}` needs {_name(error.param)}", hint
        case click.BadParameter() if error.param is not None:
            return f"{_name(error.param)}: {_plain(error.message)}", hint
        case _:
            return _plain(error.format_message()), hint


def _name(parameter: click.Parameter) -> str:
    """As it is typed: the long name of an option, the metavar of an argument."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return (parameter.metavar or parameter.human_readable_name).strip("[]…")


def _nearest(possibilities: Sequence[str] | None) -> str:
    return f"; the nearest known one is {possibilities[0]}" if possibilities else ""


def _plain(message: str) -> str:
    """Click's sentences without capital and full stop."""
    text = message.rstrip(".")
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
