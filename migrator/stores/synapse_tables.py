"""The tables of a Synapse homeserver as far as they are read, and which versions of its schema have them.

Source: `synapse/storage/schema` of Synapse 1.163 (schema 94, compatible from 84). Synapse's own rule is that a program
may use a database whose `compat_version` is not above the schema that it knows
(https://element-hq.github.io/synapse/latest/development/database_schema.html); ours is the same.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Table, Text

OLDEST_SCHEMA: Final = 72
"""The oldest `schema_version` that is read: from it on `events` has `state_key` and `rejection_reason` in every row."""
NEWEST_SCHEMA: Final = 94
"""The newest schema that was looked at: the highest `compat_version` that is read."""
REQUIRED_UPDATES: Final = frozenset({"events_populate_state_key_rejections"})
"""Background updates without which rows don't say what they are (schema 72)."""

ENCRYPTED: Final = "m.room.encrypted"
ENCRYPTION: Final = "m.room.encryption"
VISIBILITY: Final = "m.room.history_visibility"

metadata = sa.MetaData()
_Number = sa.BigInteger


def _table(name: str, *columns: Column[object]) -> Table:
    return Table(name, metadata, *columns)


def _texts(*names: str) -> list[Column[object]]:
    return [Column(name, Text) for name in names]


schema_version = _table("schema_version", Column("version", _Number))
schema_compat_version = _table("schema_compat_version", Column("compat_version", _Number))
background_updates = _table("background_updates", *_texts("update_name"))
stream_positions = _table("stream_positions", *_texts("stream_name", "instance_name"), Column("stream_id", _Number))
events = _table(
    "events",
    Column("stream_ordering", _Number),
    Column("topological_ordering", _Number),
    Column("origin_server_ts", _Number),
    Column("outlier", Boolean),
    *_texts("event_id", "type", "room_id", "sender", "state_key", "rejection_reason"),
)
event_json = _table("event_json", *_texts("event_id", "json", "internal_metadata"))
redactions = _table("redactions", *_texts("event_id", "redacts"))
room_memberships = _table("room_memberships", *_texts("event_id", "room_id", "user_id", "membership"))
users = _table(
    "users",
    *_texts("name"),
    Column("creation_ts", _Number),
    Column("deactivated", sa.SmallInteger),
)
erased_users = _table("erased_users", *_texts("user_id"))
user_threepids = _table("user_threepids", *_texts("user_id", "medium", "address"), Column("added_at", _Number))
devices = _table("devices", *_texts("user_id", "device_id"), Column("hidden", Boolean))
e2e_device_keys_json = _table(
    "e2e_device_keys_json", *_texts("user_id", "device_id", "key_json"), Column("ts_added_ms", _Number)
)
dehydrated_devices = _table("dehydrated_devices", *_texts("user_id", "device_id"))
device_lists_remote_cache = _table("device_lists_remote_cache", *_texts("user_id", "device_id", "content"))

REQUIRED: Final = tuple(metadata.sorted_tables)
"""What migration reads; a source without one of these, or one of their columns, is no homeserver of a known version."""

room_ban_redactions = Table(
    # Since schema 92: a ban that redacts all that somebody sent (MSC4293), without a row in `redactions` for each.
    "room_ban_redactions",
    sa.MetaData(),
    *_texts("room_id", "user_id", "redacting_event_id"),
    Column("redact_end_ordering", _Number),
)
LOCKS: Final = ("locked", "suspended")
"""Columns of `users` that came with schemas 80 and 85: each keeps its user from acting."""
