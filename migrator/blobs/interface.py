"""The port to blobs. A source is only read, until a campaign is made final; a store holds what migrator has sealed.

A place that can't be reached as a whole raises `BlobsUnavailableError`, and stops a run: it says nothing about any one
blob. What is wrong with one blob is `BlobRefusal`, and costs that blob only.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from migrator.core.attachments import AttachmentGap
from migrator.core.streams import Readable, Writable

BLOB_NAME: Final = re.compile(r"[0-9a-f]{32}\Z")
"""Names that a store gives out and takes: 16 random bytes in hexadecimal digits, so they say nothing of anybody."""
MAX_LOCATION_BYTES: Final = 1024


class BlobRefusal(Exception):  # noqa: N818 - a result that unwinds a reader, not an error of migrator's
    """One blob of a source can't be read: it is not there, or where it is said to be is no place for it."""

    def __init__(self, reason: AttachmentGap) -> None:
        super().__init__(reason.value)
        self.reason = reason


class BlobSource(Protocol):
    """Where the source's attachments lie. Locations come from the source's data: they are hostile."""

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "BlobSource":
        """Open by address, a folder or a URL; relative folders are below `directory`."""
        ...

    def reading(self, location: str) -> AbstractContextManager[Readable]:
        """A blob as a stream. `BlobRefusal`: `missing`, or `unsafe_path` for whatever is not below the address."""
        ...

    def delete(self, location: str) -> None:
        """Remove a blob for good; one that is not there, or has an unsafe location, is passed over."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class BlobStore(Protocol):
    """Where sealed blobs lie, under names that match `BLOB_NAME`; others are ignored."""

    @property
    def name(self) -> str:
        """The address, for people, without secrets."""
        ...

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "BlobStore":
        """Open by address; relative folders are below `directory`."""
        ...

    def writing(self, name: str) -> AbstractContextManager[Writable]:
        """A stream to write a blob to, whole and durable once the block ends; nothing of it stays where it raises.

        A blob of that name is replaced.
        """
        ...

    def reading(self, name: str) -> AbstractContextManager[Readable]:
        """A blob as a stream; `BlobRefusal` (`missing`) where there is none."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Remove blobs; those that are gone are no error."""
        ...

    def names(self) -> Iterator[str]:
        """The names of all blobs, in rising order, in bounded memory."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def parts_of(location: str) -> tuple[str, ...]:
    """The folders and the name of a relative location; `BlobRefusal` for whatever climbs or is no path at all."""
    try:
        encoded = location.encode()
    except UnicodeEncodeError:
        raise BlobRefusal(AttachmentGap.UNSAFE_PATH) from None
    parts = tuple(location.split("/"))
    if (
        len(encoded) > MAX_LOCATION_BYTES
        or any(character < " " or character == "\x7f" for character in location)
        or "\\" in location
        or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    ):
        raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
    return parts
