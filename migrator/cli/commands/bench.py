"""bench: what this machine, this database and this key service can do."""

from typing import Final

import click

from migrator import bench as measuring
from migrator.cli.command import CAMPAIGN, Command
from migrator.cli.session import Session
from migrator.cli.views import bench as views
from migrator.core.errors import ExitStatus


@click.command(
    cls=Command,
    statuses=(*CAMPAIGN, ExitStatus.MISMATCH, ExitStatus.AUDIT_LOG),
    examples=(
        ("migrator bench", "what this machine does, and what the newest plan will take"),
        ("migrator bench --messages 1000000 -o json", "more exactly, for a program"),
    ),
)
@click.option("--messages", type=click.IntRange(1000), metavar="N",
              help="How many messages the synthetic store has; 100000 unless given.")  # fmt: skip
@click.pass_obj
def bench(session: Session, messages: int | None) -> None:
    """Measure machine, database and key service; forecast the plan.

    Works on a synthetic store, in databases of its own beside the campaign's, which are gone afterwards. The campaign's
    data is not touched. Its key service wraps and unwraps a few hundred data keys that protect nothing.
    """
    with session.progress() as progress:
        result = measuring.measure(session.spec(), messages=messages or measuring.MESSAGES, progress=progress)
    session.output.result(views.measured(result))


COMMANDS: Final[tuple[click.Command, ...]] = (bench,)
