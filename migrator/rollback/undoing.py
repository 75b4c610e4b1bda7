"""Takes conversations of a run back, in the caller's transaction: sealed again, or what they were before it."""

from collections.abc import Sequence

import sqlalchemy as sa

from migrator import history
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.database import tables


def take_back(campaign: Campaign, connection: sa.Connection, run_id: str, numbers: Sequence[int]) -> None:
    """Undo what the run made of some conversations; one that was destroyed meanwhile stays destroyed."""
    extension, conversation = tables.extension, tables.conversation
    modes = sa.select(conversation.c.conversation_no, conversation.c.mode).where(
        conversation.c.conversation_no.in_(numbers)
    )
    destroyed = [number for number, mode in connection.execute(modes.with_for_update()) if mode == "destroyed"]
    extended = list(
        connection.scalars(
            sa.select(extension.c.conversation_no).where(
                extension.c.run_id == run_id, extension.c.conversation_no.in_(numbers)
            )
        )
    )
    for number in extended:
        _restore(connection, run_id, number)
    # What another run shows by now stays, whatever notes this one left.
    ours = sa.or_(conversation.c.run_id == run_id, conversation.c.mode == "sealed")
    fresh = sa.select(conversation.c.conversation_no).where(
        conversation.c.conversation_no.in_(numbers),
        conversation.c.conversation_no.not_in([*extended, *destroyed]),
        ours,
    )
    _seal(campaign, connection, run_id, list(connection.scalars(fresh)))
    for notes in (tables.progress, tables.addition):
        connection.execute(notes.delete().where(notes.c.run_id == run_id, notes.c.conversation_no.in_(numbers)))


def _seal(campaign: Campaign, connection: sa.Connection, run_id: str, numbers: Sequence[int]) -> None:
    """Make conversations sealed again and destroy their keys."""
    if not numbers:
        return
    for table in (tables.message, tables.gap, tables.claim):
        connection.execute(table.delete().where(table.c.conversation_no.in_(numbers)))
    _destroy_keys(campaign, connection, run_id, numbers)
    conversation = tables.conversation
    connection.execute(
        conversation.update()
        .where(conversation.c.conversation_no.in_(numbers))
        .values(
            mode="sealed",
            plan_id=None,
            run_id=None,
            flipped_at=None,
            message_count=0,
            gap_count=0,
            source_through=None,
        )
    )


def _destroy_keys(campaign: Campaign, connection: sa.Connection, run_id: str, numbers: Sequence[int]) -> None:
    """Crypto-shredding: without the wrapped key, no copy of the messages opens any more."""
    now = campaign.clock.now()
    keys = [key for found in history.living_keys(connection, numbers).values() for key in found]
    table = tables.data_key
    connection.execute(
        table.update()
        .where(table.c.conversation_no.in_(numbers), table.c.wrapped_keyset.is_not(None))
        .values(wrapped_keyset=None, destroyed_at=format_time(now))
    )
    events = [
        Event(
            type=EventType.KEY_DESTROYED,
            subject=key.ref,
            run_id=run_id,
            data={"ref": key.ref, "key_id": key.key_id, "key_service": key.key_service, "reason": "rollback"},
        )
        for key in keys
    ]
    outbox.record(connection, events, actor=campaign.actor, now=now)


def _restore(connection: sa.Connection, run_id: str, conversation_no: int) -> None:
    """Give a conversation back what it was before the run added to it; the data key stays."""
    addition, message, gap = tables.addition, tables.message, tables.gap
    mine = (addition.c.run_id == run_id, addition.c.conversation_no == conversation_no)
    for table in (message, gap):
        added = sa.select(addition.c.sent_at, addition.c.message_id).where(*mine)
        connection.execute(
            table.delete().where(
                table.c.conversation_no == conversation_no,
                sa.tuple_(table.c.sent_at, table.c.message_id).in_(added),
            )
        )
    claim = tables.claim
    connection.execute(claim.delete().where(claim.c.run_id == run_id, claim.c.conversation_no == conversation_no))
    earlier = sa.select(addition.c.conversation_no, addition.c.sent_at, addition.c.message_id, addition.c.prior_gap)
    connection.execute(
        gap.insert().from_select(
            ["conversation_no", "sent_at", "message_id", "reason"],
            earlier.where(*mine, addition.c.prior_gap.is_not(None)),
        )
    )
    extension, conversation = tables.extension, tables.conversation
    prior = connection.execute(
        sa.select(extension).where(extension.c.run_id == run_id, extension.c.conversation_no == conversation_no)
    ).one()
    connection.execute(
        conversation.update()
        .where(conversation.c.conversation_no == conversation_no)
        .values(
            plan_id=prior.prior_plan_id,
            run_id=prior.prior_run_id,
            flipped_at=prior.prior_flipped_at,
            message_count=prior.prior_message_count,
            gap_count=prior.prior_gap_count,
            source_through=prior.prior_source_through,
        )
    )
