"""What the log has about conversations, by their references: keys made and destroyed, and when each was shown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from migrator.audit.events import EventType
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.evidence.reconciliation.findings import Data, number_of, object_of


@dataclass(slots=True)
class Logged:
    """What the log has about one reference. Keys: id → how often; `shown`: (number, run, data), oldest first.

    `services`: key id → the services that it was with, oldest first; `breaks`: how often a move began elsewhere.
    """

    created: Counter[int] = field(default_factory=Counter)
    destroyed: Counter[int] = field(default_factory=Counter)
    services: dict[int, list[Any]] = field(default_factory=dict)
    breaks: Counter[int] = field(default_factory=Counter)
    shown: list[tuple[int, str, Data]] = field(default_factory=list)


def of_references(connection: sa.Connection, references: Sequence[str]) -> dict[str, Logged]:
    """Some references; those that the log has nothing about are empty."""
    table = tables.outbox
    found = {ref: Logged() for ref in references}
    kinds = (
        EventType.KEY_CREATED.value,
        EventType.KEY_REWRAPPED.value,
        EventType.KEY_DESTROYED.value,
        EventType.CONVERSATION_REWRAPPED.value,
    )
    for chunk in chunks(references):
        query = (
            sa.select(table.c.subject, table.c.type, table.c.run_id, table.c.data, table.c.outbox_no)
            .where(table.c.subject.in_(chunk), table.c.type.in_(kinds))
            .order_by(table.c.outbox_no)
        )
        for ref, kind, run_id, text, number in connection.execute(query):
            data, logged = object_of(text), found[ref]
            if "reference_key" in data:
                continue  # a subject's own key, which no row is kept of
            key_id = number_of(data, "key_id")
            if kind == EventType.KEY_CREATED.value:
                logged.created[key_id] += 1
                logged.services.setdefault(key_id, []).append(data.get("key_service"))
            elif kind == EventType.KEY_REWRAPPED.value:
                services = logged.services.setdefault(key_id, [])
                logged.breaks[key_id] += services[-1:] != [data.get("previous_key_service")]
                services.append(data.get("key_service"))
            elif kind == EventType.KEY_DESTROYED.value:
                logged.destroyed[key_id] += 1
            else:
                logged.shown.append((number, run_id, data))
    return found
