"""The outbox: events written in the transaction whose effect they report (G3)."""

import uuid
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from migrator.audit.events import Event
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.database import tables


def record(connection: sa.Connection, events: Iterable[Event], *, actor: str, now: datetime) -> None:
    """Write events in the caller's transaction; the sequencer moves them into the log after it commits."""
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
    if rows:
        connection.execute(tables.outbox.insert(), rows)
