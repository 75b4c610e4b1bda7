"""verify, report, read: what became of a run."""

import sys
from pathlib import Path
from typing import Final

import click

from migrator import archiving, reading, reporting, verification
from migrator.cli.command import AUDITED, CAMPAIGN, Command
from migrator.cli.offers import OUTCOME, RUN
from migrator.cli.options import PERCENT
from migrator.cli.session import Session
from migrator.cli.views import checking as views
from migrator.core.errors import ExitStatus, UsageError

_run = click.argument("run", required=False, metavar="[RUN]", type=RUN)
_FORMATS: Final = ("text", *(form.value for form in archiving.Form))


@click.command(
    cls=Command,
    statuses=AUDITED,
    examples=(
        ("migrator verify", "open and compare everything"),
        ("migrator verify --sample 5%", "count everything, open a twentieth"),
    ),
)
@_run
@click.option("--sample", type=PERCENT, metavar="P%", help="Open that share of the conversations; the rest is counted.")
@click.option("--all", "everything", is_flag=True, help="Open all of them, as it does unless told otherwise.")
@click.pass_obj
def verify(session: Session, run: str | None, sample: float | None, everything: bool) -> ExitStatus:
    """Prove a run: open its result again, reconcile every count.

    Compares with the source; plan, outcomes, rows, keys and audit log must agree. The latest run unless RUN names
    another. Changes no history; the verdict is recorded. Run it again to go on with one that was interrupted.
    """
    if everything and sample is not None:
        raise UsageError("--sample and --all at once", hint="leave one out")
    with session.campaign() as campaign, session.progress() as progress:
        found = verification.verify(campaign, run, sample=sample, progress=progress)
    session.output.result(views.verified(found))
    return ExitStatus.OK if found.ok else ExitStatus.MISMATCH


@click.command(
    cls=Command,
    statuses=CAMPAIGN,
    examples=(
        ("migrator report", "what the latest run came to"),
        ("migrator report --save report/", "with a page for people, each outcome, and a manifest of digests"),
        ("migrator report --save failed/ --only failed:source", "only the conversations of one outcome"),
    ),
)
@_run
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write summary, outcomes, a page for people, and a manifest with digests there.")  # fmt: skip
@click.option(
    "--only", metavar="OUTCOME", type=OUTCOME, help="With --save: list the conversations of that outcome alone."
)
@click.pass_obj
def report(session: Session, run: str | None, save: Path | None, only: str | None) -> None:
    """Show what a run came to. Changes nothing.

    The latest unless RUN names another. Saved files are for their owner only: they name conversations.
    """
    if only is not None and save is None:
        raise UsageError("--only is for a report that is saved", hint="add --save DIR")
    with session.campaign() as campaign:
        summary = reporting.summary(campaign, run)
        saved = None if save is None else reporting.save(campaign, run, save, only)
    session.output.result(views.reported(summary, saved))


@click.command(
    cls=Command,
    statuses=(*AUDITED, ExitStatus.GATE),
    examples=(
        (
            'migrator read in00000001/u00000002 --reason "ticket 4711"',
            "print it, oldest first; the reason is recorded first",
        ),
        (
            'migrator read "!room:example.org" --reason "request 12" --format html --save archive',
            "pages for people, with attachments and a manifest of digests",
        ),
    ),
)
@click.argument("conversation", metavar="CONVERSATION")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it goes into the audit log.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True,
              help="text: lines for a terminal. The others are archives, with the gaps and their reasons.")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path), metavar="DIR|FILE",
              help="Write the archive there: a new folder with attachments and a manifest of digests, or one new file "
                   "without them where the name ends in .json or .mbox.")  # fmt: skip
@click.pass_obj
def read(session: Session, conversation: str, reason: str, form: str, save: Path | None) -> None:
    """Print a conversation's migrated history.

    Only what is visible to readers: one that is sealed is refused. With --format it makes an archive. Every use is an
    audit event, which says who read it and why.
    """
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


COMMANDS: Final[tuple[click.Command, ...]] = (verify, report, read)
