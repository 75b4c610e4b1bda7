"""Attachments as their rows have them, and the stream that a blob opens to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from migrator import history
from migrator.blobs.interface import BLOB_NAME, BlobRefusal
from migrator.campaign import Campaign
from migrator.core.attachments import AttachmentKind, AttachmentPlace
from migrator.core.envelope import DataKey
from migrator.core.errors import ConfigError, IntegrityError
from migrator.core.streams import Readable, StreamKey
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.history import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttachment:
    """One row: an attachment that was sealed, or, with a `reason`, one that could not be.

    `size` is that of its content in bytes; `blob_size` and `sha256` are those of the sealed blob.
    """

    sent_at: int
    message_id: str
    attachment_id: str
    kind: str
    size: int | None
    blob: str | None
    blob_size: int | None
    sha256: bytes | None
    key_id: int | None
    wrapped_keyset: bytes | None = field(repr=False)
    reason: str | None

    @property
    def at(self) -> Place:
        """Its message."""
        return self.sent_at, self.message_id

    def place(self, conversation_id: str, sender_id: str) -> AttachmentPlace:
        """Where it belongs; `IntegrityError` for a kind that there is not."""
        try:
            kind = AttachmentKind(self.kind)
        except ValueError:
            raise IntegrityError("a stored attachment is of no kind that there is") from None
        return AttachmentPlace(
            conversation_id=conversation_id,
            message_id=self.message_id,
            sender_id=sender_id,
            sent_at=self.sent_at,
            attachment_id=self.attachment_id,
            kind=kind,
        )


_TABLE = tables.attachment
_COLUMNS = (
    _TABLE.c.sent_at, _TABLE.c.message_id, _TABLE.c.attachment_id, _TABLE.c.kind, _TABLE.c.size, _TABLE.c.blob,
    _TABLE.c.blob_size, _TABLE.c.sha256, _TABLE.c.key_id, _TABLE.c.wrapped_keyset, _TABLE.c.reason,
)  # fmt: skip


def attachments_at(
    connection: sa.Connection, conversation_no: int, places: Sequence[Place]
) -> dict[Place, list[StoredAttachment]]:
    """What readers see of the attachments of some messages of one conversation; files before their thumbnails."""
    found: dict[Place, list[StoredAttachment]] = {}
    query = sa.select(*_COLUMNS).where(_TABLE.c.conversation_no == conversation_no, _TABLE.c.staged.is_(False))
    for chunk in chunks(sorted(places)):
        among = query.where(
            _TABLE.c.sent_at.between(chunk[0][0], chunk[-1][0]),
            sa.tuple_(_TABLE.c.sent_at, _TABLE.c.message_id).in_(chunk),
        )
        for row in connection.execute(among):
            stored = _stored(row)
            found.setdefault(stored.at, []).append(stored)
    for listed in found.values():
        listed.sort(key=lambda stored: (stored.kind, stored.attachment_id))
    return found


def page_of(
    connection: sa.Connection, conversation_no: int, after: tuple[int, str, str] | None, limit: int
) -> list[StoredAttachment]:
    """Attachments of a conversation behind a place, in order, at most so many."""
    order = (
        _TABLE.c.sent_at,
        history.bytewise(connection, _TABLE.c.message_id),
        history.bytewise(connection, _TABLE.c.attachment_id),
    )
    query = sa.select(*_COLUMNS).where(_TABLE.c.conversation_no == conversation_no, _TABLE.c.staged.is_(False))
    if after is not None:
        query = query.where(sa.tuple_(*order) > sa.tuple_(*[sa.literal(value) for value in after]))
    return [_stored(row) for row in connection.execute(query.order_by(*order).limit(limit))]


def _stored(row: Sequence[Any]) -> StoredAttachment:
    return StoredAttachment(
        sent_at=row[0],
        message_id=row[1],
        attachment_id=row[2],
        kind=row[3],
        size=row[4],
        blob=row[5],
        blob_size=row[6],
        sha256=None if row[7] is None else bytes(row[7]),
        key_id=row[8],
        wrapped_keyset=None if row[9] is None else bytes(row[9]),
        reason=row[10],
    )


def open_attachment(
    campaign: Campaign, key: DataKey, conversation_id: str, sender_id: str, stored: StoredAttachment
) -> Iterator[bytes]:
    """The content of an attachment, piece by piece (about a megabyte each), every piece authenticated.

    `key` is the conversation's data key, `sender_id` the message's sender. Whoever reads must read to the end: only
    there it shows that nothing is missing. `IntegrityError` where the blob is gone, cut, altered or not this message's,
    or the attachment is a gap; `BlobsUnavailableError` where the store can't be reached.
    """
    blobs = campaign.blobs
    if blobs is None:
        raise ConfigError("attachments.target is not set", hint="it says where the sealed attachments lie")
    if stored.blob is None or not BLOB_NAME.match(stored.blob):
        raise IntegrityError("an attachment that has no blob can't be opened")
    try:
        with blobs.reading(stored.blob) as sealed:
            yield from opened(key, conversation_id, sender_id, stored, sealed)
    except BlobRefusal:
        raise IntegrityError("the blob of a stored attachment is gone") from None


def opened(
    key: DataKey, conversation_id: str, sender_id: str, stored: StoredAttachment, sealed: Readable
) -> Iterator[bytes]:
    """The same for a blob that is open."""
    if stored.key_id != key.key_id or stored.wrapped_keyset is None:
        raise IntegrityError("a stored attachment names another data key than its conversation's")
    bound = stored.place(conversation_id, sender_id).bound()
    yield from StreamKey.unwrap(stored.wrapped_keyset, key, bound).opened(sealed, bound)
