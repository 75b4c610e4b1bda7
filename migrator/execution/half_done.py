"""What is half done: pages of long conversations that nobody sees yet, and rows that wait to be added.

A run that goes on takes it up or begins it anew. A run that is aborted leaves none of it behind: the database then
holds whole conversations only. Each conversation is a transaction of its own, behind the lease of whoever removes it.
"""

from collections.abc import Callable

import sqlalchemy as sa

from migrator import history
from migrator.attachments import strays
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.database import tables

Fence = Callable[[sa.Connection], None]
"""Raises in a transaction of whoever may not write any more."""

_BATCH = 500
"""Conversations whose staged rows go together."""


def discard_partial(
    campaign: Campaign, connection: sa.Connection, run_id: str, conversation_no: int, ref: str | None = None
) -> None:
    """Remove all that was written of a conversation that nobody sees yet, its data key too.

    `ref`: what the audit log calls it; by default as the data key's context does.
    """
    keys = tables.data_key
    # Keys that a rollback destroyed stay on record.
    living = sa.and_(keys.c.conversation_no == conversation_no, keys.c.destroyed_at.is_(None))
    found = connection.execute(sa.select(keys.c.key_id, keys.c.context).where(living)).all()
    connection.execute(keys.delete().where(living))
    for table in (tables.message, tables.gap, tables.claim, tables.progress):
        connection.execute(table.delete().where(table.c.conversation_no == conversation_no))
    strays.doom(connection, campaign, tables.attachment.c.conversation_no == conversation_no)
    named = [(ref or history.context_ref(context) or "", key_id) for key_id, context in found]
    events = [
        Event(type=EventType.KEY_DESTROYED, subject=name, run_id=run_id, data={"ref": name, "key_id": key_id})
        for name, key_id in named
    ]
    outbox.record(connection, events, actor=campaign.actor, now=campaign.clock.now())


def forget_staged(connection: sa.Connection) -> None:
    """Remove what killed workers had staged and never shown: whoever takes those conversations up begins anew."""
    addition = tables.addition
    connection.execute(addition.delete().where(_unshown(addition.c.run_id, addition.c.conversation_no)))


def remove(campaign: Campaign, run_id: str, fence: Fence) -> int:
    """Remove all that a run has half done, while no worker of it can commit; how many conversations that were."""
    removed = 0
    while (number := _next_partial(campaign, run_id)) is not None:
        with campaign.database.write("half-done") as connection:
            fence(connection)
            _remove_partial(campaign, connection, run_id, number)
        removed += 1
    while numbers := _staged(campaign, run_id):
        addition = tables.addition
        with campaign.database.write("half-staged") as connection:
            fence(connection)
            connection.execute(
                addition.delete().where(addition.c.run_id == run_id, addition.c.conversation_no.in_(numbers))
            )
        removed += len(numbers)
    attachment = tables.attachment
    with campaign.database.write("half-attached") as connection:
        fence(connection)
        strays.doom(connection, campaign, attachment.c.run_id == run_id, attachment.c.staged)
    return removed


def _remove_partial(campaign: Campaign, connection: sa.Connection, run_id: str, number: int) -> None:
    """Remove one, unless readers see it by now: then only the note that it was begun goes."""
    conversation, progress = tables.conversation, tables.progress
    mode = connection.scalar(sa.select(conversation.c.mode).where(conversation.c.conversation_no == number))
    if mode == "server":
        connection.execute(progress.delete().where(progress.c.conversation_no == number))
    else:
        discard_partial(campaign, connection, run_id, number)


def _next_partial(campaign: Campaign, run_id: str) -> int | None:
    """A conversation that the run is in the middle of."""
    progress = tables.progress
    query = sa.select(progress.c.conversation_no).where(progress.c.run_id == run_id)
    with campaign.database.read() as connection:
        return connection.scalar(query.order_by(progress.c.conversation_no).limit(1))


def _staged(campaign: Campaign, run_id: str) -> list[int]:
    addition = tables.addition
    query = (
        sa.select(addition.c.conversation_no)
        .where(addition.c.run_id == run_id, _unshown(addition.c.run_id, addition.c.conversation_no))
        .distinct()
        .order_by(addition.c.conversation_no)
        .limit(_BATCH)
    )
    with campaign.database.read() as connection:
        return list(connection.scalars(query))


def _unshown(run_id: sa.Column[str], conversation_no: sa.Column[int]) -> sa.ColumnElement[bool]:
    """Whether a run has not given the conversation its outcome yet."""
    item = tables.item
    finished = sa.select(sa.literal(1)).where(item.c.run_id == run_id, item.c.conversation_no == conversation_no)
    return sa.not_(finished.exists())
