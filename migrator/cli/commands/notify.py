"""notify: telling users what will happen, and by when."""

from typing import Final

import click

from migrator.cli.command import AUDITED, CAMPAIGN, Group
from migrator.cli.session import Session
from migrator.cli.views import notify as views
from migrator.core.errors import ExitStatus
from migrator.notices import sending, status, templates

_notice = click.option(
    "--notice", "notice_id", metavar="ID", default=templates.DEFAULT_NOTICE, show_default=True, help="Which notice."
)


@click.group(cls=Group)
def notify() -> None:
    """Notices to users."""


@notify.command(name="templates")
@click.pass_obj
def list_templates(session: Session) -> None:
    """List the notices: id, version, locale, and the digest that authorisations name."""
    spec = session.spec()
    session.output.result(views.templates(templates.catalogue(spec.settings, spec.directory)))


@notify.command(name="preview")
@_notice
@click.option("--locale", metavar="LOCALE", help="Of the reader; notify.default_locale unless given.")
@click.option("--timezone", metavar="ZONE", help="Of the reader, such as Europe/Berlin; UTC unless given.")
@click.option("--minor", is_flag=True, help="The reader is a minor.")
@click.pass_obj
def preview(session: Session, notice_id: str, locale: str | None, timezone: str | None, minor: bool) -> None:
    """Show what a user would read. Sends and records nothing."""
    spec = session.spec()
    rendered = templates.preview(
        spec.settings, spec.directory, locale=locale or spec.settings.notify.default_locale, now=spec.clock.now(),
        notice_id=notice_id, timezone=timezone, minor=minor,
    )  # fmt: skip
    session.output.result(views.rendered(rendered))


@notify.command(name="send", statuses=(*AUDITED, ExitStatus.SOME_FAILED))
@_notice
@click.pass_obj
def send(session: Session, notice_id: str) -> ExitStatus:
    """Send a notice to every account that has not had it. Run it again to go on; nobody gets it twice."""
    with session.campaign() as campaign, session.progress() as progress:
        result = sending.send(campaign, notice_id=notice_id, progress=progress)
    session.output.result(views.sent(result))
    return ExitStatus.SOME_FAILED if result.failed else ExitStatus.OK


@notify.command(name="send-test", statuses=CAMPAIGN)
@_notice
@click.argument("address", metavar="ADDRESS")
@click.option("--locale", metavar="LOCALE", help="Of the reader; notify.default_locale unless given.")
@click.pass_obj
def send_test(session: Session, notice_id: str, address: str, locale: str | None) -> None:
    """Send a notice to one address of yours, through the real channel. Counts as nobody's notice."""
    with session.campaign() as campaign:
        rendered = sending.send_test(campaign, address, locale=locale, notice_id=notice_id)
    session.output.result(views.tested(address, rendered))


@notify.command(name="status", statuses=CAMPAIGN)
@_notice
@click.pass_obj
def show_status(session: Session, notice_id: str) -> None:
    """Count the accounts by what became of their notice."""
    with session.campaign() as campaign:
        found = status.status(campaign, notice_id=notice_id)
    session.output.result(views.status(found))


COMMANDS: Final[tuple[click.Command, ...]] = (notify,)
