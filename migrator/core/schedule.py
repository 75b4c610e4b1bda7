"""When an account is to be told what: one pure function from what is known of it to the notices that are due.

The schedule is relative to the cutover T: `first`, `reminders`, `last_call`, `after`, each a list of days such as
`T-30`. The rules:

1. The first notice comes before anything else. It is due from the day that sending begins, however early: nobody is
   harmed by time. `first` is the day by which everybody should have it.
2. A reminder is due from its day on until the next one's, and the last call from its day until the cutover, to accounts
   that have not answered. What somebody missed, because no sender ran or because the account came late, is not made up
   for: of several that are due only the newest is sent, and none whose day lies before what the account was last told.
3. An opt-out silences reminders; the first notice and the last call never.
4. After the cutover, from the days of `after` on, an account is told what became of its history, once that is known:
   that it was moved, or that it is kept sealed; the latter again on each later day, while it has not answered.
5. An answer is confirmed, whatever else is due.
6. Quiet hours, in the account's own time zone, hold everything back but the last call. Where a day has no such hour or
   has it twice (daylight saving), wall-clock time as it runs decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

_OFFSET: Final = re.compile(r"T([+-])(\d{1,4})\Z")
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")
_DEFAULT: Final = {"first": "T-60", "reminders": "T-30 T-14 T-7", "last_call": "T-1", "after": "T+1 T+30"}


class StepKind(StrEnum):
    """What a step of the schedule tells."""

    FIRST = "first"
    REMINDER = "reminder"
    LAST_CALL = "last_call"
    MOVED = "moved"
    SEALED = "sealed"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours of the wall clock in which nobody is disturbed; `end` is the first minute after them."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """`21:00-08:00`; `ValueError` for anything else."""
        match = _HOURS.match(text)
        if match is None or match.group(1, 2) == match.group(3, 4):
            raise ValueError("quiet hours read like 21:00-08:00")
        return cls(time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4])))

    def hold(self, now: datetime, zone: ZoneInfo) -> bool:
        """Whether it is quiet at `now` where the clock runs by `zone`."""
        wall = now.astimezone(zone).time()
        if self.start < self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Days relative to the cutover, each list in order."""

    first: timedelta
    reminders: tuple[timedelta, ...]
    last_call: timedelta
    after: tuple[timedelta, ...]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Schedule":
        """Read `[notify.schedule]`; what it leaves out is the default. `ValueError` for what makes no sense."""
        unknown = sorted(given.keys() - _DEFAULT.keys())
        if unknown:
            raise ValueError(f"there is no step {unknown[0]!r}; there are: {', '.join(_DEFAULT)}")
        days = {name: _days(name, text) for name, text in {**_DEFAULT, **given}.items()}
        if len(days["first"]) != 1 or len(days["last_call"]) != 1:
            raise ValueError("first and last_call are one day each, such as T-60")
        (first,), (last,) = days["first"], days["last_call"]
        before = (first, *days["reminders"], last)
        if sorted(set(before)) != list(before) or last >= timedelta(0):
            raise ValueError("first, reminders and last_call follow one another, all before T")
        if any(offset <= timedelta(0) for offset in days["after"]):
            raise ValueError("the days of `after` lie after T")
        return cls(first=first, reminders=days["reminders"], last_call=last, after=days["after"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of one account.

    `told_at`: when it was last told of the cutover; None: never. `had`: days of `after`, as `T+1`, on which it was
    told, and `moved` once it was told that its history was. `moved`, `sealed`: how many of its conversations are;
    None: not known yet. `unconfirmed`: records of answers that are still to be confirmed.
    """

    zone: ZoneInfo
    told_at: datetime | None = None
    answered: bool = False
    reminders_off: bool = False
    had: frozenset[str] = frozenset()
    moved: int | None = None
    sealed: int | None = None
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """One notice that is due. `occasion` tells it from others of its kind: a day, a record; empty for one alone."""

    kind: StepKind
    occasion: str = ""


def due(case: Case, schedule: Schedule, quiet: QuietHours | None, cutover: datetime, now: datetime) -> list[Due]:
    """What an account is to be told at `now`, in order."""
    if quiet is not None and quiet.hold(now, case.zone):
        return [step for step in _due(case, schedule, cutover, now) if step.kind is StepKind.LAST_CALL]
    return _due(case, schedule, cutover, now)


def _due(case: Case, schedule: Schedule, cutover: datetime, now: datetime) -> list[Due]:
    found = [Due(StepKind.RECEIVED, record_id) for record_id in case.unconfirmed]
    if case.told_at is None:
        found.append(Due(StepKind.FIRST))
    elif now < cutover:
        found += _before(case, case.told_at, schedule, cutover, now)
    else:
        found += _after(case, schedule, cutover, now)
    return found


def _before(case: Case, told_at: datetime, schedule: Schedule, cutover: datetime, now: datetime) -> list[Due]:
    if case.answered:
        return []
    if now >= cutover + schedule.last_call:
        return [Due(StepKind.LAST_CALL)] if told_at < cutover + schedule.last_call else []
    reached = [offset for offset in schedule.reminders if now >= cutover + offset]
    if case.reminders_off or not reached or told_at >= cutover + reached[-1]:
        return []
    return [Due(StepKind.REMINDER, name_of(reached[-1]))]


def _after(case: Case, schedule: Schedule, cutover: datetime, now: datetime) -> list[Due]:
    reached = [offset for offset in schedule.after if now >= cutover + offset]
    if not reached or case.moved is None or case.sealed is None:
        return []
    occasion = name_of(reached[-1])
    if case.moved and StepKind.MOVED.value not in case.had:
        return [Due(StepKind.MOVED, occasion)]
    told_enough = occasion in case.had or bool(case.had and case.answered)
    return [Due(StepKind.SEALED, occasion)] if case.sealed and not told_enough else []


def name_of(offset: timedelta) -> str:
    """`T-30` as the settings have it."""
    return f"T{offset.days:+d}"


def _days(name: str, text: str) -> tuple[timedelta, ...]:
    found = []
    for word in text.replace(",", " ").split():
        match = _OFFSET.match(word)
        if match is None:
            raise ValueError(f"{name}: a day reads like T-30 or T+1")
        found.append(timedelta(days=int(f"{match[1]}{match[2]}")))
    if sorted(set(found)) != found:
        raise ValueError(f"{name}: its days stand in order, each once")
    return tuple(found)
