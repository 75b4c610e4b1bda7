"""The program: its commands, and what surrounds every call of them."""

import os
import resource
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from migrator.cli import completing, lazily, signals, streams

if completing.asked():  # before anything heavy is imported
    lazily.import_lazily()
from migrator.cli.command import Group
from migrator.cli.commands import (
    audit,
    bench,
    checking,
    completion,
    control,
    ending,
    handed_in,
    keys,
    notify,
    plans,
    runs,
    setup,
)
from migrator.cli.errors import guarded
from migrator.cli.session import Session
from migrator.core.errors import ExitStatus

HELP: Final = """Move message history from end-to-end to server-side encryption.

Only what its owners authorised. `migrator demo` shows a whole campaign on a synthetic store; `migrator COMMAND --help`
has examples and exit statuses of each command.
"""
SECTIONS: Final[dict[str, Sequence[click.Command]]] = {
    "Prepare": (*setup.COMMANDS, *bench.COMMANDS, *completion.COMMANDS),
    "Tell users": notify.COMMANDS,
    "Take in what they hand in": handed_in.COMMANDS,
    "Plan and approve": plans.COMMANDS,
    "Run": (*runs.COMMANDS, *control.COMMANDS),
    "Prove": checking.COMMANDS,
    "End": ending.COMMANDS,
    "Keys and audit": (*keys.COMMANDS, *audit.COMMANDS),
}
"""All commands, by what somebody wants to do: in the order of a campaign."""


@click.group(
    name="migrator",
    cls=Group,
    root=True,
    statuses=tuple(ExitStatus),
    help=HELP,
    examples=(
        ("migrator demo", "see it work"),
        ("migrator init my-campaign", "begin a campaign"),
        ("migrator status", "see where the latest run stands"),
    ),
)
def cli() -> None:
    """Commands are added below; the help text stands above."""


for title, commands in SECTIONS.items():
    cli.add_section(title, commands)


def run(arguments: Sequence[str]) -> int:
    """One call of the program; its exit status."""
    session = Session()
    session.begin()  # what goes wrong before the options are read is logged as it should be, too
    return guarded(
        lambda: session.output,
        lambda: cli.main(list(arguments), prog_name="migrator", standalone_mode=False, obj=session),
    )


def main() -> NoReturn:
    """The entry point: no core dumps, which would hold keys; files for this user only; SIGTERM that unwinds."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    streams.prepare()
    if completing.asked():
        sys.exit(completing.answer(cli, Session()))
    signals.terminate_by_exception()
    signals.ignore_questions()
    sys.exit(run(sys.argv[1:]))
