"""audit show."""

from datetime import datetime
from typing import Final

import click

from migrator import audit_review
from migrator.audit.query import Filters
from migrator.cli.command import AUDITED, Group
from migrator.cli.options import MOMENT
from migrator.cli.session import Session
from migrator.cli.views import audit as views


@click.group(cls=Group)
def audit() -> None:
    """The audit log."""


@audit.command(name="show", statuses=AUDITED)
@click.option("--type", "kind", metavar="TYPE", help="conversation.rewrapped, or a noun such as conversation.")
@click.option("--since", type=MOMENT, help="From that time on.")
@click.option("--until", type=MOMENT, help="Before that time.")
@click.option("--actor", metavar="NAME", help="What that operator did.")
@click.option("--run", "run_id", metavar="RUN", help="What that run did.")
@click.option("--account", metavar="ACCOUNT", help="About an account; being asked is itself an entry.")
@click.option("--conversation", metavar="CONVERSATION", help="About a conversation; being asked is itself an entry.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N.")
@click.pass_obj
def show(
    session: Session,
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
    actor: str | None,
    run_id: str | None,
    account: str | None,
    conversation: str | None,
    limit: int | None,
) -> None:
    """Show entries of the audit log, oldest first, those that fit all of the options."""
    filters = Filters(type=kind, since=since, until=until, actor=actor, run_id=run_id, limit=limit)
    with session.campaign() as campaign:
        entries = audit_review.show(campaign, filters, account=account, conversation=conversation)
        with session.output.listing("migrator.audit_entries/1", "entries", "entry") as listing:
            for entry in entries:
                if not listing.add(entry, views.line(entry)):
                    break


COMMANDS: Final[tuple[click.Command, ...]] = (audit,)
