"""Draws progress: a tqdm bar on a terminal, a line now and then elsewhere, events in JSON Lines.

Work that an earlier session finished counts in what is done, and not in the rate that the time left is made from.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import click
from tqdm import tqdm

from migrator.cli.output import Output, printable
from migrator.core.progress import Progress

_KNOWN_SHARE = 0.01
"""Before that share of the work is done there is no telling how long the rest takes."""

tqdm.monitor_interval = 0  # its thread would be in the way of worker processes


class Bar:
    """A bar on a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def phase(self, name: str, *, total: int | None, done: int = 0, unit: str = "messages") -> None:
        """A new bar; the one before stays as a line."""
        self.close()
        self._bar = tqdm(
            desc=name, total=total, initial=done, unit=f" {unit}", unit_scale=False, file=sys.stderr, dynamic_ncols=True
        )

    def advance(self, count: int) -> None:
        """Move it."""
        if self._bar is not None:
            self._bar.update(count)

    def held_up(self, seconds: float) -> None:
        """As if the bar had begun later."""
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def note(self, text: str) -> None:
        """A line above it."""
        tqdm.write(printable(text), file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines:
    """A line each interval, and one at the end of a phase."""

    def __init__(self, interval_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval_seconds
        self._clock = clock
        self._name = ""
        self._unit = ""
        self._total: int | None = None
        self._earlier = self._done = 0
        self._began = self._told = clock()
        self._held = 0.0

    def phase(self, name: str, *, total: int | None, done: int = 0, unit: str = "messages") -> None:
        """The phase before is told to its end first."""
        self.close()
        self._name, self._total, self._unit = name, total, unit
        self._earlier = self._done = done
        self._began = self._told = self._clock()
        self._held = 0.0

    def advance(self, count: int) -> None:
        """Tell, if it is time to."""
        self._done += count
        if self._clock() - self._told >= self._interval:
            self._told = self._clock()
            self.tell()

    def held_up(self, seconds: float) -> None:
        """Counted out of the rate, and so out of the time that is left."""
        self._held += seconds

    def note(self, text: str) -> None:
        """A line of its own."""
        click.echo(printable(text), err=True)

    def close(self) -> None:
        """The last line of the phase."""
        if self._name and (self._total is not None or self._done > self._earlier):
            self.tell()
        self._name = ""

    def tell(self) -> None:
        """Write where it stands."""
        share = f" ({100 * self._done / self._total:.1f} %)" if self._total else ""
        of = f" of {self._total:,}" if self._total is not None else ""
        rate = self.rate()
        click.echo(f"{self._name}: {self._done:,}{of} {self._unit}{share}, {rate:,.0f}/s{self._left(rate)}", err=True)

    def rate(self) -> float:
        """Units a second of this session."""
        elapsed = self._clock() - self._began - self._held
        return (self._done - self._earlier) / elapsed if elapsed > 0 else 0.0

    def _left(self, rate: float) -> str:
        if not self._total or self._done >= self._total:
            return ""
        if rate <= 0 or self._done - self._earlier < self._total * _KNOWN_SHARE:
            return ", time left: not known yet"
        return f", about {duration((self._total - self._done) / rate)} left"


class Events(Lines):
    """The same as events in JSON Lines on standard output."""

    def __init__(self, output: Output, interval_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        super().__init__(interval_seconds, clock=clock)

    def phase(self, name: str, *, total: int | None, done: int = 0, unit: str = "messages") -> None:
        """Told at once, so that a reader knows what is going on."""
        super().phase(name, total=total, done=done, unit=unit)
        self._output.event("phase", {"phase": name, "done": done, "total": total, "unit": unit})

    def note(self, text: str) -> None:
        """An event of its own."""
        self._output.event("note", {"text": text})

    def tell(self) -> None:
        """Write where it stands."""
        self._output.event(
            "progress",
            {"phase": self._name, "done": self._done, "total": self._total, "unit": self._unit,
             "per_second": round(self.rate(), 1)},
        )  # fmt: skip


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`: as precise as an estimate is."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


class Silent:
    """Only what a person should read."""

    def phase(self, name: str, *, total: int | None, done: int = 0, unit: str = "messages") -> None:
        """Ignored."""

    def advance(self, count: int) -> None:
        """Ignored."""

    def held_up(self, seconds: float) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """A line of its own."""
        click.echo(printable(text), err=True)

    def close(self) -> None:
        """Nothing to end."""


Shown = Bar | Lines | Silent
"""Whatever way it is shown."""


def _conforms(bar: Bar, lines: Lines, silent: Silent) -> tuple[Progress, Progress, Progress]:
    """mypy checks here that all of them are what services report to."""
    return bar, lines, silent
