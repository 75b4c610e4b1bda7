"""Messages that readers see and the source has taken back since: redacted, or their sender erased.

1. A run that meets one removes it from the server history and records gap `redacted`, in the transaction that shows
   the conversation anew with its counts, root and event. Nothing is opened for it, so no authorisation is asked: who
   withdrew, was locked or is gone does not keep in sight what the source has taken back (`Work.closed`).
2. Its note in `migrator_addition` says `taken_back`, and outlives a rollback of that run: what was redacted does not
   come back. The earlier run shows the conversation again, without it; the difference to its counts is in the notes.
3. The next run that meets the conversation shows it anew, so that counts, root and event agree again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.core.lifecycle import RunState
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.execution.claims import At
from migrator.execution.sealing import gap_key
from migrator.execution.stage import Stage, Staged
from migrator.lookups import rows_among
from migrator.schemes.interface import Scheme

_UNDONE = (RunState.ROLLED_BACK.value, RunState.ROLLING_BACK.value)


@dataclass(frozen=True, slots=True)
class VisibleRow:
    """What a conversation's rows say of its visible history."""

    key_id: int
    key_service: str
    source_through: str | None


def visible_row(connection: sa.Connection, conversation_no: int) -> VisibleRow | None:
    """Of one that readers see; its data key is named, not unwrapped. None where it has none."""
    key, conversation = tables.data_key, tables.conversation
    row = connection.execute(
        sa.select(key.c.key_id, key.c.key_service, conversation.c.source_through)
        .join(conversation, conversation.c.conversation_no == key.c.conversation_no)
        .where(key.c.conversation_no == conversation_no, key.c.destroyed_at.is_(None))
    ).one_or_none()
    return None if row is None else VisibleRow(*row)


def stage_taken_back(scheme: Scheme, stage: Stage, conversation: Conversation, rows: Sequence[MessageRow]) -> set[At]:
    """Stage a gap for each message of a page that readers see and the source has taken back; where readers see one."""
    keys = [gap_key(row) for row in rows]
    present = stage.server_rows(keys)
    shown = [row for at, row in zip(keys, rows, strict=True) if at in present]
    reason = GapReason.REDACTED.value
    stage.put(
        [
            Staged(sent_at=row[0], message_id=row[1], gap_reason=reason, taken_back=True)
            for row in _redacted(scheme, conversation, shown)
        ]
    )
    return present


def stage_redacted_gaps(scheme: Scheme, stage: Stage, conversation: Conversation, rows: Sequence[MessageRow]) -> None:
    """Stage gaps of a page that had another reason: the source has no ciphertext for them any more."""
    reason = GapReason.REDACTED.value
    prior = stage.prior_gaps([gap_key(row) for row in rows])
    gaps = [row for row in rows if prior.get(gap_key(row), reason) != reason]
    found = [gap_key(row) for row in _redacted(scheme, conversation, gaps)]
    stage.put([Staged(sent_at=at[0], message_id=at[1], gap_reason=reason, prior_gap=prior[at]) for at in found])


def _redacted(scheme: Scheme, conversation: Conversation, rows: Sequence[MessageRow]) -> list[MessageRow]:
    """Those that the source says are redacted; without keys nothing can open. Costs nothing where nothing changed."""
    if not rows or not conversation.changes:
        return []
    results = scheme.open_messages([(conversation, {}, rows)])[0]
    return [row for row, result in zip(rows, results, strict=True) if result is GapReason.REDACTED]


def unaccounted(connection: sa.Connection, numbers: Collection[int]) -> dict[int, int]:
    """How many messages of conversations a run took back that was rolled back, after the run that shows them now."""
    note, conversation = tables.addition, tables.conversation
    undone, shower = tables.run.alias("undone"), tables.run.alias("shower")
    query = (
        sa.select(note.c.conversation_no, sa.func.count())
        .select_from(undone)
        .join(note, sa.and_(note.c.run_id == undone.c.run_id, note.c.taken_back))
        .join(conversation, conversation.c.conversation_no == note.c.conversation_no)
        .join(shower, shower.c.run_id == conversation.c.run_id)
        .where(undone.c.state.in_(_UNDONE), undone.c.run_no > shower.c.run_no)
        .group_by(note.c.conversation_no)
    )
    return {row[0]: row[1] for row in rows_among(connection, query, note.c.conversation_no, numbers)}
