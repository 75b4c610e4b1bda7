"""rollback, finalize: a run is undone, or made final."""

from typing import Final

import click

from migrator import finalization, rollback
from migrator.cli.command import AUDITED, Command
from migrator.cli.offers import RUN
from migrator.cli.session import Session
from migrator.cli.views import ending as views
from migrator.core.errors import ExitStatus

_run = click.argument("run", required=False, metavar="[RUN]", type=RUN)


@click.command(
    name="rollback",
    cls=Command,
    statuses=(*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE),
    examples=(("migrator rollback", "undo the latest run"),),
)
@_run
@click.pass_obj
def roll_back(session: Session, run: str | None) -> None:
    """Undo a run; the source was never changed.

    The latest unless RUN names another. Its server history goes, and what was visible before comes back. Refused once
    the campaign is final. Killed at any moment, it goes on when it is called again.
    """
    with session.campaign() as campaign, session.progress() as progress:
        result = rollback.rollback(campaign, run, progress)
    session.output.result(views.rolled_back(result))


@click.command(
    cls=Command,
    statuses=(*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE),
    examples=(
        ("migrator finalize --dry-run", "list what would go, and delete nothing"),
        ("migrator finalize --confirm dm-e2ee-retirement", "delete it, for good"),
        (
            "migrator finalize --sealed",
            "after the grace period: shred what stayed sealed; asks for the campaign's name",
        ),
    ),
)
@_run
@click.option("--sealed", is_flag=True, help="Shred what stayed sealed, once its grace period is over.")
@click.option("--dry-run", is_flag=True, help="List what would go, and delete nothing.")
@click.option("--confirm", metavar="NAME", help="The campaign's name, which is always asked for.")
@click.pass_obj
def finalize(session: Session, run: str | None, sealed: bool, dry_run: bool, confirm: str | None) -> None:
    """Make a campaign final: delete what is no longer needed.

    The source's ciphertext of what was migrated and verified, the exports, and the recipient keys. There is no way
    back: `migrator rollback` refuses from then on. What is under a legal hold stays. RUN, if given, must be the latest.
    Killed at any moment, it goes on when it is called again.
    """
    if dry_run:
        with session.campaign(read_only=True) as campaign, campaign.database.read() as connection:
            preview = finalization.preview(campaign, connection, run, sealed=sealed)
            totals = views.Totals()
            with session.output.listing("migrator.finalization_preview/1", "conversations", "conversation") as listing:
                for identifier, messages in preview.conversations:
                    totals.add(messages)
                    if not listing.add(views.conversation(identifier, messages), f"{messages:>9,} {identifier}"):
                        break
            session.output.text(*views.previewed(preview, totals))
        return
    with session.campaign() as campaign, session.progress() as progress:
        if confirm is None and session.may_ask():
            confirm = session.ask("This deletes people's ciphertext for good. Type the campaign's name to go on")
        result = finalization.finalize(campaign, run, sealed=sealed, confirm=confirm, progress=progress)
    session.output.result(views.finalized(result))


COMMANDS: Final[tuple[click.Command, ...]] = (roll_back, finalize)
