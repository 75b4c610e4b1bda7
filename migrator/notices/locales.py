"""Locales of readers and templates, and moments written in them."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime

_TAG: Final = re.compile(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}\Z")
_LONGEST: Final = 35
_LONGEST_ZONE: Final = 64


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
    """A moment for its reader: in the reader's own time zone, then in UTC; only the latter where no zone is known."""
    own = zone(timezone)
    return _describe(moment, locale, None if own is None or own.key == "UTC" else own.key)


@lru_cache(maxsize=4096)
def _describe(moment: datetime, locale: str, timezone: str | None) -> str:
    language = Locale.parse(locale, sep="-")
    if timezone is None:
        return format_datetime(moment, "full", tzinfo=UTC, locale=language)
    local = format_datetime(moment, "full", tzinfo=ZoneInfo(timezone), locale=language)
    return f"{local} ({format_datetime(moment, 'long', tzinfo=UTC, locale=language)})"
