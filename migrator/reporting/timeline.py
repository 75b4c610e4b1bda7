"""How a run went on over time: conversations and messages that had their outcome by when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from migrator.core.clock import parse_time
from migrator.database import tables

POINTS: Final = 60
"""Most stretches that a timeline is cut into."""
_SECOND, _MINUTE, _HOUR = len("2026-05-08T00:00:00"), len("2026-05-08T00:00"), len("2026-05-08T00")
_LONGEST: Final = 5_000
"""Most rows that the database is asked for: hours, where minutes would be more."""
_REST: Final = "0000-00-00T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Point:
    """Conversations and messages that had their outcome by `until`, RFC 3339 to the second, minute or hour."""

    until: str
    conversations: int
    messages: int


def timeline(connection: sa.Connection, run_id: str) -> list[Point]:
    """Cumulated, in order; empty for a run without any outcome."""
    item = tables.item
    mine = item.c.run_id == run_id
    first, last = connection.execute(
        sa.select(sa.func.min(item.c.finished_at), sa.func.max(item.c.finished_at)).where(mine)
    ).one()
    if first is None:
        return []
    begin, end = parse_time(first), parse_time(last)
    moment = sa.func.substr(item.c.finished_at, 1, _precision(begin, end)).label("moment")
    query = (
        sa.select(moment, sa.func.count(), sa.func.sum(item.c.messages)).where(mine).group_by(moment).order_by(moment)
    )
    step = max((end - begin) / POINTS, timedelta(seconds=1))
    points: dict[int, Point] = {}
    conversations = messages = 0
    for text, count, moved in connection.execute(query):
        conversations, messages = conversations + count, messages + int(moved)
        until = text + _REST[len(text) :]
        stretch = max(parse_time(until) - begin, timedelta(0)) // step
        points[stretch] = Point(until, conversations, messages)
    return list(points.values())


def _precision(begin: datetime, end: datetime) -> int:
    """How many characters of a time the database groups by."""
    seconds = (end - begin).total_seconds()
    if seconds <= _LONGEST:
        return _SECOND
    return _MINUTE if seconds / 60 <= _LONGEST else _HOUR
