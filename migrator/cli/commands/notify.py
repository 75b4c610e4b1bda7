"""notify: telling users what will happen, and by when."""

from pathlib import Path
from typing import Final

import click

from migrator.cli.command import AUDITED, CAMPAIGN, Group
from migrator.cli.session import Session
from migrator.cli.views import notify as views
from migrator.core.errors import ExitStatus, UsageError
from migrator.notices import control, lint, listing, preview, sending, status, templates, testing
from migrator.notices import receipts as receiving
from migrator.notices.kinds import Audience
from migrator.notices.sending import SendOptions
from migrator.notices.waves import EVERYBODY, Wave

_notice = click.option(
    "--notice", "notice_id", metavar="ID", default=templates.DEFAULT_NOTICE, show_default=True, help="Which notice."
)


@click.group(cls=Group)
def notify() -> None:
    """Write, check and send notices; see how far they got."""


@notify.command(
    name="templates",
    examples=(
        ("migrator notify templates -o json", "the digests that client apps put into authorisations"),
        ("migrator notify templates --notice cutover --save notices/", "a copy of one to change"),
    ),
)
@click.option("--notice", "notice_id", metavar="ID", help="Only this one.")
@click.option("--save", type=click.Path(path_type=Path), metavar="DIR", help="Copy it there as the next version.")
@click.pass_obj
def list_templates(session: Session, notice_id: str | None, save: Path | None) -> None:
    """List the notices with their digests, or copy one to change.

    The digest of a template is what authorisations name. Sends nothing.
    """
    spec = session.spec()
    found = templates.catalogue(spec.settings, spec.directory)
    saved: list[Path] = []
    if notice_id is not None:
        current = templates.current(found, notice_id)
        found = [template for template in found if template.notice_id == notice_id]
        saved = templates.save_next(current, save) if save is not None else []
    elif save is not None:
        raise UsageError("--save is for one notice", hint="name it with --notice")
    session.output.result(views.templates(found, saved))


@notify.command(name="lint", examples=(("migrator notify lint", "what `migrator notify send` would refuse"),))
@click.pass_obj
def lint_templates(session: Session) -> ExitStatus:
    """Check every template. Sends nothing.

    Neutral words, no links, pixels or scripts, the outcome without an answer, both dates.
    """
    spec = session.spec()
    found = templates.found(spec.settings, spec.directory)
    findings = lint.lint(found)
    session.output.result(views.findings(found, findings, templates.untranslated(found)))
    return ExitStatus.USAGE if findings else ExitStatus.OK


@notify.command(
    name="preview",
    statuses=CAMPAIGN,
    examples=(
        ("migrator notify preview --locale de --timezone Europe/Berlin", "in another language"),
        ("migrator notify preview --audience minor --html minor.html", "for minors, as a page as well"),
    ),
)
@_notice
@click.option("--account", "account_id", metavar="ID", help="What this account would read; else a made-up reader.")
@click.option("--locale", metavar="LOCALE", help="Of the reader; notify.default_locale unless given.")
@click.option("--timezone", metavar="ZONE", help="Of the reader, such as Europe/Berlin; UTC unless given.")
@click.option(
    "--audience", type=click.Choice([audience.value for audience in Audience]), help="Whom the words are for."
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the HTML to this file as well.")
@click.pass_obj
def show_preview(
    session: Session, notice_id: str, account_id: str | None, locale: str | None, timezone: str | None,
    audience: str | None, html: Path | None,
) -> None:  # fmt: skip
    """Show what a user would read. Sends and records nothing.

    With numbers made up, unless --account names a reader.
    """
    if account_id is None:
        spec, reader = session.spec(), preview.reader(locale, timezone)
    else:
        if locale or timezone:
            raise UsageError("--account has a locale and a time zone of its own", hint="leave out the others")
        with session.campaign(read_only=True) as campaign:
            spec, reader = campaign.spec, preview.account(campaign, account_id)
    now = spec.clock.now()
    case = preview.example(now, Audience(audience) if audience else None)
    rendered = preview.preview(spec.settings, spec.directory, reader, now=now, notice_id=notice_id, case=case)
    if html is not None:
        preview.write_html(rendered, html)
    session.output.result(views.rendered(rendered, html))


@notify.command(
    name="send",
    statuses=(
        *AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE, ExitStatus.ERROR_BUDGET, ExitStatus.STOPPED_BY_OPERATOR,
        ExitStatus.SOME_FAILED,
    ),
    examples=(
        ("migrator notify send --wave 1%", "a first wave; the next ones hold the smaller ones"),
        ("migrator notify send", "from cron: whatever is due now"),
    ),
)  # fmt: skip
@click.option("--notice", "notice_id", metavar="ID", help="This notice now, whatever the schedule says.")
@click.option("--wave", metavar="P%", help="To this share of the accounts; each wave holds the smaller ones.")
@click.option("--retry-failed", is_flag=True, help="Try what was refused or came back once more.")
@click.pass_obj
def send(session: Session, notice_id: str | None, wave: str | None, retry_failed: bool) -> ExitStatus:
    """Send what is due now, and no more; nobody gets it twice.

    Keeps to [notify.schedule]: first notice, reminders, last call, what became of it. Safe to run from cron, on any
    host. Stops by itself when too much comes back. Reaches real users: look at `migrator notify preview` and send-test
    first.
    """
    options = SendOptions(
        notice_id=notice_id, wave=Wave.parse(wave) if wave is not None else EVERYBODY, retry_failed=retry_failed
    )
    with session.campaign() as campaign, session.progress() as progress:
        result = sending.send(campaign, options, progress=progress)
    session.output.result(views.sent(result))
    if result.stopped:
        return ExitStatus.ERROR_BUDGET
    if result.paused:
        return ExitStatus.STOPPED_BY_OPERATOR
    return ExitStatus.SOME_FAILED if result.failed else ExitStatus.OK


@notify.command(
    name="pause",
    statuses=CAMPAIGN,
    examples=(('migrator notify pause --reason "wrong help address"', "from any shell, at once"),),
)
@click.option("--reason", metavar="TEXT", default="an operator asked for it", help="For those who ask why.")
@click.pass_obj
def pause(session: Session, reason: str) -> None:
    """Hold sending back until `migrator notify resume`.

    A `send` that is under way ends after the notice at hand, and none begins. What was sent is sent.
    """
    with session.campaign() as campaign:
        done = control.pause(campaign, reason)
    session.output.result(views.held(paused=True, done=done))


@notify.command(
    name="resume", statuses=AUDITED, examples=(("migrator notify resume", "then call `migrator notify send`"),)
)
@click.pass_obj
def resume(session: Session) -> None:
    """Let sending go on after a pause or a stop. Sends nothing itself.

    Bounces are counted anew, and channels that were switched off are used again.
    """
    with session.campaign() as campaign:
        done = control.resume(campaign)
    session.output.result(views.held(paused=False, done=done))


@notify.command(
    name="send-test",
    statuses=CAMPAIGN,
    examples=(("migrator notify send-test me@example.org --locale de", "through the real channel, to yourself"),),
)
@_notice
@click.argument("address", metavar="ADDRESS")
@click.option("--locale", metavar="LOCALE", help="Of the reader; notify.default_locale unless given.")
@click.option("--channel", metavar="NAME", help="The channel; the first one unless given.")
@click.pass_obj
def send_test(session: Session, notice_id: str, address: str, locale: str | None, channel: str | None) -> None:
    """Send a notice to one address of yours.

    Through the real channel. Counts as nobody's notice.
    """
    with session.campaign() as campaign:
        rendered = testing.send_test(campaign, address, locale=locale, notice_id=notice_id, channel=channel)
    session.output.result(views.tested(address, rendered))


@notify.command(
    name="status",
    statuses=CAMPAIGN,
    examples=(
        ("migrator notify status", "how far the first notice has reached"),
        ("migrator notify status --unreachable post.jsonl", "and a list of who is to be told otherwise"),
    ),
)
@_notice
@click.option(
    "--unreachable", type=click.Path(path_type=Path), metavar="FILE", help="Write who was not told, and why, to FILE."
)
@click.pass_obj
def show_status(session: Session, notice_id: str, unreachable: Path | None) -> None:
    """Count the accounts by what became of their notice.

    Changes nothing. What --unreachable writes is for its owner only: it names accounts.
    """
    with session.campaign() as campaign:
        found = status.status(campaign, notice_id=notice_id)
        if unreachable is not None:
            listing.write_unreachable(campaign, notice_id, unreachable)
    session.output.result(views.status(found))


@notify.group(name="receipts", cls=Group)
def receipts() -> None:
    """Take in what came back of notices."""


@receipts.command(
    name="import",
    statuses=AUDITED,
    examples=(
        ("migrator notify receipts import bounces/", "a Maildir that the mail server fills"),
        ("migrator notify receipts import seen.jsonl", "what the app saw opened"),
    ),
)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.pass_obj
def import_receipts(session: Session, paths: tuple[Path, ...]) -> None:
    """Take in bounces, complaints and the app's receipts.

    PATHs are Maildirs, mbox files or .jsonl files. A repeat is harmless. Too many bounces stop sending.
    """
    with session.campaign() as campaign, session.progress() as progress:
        result = receiving.import_receipts(campaign, paths, progress=progress)
    session.output.result(views.received(result))


COMMANDS: Final[tuple[click.Command, ...]] = (notify,)
