"""What a reader would get, for those who look at notices before they go out; sends and records nothing."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from migrator.campaign import Campaign
from migrator.core.errors import UsageError
from migrator.core.model import Account, AccountStatus
from migrator.core.policy import Answer
from migrator.core.settings import Settings
from migrator.notices import locales, templates
from migrator.notices.circumstances import Circumstances, RecordedAnswer
from migrator.notices.kinds import Audience, NoticeKind
from migrator.notices.templates import Rendered
from migrator.private_files import replace_private

NOBODY: Final = ""
"""The account id of a reader that is made up."""


def example(now: datetime, audience: Audience | None = None, answer: Answer = Answer.GRANT) -> Circumstances:
    """A case with every number and an answer in it."""
    return Circumstances(
        audience=audience,
        moved=3,
        sealed=2,
        destroyed=2,
        answer=RecordedAnswer(
            answer=answer,
            recorded_at=now.replace(microsecond=0),
            record_id="00000000-0000-7000-8000-000000000000",
            valid_until=now.replace(microsecond=0) + timedelta(days=365) if answer is Answer.GRANT else None,
        ),
    )


def reader(locale: str | None, timezone: str | None = None) -> Account:
    """A made-up account, in `notify.default_locale` unless a locale is given. Raises `UsageError`."""
    if timezone is not None and locales.zone(timezone) is None:
        raise UsageError(f"there is no time zone {timezone!r}", hint="it is named like Europe/Berlin")
    return Account(account_id=NOBODY, status=AccountStatus.ACTIVE, locale=locale, timezone=timezone)


def account(campaign: Campaign, account_id: str) -> Account:
    """An account of the source. Raises `UsageError` for one that there is not."""
    found = campaign.store.accounts([account_id]).get(account_id)
    if found is None:
        raise UsageError(f"the source has no account {account_id!r}", hint="without --account the reader is made up")
    return found


def write_html(rendered: Rendered, path: Path) -> None:
    """Write the HTML for a browser; only its owner can read it. Raises `UsageError`."""
    try:
        replace_private(path, rendered.html.encode())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{path} can't be written: {reason}", hint="name a place that is yours to write") from None


def preview(
    settings: Settings, directory: Path, reads: Account, *, now: datetime, notice_id: str = NoticeKind.FIRST.value,
    case: Circumstances | None = None,
) -> Rendered:  # fmt: skip
    """What this account would read; with the numbers and the answer of an example unless its case is known.

    Notices after the first are shown as to somebody who was told a whole notice period before the cutover.
    """
    available = templates.current(templates.catalogue(settings, directory), notice_id)
    wanted = templates.wanted_locale(reads, settings)
    template = templates.for_reader(available, wanted)
    if template is None:
        raise UsageError(
            f"notice {notice_id!r} has no template for locale {reads.locale or settings.notify.default_locale!r}",
            hint=f"it has {', '.join(sorted(available))}",
        )
    case = case or example(now)
    if case.first_noticed_at is None and notice_id != NoticeKind.FIRST:
        campaign = settings.campaign
        told = min(now, campaign.cutover_at - timedelta(days=campaign.notice_period_days))
        case = replace(case, first_noticed_at=told)
    return templates.render(template, reads, settings, now, case)
