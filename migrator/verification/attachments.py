"""Opens the attachments of visible conversations, with freshly unwrapped keys, and compares them with the source.

1. Every row is either a blob, which is read whole: its size and digest, every segment of its stream, the size of its
   content; or a gap with a reason of the closed set. It belongs to a message that readers see.
2. Where the source may be opened now, the attachment is read there again as well, and both digests are compared. One
   that the source has lost, or altered, since is counted, as there is nothing to compare with.
3. What a message, or the source's table, says of attachments has a row each, where the run looked at attachments.
4. Blobs in the store that no row shows are counted as strays: nobody can open them any more.

Streams are read outside of the database's transaction; what a rollback takes away meanwhile is no mismatch.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Final

import sqlalchemy as sa

from migrator import history
from migrator.attachments.describing import described_by, locations_of
from migrator.attachments.stored import StoredAttachment, attachments_at, opened, page_of
from migrator.blobs.interface import BLOB_NAME, BlobRefusal, BlobStore
from migrator.campaign import Campaign
from migrator.core.attachments import Attachment, AttachmentGap, Described
from migrator.core.envelope import DataKey
from migrator.core.errors import ConfigError, IntegrityError
from migrator.core.streams import Hashed
from migrator.database import tables
from migrator.execution.resealing import Reading
from migrator.history import StoredMessage
from migrator.schemes.interface import BearsAttachments
from migrator.verification.findings import Findings, MismatchKind
from migrator.verification.structure import Item

_AT_ONCE: Final = 200
_FETCH: Final = 5000
_REASONS: Final = frozenset(reason.value for reason in AttachmentGap)


class AttachmentExaminer:
    """Looks into the attachments of visible conversations, a page of items at a time."""

    def __init__(self, campaign: Campaign, findings: Findings) -> None:
        self._campaign = campaign
        self._findings = findings

    def examine(self, items: Sequence[Item], openable: Collection[str]) -> None:
        """Check all attachments of some conversations; `openable`: those whose source may be opened now."""
        wanted = [item for item in items if item.attachments or item.attachment_gaps or _looked_at(item)]
        if not wanted:
            return
        if self._campaign.blobs is None:
            raise ConfigError(
                "there are sealed attachments, and attachments.target is not set",
                hint="set it to where they lie, or nothing of them can be verified",
            )
        with self._campaign.database.read() as connection:
            stored = history.living_keys(connection, [item.conversation_no for item in wanted])
        sound = [item for item in wanted if len(stored.get(item.conversation_no, ())) == 1]
        keys = history.unwrap(self._campaign, [stored[item.conversation_no][0] for item in sound])
        for item, key in zip(sound, keys, strict=True):
            if isinstance(key, DataKey):  # what is wrong with a data key was found with the messages
                one = _One(self._campaign, self._findings, item, key, openable=item.conversation_id in openable)
                one.examine()


class _One:
    """The attachments of one conversation."""

    def __init__(self, campaign: Campaign, findings: Findings, item: Item, key: DataKey, *, openable: bool) -> None:
        self._campaign = campaign
        self._findings = findings
        self._item = item
        self._name = item.conversation_id or ""
        self._key = key
        self._openable = openable
        self._in_content = isinstance(campaign.scheme, BearsAttachments)

    def examine(self) -> None:
        """Every row, then every message that should have some."""
        after: tuple[int, str, str] | None = None
        while True:
            with self._campaign.database.read() as connection:
                page = page_of(connection, self._item.conversation_no, after, _AT_ONCE)
                places = sorted({stored.at for stored in page})
                messages = history.messages_at(connection, self._item.conversation_no, places)
            if not page:
                break
            for at, rows in groupby(page, key=lambda stored: stored.at):
                self._message(messages.get(at), list(rows))
            after = (page[-1].sent_at, page[-1].message_id, page[-1].attachment_id)
        if self._openable and _looked_at(self._item):
            self._complete()

    def _message(self, message: StoredMessage | None, rows: Sequence[StoredAttachment]) -> None:
        if message is None:
            self._mismatch(rows[0], "an attachment belongs to no message that readers see")
            return
        described = {one.attachment_id: one for one in self._described([message])[0]} if self._openable else {}
        for stored in rows:
            if stored.reason is not None:
                self._findings.count("attachment_gaps")
                if stored.reason not in _REASONS or stored.blob is not None:
                    self._mismatch(stored, "a gap of an attachment makes no sense")
                continue
            self._findings.count("attachments")
            digest = self._digest(message, stored)
            if digest is not None:
                self._compare(stored, described.get(stored.attachment_id), digest)

    def _digest(self, message: StoredMessage, stored: StoredAttachment) -> bytes | None:
        """SHA-256 of an attachment's content, once blob and row were found to agree."""
        try:
            return self._checked(message, stored)
        except BlobRefusal:
            self._mismatch(stored, "the blob of an attachment is gone")
        except IntegrityError as error:
            self._mismatch(stored, error.message)
        return None

    def _checked(self, message: StoredMessage, stored: StoredAttachment) -> bytes:
        blobs, content, size = self._campaign.blobs, hashlib.sha256(), 0
        if blobs is None or stored.blob is None or not BLOB_NAME.match(stored.blob):
            raise IntegrityError("an attachment is neither a blob nor a gap")
        with blobs.reading(stored.blob) as file:
            sealed = Hashed(file)
            for piece in opened(self._key, self._name, message[2], stored, sealed):
                content.update(piece)
                size += len(piece)
            sealed.drain()
        if (size, sealed.size, sealed.sha256()) != (stored.size, stored.blob_size, stored.sha256):
            raise IntegrityError("an attachment has another size or digest than its row")
        return content.digest()

    def _compare(self, stored: StoredAttachment, described: Described | None, digest: bytes) -> None:
        if not self._openable:
            return
        if not isinstance(described, Attachment):
            self._findings.count("attachments_without_source")
            return
        content = hashlib.sha256()
        limit = self._campaign.settings.attachments.max_bytes
        location = locations_of(self._campaign, [described.uri]).get(described.uri)
        try:
            if location is None:
                raise BlobRefusal(AttachmentGap.MISSING)
            with self._campaign.media.reading(location) as file:
                for piece in Reading(file, described, limit, lambda: None).pieces():
                    content.update(piece)
        except BlobRefusal:
            self._findings.count("attachments_without_source")
            return
        self._findings.count("attachments_compared")
        if content.digest() != digest:
            self._mismatch(stored, "an attachment differs from the source")

    def _complete(self) -> None:
        """Each attachment that a stored message, or the source's table for it, speaks of has a row."""
        lacking, number = 0, self._item.conversation_no
        if not self._in_content and not self._campaign.store.attachments([self._name]):
            return
        with self._campaign.database.read() as connection:
            for page in history.message_pages(connection, number, self._campaign.settings.execution.page_size):
                described = zip(page, self._described(page), strict=True)
                wanted = {(row[0], row[1]): listed for row, listed in described if listed}
                there = attachments_at(connection, number, list(wanted))
                for at, listed in wanted.items():
                    ids = {stored.attachment_id for stored in there.get(at, ())}
                    lacking += sum(one.attachment_id not in ids for one in listed)
        detail = "attachments of stored messages are neither sealed nor a gap"
        self._findings.add_many(MismatchKind.ATTACHMENT, number, detail, lacking)

    def _described(self, messages: Sequence[StoredMessage]) -> list[list[Described]]:
        """What is said of the attachments of stored messages; of one that does not open, only what the source says."""
        return described_by(self._campaign, [(self._name, m[1], m[3], self._content(m)) for m in messages])

    def _content(self, message: StoredMessage) -> bytes:
        try:
            return b"" if not self._in_content else history.open_row(self._key, self._name, message)
        except IntegrityError:
            return b""

    def _mismatch(self, stored: StoredAttachment, detail: str) -> None:
        """Something does not agree, unless the row went while it was looked at."""
        with self._campaign.database.read() as connection:
            there = attachments_at(connection, self._item.conversation_no, [stored.at]).get(stored.at, ())
        if any(one.attachment_id == stored.attachment_id and one.blob == stored.blob for one in there):
            self._findings.add(MismatchKind.ATTACHMENT, self._item.conversation_no, detail)


def _looked_at(item: Item) -> bool:
    """Whether a run looked at the attachments of the conversation's messages."""
    try:
        through = json.loads(item.source_through or "{}")
    except ValueError:
        return False
    return isinstance(through, dict) and bool(through.get("attachments"))


def count_strays(campaign: Campaign, findings: Findings) -> None:
    """Count the blobs in the store that no row shows: both are gone through in the order of their names."""
    blobs, table = campaign.blobs, tables.attachment
    if blobs is None:
        return
    with campaign.database.read() as connection:
        name = history.bytewise(connection, table.c.blob)
        query = sa.select(table.c.blob).where(table.c.blob.is_not(None)).order_by(name)
        with connection.execute(query.execution_options(yield_per=_FETCH)) as result:
            strays = _strays(blobs, iter(result.scalars()))
    if strays:
        findings.count("stray_blobs", strays)


def _strays(blobs: BlobStore, shown: Iterator[str]) -> int:
    strays, current = 0, next(shown, None)
    for name in blobs.names():
        while current is not None and current < name:
            current = next(shown, None)
        strays += current != name
    return strays
