"""Which conversations some run decided about, and which were only ever left out: of a cohort, a limit or a retry.

What was left out waits for a plan that takes it up. Until then nothing about it is final: its owner may have authorised
everything and handed in every key. So nobody is told what became of it, and what a campaign's end would delete stays.
"""

from collections.abc import Collection

import sqlalchemy as sa

from migrator.core.lifecycle import RunState
from migrator.core.outcomes import SkipReason
from migrator.database import tables
from migrator.lookups import rows_among


def count(connection: sa.Connection) -> int:
    """How many conversations with messages the newest completed run left out that none before has decided about.

    Every run covers the whole population of its time: what the newest one does not have is gone from the source.
    """
    item, other, conversation = tables.item, tables.item.alias("other"), tables.conversation
    newest = _completed().order_by(tables.run.c.run_no.desc()).limit(1)
    decided = (
        sa.select(sa.literal(1))
        .where(
            other.c.run_id.in_(_completed()),
            other.c.conversation_no == item.c.conversation_no,
            other.c.outcome != SkipReason.OUT_OF_COHORT.outcome,
        )
        .exists()
    )
    query = (
        sa.select(sa.func.count())
        .select_from(item)
        .join(conversation, conversation.c.conversation_no == item.c.conversation_no)
        .where(
            item.c.run_id == newest.scalar_subquery(),
            item.c.outcome == SkipReason.OUT_OF_COHORT.outcome,
            item.c.messages > 0,
            conversation.c.mode == "sealed",
            sa.not_(decided),
        )
    )
    return connection.scalar(query) or 0


def decided_among(connection: sa.Connection, conversation_ids: Collection[str]) -> set[str]:
    """Those that a completed run decided about: every other one nobody was ever told anything of."""
    item, conversation = tables.item, tables.conversation
    query = (
        sa.select(conversation.c.conversation_id)
        .join(item, item.c.conversation_no == conversation.c.conversation_no)
        .where(item.c.run_id.in_(_completed()), item.c.outcome != SkipReason.OUT_OF_COHORT.outcome)
        .distinct()
    )
    return {row[0] for row in rows_among(connection, query, conversation.c.conversation_id, conversation_ids)}


def _completed() -> sa.Select[str]:
    run = tables.run
    return sa.select(run.c.run_id).where(run.c.state == RunState.COMPLETED.value)
