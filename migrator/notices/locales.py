"""Locales of readers and templates, and moments written in them.

What a reader asks for and what is shown are two things, and both are recorded. A reader of `pt-BR` is shown `pt-BR`
where there is that template, else `pt`; a reader of `zh-Hant-TW` is shown `zh-Hant-TW`, `zh-Hant` or `zh`. Nobody is
shown another language, and nobody a sibling: `pt-BR` is no answer to `pt-PT`. Dates are written in the locale shown.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

_TAG: Final = re.compile(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}\Z")
_LONGEST: Final = 35
_LONGEST_ZONE: Final = 64
_SECONDS: Final = re.compile(r"(?<=mm)[:.]ss|(?<=mm分)ss秒")
"""In CLDR's patterns of times; where a language writes them in another way they stay."""


def normalise(text: str) -> str | None:
    """A language tag as BCP 47 likes to write it (`pt-BR`, `zh-Hant`); None for what is none."""
    if len(text) > _LONGEST or not _TAG.match(text):
        return None
    language, *rest = re.split("[_-]", text)
    return "-".join([language.lower(), *(_subtag(part) for part in rest)])


def _subtag(part: str) -> str:
    if len(part) == 4 and part.isalpha():
        return part.title()
    return part.upper() if len(part) == 2 else part.lower()


def is_known(locale: str) -> bool:
    """Whether dates can be written in a locale (CLDR has it)."""
    try:
        Locale.parse(locale, sep="-")
    except (UnknownLocaleError, ValueError):
        return False
    return True


def best(wanted: str, available: Collection[str]) -> str | None:
    """The wanted locale, or the nearest more general one (RFC 4647, section 3.4, lookup); never another language."""
    subtags = wanted.split("-")
    for length in range(len(subtags), 0, -1):
        candidate = "-".join(subtags[:length])
        if candidate in available:
            return candidate
    return None


@lru_cache(maxsize=1024)
def zone(name: str | None) -> ZoneInfo | None:
    """A time zone by its IANA name; None for no name and for what is not one."""
    try:
        return ZoneInfo(name) if name and len(name) <= _LONGEST_ZONE else None
    except (KeyError, ValueError, OSError):
        return None


def describe(moment: datetime, locale: str, timezone: str | None) -> str:
    """A moment for its reader: in the reader's own time zone, then in UTC; only the latter where no zone is known.

    The second that is repeated when clocks go back is told apart by the name of the zone, and by UTC.
    """
    own = zone(timezone)
    return _describe(moment, locale, None if own is None or own.key == "UTC" else own.key)


@lru_cache(maxsize=4096)
def _describe(moment: datetime, locale: str, timezone: str | None) -> str:
    language = Locale.parse(locale, sep="-")
    try:
        local = None if timezone is None else moment.astimezone(ZoneInfo(timezone))
    except OverflowError:  # the last hours of the calendar, in a zone that is ahead
        local = None
    if local is None:
        return _written(moment.astimezone(UTC), "full", language)
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{_written(local, 'full', language)} ({_written(utc, 'long', language)} UTC)"


def _written(moment: datetime, width: Literal["full", "long"], language: Locale) -> str:
    """Date and time as CLDR has them in this width, without seconds that are 0; naive: without a zone's name."""
    pattern = str(language.time_formats["full" if moment.tzinfo else "medium"])
    if moment.second == 0:
        pattern = _SECONDS.sub("", pattern)
    date = format_date(moment, width, locale=language)
    time = format_time(moment, pattern, tzinfo=moment.tzinfo or UTC, locale=language)
    glue = str(language.datetime_formats[width])
    return glue.replace("'", "").replace("{1}", date).replace("{0}", time)
