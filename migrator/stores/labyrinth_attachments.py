"""The attachments of a Labyrinth store: what its table says of them.

An attachment's ciphertext lies under its `blob_uri`; the key to it travels in the message's content, which only clients
understand. So a row says all that there is to check: size and digest of the ciphertext.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from migrator.core.attachments import (
    ID_BYTES,
    Attachment,
    AttachmentGap,
    AttachmentKind,
    Described,
    UnusableAttachment,
)
from migrator.stores import labyrinth_rows as meaning
from migrator.stores.identifiers import is_identifier
from migrator.stores.labyrinth_queries import KeyedQuery
from migrator.stores.labyrinth_rows import Key
from migrator.stores.labyrinth_tables import attachment
from migrator.stores.source_database import SourceDatabase, bound, raw_rows

_PAGE: Final = 5000
_MOST: Final = 100
"""Attachments of one message that are looked at; the others are recorded as too many to be taken."""
_COUNTS = KeyedQuery(attachment, sa.select(sa.func.count()).group_by(attachment.c.inbox_id))
_ROWS = sa.select(
    attachment.c.message_id,
    attachment.c.attachment_id,
    attachment.c.blob_uri,
    attachment.c.size,
    attachment.c.sha256,
).where(attachment.c.attachment_id.is_not(None))


class AttachmentRows:
    """Reads the table `attachment` of one store."""

    def __init__(self, database: SourceDatabase) -> None:
        self._database = database

    def count(self, keys: Sequence[Key]) -> dict[Key, int]:
        """How many attachments each thread has that has any."""
        found = self._database.run(partial(_COUNTS.rows, keys=keys))
        return {key: rows[0][0] for key, rows in found.items() if rows and rows[0][0]}

    def of_messages(self, wanted: Mapping[str, Collection[str]]) -> dict[tuple[str, str], list[Described]]:
        """What the table says of the attachments of some messages."""
        keys = {key: name for name in wanted if (key := meaning.key_of(name)) is not None}
        found: dict[tuple[str, str], list[Described]] = {}
        for key in self.count(list(keys)):
            name = keys[key]
            messages = frozenset(wanted[name])
            for row in self._rows(key):
                if row[0] in messages:
                    listed = found.setdefault((name, row[0]), [])
                    listed.append(_described(row, surplus=len(listed) >= _MOST))
        return found

    def _rows(self, key: Key) -> Iterator[tuple[Any, ...]]:
        """The rows of a thread in order of their ids, read a page at a time."""
        attachment_id = self._database.bytewise(attachment.c.attachment_id)
        query = _ROWS.where(attachment.c.inbox_id == key[0], attachment.c.thread_id == key[1])
        query = query.order_by(attachment_id).limit(_PAGE)
        after: Any = None
        while True:
            statement = query if after is None else query.where(attachment_id > bound(after))
            rows = self._database.run(partial(raw_rows, statement=statement))
            yield from rows
            if len(rows) < _PAGE:
                return
            after = rows[-1][1]


def _described(row: Sequence[Any], *, surplus: bool) -> Described:
    _, attachment_id, uri, size, digest = row
    named = is_identifier(attachment_id)
    name = attachment_id if named and 0 < len(attachment_id.encode()) <= ID_BYTES else _stand_in(attachment_id)
    digest = bytes(digest) if isinstance(digest, bytes | memoryview) else b""
    if surplus:
        return _unusable(name, AttachmentGap.TOO_LARGE)
    if not named or not is_identifier(uri) or type(size) is not int or size < 0 or len(digest) != 32:
        return _unusable(name, AttachmentGap.MALFORMED)
    return Attachment(attachment_id=name, kind=AttachmentKind.FILE, uri=uri, sha256=digest, size=size)


def _stand_in(attachment_id: object) -> str:
    """A name for what is none, or too long for an index."""
    return "sha256:" + hashlib.sha256(repr(attachment_id).encode("utf-8", "backslashreplace")).hexdigest()


def _unusable(name: str, reason: AttachmentGap) -> UnusableAttachment:
    return UnusableAttachment(attachment_id=name, kind=AttachmentKind.FILE, reason=reason)
