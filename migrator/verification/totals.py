"""What only the whole can show: the population, rows that belong to nothing, and events against outcomes."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from migrator.audit.entries import same_event
from migrator.audit.events import EventType
from migrator.campaign import Campaign
from migrator.core.lifecycle import UNFINISHED, RunState
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.execution.runs import Run
from migrator.planning import stored
from migrator.verification.findings import MAX_LISTED, Findings, MismatchKind
from migrator.verification.structure import SHOWN

_ACTIVE = tuple(sorted(state.value for state in UNFINISHED | {RunState.ROLLING_BACK}))
_FETCH = 5000


def check_population(connection: sa.Connection, run: Run, findings: Findings) -> None:
    """Every conversation of the plan has exactly one outcome, once the run is complete (G6)."""
    plan, planned, item = tables.plan, tables.plan_item, tables.item
    row = connection.execute(
        sa.select(plan.c.conversations, plan.c.document).where(plan.c.plan_id == run.plan_id)
    ).one_or_none()
    if row is None:
        findings.add(MismatchKind.PLAN, None, "the run's plan is not in the database")
        return
    listed = connection.scalar(sa.select(sa.func.count()).select_from(planned).where(planned.c.plan_id == run.plan_id))
    if listed != row.conversations or stored.items_root(connection, run.plan_id) != _items_root(row.document):
        findings.add(MismatchKind.PLAN, None, "the plan's items are not those that were planned")
    if run.state is not RunState.COMPLETED:
        return
    done = sa.and_(item.c.run_id == run.run_id, item.c.conversation_no == planned.c.conversation_no)
    missing = (
        sa.select(planned.c.conversation_no)
        .outerjoin(item, done)
        .where(planned.c.plan_id == run.plan_id, item.c.run_id.is_(None))
        .order_by(planned.c.conversation_no)
    )
    for number in _listed(connection, missing):
        findings.add(MismatchKind.MISSING_ITEM, number, "planned, but without an outcome")


def _items_root(document: str) -> str | None:
    try:
        value = json.loads(document)
    except ValueError:
        return None
    root = value.get("items_root") if isinstance(value, dict) else None
    return root if isinstance(root, str) else None


def check_orphans(connection: sa.Connection, findings: Findings) -> None:
    """No rows of a conversation that shows nothing, unless a run is in the middle of it."""
    for name, table, condition in (
        ("messages", tables.message, sa.true()),
        ("gaps", tables.gap, sa.true()),
        ("claims", tables.claim, sa.true()),
        ("attachments", tables.attachment, sa.true()),
        ("a living data key", tables.data_key, tables.data_key.c.wrapped_keyset.is_not(None)),
    ):
        for number in _listed(connection, _orphans(table, condition)):
            findings.add(MismatchKind.ORPHAN_ROWS, number, f"{name} of a conversation that shows nothing")
    for number in _listed(connection, _claims_of_nobody()):
        findings.add(MismatchKind.CLAIM, number, "claims of messages that are not there")
    run = tables.run
    for name, table, condition in (
        ("a position", tables.progress, sa.true()),
        ("staged messages", tables.addition, tables.addition.c.ciphertext.is_not(None)),
        ("staged attachments", tables.attachment, tables.attachment.c.staged.is_(True)),
    ):
        ended = (
            sa.select(table.c.conversation_no)
            .outerjoin(run, run.c.run_id == table.c.run_id)
            .where(condition, sa.or_(run.c.run_id.is_(None), run.c.state.not_in(_ACTIVE)))
            .distinct()
        )
        for number in _listed(connection, ended):
            findings.add(MismatchKind.ORPHAN_ROWS, number, f"{name} of a run that has ended")


def _orphans(table: sa.Table, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    conversation, progress, run = tables.conversation, tables.progress, tables.run
    at_work = (
        sa.select(sa.literal(1))
        .where(
            progress.c.conversation_no == table.c.conversation_no,
            run.c.run_id == progress.c.run_id,
            run.c.state.in_(_ACTIVE),
        )
        .exists()
    )
    shows_nothing = sa.and_(conversation.c.mode != "server", sa.not_(at_work))
    return (
        sa.select(table.c.conversation_no)
        .outerjoin(conversation, conversation.c.conversation_no == table.c.conversation_no)
        .where(condition, sa.or_(conversation.c.conversation_no.is_(None), shows_nothing))
        .distinct()
        .order_by(table.c.conversation_no)
    )


def _claims_of_nobody() -> sa.Select[Any]:
    """Visible conversations with a claim whose message is not stored, nor redacted since: that one keeps its claim."""
    claim, conversation = tables.claim, tables.conversation

    def stands(table: sa.Table) -> sa.Select[Any]:
        return sa.select(sa.literal(1)).where(
            table.c.conversation_no == claim.c.conversation_no,
            table.c.sent_at == claim.c.sent_at,
            table.c.message_id == claim.c.message_id,
        )

    redacted = stands(tables.gap).where(tables.gap.c.reason == GapReason.REDACTED.value)
    return (
        sa.select(claim.c.conversation_no)
        .join(conversation, conversation.c.conversation_no == claim.c.conversation_no)
        .where(conversation.c.mode == "server", sa.not_(stands(tables.message).exists()), sa.not_(redacted.exists()))
        .distinct()
        .order_by(claim.c.conversation_no)
    )


def _listed(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[int]:
    """Conversation numbers, all of them, without holding them all."""
    return iter(connection.execute(query.execution_options(yield_per=MAX_LISTED)).scalars())


def check_events(connection: sa.Connection, run: Run, findings: Findings) -> None:
    """Outcomes and events of the run are the same in number, by outcome."""
    item, table = tables.item, tables.outbox
    outcomes: dict[str, int] = dict(
        connection.execute(
            sa.select(item.c.outcome, sa.func.count()).where(item.c.run_id == run.run_id).group_by(item.c.outcome)
        ).all()
    )
    shown = sum(outcomes.pop(outcome, 0) for outcome in SHOWN)
    mine = table.c.run_id == run.run_id
    rewrapped = connection.scalar(
        sa.select(sa.func.count()).where(mine, table.c.type == EventType.CONVERSATION_REWRAPPED.value)
    )
    if rewrapped != shown:
        findings.add(MismatchKind.AUDIT_EVENTS, None, f"{shown} conversations shown, {rewrapped} events say so")
    skipped: Counter[str] = Counter()
    texts = sa.select(table.c.data).where(mine, table.c.type == EventType.CONVERSATION_SKIPPED.value)
    for text in connection.execute(texts.execution_options(yield_per=_FETCH)).scalars():
        skipped.update(_counts(text))
    for outcome in sorted(outcomes.keys() | skipped.keys()):
        if outcomes.get(outcome, 0) != skipped[outcome]:
            findings.add(
                MismatchKind.AUDIT_EVENTS,
                None,
                f"{outcome}: {outcomes.get(outcome, 0)} outcomes, {skipped[outcome]} in the events",
            )
    findings.count("outcomes_in_events", shown + sum(skipped.values()))


def _counts(text: str) -> dict[str, int]:
    """Conversations by outcome, as a `conversation.skipped` event has them; none where it was altered."""
    try:
        counts = json.loads(text)["counts"]
        return {str(outcome): int(count) for outcome, count in counts.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def check_log(campaign: Campaign, connection: sa.Connection, findings: Findings) -> None:
    """Every line of the log is the event of that number in the database, and none is missing."""
    table = tables.outbox
    state = tables.audit_state
    size = connection.scalar(sa.select(state.c.size).where(state.c.origin == campaign.settings.origin)) or 0
    query = sa.select(table).where(table.c.seq < size).order_by(table.c.seq).execution_options(yield_per=_FETCH)
    rows = connection.execute(query).mappings()
    lines = itertools.islice(campaign.audit.lines(), size)
    different = 0
    for number, (line, row) in enumerate(itertools.zip_longest(lines, rows)):
        if line is None or row is None or not _same(line, row, number):
            different += 1
    findings.count("audit_lines", size)
    findings.add_many(MismatchKind.AUDIT_LOG, None, "lines of the log are not the events of the database", different)


def _same(line: bytes, row: sa.RowMapping, number: int) -> bool:
    try:
        return same_event(json.loads(line), row, number)
    except (ValueError, TypeError, RecursionError):
        return False
