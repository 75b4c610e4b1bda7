"""What the formats of an archive are made from. Values and small interfaces only: a format reads, and yields bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from migrator.history import Place
from migrator.reading import Entry, ReadMessage


class Form(StrEnum):
    """The formats of an archive."""

    MATRIX_JSON = "matrix-json"
    HTML = "html"
    MBOX = "mbox"


class History(Protocol):
    """A conversation that can be walked more than once, and asked for single messages; never held in memory."""

    conversation_id: str
    messages: int
    gaps: int

    def entries(self) -> Iterator[Entry]:
        """Messages and gaps in message order."""
        ...

    def at(self, places: Sequence[Place]) -> Mapping[Place, ReadMessage]:
        """The messages at some places; those that are gaps, or not there, are missing from the result."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an archive says of itself. `members`, `clear_text`: None where the source could not be asked.

    `clear_text`: how many events the source's room has beside, which were never encrypted and were left alone.
    """

    campaign: str
    conversation_id: str
    created_at: str
    tool_version: str
    messages: int
    gaps: int
    members: tuple[str, ...] | None = None
    clear_text: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An attachment of a message. `name`, `mimetype` and `size` are its sender's words: none of them is to be trusted.

    `kind`: `file` or `thumbnail`. `gap`: why it is not there; otherwise `chunks` gives its bytes, from the beginning
    each time, and raises `IntegrityError` where they are not what was stored.
    """

    kind: str
    name: str | None
    mimetype: str | None
    size: int | None
    gap: str | None
    chunks: Callable[[], Iterator[bytes]]


class AttachmentOpener(Protocol):
    """Finds the attachments of messages."""

    def of(self, messages: Sequence[ReadMessage]) -> Mapping[Place, Sequence[Attachment]]:
        """The attachments of some messages, by their places, in a fixed order each; those without any are missing."""
        ...


class NoAttachments:
    """There are none."""

    def of(self, messages: Sequence[ReadMessage]) -> Mapping[Place, Sequence[Attachment]]:  # noqa: ARG002 - the interface
        """Nothing."""
        return {}


class Files(Protocol):
    """Where a format puts files beside its main one."""

    def count(self) -> int:
        """How many files there are by now."""
        ...

    def save(self, name: str, pieces: Iterator[bytes], about: Mapping[str, str | int | None]) -> int:
        """Write a file and list it in the manifest with what is said about it; its size in bytes."""
        ...
