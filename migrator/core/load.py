"""How loaded database and key services are, and what an operator allows: `database.latency=250ms,keys.errors=5%`.

1. What counts is what workers and coordinator see anyway: how long each commit and each call of a key service took, and
   how many failed. Nobody asks a service anything for the sake of measuring.
2. A reading is an average over calls in which those of `HALF_LIFE_SECONDS` ago count half. Without new calls it lapses
   after a while: so work that waits because of a reading tries again, and finds out.
3. Errors are read from `LEAST_CALLS` calls on, as one of one is no share.
4. A critical reading counts only when it lasts: over `CRITICAL_LOOKS` looks that each saw new calls.
"""

import difflib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HALF_LIFE_SECONDS: Final = 10.0
LEAST_CALLS: Final = 5.0
CRITICAL_LOOKS: Final = 6
CRITICAL_LOOK_SECONDS: Final = 5.0
"""So much time is between two of them."""
_LAPSED: Final = 0.1
"""Weight below which a reading says nothing any more: one call after half a minute, ten after one."""
_LATENCY: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s)\Z")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%\Z")


class Measure(StrEnum):
    """What is measured: seconds that a call takes, and the share of calls that fail."""

    DATABASE_LATENCY = "database.latency"
    DATABASE_ERRORS = "database.errors"
    KEYS_LATENCY = "keys.latency"
    KEYS_ERRORS = "keys.errors"

    @property
    def of_time(self) -> bool:
        """Seconds; else a share."""
        return self in (Measure.DATABASE_LATENCY, Measure.KEYS_LATENCY)


_WORDS: Final = {
    Measure.DATABASE_LATENCY: "database commit",
    Measure.DATABASE_ERRORS: "database errors",
    Measure.KEYS_LATENCY: "key service call",
    Measure.KEYS_ERRORS: "key service errors",
}
Readings = Mapping[Measure, float]


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What each measure may be at most."""

    most: Mapping[Measure, float]

    @classmethod
    def parse(cls, text: str) -> "LoadLimits":
        """`database.latency=250ms,keys.errors=5%`; `ValueError` that says what is wrong with which part."""
        most: dict[Measure, float] = {}
        for part in text.split(","):
            name, found, value = (word.strip() for word in part.partition("="))
            if not found:
                raise ValueError(
                    f"{part.strip()!r} is no limit: one reads like database.latency=250ms or keys.errors=5%"
                )
            measure = _measure(name)
            if measure in most:
                raise ValueError(f"{name} is limited twice")
            most[measure] = _value(measure, value)
        return cls(most)

    def exceeded(self, readings: Readings) -> list[str]:
        """Every measure that is over its limit, with both figures: `database commit 0.41 s over 0.25 s`."""
        return [
            f"{_WORDS[measure]} {_figure(measure, readings[measure])} over {_figure(measure, most)}"
            for measure, most in self.most.items()
            if measure in readings and readings[measure] > most
        ]


@dataclass(frozen=True, slots=True)
class Metered:
    """So many calls, which took so many microseconds in all, and of which so many failed."""

    calls: int = 0
    microseconds: int = 0
    errors: int = 0

    def since(self, before: "Metered") -> "Metered":
        """What came since an earlier count."""
        return Metered(self.calls - before.calls, self.microseconds - before.microseconds, self.errors - before.errors)


NOTHING: Final = Metered()


class Meter:
    """Counts the calls of one service in one process, from whichever thread."""

    def __init__(self) -> None:
        self._counted = NOTHING
        self._lock = threading.Lock()

    def count(self, seconds: float, *, failed: bool = False) -> None:
        """One call more."""
        self.put_back(Metered(1, round(seconds * 1_000_000), int(failed)))

    def take(self) -> Metered:
        """What was counted since the last time."""
        with self._lock:
            counted, self._counted = self._counted, NOTHING
        return counted

    def put_back(self, taken: Metered) -> None:
        """What was taken did not get to where it was to be kept."""
        with self._lock:
            had = self._counted
            self._counted = Metered(
                had.calls + taken.calls, had.microseconds + taken.microseconds, had.errors + taken.errors
            )


class Average:
    """An average in which what is older weighs less; the time is passed in, in seconds that only grow."""

    def __init__(self) -> None:
        self._total = 0.0
        self._weight = 0.0
        self._at = 0.0

    def add(self, weight: float, total: float, now: float) -> None:
        """So many values, which come to so much."""
        self._fade(now)
        self._weight += weight
        self._total += total

    def value(self, now: float, *, least: float = 0.0) -> float | None:
        """The average; None where too little of late went into it."""
        self._fade(now)
        return self._total / self._weight if self._weight > _LAPSED and self._weight >= least else None

    def _fade(self, now: float) -> None:
        faded = 0.5 ** (max(0.0, now - self._at) / HALF_LIFE_SECONDS)
        self._total, self._weight, self._at = self._total * faded, self._weight * faded, max(now, self._at)


class Load:
    """The readings of a session, fed with what was counted since the last look."""

    def __init__(self) -> None:
        self._averages = {measure: Average() for measure in Measure}

    def see(self, database: Metered, keys: Metered, now: float) -> bool:
        """Take in what is new; whether there was anything."""
        for metered, latency, errors in (
            (database, Measure.DATABASE_LATENCY, Measure.DATABASE_ERRORS),
            (keys, Measure.KEYS_LATENCY, Measure.KEYS_ERRORS),
        ):
            if metered.calls > 0:
                self._averages[latency].add(metered.calls, metered.microseconds / 1_000_000, now)
                self._averages[errors].add(metered.calls, metered.errors, now)
        return database.calls > 0 or keys.calls > 0

    def readings(self, now: float) -> Readings:
        """What can be said at the moment."""
        found = {
            measure: average.value(now, least=0.0 if measure.of_time else LEAST_CALLS)
            for measure, average in self._averages.items()
        }
        return {measure: value for measure, value in found.items() if value is not None}


class Lasting:
    """Whether something that is over its limit stays so: a short spike is no reason to stop a run of ten hours."""

    def __init__(self) -> None:
        self._looks = 0
        self._at: float | None = None

    def look(self, exceeded: bool, now: float) -> bool:
        """To be called when something new was seen; True once it was over at enough looks in a row."""
        if not exceeded:
            self._looks, self._at = 0, None
        elif self._at is None or now - self._at >= CRITICAL_LOOK_SECONDS:
            self._looks, self._at = self._looks + 1, now
        return self._looks >= CRITICAL_LOOKS


def _measure(name: str) -> Measure:
    try:
        return Measure(name)
    except ValueError:
        close = difflib.get_close_matches(name, [measure.value for measure in Measure], n=1, cutoff=0.4)
        nearest = f"; the nearest one is {close[0]}" if close else f"; there are {', '.join(Measure)}"
        raise ValueError(f"there is no measure {name!r}{nearest}") from None


def _value(measure: Measure, text: str) -> float:
    if measure.of_time:
        match = _LATENCY.match(text)
        if match is None or float(match[1]) == 0:
            raise ValueError(f"{measure.value}={text}: a latency reads like 250ms or 2s")
        return float(match[1]) / (1000 if match[2] == "ms" else 1)
    match = _SHARE.match(text)
    if match is None or float(match[1]) > 100:
        raise ValueError(f"{measure.value}={text}: a share of errors reads like 5%")
    return float(match[1]) / 100


def _figure(measure: Measure, value: float) -> str:
    return f"{value:.3g} s" if measure.of_time else f"{value * 100:.3g} %"
