"""The walk over the encrypted rooms of a homeserver, by keyset pagination over room ids.

The population is every room that has or had an `m.room.encryption` state event, or holds encrypted events. Room ids
come from the index on `events`, one look-up each, whatever the rooms hold; then each room's events are gone over once:
Synapse has no index by type. Members and visibility are read for encrypted rooms only.

A predecessor and its successor (a room upgrade) are rooms of their own: other members, other keys.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa

from migrator.core.model import Conversation
from migrator.lookups import rows_among
from migrator.stores import synapse_rows as meaning
from migrator.stores.identifiers import is_identifier
from migrator.stores.source_database import SourceDatabase, bound, raw_rows
from migrator.stores.synapse_queries import IS_MESSAGE, taken_back
from migrator.stores.synapse_schema import Features
from migrator.stores.synapse_tables import (
    ENCRYPTED,
    ENCRYPTION,
    VISIBILITY,
    event_json,
    events,
    room_memberships,
)

_ROOMS_AT_ONCE: Final = 500
_MEMBERS_A_PAGE: Final = 200_000
"""A page ends with the room that exceeds this: what bounds memory is people, not rooms."""
_TOLD = events.c.type.in_((ENCRYPTION, VISIBILITY)) & (events.c.state_key == "") & events.c.rejection_reason.is_(None)
_PLACE = itemgetter(0)


class RoomReader:
    """Makes conversations of rooms."""

    def __init__(self, features: Features) -> None:
        visibility_id = sa.case((events.c.type == VISIBILITY, events.c.event_id), else_=None)
        changed = sa.case((sa.and_(events.c.type == ENCRYPTED, taken_back(features)), 1), else_=0)
        self._tallies = (
            sa.select(
                events.c.room_id, events.c.type, visibility_id, sa.func.count(), sa.func.max(events.c.origin_server_ts),
                sa.func.sum(changed),
            )
            .where(sa.or_(IS_MESSAGE, _TOLD))
            .group_by(events.c.room_id, events.c.type, visibility_id)
        )  # fmt: skip

    def read(self, connection: sa.Connection, room_ids: Sequence[Any]) -> list[Conversation]:
        """The encrypted ones among some rooms, in order of their ids; faulty ones among them."""
        tallies: dict[Any, tuple[int, Any, int]] = {}
        visibility_ids: dict[Any, Any] = {}
        told: set[Any] = set()
        for room_id, kind, event_id, count, newest, changes in self._rows(connection, room_ids):
            if kind == VISIBILITY:
                visibility_ids[event_id] = room_id
                continue
            told.add(room_id)
            if kind == ENCRYPTED:
                tallies[room_id] = (count, newest, int(changes))
        sound = [room_id for room_id in told if meaning.is_sound(room_id)]
        visibilities = _visibilities(connection, {e: r for e, r in visibility_ids.items() if r in told})
        members = _members(connection, sound, {room_id for room_id, found in visibilities.items() if _invites(found)})
        page = [
            meaning.room(r, tallies.get(r, (0, None, 0)), members.get(r, ()), visibilities.get(r, ())) for r in told
        ]
        return sorted(page, key=_PLACE)

    def _rows(self, connection: sa.Connection, room_ids: Sequence[Any]) -> list[tuple[Any, ...]]:
        rows = rows_among(connection, self._tallies, events.c.room_id, list(filter(is_identifier, room_ids)))
        for odd in room_ids:
            if not is_identifier(odd):
                rows += raw_rows(connection, self._tallies.where(events.c.room_id == bound(odd)))
        return rows


class PopulationWalk:
    """Reads pages of at most `size` rooms."""

    def __init__(self, database: SourceDatabase, reader: RoomReader, size: int) -> None:
        self._database = database
        self._reader = reader
        self._size = size

    def pages(self) -> Iterator[list[Conversation]]:
        """Every encrypted room once, in the database's own order of room ids from page to page."""
        page: list[Conversation] = []
        people = 0
        after: Any = None
        at_once = min(self._size, _ROOMS_AT_ONCE)
        while True:
            found, room_ids = self._database.run(partial(self._read, after=after, at_once=at_once))
            for conversation in found:
                page.append(conversation)
                people += len(conversation.participants)
                if len(page) == self._size or people > _MEMBERS_A_PAGE:
                    yield page
                    page, people = [], 0
            if len(room_ids) < at_once:
                break
            after = room_ids[-1]
        if page:
            yield page

    def _read(self, connection: sa.Connection, after: Any, at_once: int) -> tuple[list[Conversation], list[Any]]:
        room_ids = _next_rooms(connection, after, at_once)
        return self._reader.read(connection, room_ids), room_ids


def _next_rooms(connection: sa.Connection, after: Any, limit: int) -> list[Any]:
    """Distinct room ids of events behind one, each by a look-up in the index: PostgreSQL skips nothing by itself."""
    first = sa.select(sa.func.min(events.c.room_id))
    if after is not None:
        first = first.where(events.c.room_id > bound(after))
    start = sa.select(first.scalar_subquery().label("room_id"), sa.literal(1).label("number"))
    walk = start.cte("walk", recursive=True)
    following = sa.select(sa.func.min(events.c.room_id)).where(events.c.room_id > walk.c.room_id).scalar_subquery()
    walk = walk.union_all(
        sa.select(following, walk.c.number + 1).where(walk.c.room_id.is_not(None), walk.c.number < limit)
    )
    return [row[0] for row in raw_rows(connection, sa.select(walk.c.room_id).where(walk.c.room_id.is_not(None)))]


def _visibilities(connection: sa.Connection, room_of: dict[Any, Any]) -> dict[Any, list[tuple[Any, str]]]:
    """What each room's history visibility was, in order."""
    query = sa.select(events.c.topological_ordering, events.c.stream_ordering, events.c.event_id, event_json.c.json)
    query = query.join(event_json, event_json.c.event_id == events.c.event_id)
    found: dict[Any, list[tuple[Any, str]]] = {}
    wanted = list(filter(is_identifier, room_of))
    for depth, stream, event_id, text in sorted(rows_among(connection, query, events.c.event_id, wanted), key=_order):
        found.setdefault(room_of[event_id], []).append(((depth, stream), meaning.visibility_of(text)))
    return found


def _order(row: tuple[Any, ...]) -> tuple[Any, Any]:
    return row[0], row[1]


def _invites(visibilities: Sequence[tuple[Any, str]]) -> bool:
    return any(value == "invited" for _, value in visibilities)


def _members(connection: sa.Connection, room_ids: Sequence[str], inviting: set[Any]) -> dict[Any, list[Any]]:
    """(place, user, membership) in order: of most rooms who was joined, once each; of inviting ones everything."""
    joined = room_memberships.c.membership == "join"
    columns = room_memberships.c.room_id, room_memberships.c.user_id
    accepted = room_memberships.join(events, events.c.event_id == room_memberships.c.event_id)
    once = sa.select(*columns).select_from(accepted).where(joined, events.c.rejection_reason.is_(None)).distinct()
    plain = [room_id for room_id in room_ids if room_id not in inviting]
    found: dict[Any, list[Any]] = {}
    for room_id, user_id in rows_among(connection, once, room_memberships.c.room_id, plain):
        found.setdefault(room_id, []).append(((), user_id, "join"))
    every = sa.select(
        *columns, room_memberships.c.membership, events.c.topological_ordering, events.c.stream_ordering
    ).select_from(accepted)
    rows = rows_among(
        connection, every.where(events.c.rejection_reason.is_(None)), room_memberships.c.room_id, sorted(inviting)
    )
    for room_id, of_room in groupby(sorted(rows, key=itemgetter(0, 3, 4)), key=itemgetter(0)):
        found[room_id] = [((depth, stream), user, membership) for _, user, membership, depth, stream in of_room]
    return found
