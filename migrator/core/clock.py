"""Where the time comes from, and how it is written down.

Recorded times are RFC 3339 text in UTC with six digits of microseconds and `Z`, so that their order as text is
their order in time. Leases never use this clock: they ask the system.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


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
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 date-time with an offset (`Z` or `+hh:mm`); the result is in UTC.

    Raises `ValueError` for anything else, also for what only looks like ISO 8601: a date alone, no offset.
    """
    if len(text) < 20 or len(text) > 40 or text[10] not in "Tt" or not text.isascii():
        raise ValueError("not an RFC 3339 date-time")
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("not an RFC 3339 date-time: the offset is missing")
    return moment.astimezone(UTC)
