"""The port to a message store. Implementations only read; what makes a campaign final is an `Eraser` of its own.

Order everywhere is bytewise on UTF-8, which Python's order of `str` equals. Every method raises `SourceError` when the
store as a whole can't be read; what is wrong with one row costs that row or its conversation only.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from migrator.core.key_backup import KeyBackup
from migrator.core.model import Account, Conversation, Cursor, Device, MessageRow, Quorum
from migrator.core.settings import SourceSettings

KeySlot = Hashable
"""What a scheme's keys are filed under within a conversation; Labyrinth: (epoch id, version)."""


Place = tuple[str, int, str]
"""A message's place: conversation id, time in milliseconds, message id."""


class Doubt(NamedTuple):
    """Something about a source that an operator should know before a campaign reads it, and what to do about it."""

    message: str
    remedy: str


class Eraser(Protocol):
    """Deletes ciphertext from a source. Each call is one transaction, and does nothing the second time.

    Raises `SourceError`; what an id leads to nowhere is passed over.
    """

    unaided: ClassVar[bool]
    """Whether it deletes by itself. Where the source's own tools have to, `erase` and `erase_all` make sure that they
    did, and say what is to be done where they did not."""

    def count(self, places: Sequence[Place]) -> int:
        """How many of the messages are there."""
        ...

    def erase(self, places: Sequence[Place]) -> None:
        """Delete messages."""
        ...

    def count_all(self, conversation_ids: Sequence[str]) -> int:
        """How many messages some conversations have, whatever their rows hold."""
        ...

    def erase_all(self, conversation_ids: Sequence[str]) -> None:
        """Delete all messages of some conversations."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class MessageStore(Protocol):
    """A source of conversations, read in pages, from any number of processes."""

    kind: ClassVar[str]
    scheme: ClassVar[str]
    """Name of the scheme that opens its messages."""
    quorums: ClassVar[frozenset[Quorum]]
    """The quorums that make sense for it: mailboxes have owners, shared rooms don't."""

    @classmethod
    def open(cls, source: SourceSettings, *, population_page: int = 5000) -> "MessageStore":
        """Open the store at a SQLAlchemy URL; paths are already absolute, and references resolved."""
        ...

    @classmethod
    def open_eraser(cls, source: SourceSettings) -> Eraser:
        """Open what deletes from the same store."""
        ...

    def identity(self) -> str:
        """SHA-256 in hex of what makes this store this one: a plan for another one is stale."""
        ...

    def population(self) -> Iterator[list[Conversation]]:
        """Every conversation once, a page at a time, by keyset pagination, in the same order each time."""
        ...

    def conversations(self, conversation_ids: Sequence[str]) -> dict[str, Conversation]:
        """The present state of some conversations; those that don't exist are missing from the result."""
        ...

    def accounts(self, account_ids: Sequence[str]) -> dict[str, Account]:
        """Some accounts; unknown ones are missing from the result."""
        ...

    def all_accounts(self) -> Iterator[list[Account]]:
        """Every account in order of its id, a page at a time."""
        ...

    def on_hold(self, account_ids: Sequence[str], now: datetime) -> set[str]:
        """Which of these accounts a legal hold is on; one whose end can't be read, or is still to come, counts.

        `SourceError` where the store can't tell: nothing may be deleted then.
        """
        ...

    def devices(self, device_ids: Sequence[str]) -> dict[str, Device]:
        """Some devices; unknown ones, and ones whose row can't be understood, are missing."""
        ...

    def devices_of(self, account_ids: Sequence[str]) -> list[Device]:
        """The devices of some accounts, by account and id; ones whose row can't be understood are left out."""
        ...

    def attachments(self, conversation_ids: Sequence[str]) -> int:
        """How many attachments some conversations have that were not re-wrapped; `SourceError` in doubt."""
        ...

    def key_slots(self, conversation_ids: Sequence[str]) -> dict[str, set[KeySlot]]:
        """Which keys the messages of some conversations need."""
        ...

    def some_key_slot(self, conversation_ids: Sequence[str]) -> dict[str, KeySlot]:
        """One of each conversation's `key_slots`, whichever is found first; it may be missing from the result."""
        ...

    def messages(self, conversation_ids: Sequence[str]) -> Mapping[str, list[MessageRow]]:
        """All messages of some small conversations in message order, in one read.

        A conversation whose rows can't be decoded at all is missing from the result.
        """
        ...

    def page(self, conversation_id: str, after: Cursor | None, limit: int) -> list[MessageRow]:
        """At most `limit` messages of a conversation that follow a position, in message order."""
        ...

    def cursor(self, row: MessageRow) -> Cursor:
        """The position of a message, for `page`; JSON-serialisable."""
        ...

    def doubts(self) -> list[Doubt]:
        """What preflight should say of the source, beside that it can be read."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class KeepsKeyBackups(Protocol):
    """A store whose server keeps backups of its users' keys, encrypted to keys that the users have."""

    def key_backup(self, account_id: str, conversation_ids: Collection[str]) -> KeyBackup:
        """What is kept of one account's keys, limited to some conversations; nothing is read yet."""
        ...
