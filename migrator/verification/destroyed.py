"""Conversations whose history was destroyed on purpose: that nothing is shown is what the audit log says."""

import json
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from migrator.audit.events import SHREDDED, EventType
from migrator.database import tables
from migrator.history import context_ref
from migrator.lookups import rows_among

_FETCH = 5000


def destroyed_on_purpose(connection: sa.Connection, conversation_nos: Sequence[int]) -> set[int]:
    """Which of these have no living data key, and an event for a key of theirs that was destroyed on purpose.

    A key is known by its conversation's reference and its id; by the id alone where the reference was erased since.
    """
    table = tables.data_key
    query = sa.select(table.c.conversation_no, table.c.key_id, table.c.context, table.c.wrapped_keyset.is_not(None))
    keys: dict[tuple[str | None, int], int] = {}
    living: set[int] = set()
    for number, key_id, context, alive in rows_among(connection, query, table.c.conversation_no, conversation_nos):
        keys[context_ref(context), key_id] = number
        living.update([number] if alive else [])
    logged = _logged(connection, {ref for ref, _ in keys if ref is not None})
    if any(ref is None for ref, _ in keys):
        logged |= _logged_ids(connection, {key_id for ref, key_id in keys if ref is None})
    return {number for key, number in keys.items() if key in logged} - living


def _logged(connection: sa.Connection, refs: Collection[str]) -> set[tuple[str | None, int]]:
    """(reference, key id) of keys that the log has as destroyed on purpose."""
    table = tables.outbox
    query = sa.select(table.c.subject, table.c.data).where(table.c.type == EventType.KEY_DESTROYED.value)
    found = rows_among(connection, query, table.c.subject, refs)
    return {(ref, key_id) for ref, text in found if (key_id := _shredded(text)) is not None}


def _logged_ids(connection: sa.Connection, key_ids: Collection[int]) -> set[tuple[str | None, int]]:
    """(None, key id) of some keys that the log has as destroyed on purpose, whatever they were called."""
    table = tables.outbox
    query = sa.select(table.c.data).where(
        table.c.type == EventType.KEY_DESTROYED.value, table.c.data.like(f'%"reason":"{SHREDDED}"%')
    )
    texts = connection.scalars(query.execution_options(yield_per=_FETCH))
    return {(None, key_id) for text in texts if (key_id := _shredded(text)) in key_ids and key_id is not None}


def _shredded(text: str) -> int | None:
    """The id of the key that an event says was destroyed on purpose."""
    try:
        data = json.loads(text)
        return int(data["key_id"]) if data["reason"] == SHREDDED else None
    except (ValueError, KeyError, TypeError):
        return None
