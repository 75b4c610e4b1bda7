"""completion: scripts for shells, and man pages for packagers."""

from pathlib import Path
from typing import Final

import click

from migrator.cli import completing
from migrator.cli import man as pages
from migrator.cli.command import Group
from migrator.cli.session import Session
from migrator.cli.views import completion as views


@click.group(cls=Group)
def completion() -> None:
    """Print completion scripts for shells; write man pages."""


@completion.command(
    name="bash",
    examples=(
        ('eval "$(migrator completion bash)"', "in ~/.bashrc, or by hand for this shell"),
        ("migrator completion bash > /etc/bash_completion.d/migrator", "for everybody on this machine"),
    ),
)
@click.pass_obj
def bash(session: Session) -> None:
    """Print the completion script of bash (4.4 or newer).

    It completes commands, options, ids of runs and plans, outcomes and files; never ids of people or conversations. It
    reads the migrator database, asks no key service, and says nothing where it can't.
    """
    session.output.raw([completing.script("bash")])


@completion.command(
    name="zsh", examples=(("migrator completion zsh > ~/.zfunc/_migrator", "into a folder of your fpath"),)
)
@click.pass_obj
def zsh(session: Session) -> None:
    """Print the completion script of zsh.

    It completes what the one of bash does.
    """
    session.output.raw([completing.script("zsh")])


@completion.command(
    name="fish",
    examples=(("migrator completion fish > ~/.config/fish/completions/migrator.fish", "fish finds it there"),),
)
@click.pass_obj
def fish(session: Session) -> None:
    """Print the completion script of fish.

    It completes what the one of bash does.
    """
    session.output.raw([completing.script("fish")])


@completion.command(
    name="man",
    examples=(
        ("migrator completion man ~/.local/share/man", "then `man migrator-execute` finds its page"),
        ("migrator completion man debian/tmp/usr/share/man", "for who packages migrator"),
    ),
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def man(session: Session, directory: Path) -> None:
    """Write the man pages to DIR/man1 and DIR/man5.

    One for each command, and one for migrator.toml. They are made from the same texts as --help. What is there under
    these names is replaced.
    """
    root = click.get_current_context().find_root()
    session.output.result(views.written(pages.write(root, directory, session.today()), directory))


COMMANDS: Final[tuple[click.Command, ...]] = (completion,)
