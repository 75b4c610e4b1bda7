"""Whose device a Curve25519 key is, as far as a homeserver knows: its own users' devices and those of other servers.

What stands of a remote device is that server's word, and so is how many there are: devices are read a page at a time,
and of each no more is kept than one key.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from migrator.core.limits import KIB
from migrator.lookups import rows_among
from migrator.stores import synapse_rows as meaning
from migrator.stores.identifiers import is_identifier
from migrator.stores.source_database import bound
from migrator.stores.synapse_tables import device_lists_remote_cache, e2e_device_keys_json, room_memberships

Owners = Mapping[str, str]
"""User id by Curve25519 key."""

_USERS: Final = 2_000
PAGE: Final = 2_000
"""Devices whose JSON is in memory at once."""
DEVICE_CHARS: Final = 16 * KIB
"""A device's keys and signatures are one or two thousand characters."""


def owners_of_rooms(connection: sa.Connection, room_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each room whose Curve25519 key is whose, of all devices that the server knows of who ever was in it."""
    table = room_memberships
    people: dict[str, set[str]] = {room_id: set() for room_id in room_ids}
    query = sa.select(table.c.room_id, table.c.user_id).distinct()
    for room_id, user_id in rows_among(connection, query, table.c.room_id, room_ids):
        if is_identifier(user_id):
            people[room_id].add(user_id)
    keys = _curve_keys(connection, set().union(*people.values()))
    return {
        room_id: meaning.owners_of(key for user in sorted(users) for key in keys.get(user, ()))
        for room_id, users in people.items()
    }


def _curve_keys(connection: sa.Connection, user_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    keys: dict[str, list[tuple[str, str]]] = {}
    for table, text in (
        (e2e_device_keys_json, e2e_device_keys_json.c.key_json),
        (device_lists_remote_cache, device_lists_remote_cache.c.content),
    ):
        remaining = iter(sorted(user_ids))
        while some := list(islice(remaining, _USERS)):
            for user_id, device_id, found in _devices(connection, table, text, some):
                key = meaning.curve_key(user_id, device_id, found)
                if key is not None:
                    keys.setdefault(user_id, []).append(key)
    return keys


def _devices(
    connection: sa.Connection, table: sa.Table, text: sa.ColumnElement[Any], user_ids: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """User, device and JSON of the devices of some users. Another server says how many there are and how long: so they
    come a page at a time, and without what no client uploads."""
    order = (table.c.user_id, table.c.device_id)
    query = sa.select(*order, text).where(sa.func.length(text) <= DEVICE_CHARS).order_by(*order).limit(PAGE)
    page = query
    while rows := rows_among(connection, page, table.c.user_id, user_ids):
        yield from rows
        if len(rows) < PAGE:
            return
        page = query.where(sa.tuple_(*order) > sa.tuple_(bound(rows[-1][0]), bound(rows[-1][1])))
