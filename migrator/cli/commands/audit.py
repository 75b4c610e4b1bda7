"""audit show, verify, consistency."""

from datetime import datetime
from pathlib import Path
from typing import Final

import click

from migrator import anchoring, audit_review, evidence
from migrator.audit import consistency, verifying
from migrator.audit.query import Filters
from migrator.cli.command import AUDITED, Group
from migrator.cli.commands import audit_evidence
from migrator.cli.offers import RUN
from migrator.cli.options import MOMENT
from migrator.cli.session import Session
from migrator.cli.views import audit as views
from migrator.core.errors import ExitStatus, UsageError


@click.group(cls=Group)
def audit() -> None:
    """Show, verify, prove and hand out the audit log."""


@audit.command(
    name="show",
    statuses=AUDITED,
    examples=(
        ("migrator audit show --limit 20", "the newest entries"),
        ("migrator audit show --type history.read --since 2026-05-08T00:00:00Z -o jsonl", "who has read what since"),
        ("migrator audit show --html site/", "a static site that can be searched"),
    ),
)
@click.option("--type", "kind", metavar="TYPE", help="conversation.rewrapped, or a noun such as conversation.")
@click.option("--since", type=MOMENT, help="From that time on.")
@click.option("--until", type=MOMENT, help="Before that time.")
@click.option("--actor", metavar="NAME", help="What that operator did.")
@click.option("--run", "run_id", metavar="RUN", type=RUN, help="What that run did.")
@click.option("--subject", metavar="REF", help="About that reference, or that run, plan or notice.")
@click.option("--account", metavar="ACCOUNT", help="About an account; being asked is itself an entry.")
@click.option("--conversation", metavar="CONVERSATION", help="About a conversation; being asked is itself an entry.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N.")
@click.option("--html", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="As a static site in a new folder, with what proves each entry.")  # fmt: skip
@click.pass_obj
def show(
    session: Session,
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
    actor: str | None,
    run_id: str | None,
    subject: str | None,
    account: str | None,
    conversation: str | None,
    limit: int | None,
    html: Path | None,
) -> ExitStatus:
    """Show entries, oldest first: those that fit all options.

    Changes nothing, but for this: to ask about an account or a conversation is itself an entry.
    """
    if subject is not None and (account is not None or conversation is not None):
        raise UsageError("--subject names entries by itself", hint="leave out --account and --conversation")
    subjects = None if subject is None else {subject}
    filters = Filters(type=kind, since=since, until=until, actor=actor, run_id=run_id, subjects=subjects, limit=limit)
    with session.campaign() as campaign:
        if html is not None:
            site = evidence.write_site(campaign, html, filters, account=account, conversation=conversation)
            session.output.result(views.site(site))
            return ExitStatus.OK if site.ok else ExitStatus.AUDIT_LOG
        entries = audit_review.show(campaign, filters, account=account, conversation=conversation)
        with session.output.listing("migrator.audit_entries/1", "entries", "entry") as listing:
            for entry in entries:
                if not listing.add(entry, views.line(entry)):
                    break
    return ExitStatus.OK


@audit.command(
    name="verify",
    statuses=AUDITED,
    examples=(
        ("migrator audit verify", "all of it, against the database too"),
        (
            "migrator audit verify --trusted-checkpoint kept.txt",
            "and that it still begins with what you kept elsewhere",
        ),
    ),
)
@click.option("--from", "first", type=click.IntRange(min=0), default=0, metavar="N", help="From that entry on.")
@click.option("--to", "end", type=click.IntRange(min=0), metavar="N", help="Before that entry.")
@click.option("--trusted-checkpoint", "trusted", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              metavar="FILE", help="A signed checkpoint kept elsewhere: the log must begin with it.")  # fmt: skip
@click.pass_obj
def verify(session: Session, first: int, end: int | None, trusted: Path | None) -> ExitStatus:
    """Verify the whole log. Changes nothing.

    Entries, tiles, every checkpoint, what others vouch for, and what the database has of it.
    """
    if end is not None and end < first:
        raise UsageError("--to is before --from", hint="leave one out")
    with session.campaign(read_only=True) as campaign, session.progress() as progress:
        kept = None if trusted is None else verifying.read_trusted(trusted)
        anchors = anchoring.anchors_of(campaign)
        found = verifying.verify(campaign.audit, progress, first=first, end=end, trusted=kept, anchors=anchors)
    session.output.result(views.verified(found))
    return ExitStatus.OK if found.ok else ExitStatus.AUDIT_LOG


@audit.command(
    name="consistency",
    statuses=AUDITED,
    examples=(
        ("migrator audit consistency 18 49", "between two sizes of the log"),
        ("migrator audit consistency kept.txt audit/checkpoint", "between two signed checkpoints"),
    ),
)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.pass_obj
def prove_consistency(session: Session, old: str, new: str) -> None:
    """Prove that the log only grew from OLD to NEW.

    Each is a number of entries, or a file with a signed checkpoint. Changes nothing.
    """
    with session.campaign(read_only=True) as campaign:
        found = consistency.prove(campaign.audit, old, new)
    session.output.result(views.consistent(found))


for command in audit_evidence.COMMANDS:
    audit.add_command(command)

COMMANDS: Final[tuple[click.Command, ...]] = (audit,)
