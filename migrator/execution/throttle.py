"""What holds a session back: factors that don't know of each other, any one of which is enough.

- `window`: it is not the hour.
- A throttle flag file: one for all runs, or one that names this run. What can't be looked at counts as there.
- `max-load`: a service takes too long, or fails too often.

And what ends it: a panic flag file aborts the run; a critical load that lasts stops it. The limit on its pace is kept
by the workers themselves (`pacing`). The coordinator looks once a second, whatever else it does.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from migrator.campaign import Campaign
from migrator.core.errors import GateError
from migrator.core.load import Lasting, Load, Metered
from migrator.core.run_limits import RunLimits

LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`waits`: why nothing may be begun, each factor by itself; `critical`, `panic`: why the run has to end."""

    waits: tuple[str, ...] = ()
    critical: str | None = None
    panic: str | None = None


class Throttle:
    """The factors of one session. Flag files lie where the coordinator is; hours are those of its own clock."""

    def __init__(
        self,
        campaign: Campaign,
        run_id: str | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._campaign = campaign
        self._run_id = run_id
        self._monotonic = monotonic
        self._wall = wall
        self._load = Load()
        self._lasting = Lasting()
        self._fresh = False
        self._looked: float | None = None
        self._limits: RunLimits | None = None
        self._verdict = Verdict()

    def see(self, database: Metered, keys: Metered) -> None:
        """What was found of the services since the last time."""
        self._fresh |= self._load.see(database, keys, self._monotonic())

    def look(self, limits: RunLimits) -> Verdict:
        """What holds the session back at the moment, by limits that may be other ones each time."""
        now = self._monotonic()
        if self._looked is None or now - self._looked >= LOOK_SECONDS or limits != self._limits:
            self._looked, self._limits = now, limits
            self._verdict = Verdict(
                waits=self._waits(limits, now),
                critical=self._critical(limits, now),
                panic=panic(self._campaign, self._run_id),
            )
        return self._verdict

    def _waits(self, limits: RunLimits, now: float) -> tuple[str, ...]:
        found: list[str] = []
        hours, load, wall = limits.hours, limits.load, self._wall()
        if hours is not None and not hours.is_open(wall):
            found.append(f"window: {limits.window} opens at {hours.opens_at(wall):%Y-%m-%dT%H:%MZ}")
        for path in _flags(self._campaign, self._campaign.settings.execution.throttle_flag_file, self._run_id):
            problem = _there(path)
            if problem is not None:
                found.append(f"throttle flag file: {path}{problem}")
        if load is not None:
            found += [f"max-load: {text}" for text in load.exceeded(self._load.readings(now))]
        return tuple(found)

    def _critical(self, limits: RunLimits, now: float) -> str | None:
        if limits.critical is None:
            return None
        exceeded = limits.critical.exceeded(self._load.readings(now))
        lasts = self._fresh and self._lasting.look(bool(exceeded), now)
        self._fresh = False
        return f"critical-load: {'; '.join(exceeded)}" if lasts else None


def panic(campaign: Campaign, run_id: str | None) -> str | None:
    """The panic flag file that is there; None where there is none, or none that can be looked at."""
    for path in _flags(campaign, campaign.settings.execution.panic_flag_file, run_id):
        if _there(path) == "":
            return str(path)
    return None


def require_no_panic(campaign: Campaign, run_id: str | None) -> None:
    """Raise `GateError` while a panic flag file is there: a run that begins would abort at once."""
    found = panic(campaign, run_id)
    if found is not None:
        raise GateError(f"the panic flag file {found} is there", hint="remove it when the reason for it is gone")


def _flags(campaign: Campaign, name: str | None, run_id: str | None) -> list[Path]:
    """The file for all runs, and the one for this run."""
    if name is None:
        return []
    path = campaign.spec.directory / name
    return [path] if run_id is None else [path, path.with_name(f"{path.name}.{run_id}")]


def _there(path: Path) -> str | None:
    """None where a file is not there, empty where it is; else why that can't be said."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f" can't be looked at ({error.strerror})"
    return ""
