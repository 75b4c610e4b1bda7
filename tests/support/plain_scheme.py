"""A scheme without cryptography over a homeserver's rows, for tests of what execution does with them.

What a key opens is its session's messages, whose content is their ciphertext as it stands. Redacted rows stay closed.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar

from migrator.core.key_backup import OfExport
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes.interface import KeyEntry, KeyRing, Opened


class PlainScheme:
    """Counts what it was asked to open with a key."""

    name: ClassVar[str] = "megolm"
    makes_claims: ClassVar[bool] = False
    opened: ClassVar[int] = 0

    def read_key_entries(self, entry: Mapping[str, object], export: OfExport) -> Iterable[KeyEntry]:
        """One session."""
        return [KeyEntry(str(entry["conversation_id"]), str(entry["session_id"]), b"key")]

    def read_plain_part(self, part: bytes, export: OfExport) -> list[KeyEntry] | None:
        """All lines at once."""
        return [key for line in part.splitlines() for key in self.read_key_entries(json.loads(line), export)]

    def read_coverage(self, entry: object) -> set[Hashable]:
        """One session."""
        assert isinstance(entry, dict)
        return {entry["session_id"]}

    def covers(self, coverage: str, slot: Hashable) -> bool:
        """By the session's id."""
        return f'"{slot}"' in coverage

    def claims(self, rows: Sequence[MessageRow]) -> list[bytes]:
        """Nobody asks a scheme that makes none."""
        raise NotImplementedError

    def open_messages(
        self, units: Sequence[tuple[Conversation, KeyRing, Sequence[MessageRow]]]
    ) -> list[list[Opened | GapReason]]:
        """Message by message."""
        return [[self._open(ring, row) for row in rows] for _, ring, rows in units]

    def _open(self, ring: KeyRing, row: MessageRow) -> Opened | GapReason:
        ciphertext, session, redacted = row[3], row[5], row[7]
        if redacted:
            return GapReason.REDACTED
        if ciphertext is None:
            return GapReason.MALFORMED
        if session not in ring:
            return GapReason.NO_KEY
        type(self).opened += 1
        return "text/plain", ciphertext
