"""The program: its commands, and what surrounds every call of them."""

import os
import resource
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from migrator.cli import signals
from migrator.cli.command import Group
from migrator.cli.commands import audit, bench, checking, control, ending, handed_in, keys, notify, plans, runs, setup
from migrator.cli.errors import guarded
from migrator.cli.session import Session
from migrator.core.errors import ExitStatus

HELP = """Move message history from end-to-end to server-side encryption: only what its owners authorised.

A campaign goes: init, notify, authorizations and exports import, plan, execute, verify, report. `migrator demo` shows
all of it on a synthetic store. Every command's --help ends with its exit statuses.
"""


@click.group(
    name="migrator",
    cls=Group,
    root=True,
    statuses=tuple(ExitStatus),
    help=HELP,
    context_settings={"max_content_width": 110},
)
def cli() -> None:
    """Commands are added below; the help text stands above."""


for command in (
    *setup.COMMANDS, *notify.COMMANDS, *handed_in.COMMANDS, *plans.COMMANDS, *runs.COMMANDS, *control.COMMANDS,
    *checking.COMMANDS, *ending.COMMANDS, *keys.COMMANDS, *audit.COMMANDS, *bench.COMMANDS,
):  # fmt: skip
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """One call of the program; its exit status."""
    session = Session()
    return guarded(
        lambda: session.output,
        lambda: cli.main(list(arguments), prog_name="migrator", standalone_mode=False, obj=session),
    )


def main() -> NoReturn:
    """The entry point: no core dumps, which would hold keys; files for this user only; SIGTERM that unwinds."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    signals.terminate_by_exception()
    sys.exit(run(sys.argv[1:]))
