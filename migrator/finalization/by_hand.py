"""Sources that migrator can't delete from: an operator does it with the source's own tools, and this counts.

The row says first how much ciphertext there is in all, held or not (`pending`), and `finalize` ends with what is to be
done. Called again, it makes sure that nothing is left but what holds protect, takes the difference in, and goes on. So
the counts of a certificate are exact, in however many pieces and however much later it was deleted.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from migrator.core.model import Conversation
from migrator.database import tables
from migrator.finalization import retiring, shredding
from migrator.finalization.state import Finalization
from migrator.stores.interface import Eraser


def retire(work: Finalization, eraser: Eraser) -> None:
    """Raise `SourceError` while a message that readers see, and that no hold protects, has its ciphertext."""
    announced = _announced(work, {"messages": 0}) or _announce(work, {"messages": _shown(work, eraser)})
    with work.campaign.database.read() as connection:
        for page in retiring.pages(work.campaign, connection, work.row.through.get("through_no", 0)):
            for found in _batches(connection, page):
                eraser.erase(found)
    _take_in(work, {"messages": announced["messages"] - _shown(work, eraser)})


def shred(work: Finalization, eraser: Eraser) -> None:
    """The same for all that stayed sealed."""
    nothing = {"messages": 0, "conversations": 0}
    announced = _announced(work, nothing) or _announce(work, _sealed(work, eraser))
    with work.campaign.database.read() as connection:
        for page in shredding.pages(work.campaign, connection, eraser):
            eraser.erase_all(page.ids, page.before)
    left = _sealed(work, eraser)
    _take_in(work, {name: announced[name] - left[name] for name in nothing})


def _announced(work: Finalization, names: dict[str, int]) -> dict[str, int] | None:
    """What an earlier session counted."""
    return None if work.row.pending is None else {name: work.row.pending["by_hand"][name] for name in names}


def _announce(work: Finalization, counts: dict[str, int]) -> dict[str, int]:
    work.announce({"by_hand": counts})
    return counts


def _take_in(work: Finalization, gone: dict[str, int]) -> None:
    with work.transaction("batch") as connection:
        work.update(connection, add=gone, pending=None)


def _shown(work: Finalization, eraser: Eraser) -> int:
    """Messages that readers see whose ciphertext is in the source, held or not."""
    table = tables.conversation
    after, total = work.row.through.get("through_no", 0), 0
    while True:
        query = (
            sa.select(table.c.conversation_no, table.c.conversation_id)
            .where(table.c.mode == "server", table.c.retired_at.is_(None), table.c.conversation_no > after)
            .order_by(table.c.conversation_no)
            .limit(retiring.PAGE)
        )
        with work.campaign.database.read() as connection:
            numbers: dict[int, str] = {row[0]: row[1] for row in connection.execute(query)}
            if not numbers:
                return total
            after = max(numbers)
            total += sum(map(eraser.count, _batches(connection, retiring.Visible(numbers, 0, after))))


def _batches(connection: sa.Connection, page: retiring.Visible) -> Iterator[list[tuple[str, int, str]]]:
    for batch in retiring.places(connection, page, None):
        yield [(page.numbers[number], sent_at, message_id) for number, sent_at, message_id in batch]


def _sealed(work: Finalization, eraser: Eraser) -> dict[str, int]:
    """What stayed sealed and is in the source, held or not: conversations with ciphertext, and their messages."""
    counts, before = {"messages": 0, "conversations": 0}, shredding.grace_end(work.campaign)
    with work.campaign.database.read() as connection:
        for page in work.campaign.store.population():
            for conversation in shredding.candidates(connection, page):
                left = _left(eraser, conversation, before)
                counts["messages"] += left
                counts["conversations"] += left > 0
    return counts


def _left(eraser: Eraser, conversation: Conversation, before: int) -> int:
    return eraser.count_all([conversation.conversation_id], before)
