"""Keys: each data key was created once in the log, and destroyed there if and only if it was destroyed here.

Wherever a key was moved since, the log has each step, and the last one led to where the key is.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from migrator.audit.events import EventType
from migrator.core.model import REFERENCE_KEY
from migrator.database import tables
from migrator.evidence.reconciliation.findings import PAGE, FindingKind, Reconciliation, object_of
from migrator.evidence.reconciliation.logged import Logged, of_references
from migrator.history import context_ref


def _key_pages(connection: sa.Connection) -> Iterator[list[sa.Row[Any]]]:
    """All rows of data keys, by keyset pagination over conversations; whole conversations at a time."""
    table = tables.data_key
    after = -1
    while True:
        numbers = (
            sa.select(table.c.conversation_no)
            .where(table.c.conversation_no > after)
            .distinct()
            .order_by(table.c.conversation_no)
            .limit(PAGE)
        )
        page = list(connection.scalars(numbers))
        if not page:
            return
        columns = (table.c.conversation_no, table.c.key_id, table.c.key_service, table.c.context, table.c.destroyed_at)
        alive = table.c.wrapped_keyset.is_not(None).label("alive")
        yield list(connection.execute(sa.select(*columns, alive).where(table.c.conversation_no.in_(page))))
        after = page[-1]


def compare_keys(connection: sa.Connection, result: Reconciliation) -> None:
    """Every key of the database is in the log, as often and in the state that it is in here."""
    for page in _key_pages(connection):
        refs = {row.context: context_ref(row.context) for row in page}
        logged = of_references(connection, sorted({ref for ref in refs.values() if ref is not None}))
        for row in page:
            result.checked["data_keys"] += 1
            ref = refs[row.context]
            if row.context == "" and not row.alive:
                result.checked["erased_references"] += 1  # its entries are counted, with all others
                continue
            if ref is None:
                result.add(FindingKind.DATA_KEY, row.key_id, "its context names no conversation")
                continue
            for detail in _key_findings(row, logged[ref]):
                result.add(FindingKind.DATA_KEY, ref, f"key {row.key_id}: {detail}")


def _key_findings(row: sa.Row[Any], logged: Logged) -> Iterator[str]:
    created, destroyed = logged.created[row.key_id], logged.destroyed[row.key_id]
    if created != 1:
        yield f"{created} entries key.created, instead of one"
    elif logged.services[row.key_id][-1] != row.key_service:
        yield "the log has it with another key service"
    if logged.breaks[row.key_id]:
        yield "an entry key.rewrapped begins at another key service than the one before it ended"
    if destroyed != int(not row.alive):
        yield f"{destroyed} entries key.destroyed, but the key is {'there' if row.alive else 'destroyed'}"
    if bool(row.alive) != (row.destroyed_at is None):
        yield "its row has a time of destruction and a key, or neither"


def compare_key_events(connection: sa.Connection, result: Reconciliation) -> None:
    """Every key of the log that was not destroyed there is alive here: by number, as each living one was looked up."""
    table = tables.outbox
    kinds = (EventType.KEY_CREATED.value, EventType.KEY_REWRAPPED.value, EventType.KEY_DESTROYED.value)
    unpaired = 0
    own = _compare_campaign_keys(connection, result)
    for page in _subjects(connection, kinds):
        for ref, logged in of_references(connection, [subject for subject in page if subject not in own]).items():
            result.checked["key_events"] += logged.created.total() + logged.destroyed.total()
            for key_id in logged.created.keys() | logged.destroyed.keys():
                if logged.destroyed[key_id] > logged.created[key_id]:
                    result.add(FindingKind.DATA_KEY, ref, f"key {key_id}: destroyed more often than created")
                unpaired += logged.created[key_id] > logged.destroyed[key_id]
    keys = tables.data_key
    living = connection.scalar(sa.select(sa.func.count()).select_from(keys).where(keys.c.wrapped_keyset.is_not(None)))
    if unpaired != living:
        result.add(FindingKind.DATA_KEY, "all", f"{unpaired} keys are alive by the log, {living} in the database")
    nameless = connection.scalar(
        sa.select(sa.func.count()).select_from(table).where(table.c.type.in_(kinds), table.c.subject.is_(None))
    )
    if nameless:
        result.add(FindingKind.DATA_KEY, "all", f"{nameless} entries about keys name no conversation")


def _compare_campaign_keys(connection: sa.Connection, result: Reconciliation) -> set[str]:
    """Reference key and recipient keys are where the log has them; the subjects that the log knows them by."""
    table, keys = tables.outbox, tables.recipient_key
    rows: dict[str, str] = {
        REFERENCE_KEY: connection.scalar(sa.select(tables.campaign.c.reference_key_service)) or "",
        **dict(connection.execute(sa.select(keys.c.recipient_key_id, keys.c.key_service)).all()),
    }
    opened = sa.select(table.c.data).where(table.c.type == EventType.LOG_OPENED.value).limit(1)
    first = object_of(connection.scalar(opened)).get("key_service")
    for subject, service in rows.items():
        result.checked["campaign_keys"] += 1
        moves = (
            sa.select(table.c.data)
            .where(table.c.subject == subject, table.c.type == EventType.KEY_REWRAPPED.value)
            .order_by(table.c.outbox_no)
        )
        at = first
        for data in map(object_of, connection.scalars(moves)):
            if data.get("previous_key_service") != at:
                result.add(FindingKind.CAMPAIGN_KEY, subject, "an entry key.rewrapped begins at another key service")
            at = data.get("key_service")
        if at != service:
            result.add(FindingKind.CAMPAIGN_KEY, subject, "the log has it with another key service")
    return set(rows)


def _subjects(connection: sa.Connection, kinds: Sequence[str]) -> Iterator[list[str]]:
    """The references that events of some types are about, each once, by keyset pagination."""
    table = tables.outbox
    after = ""
    while True:
        query = (
            sa.select(table.c.subject)
            .where(table.c.subject > after, table.c.type.in_(kinds))
            .distinct()
            .order_by(table.c.subject)
            .limit(PAGE)
        )
        page = list(connection.scalars(query))
        if not page:
            return
        yield page
        after = page[-1]
