"""Attachments of messages: what a message says of them, and why one can't be taken over.

An attachment is named within its message by `attachment_id`. Its content lies outside the message, under a URI, and is
ciphertext there: with `key` and `iv` it is opened and sealed anew (Matrix); without, it is sealed as it is, because its
key travels in the message's content (Labyrinth).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

ID_BYTES: Final = 255
"""Longest id of an attachment that is kept as it is."""


class AttachmentKind(StrEnum):
    """What an attachment is for its message."""

    FILE = "file"
    THUMBNAIL = "thumbnail"


class AttachmentGap(StrEnum):
    """Why an attachment is not taken over (closed); its message is, and its source stays where it is."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNSUPPORTED_VERSION = "unsupported_version"
    MALFORMED = "malformed"
    UNSAFE_PATH = "unsafe_path"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An attachment as its message, or the source's own table, describes it; nothing of it is to be trusted.

    `sha256` and `size` are those of the ciphertext in the source; `claimed_size` is what the client says.
    """

    attachment_id: str
    kind: AttachmentKind
    uri: str
    sha256: bytes
    size: int | None = None
    claimed_size: int | None = None
    key: bytes | None = field(default=None, repr=False)
    iv: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableAttachment:
    """An attachment whose description already shows that nobody can open it."""

    attachment_id: str
    kind: AttachmentKind
    reason: AttachmentGap


Described = Attachment | UnusableAttachment


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentPlace:
    """Where an attachment belongs; its sealed bytes open nowhere else (G9)."""

    conversation_id: str
    message_id: str
    sender_id: str
    sent_at: int
    attachment_id: str
    kind: AttachmentKind

    def bound(self) -> bytes:
        """The associated data of the sealed stream, and of its wrapped keyset: no part of it holds a NUL."""
        return (
            f"migrator-attachment/1\0{self.conversation_id}\0{self.message_id}\0{self.sender_id}\0{self.sent_at}"
            f"\0{self.attachment_id}\0{self.kind.value}"
        ).encode()
