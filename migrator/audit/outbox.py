"""The outbox: events written in the transaction whose effect they report (G3)."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from migrator.audit.events import Event
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.errors import AuditLogError
from migrator.database import tables
from migrator.database.bulk import insert_rows

_COLUMNS = ("event_id", "type", "subject", "run_id", "actor", "time", "data")

DATA_BYTES: Final = 60_000
"""Most that an event says: with its attributes it stays below the longest entry of a log, 65,535 bytes."""


def record(connection: sa.Connection, events: Iterable[Event], *, actor: str, now: datetime) -> None:
    """Write events in the caller's transaction; the sequencer moves them into the log after it commits.

    `AuditLogError` for one that the log could not take: neither it nor its effect is to happen.
    """
    time = format_time(now)
    rows = [
        (
            str(uuid.uuid4()),
            event.type.value,
            event.subject,
            event.run_id,
            actor,
            time,
            canonical_json(dict(event.data)).decode(),
        )
        for event in events
    ]
    for row in rows:
        if len(str(row[-1]).encode()) > DATA_BYTES:
            raise AuditLogError(f"a {row[1]} event is too large for the audit log", hint="this is a bug in migrator")
    insert_rows(connection, tables.outbox, _COLUMNS, rows)
