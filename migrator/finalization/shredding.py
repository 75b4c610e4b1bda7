"""Deletes from the source what stayed sealed, of every conversation that no hold protects, as far as it was announced.

A conversation that readers see and whose source was not retired stays: `finalize` without `--sealed` takes it first.
Nobody was told what becomes of a conversation that no completed run decided about, nor of a message that came when the
grace period was over already: both stay sealed, and are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import sqlalchemy as sa

from migrator import left_out
from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.progress import Progress
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.finalization.attachments import erase_all
from migrator.finalization.gates import grace_ends
from migrator.finalization.retiring import held_of
from migrator.finalization.state import Finalization
from migrator.stores.interface import Eraser

PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Conversations of which something goes: what was sent `before` a time, in milliseconds.

    How many stay under a hold, how many as no run decided about them, and how many later messages stay.
    """

    ids: list[str]
    before: int
    kept: int
    unannounced: int
    late: int


def grace_end(campaign: Campaign) -> int:
    """When the grace period ends, in milliseconds."""
    return round(grace_ends(campaign).timestamp() * 1000)


def pages(campaign: Campaign, connection: sa.Connection, eraser: Eraser) -> Iterator[Sealed]:
    """What is left in the source, a page at a time; conversations without messages have nothing to go."""
    before = grace_end(campaign)
    for population in campaign.store.population():
        remaining = iter(candidates(connection, population))
        while page := list(islice(remaining, PAGE)):
            held = held_of(campaign, page)
            free = [c for c in page if c.conversation_id not in held]
            decided = left_out.decided_among(connection, [c.conversation_id for c in free])
            announced = [c for c in free if c.conversation_id in decided]
            late = {c.conversation_id: _late(eraser, c, before) for c in announced}
            yield Sealed(
                ids=[c.conversation_id for c in announced if late[c.conversation_id] < c.messages],
                before=before,
                kept=len(held),
                unannounced=len(free) - len(announced),
                late=sum(late.values()),
            )


def candidates(connection: sa.Connection, population: Sequence[Conversation]) -> list[Conversation]:
    """Those that have messages and stayed sealed, or were retired: under a hold or not."""
    found = [conversation for conversation in population if conversation.messages and not conversation.fault]
    unretired = _unretired(connection, [conversation.conversation_id for conversation in found])
    return [conversation for conversation in found if conversation.conversation_id not in unretired]


def _late(eraser: Eraser, conversation: Conversation, before: int) -> int:
    """How many of its messages came too late; rows are counted only where its newest one, or its time, suggests any."""
    newest = conversation.last_sent_at
    if newest is not None and newest < before:
        return 0
    return conversation.messages - eraser.count_all([conversation.conversation_id], before)


def shred(work: Finalization, eraser: Eraser, progress: Progress) -> None:
    """Delete all of it; what was announced and not taken in comes first."""
    pending = work.row.pending
    if pending is not None:
        before = pending.get("before", grace_end(work.campaign))
        _erase(work, eraser, _not_held(work.campaign, pending["ids"]), before, pending["count"])
    with work.transaction("again") as connection:
        # Counted anew by each walk: holds come and go.
        work.update(connection, kept_conversations=0, kept_unannounced=0, kept_messages=0)
    with work.campaign.database.read() as connection:
        for page in pages(work.campaign, connection, eraser):
            if page.ids and eraser.unaided:
                count = eraser.count_all(page.ids, page.before)
                work.announce({"ids": page.ids, "before": page.before, "count": count})
                _erase(work, eraser, page.ids, page.before, count)
            kept = {
                "kept_conversations": page.kept, "kept_unannounced": page.unannounced, "kept_messages": page.late,
            }  # fmt: skip
            if any(kept.values()):
                with work.transaction("kept") as written:
                    work.update(written, add=kept)
            progress.advance(len(page.ids))


def _erase(work: Finalization, eraser: Eraser, ids: Sequence[str], before: int, count: int) -> None:
    announced = set((work.row.pending or {}).get("ids", ids))
    erase_all(work.campaign, eraser, ids, before)
    gone = count - eraser.count_all(sorted(announced.difference(ids)), before)
    with work.transaction("batch") as connection:
        work.update(connection, add={"messages": gone, "conversations": len(ids)}, pending=None)


def _not_held(campaign: Campaign, ids: Sequence[str]) -> list[str]:
    """Those of a batch that may still go; one that the source no longer knows went already."""
    found: list[Conversation] = list(campaign.store.conversations(ids).values())
    held = held_of(campaign, found)
    return [identifier for identifier in ids if identifier not in held]


def _unretired(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    table = tables.conversation
    found: set[str] = set()
    for chunk in chunks(ids):
        query = sa.select(table.c.conversation_id).where(
            table.c.conversation_id.in_(chunk), table.c.mode == "server", table.c.retired_at.is_(None)
        )
        found.update(connection.scalars(query))
    return found
