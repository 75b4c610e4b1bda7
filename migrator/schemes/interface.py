"""The port to an E2EE scheme: pure computation on keys and ciphertexts that others have read."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from migrator.core.key_backup import BackupOf
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason

KeyRing = dict[Hashable, list[bytes]]
"""The candidate keys of one conversation by slot, in order of receipt. Never shown."""

Opened = tuple[str, bytes]
"""(content type, content byte for byte as the client wrote it)."""


class KeyEntry(NamedTuple):
    """One key from an export, checked for form."""

    conversation_id: str
    slot: Hashable
    key: bytes

    def __repr__(self) -> str:
        return "KeyEntry(…)"


class ScopeTooBroadError(Exception):
    """An export hands over more than message keys: a key that opens what nobody authorised."""


class Scheme(Protocol):
    """Opens messages. Instances hold no state between calls that could change a result."""

    name: ClassVar[str]
    makes_claims: ClassVar[bool]
    """Whether a message uses something up, so that a second message with the same is a replay; see `claims`."""

    def read_key_entries(self, entry: Mapping[str, object], backup: BackupOf) -> Iterable[KeyEntry]:
        """Read one parsed line of a `keys` export: one key, or many. `backup` is what the source keeps of the account.

        Raises `ScopeTooBroadError`, or `ValueError` (without content) where members are unknown, missing or misshapen,
        and does so before it returns; what comes then may be read as it goes.
        """
        ...

    def read_plain_part(self, part: bytes) -> list[KeyEntry] | None:
        """All keys of a part at once, where every line has the form that clients write; None: read line by line.

        A short cut and never another reading: what it takes, `read_key_entries` takes line by line, and reads alike. A
        line that is taken here may be longer than `LIMITS.key_line_bytes`. `ValueError`: the part is unusable.
        """
        ...

    def read_coverage(self, entry: object) -> set[Hashable]:
        """The slots that one element of a manifest's `coverage` names; `ValueError` where it is misshapen."""
        ...

    def covers(self, coverage: str, slot: Hashable) -> bool:
        """Whether any element of a checked `coverage` names a slot; the text is its canonical JSON."""
        ...

    def open_messages(
        self, units: Sequence[tuple[Conversation, KeyRing, Sequence[MessageRow]]]
    ) -> list[list[Opened | GapReason]]:
        """Open the messages of several conversations in one pass: for each unit one result a row, in its order."""
        ...

    def claims(self, rows: Sequence[MessageRow]) -> list[bytes | None]:
        """What each of some rows of one conversation uses up if it opens, whoever sent it; None: it can't open.

        Asked only where the scheme `makes_claims`. Who is first has it: execution remembers that, the scheme does not.
        """
        ...
