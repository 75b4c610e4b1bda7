"""Messages of encrypted rooms, in the order (origin_server_ts, event_id), read in bounded memory.

Synapse has no index in that order. So a *window* is read by one query that keeps the first `WINDOW` places behind the
cursor, which are narrow, and pages are served out of it, each with its events fetched by their primary key. A room is
gone over once for each window, not for each page. A window belongs to one walk: it serves the page that follows the
last one it served, and any other page begins a new one, so that what arrives in between is not passed over twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from migrator.core.model import MessageRow
from migrator.lookups import rows_among
from migrator.stores import synapse_rows as meaning
from migrator.stores.identifiers import is_identifier
from migrator.stores.source_database import SourceDatabase, bound, raw_rows
from migrator.stores.synapse_owners import Owners, owners_of_rooms
from migrator.stores.synapse_queries import IS_MESSAGE, banned_sender, redacting
from migrator.stores.synapse_schema import Features
from migrator.stores.synapse_tables import (
    erased_users,
    event_json,
    events,
    redactions,
)

WINDOW: Final = 100_000
"""Places in one window: about 25 MB."""
_BODIES: Final = 500
"""Events whose JSON is in memory at once."""
_STREAMS: Final = 50_000
"""Events that are looked through for their sessions at once."""
_ROOMS: Final = 200
_NEWEST: Final = 2
_REDACTING_JSON = event_json.alias("redacting_json")

T = TypeVar("T")
Place = tuple[Any, Any]


@dataclass(slots=True)
class _Window:
    """Places of one room behind a cursor, and how far they were served. `last`: the room ends with it."""

    room_id: str
    places: list[Place]
    streams: list[int]
    last: bool
    owners: Owners
    served: Place | None
    position: int = field(default=0)


class MessageReader:
    """Reads messages for one store. `admit`: whether sessions of unknown devices may be opened."""

    def __init__(self, database: SourceDatabase, features: Features, *, admit: bool) -> None:
        self._database = database
        self._admit = admit
        self._window: _Window | None = None
        self._order = (events.c.origin_server_ts, database.bytewise(events.c.event_id))
        self._places = sa.select(events.c.origin_server_ts, events.c.event_id, events.c.stream_ordering)
        short = sa.func.length(event_json.c.json) <= meaning.MAX_EVENT_CHARS
        text = sa.case((sa.and_(events.c.state_key.is_(None), short), event_json.c.json), else_=None)
        self._events = sa.select(
            events.c.stream_ordering, events.c.origin_server_ts, events.c.event_id, events.c.sender, events.c.room_id,
            events.c.rejection_reason, banned_sender(features), event_json.c.internal_metadata, text,
        ).select_from(events.outerjoin(event_json, event_json.c.event_id == events.c.event_id))  # fmt: skip

    # --- whole rooms ---

    def whole(self, room_ids: Sequence[str]) -> dict[str, list[MessageRow]]:
        """All messages of some small rooms, in one read."""
        return self._database.run(partial(self._whole, room_ids=room_ids))

    def _whole(self, connection: sa.Connection, room_ids: Sequence[str]) -> dict[str, list[MessageRow]]:
        query = sa.select(events.c.room_id, events.c.stream_ordering).where(IS_MESSAGE).order_by(*self._order)
        streams: dict[str, list[int]] = {room_id: [] for room_id in room_ids}
        for room_id, stream in rows_among(connection, query, events.c.room_id, room_ids):
            streams[room_id].append(stream)
        owners = owners_of_rooms(connection, room_ids)
        rows = self._rows(connection, [s for of_room in streams.values() for s in of_room], owners)
        return {room_id: [rows[s] for s in of_room if s in rows] for room_id, of_room in streams.items()}

    # --- pages of a long one ---

    def page(self, room_id: str, after: Place | None, limit: int) -> list[MessageRow]:
        """At most `limit` messages behind a place; fewer only where the room ends."""
        found: list[MessageRow] = []
        while len(found) < limit:
            window = self._window
            if window is None or window.room_id != room_id or window.served != after or after is None:
                window = self._window = self._database.run(partial(self._look, room_id=room_id, after=after))
            if window.position == len(window.places):
                if window.last:
                    break
                self._window = None
                continue
            begin, end = window.position, min(window.position + limit - len(found), len(window.places))
            streams = window.streams[begin:end]
            rows = self._database.run(partial(self._rows, streams=streams, owners={room_id: window.owners}))
            found += [rows[stream] for stream in streams if stream in rows]  # what was purged since is not there
            window.position, window.served = end, window.places[end - 1]
            after = window.served
        if self._window is not None and found:
            self._window.served = (found[-1][0], found[-1][1])
        return found

    def _look(self, connection: sa.Connection, room_id: str, after: Place | None) -> _Window:
        query = self._places.where(events.c.room_id == room_id, IS_MESSAGE).order_by(*self._order).limit(WINDOW)
        if after is not None:
            behind = sa.tuple_(*self._order) > sa.tuple_(*map(bound, after))
            query = query.where(events.c.origin_server_ts >= bound(after[0]), behind)  # the first is for an index
        rows = raw_rows(connection, query)
        return _Window(
            room_id=room_id,
            places=[(row[0], row[1]) for row in rows],
            streams=[row[2] for row in rows],
            last=len(rows) < WINDOW,
            owners=owners_of_rooms(connection, [room_id])[room_id],
            served=after,
        )

    # --- the events themselves ---

    def _rows(
        self, connection: sa.Connection, streams: Sequence[int], owners: Mapping[str, Owners]
    ) -> dict[int, MessageRow]:
        """Message rows by stream ordering."""
        admit = self._admit
        found: dict[int, MessageRow] = {}
        for fetched, taken_back in self._fetched(connection, streams):
            for row in fetched:
                stream, sent_at, event_id, sender, room_id, _, _, _, text = row
                found[stream] = meaning.message(
                    (sent_at, event_id, sender), text, event_id in taken_back, owners[room_id], admit
                )
        return found

    def _fetched(
        self, connection: sa.Connection, streams: Sequence[int]
    ) -> Iterator[tuple[list[tuple[Any, ...]], set[Any]]]:
        """Events with their JSON, a few at a time, and the ids of those that must not be opened."""
        for some in _chunks(streams, _BODIES):
            rows = rows_among(connection, self._events, events.c.stream_ordering, some)
            redacted = _redacted(connection, rows)
            erased = _erased(connection, {row[3] for row in rows})
            yield (
                rows,
                {
                    row[2]
                    for row in rows
                    if row[2] in redacted
                    or row[3] in erased
                    or row[5] is not None
                    or row[6]
                    or meaning.soft_failed(row[7])
                },
            )

    # --- the sessions that rooms need ---

    def sessions(self, room_ids: Sequence[str]) -> dict[str, set[str]]:
        """Session ids of what may be opened in some rooms: many small ones at once, long ones page by page."""
        found: dict[str, set[str]] = {room_id: set() for room_id in room_ids}
        for some in _chunks(room_ids, _ROOMS):
            small = self._database.run(partial(self._small_sessions, room_ids=some))
            for room_id, session in small if small is not None else self._long_sessions(some):
                found[room_id].add(session)
        return found

    def newest_sessions(self, room_ids: Sequence[str]) -> dict[str, str]:
        """The session id of one of the newest messages of each room, where those may be opened."""

        def look(connection: sa.Connection) -> list[tuple[str, str]]:
            return self._sessions(connection, _newest(connection, room_ids))

        return dict(self._database.run(look))

    def _small_sessions(self, connection: sa.Connection, room_ids: Sequence[str]) -> list[tuple[str, str]] | None:
        """None where that is too much at once."""
        query = sa.select(events.c.stream_ordering).where(IS_MESSAGE).limit(_STREAMS + 1)
        streams = [row[0] for row in rows_among(connection, query, events.c.room_id, room_ids)]
        return None if len(streams) > _STREAMS else self._sessions(connection, streams)

    def _long_sessions(self, room_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        for room_id in room_ids:
            query = sa.select(events.c.stream_ordering).where(events.c.room_id == room_id, IS_MESSAGE)
            query = query.order_by(events.c.stream_ordering).limit(_STREAMS)
            page = query
            while streams := [row[0] for row in self._database.run(partial(raw_rows, statement=page))]:
                yield from self._database.run(partial(self._sessions, streams=streams))
                page = query.where(events.c.stream_ordering > streams[-1])

    def _sessions(self, connection: sa.Connection, streams: Sequence[int]) -> list[tuple[str, str]]:
        """(room, session) of the messages among these that may be opened."""
        found: dict[tuple[str, str], None] = {}
        for rows, taken_back in self._fetched(connection, streams):
            for _, _, event_id, _, room_id, _, _, _, text in rows:
                session = None if text is None or event_id in taken_back else meaning.session_of(text)
                if session is not None:
                    found[room_id, session] = None
        return list(found)


def _newest(connection: sa.Connection, room_ids: Sequence[str]) -> list[int]:
    """The newest messages of each room: as many look-ups in an index as there are rooms."""
    newest = sa.select(events.c.stream_ordering).where(IS_MESSAGE).order_by(events.c.stream_ordering.desc())
    newest = newest.limit(sa.literal_column(str(_NEWEST)))
    if connection.dialect.name == "postgresql":
        array = sa.bindparam("rooms", list(room_ids), type_=postgresql.ARRAY(sa.Text))
        wanted = sa.func.unnest(array).table_valued("room_id", name="wanted").render_derived()
        found = newest.where(events.c.room_id == wanted.c.room_id).lateral("found")
        return [row[0] for row in raw_rows(connection, sa.select(found.c.stream_ordering).select_from(wanted, found))]
    each = newest.where(events.c.room_id == sa.bindparam("room", type_=sa.Text))
    return [row[0] for room_id in room_ids for row in connection.execute(each, {"room": room_id})]


def _redacted(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> set[Any]:
    """Ids of events that a redaction of their own room took back."""
    of = {row[2]: row for row in rows if is_identifier(row[2])}
    query = (
        sa.select(redactions.c.redacts, redacting.c.room_id, redacting.c.sender, _REDACTING_JSON.c.internal_metadata)
        .select_from(
            redactions.join(redacting, redacting.c.event_id == redactions.c.event_id).outerjoin(
                _REDACTING_JSON, _REDACTING_JSON.c.event_id == redacting.c.event_id
            )
        )
        .where(redacting.c.rejection_reason.is_(None))
    )
    return {
        redacts
        for redacts, room_id, sender, internal in rows_among(connection, query, redactions.c.redacts, of)
        if room_id == of[redacts][4] and meaning.honoured(sender, internal, of[redacts][3])
    }


def _erased(connection: sa.Connection, senders: Iterable[Any]) -> set[Any]:
    known = list(filter(is_identifier, senders))
    return {row[0] for row in rows_among(connection, sa.select(erased_users.c.user_id), erased_users.c.user_id, known)}


def _chunks(values: Sequence[T], size: int) -> Iterator[list[T]]:
    remaining = iter(values)
    while chunk := list(islice(remaining, size)):
        yield chunk
