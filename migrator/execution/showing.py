"""The flip: a conversation's counts, mode, outcome and audit event, in the transaction that shows it (G3, G4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.database.bulk import update_rows
from migrator.execution.recorder import Recorder
from migrator.execution.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A conversation that readers see from this transaction on. `attachments`: how many are sealed, how many gaps."""

    work: Work
    outcome: Outcome
    messages: int
    gaps: int
    items_root: bytes
    key_id: int
    key_service: str
    attachments: tuple[int, int] = (0, 0)


def show(connection: sa.Connection, recorder: Recorder, shown: Sequence[Shown], events: Sequence[Event] = ()) -> None:
    """Flip conversations whose messages, gaps and keys this transaction has completed."""
    if not shown:
        return
    now = recorder.campaign.clock.now()
    assignment = recorder.assignment
    update_rows(
        connection,
        tables.conversation,
        "conversation_no",
        ("message_count", "gap_count", "source_through"),
        [(s.work.conversation_no, s.messages, s.gaps, canonical_json(s.work.source_through()).decode()) for s in shown],
        mode="server",
        plan_id=assignment.plan_id,
        run_id=assignment.run_id,
        flipped_at=format_time(now),
    )
    recorder.insert_items(connection, [(s.work.conversation_no, s.outcome.value, s.messages, s.gaps) for s in shown])
    rewrapped = [_event(s, assignment.run_id) for s in shown]
    outbox.record(connection, [*events, *rewrapped], actor=recorder.campaign.actor, now=now)


def remember(connection: sa.Connection, recorder: Recorder, work: Work) -> None:
    """Keep what a visible conversation was, for a rollback of this run alone."""
    table = tables.conversation
    row = connection.execute(sa.select(table).where(table.c.conversation_no == work.conversation_no)).one()
    connection.execute(
        tables.extension.insert().values(
            run_id=recorder.assignment.run_id,
            conversation_no=work.conversation_no,
            prior_plan_id=row.plan_id,
            prior_run_id=row.run_id,
            prior_flipped_at=row.flipped_at,
            prior_message_count=row.message_count,
            prior_gap_count=row.gap_count,
            prior_source_through=row.source_through,
        )
    )


def _event(shown: Shown, run_id: str) -> Event:
    sealed, gaps = shown.attachments
    attachments = {"attachments": sealed, "attachment_gaps": gaps} if sealed or gaps else {}
    return Event(
        type=EventType.CONVERSATION_REWRAPPED,
        subject=shown.work.ref,
        run_id=run_id,
        data={
            "ref": shown.work.ref,
            "outcome": shown.outcome.value,
            "messages": shown.messages,
            "gaps": shown.gaps,
            "items_root": shown.items_root.hex(),
            "key_id": shown.key_id,
            "key_service": shown.key_service,
            **attachments,
        },
    )
