"""What a homeserver has in the clear of its encrypted rooms: events that never were encrypted, and relations.

Most clients take `m.relates_to` out of the payload before they encrypt it, as the specification asks (client-server
API, "Forming relationships between events"); it is kept for the server's sake in the event itself.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from migrator.lookups import rows_among
from migrator.stores import synapse_rows as meaning
from migrator.stores.identifiers import identifiers
from migrator.stores.synapse_queries import NOT_OUTLIER
from migrator.stores.synapse_tables import ENCRYPTED, event_json, events

_REDACTION: Final = "m.room.redaction"
"""Not a message: it takes one back."""
_BODIES: Final = 500


def count(connection: sa.Connection, room_ids: Sequence[str]) -> dict[str, int]:
    """How many clear-text messages some rooms have: neither state, nor redactions, nor what the server rejected."""
    query = (
        sa.select(events.c.room_id, sa.func.count())
        .where(
            events.c.type.not_in((ENCRYPTED, _REDACTION)),
            events.c.state_key.is_(None),
            events.c.rejection_reason.is_(None),
            NOT_OUTLIER,
        )
        .group_by(events.c.room_id)
    )
    return dict(rows_among(connection, query, events.c.room_id, identifiers(room_ids)))


def relations(connection: sa.Connection, room_id: str, event_ids: Sequence[str]) -> dict[str, str]:
    """`m.relates_to` of some events of a room as JSON text; `null` where there is none, or none that JSON knows."""
    query = sa.select(events.c.event_id, events.c.room_id, event_json.c.json).join(
        event_json, event_json.c.event_id == events.c.event_id
    )
    found: dict[str, str] = {}
    wanted = identifiers(event_ids)
    for begin in range(0, len(wanted), _BODIES):
        for event_id, of_room, text in rows_among(
            connection, query, events.c.event_id, wanted[begin : begin + _BODIES]
        ):
            if of_room == room_id:
                found[event_id] = _written(meaning.content_of(text).get("m.relates_to"))
    return found


def _written(relation: Any) -> str:
    try:
        return json.dumps(relation, allow_nan=False)
    except ValueError:
        return "null"
