"""The values of a notice's variables: the campaign's dates and rules, and one account's case, in the reader's language.

Nothing is opened before the later of cutover and the end of the notice period; the notice says the full hour before
that: a round time that still holds.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from babel import Locale
from babel.numbers import format_decimal

from migrator.core.errors import ConfigError
from migrator.core.model import Account, Quorum
from migrator.core.settings import Settings
from migrator.notices import locales
from migrator.notices.circumstances import Circumstances
from migrator.notices.kinds import Audience
from migrator.notices.language import COUNTS, Value

MOMENTS: Final = frozenset({"cutover_at", "opens_at", "sealed_until", "recorded_at", "valid_until"})
"""Variables that are a time: in the reader's time zone, and in UTC."""


def values(account: Account, settings: Settings, locale: str, now: datetime, case: Circumstances) -> dict[str, Value]:
    """All of `language.VARIABLES` but those of the template itself. Raises `ConfigError` for dates beyond the calendar.

    `now` is when the notice is sent.
    """
    try:
        moments = _moments(settings, now, case)
    except OverflowError:
        raise ConfigError("campaign.cutover_at and its periods lead beyond the year 9999") from None
    counts = {
        "days_left": _days_left(settings.campaign.cutover_at, now, account.timezone),
        "moved": case.moved or None,
        "sealed": case.sealed or None,
        "destroyed": case.destroyed or None,
    }
    found: dict[str, Value] = {
        name: None if moment is None else locales.describe(moment, locale, account.timezone)
        for name, moment in moments.items()
    }
    for name in COUNTS:
        found[name], found[f"{name}_form"] = _counted(counts[name], locale)
    answer = case.answer
    return {
        **found,
        "platform": settings.notify.platform,
        "help_url": settings.notify.help_url,
        "quorum": settings.authorization.quorum.value,
        "audience": (case.audience or (Audience.MINOR if account.minor else Audience.EVERYONE)).value,
        "answer": None if answer is None else answer.answer.value,
        "all_conversations": None if answer is None else answer.all_conversations,
        "record_id": None if answer is None else answer.record_id,
    }


def plural_forms(locale: str) -> frozenset[str]:
    """The CLDR plural categories of a language: English has two, Arabic six."""
    return frozenset(Locale.parse(locale, sep="-").plural_form.tags | {"other"})


def _moments(settings: Settings, now: datetime, case: Circumstances) -> dict[str, datetime | None]:
    campaign = settings.campaign
    first = case.first_noticed_at or now
    noticed = (first + timedelta(days=campaign.notice_period_days)).replace(minute=0, second=0, microsecond=0)
    # Where another participant's authorisation is enough, it is the other one's notice period that counts.
    alone = settings.authorization.quorum is not Quorum.ANY_PARTICIPANT
    opens_at = max(campaign.cutover_at, noticed) if alone else campaign.cutover_at
    return {
        "cutover_at": campaign.cutover_at,
        "opens_at": opens_at,
        "sealed_until": max(opens_at, campaign.cutover_at + timedelta(days=campaign.sealed_grace_days)),
        "recorded_at": None if case.answer is None else case.answer.recorded_at,
        "valid_until": None if case.answer is None else case.answer.valid_until,
    }


def _days_left(until: datetime, now: datetime, timezone: str | None) -> int:
    """Nights that the reader sleeps until then; 0 on the day itself and after it."""
    zone = locales.zone(timezone) or UTC
    try:
        return max(0, (until.astimezone(zone).date() - now.astimezone(zone).date()).days)
    except OverflowError:  # the last hours of the calendar, in a zone that is ahead
        return max(0, (until.date() - now.date()).days)


@lru_cache(maxsize=4096)
def _counted(number: int | None, locale: str) -> tuple[str | None, str | None]:
    if number is None:
        return None, None
    language = Locale.parse(locale, sep="-")
    return format_decimal(number, locale=language), str(language.plural_form(number))
