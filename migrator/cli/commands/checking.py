"""verify, rollback, report, read: what became of a run."""

from typing import Final

import click

from migrator import reading
from migrator.cli.command import AUDITED, Command
from migrator.cli.session import Session
from migrator.cli.views import checking as views
from migrator.core.errors import ExitStatus


@click.command(cls=Command, statuses=(*AUDITED, ExitStatus.GATE))
@click.argument("conversation", metavar="CONVERSATION")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it goes into the audit log.")
@click.pass_obj
def read(session: Session, conversation: str, reason: str) -> None:
    """Print the migrated history of a conversation. Every use is an audit event."""
    with session.campaign() as campaign:
        messages = reading.read(campaign, conversation, reason)
        with session.output.listing("migrator.history/1", "messages", "message") as listing:
            for message in messages:
                if not listing.add(views.message(message), views.message_line(message)):
                    break


COMMANDS: Final[tuple[click.Command, ...]] = (read,)
