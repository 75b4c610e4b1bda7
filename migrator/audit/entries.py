"""What an entry of the log is: its very bytes, for who writes it, and what it says, for those who compare."""

import json
from collections.abc import Mapping
from datetime import timedelta
from json.encoder import encode_basestring as quoted
from typing import Any, Final

from migrator.audit.events import EventType
from migrator.core.clock import parse_time

TYPE_PREFIX: Final = "dev.migrator."
LONGEST_SILENCE: Final = timedelta(minutes=65)
"""A heartbeat an hour, and some minutes for whoever writes it."""
_BEGIN: Final = frozenset({EventType.RUN_STARTED, EventType.RUN_RESUMED})
_END: Final = frozenset({EventType.RUN_PAUSED, EventType.RUN_ABORTED, EventType.RUN_COMPLETED})


def entry_line(source: str, row: Mapping[Any, Any], seq: int, data: str) -> bytes:
    """The entry of an event: CloudEvents attributes (CNCF CloudEvents 1.0.2, section 3) as canonical JSON.

    `source`: the log's origin as a URI reference; `row`: of the outbox; `data`: its data as canonical JSON. Attributes
    that the event does not have are left out. Put together by hand, as it is once for every entry, and again for every
    one that is verified: 2 microseconds instead of 20.
    """
    run, subject = row["run_id"], row["subject"]
    return (
        f'{{"actor":{quoted(row["actor"])},"data":{data},'
        f'"dataschema":{quoted("urn:migrator:event:" + row["type"] + ":1")},"id":{quoted(row["event_id"])},'
        f'{"" if run is None else f""""runid":{quoted(run)},"""}"seq":{seq},"source":{quoted(source)},'
        f'"specversion":"1.0",{"" if subject is None else f""""subject":{quoted(subject)},"""}'
        f'"time":{quoted(row["time"])},"type":{quoted(TYPE_PREFIX + row["type"])}}}'
    ).encode()


def parse(line: bytes) -> dict[str, Any] | None:
    """The entry in a line; None if it is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


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

    def silence(self, entry: Mapping[Any, Any], run: object) -> str | None:
        """What to say of the time before an entry, or the row that it was made of; None in most cases. Takes it in."""
        text, kind = entry.get("time"), entry.get("type")
        if not isinstance(text, str) or not isinstance(kind, str) or not (run is None or isinstance(run, str)):
            return None
        said = self._since_last(text)
        if kind.removeprefix(TYPE_PREFIX) in _BEGIN:
            self._open.add(run)
        elif kind.removeprefix(TYPE_PREFIX) in _END:
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
