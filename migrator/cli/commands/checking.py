"""verify, rollback, report, read: what became of a run."""

import sys
from pathlib import Path
from typing import Final

import click

from migrator import archiving, reading, reporting, rollback, verification
from migrator.cli.command import AUDITED, CAMPAIGN, Command
from migrator.cli.options import PERCENT
from migrator.cli.session import Session
from migrator.cli.views import checking as views
from migrator.core.errors import ExitStatus, UsageError

_FORMATS: Final = ("text", *(form.value for form in archiving.Form))
_run = click.argument("run", required=False, metavar="[RUN]")


@click.command(cls=Command, statuses=AUDITED)
@_run
@click.option("--sample", type=PERCENT, metavar="P%", help="Open that share of the conversations; the rest is counted.")
@click.option("--all", "everything", is_flag=True, help="Open all of them, as it does unless told otherwise.")
@click.pass_obj
def verify(session: Session, run: str | None, sample: float | None, everything: bool) -> ExitStatus:
    """Open the result of a run again, compare it with the source, and reconcile every count.

    The latest run unless RUN names another. Run it again to go on with a verification that was interrupted.
    """
    if everything and sample is not None:
        raise UsageError("--sample and --all at once", hint="leave one out")
    with session.campaign() as campaign, session.progress() as progress:
        found = verification.verify(campaign, run, sample=sample, progress=progress)
    session.output.result(views.verified(found))
    return ExitStatus.OK if found.ok else ExitStatus.MISMATCH


@click.command(name="rollback", cls=Command, statuses=(*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE))
@_run
@click.pass_obj
def roll_back(session: Session, run: str | None) -> None:
    """Undo a run: its server history goes, and what was visible before comes back. The source was never changed.

    The latest run unless RUN names another.
    """
    with session.campaign() as campaign, session.progress() as progress:
        result = rollback.rollback(campaign, run, progress)
    session.output.result(views.rolled_back(result))


@click.command(cls=Command, statuses=CAMPAIGN)
@_run
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write summary, outcomes, a page for people, and a manifest with digests there.")  # fmt: skip
@click.option("--only", metavar="OUTCOME", help="With --save: list the conversations of that outcome alone.")
@click.pass_obj
def report(session: Session, run: str | None, save: Path | None, only: str | None) -> None:
    """Show what a run came to; the latest unless RUN names another."""
    if only is not None and save is None:
        raise UsageError("--only is for a report that is saved", hint="add --save DIR")
    with session.campaign() as campaign:
        summary = reporting.summary(campaign, run)
        saved = None if save is None else reporting.save(campaign, run, save, only)
    session.output.result(views.reported(summary, saved))


@click.command(cls=Command, statuses=(*AUDITED, ExitStatus.GATE))
@click.argument("conversation", metavar="CONVERSATION")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it goes into the audit log.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True,
              help="text: lines for a terminal. The others are archives, with the gaps and their reasons.")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path), metavar="DIR|FILE",
              help="Write the archive there: a new folder with attachments and a manifest of digests, or one new file "
                   "without them where the name ends in .json or .mbox.")  # fmt: skip
@click.pass_obj
def read(session: Session, conversation: str, reason: str, form: str, save: Path | None) -> None:
    """Print the migrated history of a conversation, or make an archive of it. Every use is an audit event."""
    if form != "text":
        _archive(session, conversation, reason, archiving.Form(form), save)
        return
    if save is not None:
        raise UsageError("--save is for archives", hint="add --format matrix-json, html or mbox")
    with session.campaign() as campaign:
        messages = reading.read(campaign, conversation, reason)
        with session.output.listing("migrator.history/1", "messages", "message") as listing:
            for message in messages:
                if not listing.add(views.message(message), views.message_line(message)):
                    break
        session.output.text(*views.left_in_clear(archiving.clear_text(campaign, conversation)))


def _archive(session: Session, conversation: str, reason: str, form: archiving.Form, save: Path | None) -> None:
    if save is None and sys.stdout.isatty():
        raise UsageError(
            "an archive holds what strangers wrote: it is nothing for a terminal", hint="add --save, or pipe"
        )
    with session.campaign() as campaign:
        if save is None:
            session.output.raw(archiving.stream(campaign, conversation, reason, form))
        else:
            session.output.result(views.archived(archiving.save(campaign, conversation, reason, form, save)))


COMMANDS: Final[tuple[click.Command, ...]] = (verify, roll_back, report, read)
