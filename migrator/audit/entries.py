"""What an entry of the log says, for those who compare: with the database, and with the entry before it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from migrator.audit.events import EventType
from migrator.core.clock import parse_time

TYPE_PREFIX: Final = "dev.migrator."
LONGEST_SILENCE: Final = timedelta(minutes=65)
"""A heartbeat an hour, and some minutes for whoever writes it."""
_BEGIN: Final = frozenset(TYPE_PREFIX + kind for kind in (EventType.RUN_STARTED, EventType.RUN_RESUMED))
_END: Final = frozenset(
    TYPE_PREFIX + kind for kind in (EventType.RUN_PAUSED, EventType.RUN_ABORTED, EventType.RUN_COMPLETED)
)


def same_event(entry: Mapping[str, Any], row: Mapping[Any, Any], number: int) -> bool:
    """Whether an entry is what a row of the outbox reports, and both have that number."""
    try:
        return bool(
            entry["seq"] == row["seq"] == number
            and entry["id"] == row["event_id"]
            and entry["type"] == TYPE_PREFIX + row["type"]
            and entry.get("subject") == row["subject"]
            and entry.get("runid") == row["run_id"]
            and entry["actor"] == row["actor"]
            and entry["time"] == row["time"]
            and entry["data"] == json.loads(row["data"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


class Continuity:
    """Entries one after the other: where a run was open and nothing was written for more than an hour."""

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._latest = ""

    def read(self, line: bytes) -> dict[str, Any] | None:
        """The entry; None if it is none."""
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return entry if isinstance(entry, dict) else None

    def silence(self, entry: Mapping[str, Any]) -> str | None:
        """What to say of the time before this entry; None in most cases. Takes the entry in."""
        text, kind, run = entry.get("time"), entry.get("type"), entry.get("runid")
        if not isinstance(text, str) or not isinstance(kind, str) or not (run is None or isinstance(run, str)):
            return None
        said = self._since_last(text)
        if kind in _BEGIN:
            self._open.add(run)
        elif kind in _END:
            self._open.discard(run)
        return said

    def _since_last(self, text: str) -> str | None:
        """Times are parsed where an hour ends only; within one there is no long silence."""
        before, self._latest = self._latest, text
        if not self._open or text[:13] == before[:13]:
            return None
        try:
            silence = parse_time(text) - parse_time(before)
        except ValueError:
            return None
        if silence <= LONGEST_SILENCE:
            return None
        return f"nothing was written for {silence} while a run was open, not even a heartbeat"
