"""One attachment from the source's ciphertext to a sealed blob, as a stream.

Read, hashed, opened where the message had its key (AES-256-CTR), sealed, and written piece by piece: memory holds a few
megabytes whatever its size. Whether it is what its message describes shows at the end only; if it is not, the blob
is dropped before it takes its name.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tink.core import TinkError

from migrator.blobs.interface import BlobRefusal, BlobSource, BlobStore
from migrator.core.attachments import Attachment, AttachmentGap
from migrator.core.streams import CHUNK, Readable, Sink, StreamKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What became of it: sizes of content and blob, and the blob's digest."""

    size: int
    blob_size: int
    sha256: bytes


@dataclass(slots=True)
class Reading:
    """The content of one attachment of the source, checked as it goes by."""

    file: Readable
    attachment: Attachment
    limit: int
    look: Callable[[], None]
    """Asked between pieces; raises where the run is to stop."""
    size: int = 0

    def pieces(self) -> Iterator[bytes]:
        """The content; `BlobRefusal` where it is not what its message describes, at the latest at its end."""
        attachment, digest = self.attachment, hashlib.sha256()
        longest = self.limit if attachment.size is None else min(self.limit, attachment.size)
        if attachment.size is not None and attachment.size > self.limit:
            raise BlobRefusal(AttachmentGap.TOO_LARGE)
        decryptor = None
        if attachment.key is not None and attachment.iv is not None:
            decryptor = Cipher(algorithms.AES(attachment.key), modes.CTR(attachment.iv)).decryptor()
        while piece := self.file.read(CHUNK):
            self.look()
            self.size += len(piece)
            if self.size > longest:
                raise BlobRefusal(AttachmentGap.TOO_LARGE if self.size > self.limit else AttachmentGap.CORRUPT)
            digest.update(piece)
            yield piece if decryptor is None else decryptor.update(piece)
        if digest.digest() != attachment.sha256 or attachment.size not in (None, self.size):
            raise BlobRefusal(self._difference())

    def _difference(self) -> AttachmentGap:
        expected = self.attachment.size if self.attachment.size is not None else self.attachment.claimed_size
        short = self.size == 0 or (expected is not None and self.size < expected)
        return AttachmentGap.TRUNCATED if short else AttachmentGap.CORRUPT


def reseal(
    source: BlobSource,
    location: str,
    attachment: Attachment,
    store: BlobStore,
    name: str,
    key: StreamKey,
    bound: bytes,
    *,
    limit: int,
    look: Callable[[], None],
) -> Resealed:
    """Seal one attachment of the source into a blob; `BlobRefusal` where it can't be taken."""
    with source.reading(location) as file:
        reading = Reading(file, attachment, limit, look)
        with store.writing(name) as target:
            sink = Sink(target)
            try:
                stream = key.sealing(sink, bound)
                for piece in reading.pieces():
                    stream.write(piece)
                stream.close()
            except TinkError:
                sink.abandon()
                if sink.error is not None:
                    raise sink.error from None
                raise
            except BaseException:
                sink.abandon()
                raise
    return Resealed(size=reading.size, blob_size=sink.size, sha256=sink.sha256())


def rehearse(
    source: BlobSource, location: str, attachment: Attachment, *, limit: int, look: Callable[[], None]
) -> None:
    """Open one and write nothing; `BlobRefusal` where it can't be taken."""
    with source.reading(location) as file:
        for _ in Reading(file, attachment, limit, look).pieces():
            pass
