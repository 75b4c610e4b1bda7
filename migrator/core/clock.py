"""Where the time comes from, and how it is written down.

Recorded times are RFC 3339 text in UTC with six digits of microseconds and `Z`, so that their order as text is
their order in time. Leases never use this clock: they ask the system.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,12})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)


class Clock(Protocol):
    """The time of policy and of recorded times."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class FixedClock:
    """A clock that stands still: `--now` in staging, and tests."""

    at: datetime

    def now(self) -> datetime:
        """The same moment always."""
        return self.at


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds: `2026-05-08T00:00:00.000000Z`."""
    # Not `strftime`: its `%Y` leaves out the zeros of years before 1000, and with them the order as text.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 date-time with an offset (`Z` or `+hh:mm`); the result is in UTC.

    Raises `ValueError` for anything else, also for what is only ISO 8601: a date alone, no offset, week dates, commas.
    """
    if not _RFC_3339.match(text):
        raise ValueError("not an RFC 3339 date-time")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a date-time: in UTC it is outside the years 1 to 9999") from None


def parse_utc(text: str) -> datetime:
    """Read a time as clients have to write it: RFC 3339 in UTC with `Z`. `ValueError` for any other offset."""
    if not text.endswith("Z"):
        raise ValueError("not an RFC 3339 date-time in UTC with Z")
    return parse_time(text)
