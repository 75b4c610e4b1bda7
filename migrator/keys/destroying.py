"""`keys destroy`: crypto-shredding of one conversation's server history, on purpose and for good.

1. The data key's wrapping is erased and with it every copy of the messages, wherever it lies; their rows go too. The
   conversation's mode is `destroyed`: no reader sees it, and no later plan brings it back.
2. Refused: without the campaign's name typed; while a legal hold is on its owner or a participant, or where the source
   can't tell; for a conversation that shows nothing.
3. Row, event and the sign for running work to decide again are one transaction: a worker that was about to add to the
   conversation finds it destroyed.

What this does not reach: backups of the migrator database, in which the key service still opens the old wrapping until
they lapse, the source's own ciphertext, and exports, both of which stay sealed.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from migrator import history
from migrator.audit import outbox
from migrator.audit.events import SHREDDED, Event, EventType
from migrator.authorizations import scopes
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import GateError, IntegrityError, UsageError
from migrator.database import tables
from migrator.history import StoredKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroyed:
    """What is gone. `already`: it was before."""

    conversation_id: str
    already: bool
    messages: int
    gaps: int


def destroy(campaign: Campaign, conversation_id: str, *, confirm: str | None) -> Destroyed:
    """Destroy the server history of a conversation. `GateError` where it may not be, `UsageError` if unknown."""
    with campaign.database.read() as connection:
        found = _visible(connection, conversation_id)
    if found is None:
        return Destroyed(conversation_id=conversation_id, already=True, messages=0, gaps=0)
    if confirm != campaign.name:
        raise GateError(
            "destroying history asks for the campaign's name: nothing brings it back",
            hint=f"type it when asked, or give --confirm {campaign.name}",
        )
    _require_no_hold(campaign, conversation_id)
    campaign.audit.check()
    with campaign.database.write("keys-destroy") as connection:
        scopes.raise_version(connection, campaign.name)  # first: what is under way ends before it is seen what is there
        found = _visible(connection, conversation_id, lock=True)
        if found is None:
            return Destroyed(conversation_id=conversation_id, already=True, messages=0, gaps=0)
        _destroy(campaign, connection, found[0])
    campaign.audit.flush()
    return Destroyed(conversation_id=conversation_id, already=False, messages=found[1], gaps=found[2])


def _visible(connection: sa.Connection, conversation_id: str, *, lock: bool = False) -> tuple[int, int, int] | None:
    """Number, messages and gaps of a conversation that shows something; None where it was destroyed.

    `lock`: it stays so until the end of the transaction. A rollback does alike, before it touches anything else.
    """
    table = tables.conversation
    row = None
    if history.storable(conversation_id):
        query = sa.select(table).where(table.c.conversation_id == conversation_id)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UsageError(
            "no plan of this campaign has that conversation",
            hint="give its id as the source has it; `migrator report --save` lists all",
        )
    if row.mode == "destroyed":
        return None
    if row.mode != "server":
        raise GateError(
            "this conversation's history was not migrated: there is no key of it to destroy",
            hint="what is sealed in the source was never opened",
        )
    return row.conversation_no, row.message_count, row.gap_count


def _require_no_hold(campaign: Campaign, conversation_id: str) -> None:
    conversation = campaign.store.conversations([conversation_id]).get(conversation_id)
    if conversation is None:
        raise GateError(
            "the source no longer has this conversation: nobody can tell whether a legal hold is on it",
            hint="put it, or its thread's row, back into the source",
        )
    people = {*conversation.participants, *([conversation.owner_id] if conversation.owner_id else [])}
    held = campaign.store.on_hold(sorted(people), campaign.clock.now())
    if held:
        raise GateError(
            f"a legal hold is on {len(held)} of the conversation's {len(people)} accounts: its history stays",
            hint="it can be destroyed once every hold is released in the source",
        )


def _destroy(campaign: Campaign, connection: sa.Connection, number: int) -> None:
    now = campaign.clock.now()
    keys = history.living_keys(connection, [number]).get(number, [])
    if not keys or any(key.ref is None for key in keys):
        raise IntegrityError(
            "the conversation has no data key that names it",
            hint="`migrator verify` says what else is wrong; `migrator rollback` takes its run back",
        )
    table, conversation = tables.data_key, tables.conversation
    connection.execute(
        table.update()
        .where(table.c.conversation_no == number, table.c.wrapped_keyset.is_not(None))
        .values(wrapped_keyset=None, destroyed_at=format_time(now))
    )
    for rows in (tables.message, tables.gap, tables.claim, tables.addition, tables.extension):
        connection.execute(rows.delete().where(rows.c.conversation_no == number))
    connection.execute(
        conversation.update()
        .where(conversation.c.conversation_no == number)
        .values(mode="destroyed", message_count=0, gap_count=0, source_through=None)
    )
    outbox.record(connection, [_event(key) for key in keys], actor=campaign.actor, now=now)


def _event(key: StoredKey) -> Event:
    return Event(
        type=EventType.KEY_DESTROYED,
        subject=key.ref,
        data={"ref": key.ref, "key_id": key.key_id, "key_service": key.key_service, "reason": SHREDDED},
    )
