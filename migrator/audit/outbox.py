"""The outbox: events written in the transaction whose effect they report (G3)."""

import uuid
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from migrator.audit.events import Event
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.database import tables
from migrator.database.bulk import insert_rows

_COLUMNS = ("event_id", "type", "subject", "run_id", "actor", "time", "data")


def record(connection: sa.Connection, events: Iterable[Event], *, actor: str, now: datetime) -> None:
    """Write events in the caller's transaction; the sequencer moves them into the log after it commits."""
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
    insert_rows(connection, tables.outbox, _COLUMNS, rows)
