"""Deletes from the source what readers see from server history, message by message of that history.

Only a message that has its server-side ciphertext goes: gaps and what came after the last run stay sealed in the
source. Conversations are taken a page at a time in the order of their numbers; a page's messages in batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.model import Conversation
from migrator.core.progress import Progress
from migrator.database import tables
from migrator.finalization.attachments import erase, refuse_unsealed, sealed_at
from migrator.finalization.state import Finalization
from migrator.stores.interface import Eraser

PAGE: Final = 500
"""Conversations whose holds are asked for at once."""
BATCH: Final = 5_000
"""Messages that are deleted at once."""


@dataclass(frozen=True, slots=True)
class Visible:
    """Migrated conversations of a page: numbers and ids of those that may go, and how many are under a hold."""

    numbers: dict[int, str]
    kept: int
    last_no: int


def pages(campaign: Campaign, connection: sa.Connection, after_no: int) -> Iterator[Visible]:
    """Conversations that readers see and whose source is still there, a page at a time.

    `GateError` where one has attachments that migrator did not re-wrap.
    """
    table = tables.conversation
    while True:
        rows = connection.execute(
            sa.select(table.c.conversation_no, table.c.conversation_id)
            .where(table.c.mode == "server", table.c.retired_at.is_(None), table.c.conversation_no > after_no)
            .order_by(table.c.conversation_no)
            .limit(PAGE)
        ).all()
        if not rows:
            return
        held = held_among(campaign, [identifier for _, identifier in rows])
        numbers = {number: identifier for number, identifier in rows if identifier not in held}
        refuse_unsealed(campaign, connection, numbers)
        after_no = rows[-1][0]
        yield Visible(numbers, len(rows) - len(numbers), after_no)


def places(connection: sa.Connection, page: Visible, after: Sequence[Any] | None) -> Iterator[list[tuple[Any, ...]]]:
    """(number, time, message id) of the page's server messages behind a place, in order, a batch at a time."""
    table = tables.message
    key = sa.tuple_(table.c.conversation_no, table.c.sent_at, table.c.message_id)
    while True:
        query = sa.select(table.c.conversation_no, table.c.sent_at, table.c.message_id).where(
            table.c.conversation_no.in_(list(page.numbers))
        )
        if after is not None:
            query = query.where(key > sa.tuple_(*[sa.literal(value) for value in after]))
        query = query.order_by(table.c.conversation_no, table.c.sent_at, table.c.message_id).limit(BATCH)
        batch = [tuple(row) for row in connection.execute(query)]
        if not batch:
            return
        yield batch
        after = batch[-1]


def retire(work: Finalization, eraser: Eraser, progress: Progress) -> None:
    """Delete all of it, from where the finalisation was left."""
    _settle(work, eraser)
    while (page := _next(work)) is not None:
        _retire_page(work, eraser, page, progress)
        with work.transaction("page") as connection:
            table = tables.conversation
            connection.execute(
                table.update()
                .where(table.c.conversation_no.in_(list(page.numbers)))
                .values(retired_at=format_time(work.campaign.clock.now()))
            )
            added = {"conversations": len(page.numbers), "kept_conversations": page.kept}
            through = canonical_json({"through_no": page.last_no}).decode()
            work.update(connection, add=added, through=through)


def _next(work: Finalization) -> Visible | None:
    with work.campaign.database.read() as connection:
        return next(pages(work.campaign, connection, work.row.through.get("through_no", 0)), None)


def _retire_page(work: Finalization, eraser: Eraser, page: Visible, progress: Progress) -> None:
    """One page from its beginning: what an earlier session deleted of it counts nothing any more."""
    after: tuple[Any, ...] | None = None
    while True:
        with work.campaign.database.read() as connection:
            batch = next(places(connection, page, after), None)
            attached = sealed_at(connection, page.numbers, batch or [])
        if batch is None:
            return
        found = [(page.numbers[number], sent_at, message_id) for number, sent_at, message_id in batch]
        count = eraser.count(found)
        if count and not eraser.unaided:
            eraser.erase(found)  # a hold was released since: it says what is left to be done
        elif count:
            numbers = sorted({number for number, _, _ in batch})
            first = None if after is None else list(after)
            work.announce({"after": first, "to": list(batch[-1]), "count": count, "numbers": numbers})
            erase(work.campaign, eraser, found, attached)
            _take_in(work, count)
        after = batch[-1]
        progress.advance(len(batch))


def _settle(work: Finalization, eraser: Eraser) -> None:
    """A batch that was announced when the process ended: delete it again, but for what came under a hold since."""
    pending = work.row.pending
    if pending is None:
        return
    table = tables.conversation
    query = sa.select(table.c.conversation_no, table.c.conversation_id).where(
        table.c.conversation_no.in_(pending["numbers"])
    )
    with work.campaign.database.read() as connection:
        names = {row.conversation_no: row.conversation_id for row in connection.execute(query)}
        batch = next(places(connection, Visible(names, 0, 0), pending["after"]), [])
        batch = [place for place in batch if list(place) <= pending["to"]]
        attached = sealed_at(connection, names, batch)
    held = held_among(work.campaign, list(names.values()))
    found = [(names[place[0]], place[1], place[2]) for place in batch]
    free = [place for place in found if place[0] not in held]
    erase(work.campaign, eraser, free, [one for one in attached if one[0] not in held])
    _take_in(work, pending["count"] - eraser.count([place for place in found if place[0] in held]))


def _take_in(work: Finalization, messages: int) -> None:
    with work.transaction("batch") as connection:
        work.update(connection, add={"messages": messages}, pending=None)


def held_among(campaign: Campaign, conversation_ids: Sequence[str]) -> set[str]:
    """Conversations of which the owner or any participant is under a legal hold, or of which nobody is known."""
    found = campaign.store.conversations(conversation_ids)
    return held_of(campaign, list(found.values()))


def held_of(campaign: Campaign, conversations: Sequence[Conversation]) -> set[str]:
    """The same for conversations as the source has them. Whose one without people is, a hold may be on: it counts."""
    people = {person for conversation in conversations for person in _people(conversation)}
    held = campaign.store.on_hold(sorted(people), campaign.clock.now())
    return {c.conversation_id for c in conversations if not _people(c) or not held.isdisjoint(_people(c))}


def _people(conversation: Conversation) -> tuple[str, ...]:
    owner = () if conversation.owner_id is None else (conversation.owner_id,)
    return (*conversation.participants, *owner)
