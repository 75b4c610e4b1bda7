"""The hours in which a run may work: `22:00-06:00 Europe/Paris`.

The wall clock of the zone decides, as it runs: where a day has an hour twice (daylight saving) both count, and where it
has none, the window opens when the clock has passed its beginning.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_WINDOW: Final = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9]) +([A-Za-z0-9_+/-]{1,64})\Z"
)
_MINUTE: Final = timedelta(minutes=1)
_SEARCHED_MINUTES: Final = 3 * 24 * 60
"""A day may miss a window altogether, when clocks are set forward over it; two in a row don't."""


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of the wall clock in a zone; `end` is the first minute after them, on the next day where it comes first."""

    start: time
    end: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> "Window":
        """`22:00-06:00 Europe/Paris`; `ValueError` for anything else, an unknown zone, or no hours at all."""
        match = _WINDOW.match(text)
        if match is None:
            raise ValueError("a window reads like '22:00-06:00 Europe/Paris'")
        start, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
        if start == end:
            raise ValueError("a window has a beginning and another end")
        try:
            return cls(start, end, ZoneInfo(match[5]))
        except (KeyError, ValueError, OSError):
            raise ValueError(f"there is no time zone {match[5]!r}") from None

    def is_open(self, now: datetime) -> bool:
        """Whether `now` lies in it."""
        wall = now.astimezone(self.zone).time()
        if self.start < self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end

    def opens_at(self, now: datetime) -> datetime:
        """The first minute from `now` on that lies in it, in UTC."""
        first = now.astimezone(UTC)
        if self.is_open(first):
            return first
        minute = first.replace(second=0, microsecond=0)
        for n in range(1, _SEARCHED_MINUTES):
            if self.is_open(minute + n * _MINUTE):
                return minute + n * _MINUTE
        raise ValueError("a window that never opens")
