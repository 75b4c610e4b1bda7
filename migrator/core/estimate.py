"""How far a run is, how fast it goes at the moment, and when it will be through: pure, `now` is an argument.

1. How far: what is done of what its plan expects. What is done may be more (mail arrives after a plan); the fraction
   is at most 1, and 1 for certain once the run is complete.
2. How fast: over the newest samples, within `WINDOW`. Time in which a service held the workers up is taken out.
3. Time left, in this order: none where nobody works; `counting` while nothing is known; `n/a` while the run waits for
   something of which nobody knows the end, before `KNOWN_FRACTION` is done, or without a rate; else what is left at
   that rate, counted from when something was done last; `due` once that is used up, or all that was expected is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

WINDOW: Final = timedelta(minutes=5)
"""How far back the rate looks."""
SHORTEST: Final = timedelta(seconds=2)
"""Over less than that nothing can be said of a rate."""
STALE: Final = timedelta(minutes=1)
"""A newest sample that is older says nothing of now: whoever takes them is stuck."""
KNOWN_FRACTION: Final = 0.01
"""Before that share of the work is done there is no telling how long the rest takes."""
LONGEST: Final = timedelta(days=3650)
"""Longer is no estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a run is. `total`: what was expected, None while nobody has counted; `complete`: the run says so."""

    done: int
    total: int | None
    complete: bool = False

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, whatever the numbers are."""
        if self.complete:
            return 1.0
        if self.total is None:
            return None
        return 1.0 if self.done >= self.total else max(0, self.done) / self.total

    @property
    def exceeds(self) -> bool:
        """Whether more came than was expected."""
        return self.total is not None and self.done > self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """At some real time: messages done by this session, and the seconds in which it had been held up by then."""

    at: datetime
    messages: int
    held_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Messages over so many seconds, of which a service held the workers up for some."""

    messages: int
    window_seconds: float
    held_seconds: float

    @property
    def per_second(self) -> float:
        """While the workers could work."""
        worked = self.window_seconds - self.held_seconds
        return self.messages / worked if worked > 0 else 0.0


def rate(samples: Sequence[Sample], now: datetime) -> Rate | None:
    """The rate over the samples of one session, in whatever order; None where they do not tell one.

    Clocks that were set back give no negative rate: what does not grow is left out.
    """
    ordered = sorted(samples, key=lambda sample: sample.at)
    if not ordered or now - ordered[-1].at > STALE:
        return None
    newest = ordered[-1]
    first = next((s for s in ordered if newest.at - s.at <= WINDOW and s.messages <= newest.messages), newest)
    seconds = (newest.at - first.at).total_seconds()
    if seconds < SHORTEST.total_seconds():
        return None
    held = min(max(newest.held_seconds - first.held_seconds, 0.0), seconds)
    return Rate(messages=newest.messages - first.messages, window_seconds=seconds, held_seconds=held)


class EtaState(StrEnum):
    """What is known of the end (closed)."""

    NONE = "none"
    COUNTING = "counting"
    NOT_AVAILABLE = "n/a"
    VALUE = "value"
    DUE = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """When a run will be through. `seconds` and `at` stand with `value` alone."""

    state: EtaState
    seconds: float | None = None
    at: datetime | None = None


def eta(
    advance: Advance,
    found: Rate | None,
    now: datetime,
    *,
    at_work: bool,
    waiting: bool = False,
    moved_at: datetime | None = None,
) -> Eta:
    """The time that is left. `waiting`: the run waits for something of which nobody knows the end.

    `moved_at`: when something was done last, if that is known.
    """
    fraction = advance.fraction
    if not at_work or advance.complete:
        return Eta(state=EtaState.NONE)
    if advance.total is None or fraction is None:
        return Eta(state=EtaState.COUNTING)
    if waiting:
        return Eta(state=EtaState.NOT_AVAILABLE)
    if advance.done >= advance.total:
        return Eta(state=EtaState.DUE)
    if fraction < KNOWN_FRACTION or found is None or found.per_second <= 0:
        return Eta(state=EtaState.NOT_AVAILABLE)
    since = max(0.0, (now - moved_at).total_seconds()) if moved_at is not None else 0.0
    seconds = (advance.total - advance.done) / found.per_second - since
    if seconds <= 0:
        return Eta(state=EtaState.DUE)
    if seconds > LONGEST.total_seconds():
        return Eta(state=EtaState.NOT_AVAILABLE)
    return Eta(state=EtaState.VALUE, seconds=seconds, at=now + timedelta(seconds=seconds))
