"""Attachments at the end of a campaign: what is in the way, and what goes from the source together with its message.

1. In the way is an attachment of a message whose ciphertext would go, unless it is sealed or a recorded gap.
2. A sealed one goes with its message: first its blob, if no other attachment refers to the same one (another
   mailbox's copy of the thread may, and stay sealed), then its row. Killed in between, the same is done again.
3. One that is a gap stays in the source, row and blob: nobody else has it.
4. With what stayed sealed go all attachments of its conversations.

Without `source.media` nothing of an attachment is touched: what is removed from the table could not be found again. A
homeserver's media store is its own to clean up.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from migrator import history
from migrator.attachments import attachments_at
from migrator.attachments.describing import locations_of
from migrator.campaign import Campaign
from migrator.core.errors import GateError
from migrator.stores.interface import AttachmentKey, Eraser, ErasesAttachments, ListsAttachments, Place


def refuse_unsealed(campaign: Campaign, connection: sa.Connection, numbers: dict[int, str]) -> None:
    """Raise `GateError` where attachments of migrated conversations (number: id) are neither sealed nor a gap."""
    store = campaign.store
    left = store.attachments(list(numbers.values()))
    if left and isinstance(store, ListsAttachments):
        left = sum(_unsealed(campaign, connection, store, number, name) for number, name in numbers.items())
    if left:
        raise GateError(
            f"{left} attachments of migrated messages were not re-wrapped: their keys are in what would go",
            hint="set attachments.target, then plan, execute and verify once more",
        )


def _unsealed(campaign: Campaign, connection: sa.Connection, store: ListsAttachments, number: int, name: str) -> int:
    """How many attachments of one conversation's stored messages have no row."""
    if not campaign.store.attachments([name]):
        return 0
    left = 0
    for page in history.message_pages(connection, number, campaign.settings.execution.page_size):
        listed = store.attachments_of({name: [row[1] for row in page]})
        wanted = {(row[0], row[1]): listed[name, row[1]] for row in page if (name, row[1]) in listed}
        there = attachments_at(connection, number, list(wanted))
        for at, described in wanted.items():
            left += len({one.attachment_id for one in described} - {one.attachment_id for one in there.get(at, ())})
    return left


def erase(campaign: Campaign, eraser: Eraser, places: Sequence[Place], sealed: Sequence[AttachmentKey]) -> None:
    """Delete messages from the source, and before them those of their attachments that are sealed."""
    _erase_attachments(campaign, eraser, sealed)
    eraser.erase(places)


def erase_all(campaign: Campaign, eraser: Eraser, conversation_ids: Sequence[str], before: int | None) -> None:
    """Delete all messages of some conversations that were sent `before` a time, and their attachments."""
    if isinstance(eraser, ErasesAttachments) and campaign.settings.source.media is not None:
        for conversation_id in conversation_ids:
            last: list[AttachmentKey] = []
            while (page := eraser.attachments_of(conversation_id, before)) and page != last:
                _erase_attachments(campaign, eraser, page)
                last = page
    eraser.erase_all(conversation_ids, before)


def sealed_at(
    connection: sa.Connection, names: dict[int, str], places: Sequence[tuple[int, int, str]]
) -> list[AttachmentKey]:
    """The attachments of some messages (conversation number, time, id) that are sealed."""
    found: list[AttachmentKey] = []
    for number in dict.fromkeys(place[0] for place in places):
        at = [(sent_at, message_id) for place, sent_at, message_id in places if place == number]
        for listed in attachments_at(connection, number, at).values():
            found.extend((names[number], one.attachment_id) for one in listed if one.blob is not None)
    return found


def _erase_attachments(campaign: Campaign, eraser: Eraser, attachments: Sequence[AttachmentKey]) -> None:
    if not attachments or not isinstance(eraser, ErasesAttachments) or campaign.settings.source.media is None:
        return
    uris = eraser.sole_blobs(attachments)
    locations = locations_of(campaign, uris)
    for uri in uris:
        location = locations.get(uri)
        if location is not None:
            campaign.media.delete(location)
    eraser.forget(attachments)
