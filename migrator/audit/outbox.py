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

DATA_BYTES: Final = 60_000
"""Most that an event says: with its attributes it stays below the longest entry of a log, 65,535 bytes."""


def record(connection: sa.Connection, events: Iterable[Event], *, actor: str, now: datetime) -> None:
    """Write events in the caller's transaction; the sequencer moves them into the log after it commits.

    `AuditLogError` for one that the log could not take: neither it nor its effect is to happen.
    """
    rows = [
        {
            "event_id": str(uuid.uuid4()),
            "type": event.type.value,
            "subject": event.subject,
            "run_id": event.run_id,
            "actor": actor,
            "time": format_time(now),
            "data": canonical_json(dict(event.data)).decode(),
        }
        for event in events
    ]
    for row in rows:
        if len(str(row["data"]).encode()) > DATA_BYTES:
            raise AuditLogError(
                f"a {row['type']} event is too large for the audit log", hint="this is a bug in migrator"
            )
    if rows:
        connection.execute(tables.outbox.insert(), rows)
