"""Deletes from the source what stayed sealed: all that is left of every conversation that no hold protects.

A conversation that readers see and whose source was not retired stays: `finalize` without `--sealed` takes it first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.progress import Progress
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.finalization.attachments import erase_all
from migrator.finalization.retiring import held_of
from migrator.finalization.state import Finalization
from migrator.stores.interface import Eraser

PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Sealed:
    """Conversations that go, and how many stay under a hold."""

    ids: list[str]
    kept: int


def pages(campaign: Campaign, connection: sa.Connection) -> Iterator[Sealed]:
    """What is left in the source, a page at a time; conversations without messages have nothing to go."""
    for population in campaign.store.population():
        remaining = iter([conversation for conversation in population if conversation.messages])
        while page := list(islice(remaining, PAGE)):
            unretired = _unretired(connection, [conversation.conversation_id for conversation in page])
            candidates = [c for c in page if c.conversation_id not in unretired and not c.fault]
            held = held_of(campaign, candidates)
            yield Sealed([c.conversation_id for c in candidates if c.conversation_id not in held], len(held))


def shred(work: Finalization, eraser: Eraser, progress: Progress) -> None:
    """Delete all of it; what was announced and not taken in comes first."""
    if work.row.pending is not None:
        _erase(work, eraser, _not_held(work.campaign, work.row.pending["ids"]), work.row.pending["count"])
    with work.transaction("again") as connection:
        work.update(connection, kept_conversations=0)  # counted anew by each walk: holds come and go
    with work.campaign.database.read() as connection:
        for page in pages(work.campaign, connection):
            if page.ids:
                count = eraser.count_all(page.ids)
                work.announce({"ids": page.ids, "count": count})
                _erase(work, eraser, page.ids, count)
            if page.kept:
                with work.transaction("kept") as written:
                    work.update(written, add={"kept_conversations": page.kept})
            progress.advance(len(page.ids))


def _erase(work: Finalization, eraser: Eraser, ids: Sequence[str], count: int) -> None:
    announced = set((work.row.pending or {}).get("ids", ids))
    erase_all(work.campaign, eraser, ids)
    gone = count - eraser.count_all(sorted(announced.difference(ids)))
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
