"""Visible conversations: the newest entry about each, rollbacks apart, is the one that its row rests on."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from migrator.audit.events import SHREDDED, EventType
from migrator.database import tables
from migrator.evidence.reconciliation.findings import PAGE, Data, FindingKind, Reconciliation
from migrator.evidence.reconciliation.logged import of_references
from migrator.history import context_ref


def compare_conversations(connection: sa.Connection, result: Reconciliation, undone: set[str]) -> None:
    """Hold every visible conversation against the newest event that showed it, runs that were undone left out."""
    table, keys = tables.conversation, tables.data_key
    after = -1
    while True:
        query = (
            sa.select(table)
            .where(table.c.mode == "server", table.c.conversation_no > after)
            .order_by(table.c.conversation_no)
            .limit(PAGE)
        )
        page = list(connection.execute(query))
        if not page:
            break
        after = page[-1].conversation_no
        living = sa.select(keys.c.conversation_no, keys.c.context, keys.c.key_id, keys.c.key_service).where(
            keys.c.conversation_no.in_([row.conversation_no for row in page]), keys.c.wrapped_keyset.is_not(None)
        )
        key_of: dict[int, Data] = {row["conversation_no"]: dict(row) for row in connection.execute(living).mappings()}
        refs = {number: ref for number, row in key_of.items() if (ref := context_ref(row["context"])) is not None}
        logged = of_references(connection, sorted(refs.values()))
        for row in page:
            result.checked["conversations"] += 1
            ref = refs.get(row.conversation_no)
            if ref is None:
                about = f"conversation_no {row.conversation_no}"
                result.add(FindingKind.CONVERSATION, about, "it is visible and has no data key that names it")
                continue
            # What is being rolled back is visible until its turn comes.
            shown = [event for event in logged[ref].shown if event[1] not in undone or event[1] == row.run_id]
            services = logged[ref].services.get(key_of[row.conversation_no]["key_id"], [])
            detail = _conversation_finding(row, key_of[row.conversation_no], shown, services)
            if detail is not None:
                result.add(FindingKind.CONVERSATION, ref, detail)
    if not result.checked["unfinished_rollbacks"]:
        _visible_by_the_log(connection, result, undone)


def _conversation_finding(
    row: sa.Row[Any], key: Data, shown: list[tuple[int, str, Data]], services: Sequence[Any]
) -> str | None:
    if not shown:
        return "it is visible, and no entry says that it was rewrapped"
    _, run_id, data = shown[-1]
    if run_id != row.run_id:
        return "its newest entry is of another run than its row"
    expected = {"messages": row.message_count, "gaps": row.gap_count, "key_id": key["key_id"]}
    wrong = sorted(name for name, value in expected.items() if data.get(name) != value)
    known = services or [key["key_service"]]  # the key may have been moved since
    if data.get("key_service") not in known or known[-1] != key["key_service"]:
        wrong.append("key_service")
    return f"its newest entry has another {', '.join(wrong)} than its row" if wrong else None


def _visible_by_the_log(connection: sa.Connection, result: Reconciliation, undone: set[str]) -> None:
    """As many conversations are visible as the log says; those that are were compared one by one."""
    table, conversation = tables.outbox, tables.conversation
    destroyed = sa.select(table.c.subject).where(
        table.c.type == EventType.KEY_DESTROYED.value, table.c.data.like(f'%"reason":"{SHREDDED}"%')
    )
    said = connection.scalar(
        sa.select(sa.func.count(sa.distinct(table.c.subject))).where(
            table.c.type == EventType.CONVERSATION_REWRAPPED.value,
            table.c.run_id.not_in(sorted(undone)),
            table.c.subject.not_in(destroyed),
        )
    )
    visible = connection.scalar(
        sa.select(sa.func.count()).select_from(conversation).where(conversation.c.mode == "server")
    )
    if said != visible:
        result.add(FindingKind.CONVERSATION, "all", f"{said} are visible by the log, {visible} in the database")
