"""What an operator limits a run to: texts by name, as they are given, kept in the run's row and shown.

A limit that is not there, or `off`, does not limit. What each text means is asked of the properties, which `check` has
made sure of.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from migrator.core.durations import seconds_of
from migrator.core.encoding import canonical_json
from migrator.core.load import LoadLimits
from migrator.core.quantities import Share, per_second
from migrator.core.window import Window

OFF: Final = "off"
_MOST_WORKERS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Each as text; None: no such limit."""

    max_rate: str | None = None
    """Messages that all workers together move, `5000/s`."""
    max_load: str | None = None
    """Over which load the run waits: `core.load`."""
    critical_load: str | None = None
    """Over which load it stops, when that lasts."""
    window: str | None = None
    """Outside of which hours it waits: `core.window`."""
    max_failures: str | None = None
    """More failed conversations than these stop it: `25`, `1%`."""
    max_duration: str | None = None
    """How long each session works, `8h`."""
    workers: str | None = None
    """How many workers have something to do at once."""

    @property
    def rate(self) -> float | None:
        """Messages a second."""
        return None if self.max_rate is None else per_second(self.max_rate)

    @property
    def load(self) -> LoadLimits | None:
        """Over which load the run waits."""
        return None if self.max_load is None else LoadLimits.parse(self.max_load)

    @property
    def critical(self) -> LoadLimits | None:
        """Over which load it stops."""
        return None if self.critical_load is None else LoadLimits.parse(self.critical_load)

    @property
    def hours(self) -> Window | None:
        """In which it works."""
        return None if self.window is None else Window.parse(self.window)

    @property
    def failures(self) -> Share | None:
        """How many conversations may fail."""
        return None if self.max_failures is None else Share.parse(self.max_failures)

    @property
    def duration(self) -> float | None:
        """Seconds that a session works."""
        return None if self.max_duration is None else seconds_of(self.max_duration)

    @property
    def most_workers(self) -> int | None:
        """How many workers have something to do at once."""
        return None if self.workers is None else int(self.workers)

    def but(self, changes: Mapping[str, str]) -> "RunLimits":
        """These, with some of them other or `off`. `ValueError` for a text that is none of its kind."""
        for name, text in changes.items():
            check(name, text)
        return replace(self, **{name: None if text == OFF else text for name, text in changes.items()})

    def shown(self) -> dict[str, str]:
        """Those that there are, by name."""
        return {name: text for name, text in asdict(self).items() if text is not None}

    def to_json(self) -> str:
        """As the run's row keeps them."""
        return canonical_json(self.shown()).decode()

    @classmethod
    def from_json(cls, text: str) -> "RunLimits":
        """Read a row; a limit that this version of the program does not know is one that it can't keep to."""
        return cls(**json.loads(text))


UNLIMITED: Final = RunLimits()
NAMES: Final = tuple(field.name for field in fields(RunLimits))


def check(name: str, text: str) -> None:
    """Raise `ValueError` unless a text says what the limit of that name can be; `off` says there is none."""
    if text == OFF:
        if name == "max_failures":
            raise ValueError("a run has always a limit of failures: 100% is the widest")
        return
    match name:
        case "max_rate":
            per_second(text)
        case "max_load" | "critical_load":
            LoadLimits.parse(text)
        case "window":
            Window.parse(text)
        case "max_failures":
            Share.parse(text)
        case "max_duration":
            if seconds_of(text) == 0:
                raise ValueError("no time at all is no limit")
        case "workers":
            if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST_WORKERS):
                raise ValueError(f"a number of workers from 1 to {_MOST_WORKERS}")
        case _:
            raise ValueError(f"there is no limit {name!r}")


def differences(before: RunLimits, after: RunLimits) -> dict[str, tuple[str, str]]:
    """Each limit that is another one: by name, what it was and what it is."""
    was, now = asdict(before), asdict(after)
    return {name: (was[name] or OFF, now[name] or OFF) for name in NAMES if was[name] != now[name]}
