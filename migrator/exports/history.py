"""Messages from `history` exports: the history itself, where a platform's server keeps none.

A part is read through before anything of it is handed out: a line that can't be read makes all of it unusable. Of what
an export held it is remembered which part has which conversation, so that the next one doesn't open every part again.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import sqlalchemy as sa

from migrator.core.export import HistoryEntry, part_lines, read_history_entry
from migrator.core.limits import LIMITS
from migrator.core.outcomes import RefusalReason
from migrator.exports.refusals import ExportRefusal
from migrator.exports.sealed import SealedExport, Unsealer

PAGE_ENTRIES: Final = 1_000
"""Most entries in a page. A page is of one part, so it has less than 8 MiB."""
MAX_REMEMBERED: Final = 50_000
"""Most (conversation, part) pairs that are remembered, about 5 MB."""


class HistoryReader:
    """Reads `history` exports, one part in memory at a time."""

    def __init__(self, unsealer: Unsealer) -> None:
        self._unsealer = unsealer
        self._parts: OrderedDict[int, Mapping[str, list[int]]] = OrderedDict()
        self.pending_refusals: list[ExportRefusal] = []

    def pages(
        self, connection: sa.Connection, export: SealedExport, conversation_id: str
    ) -> Iterator[list[HistoryEntry]]:
        """What one export holds of one conversation; unusable parts go to `pending_refusals`."""
        remembered = self._parts.get(export.export_no)
        only = None if remembered is None else remembered.get(conversation_id, [])
        found: dict[str, list[int]] = defaultdict(list)
        pairs = 0
        for part_no, plaintext in self._unsealer.parts(connection, export, only):
            read = None if plaintext is None else _read_part(plaintext, conversation_id)
            if read is None:
                self.pending_refusals.append(
                    ExportRefusal(export_no=export.export_no, part_no=part_no, reason=RefusalReason.UNUSABLE_PART)
                )
                continue
            entries, conversations = read
            pairs += len(conversations)
            if pairs <= MAX_REMEMBERED:
                for other in conversations:
                    found[other].append(part_no)
            for start in range(0, len(entries), PAGE_ENTRIES):
                yield entries[start : start + PAGE_ENTRIES]
        if remembered is None and pairs <= MAX_REMEMBERED:
            self._remember(export.export_no, found)

    def _remember(self, export_no: int, found: Mapping[str, list[int]]) -> None:
        self._parts[export_no] = dict(found)
        while sum(len(parts) for parts_of in self._parts.values() for parts in parts_of.values()) > MAX_REMEMBERED:
            self._parts.popitem(last=False)


def _read_part(plaintext: bytes, conversation_id: str) -> tuple[list[HistoryEntry], set[str]] | None:
    """The entries of one conversation, and every conversation that the part has; None if a line can't be read."""
    entries: list[HistoryEntry] = []
    conversations: set[str] = set()
    for line in part_lines(plaintext, LIMITS.history_line_bytes):
        if isinstance(line, ValueError):
            return None
        try:
            entry = read_history_entry(line)
        except ValueError:
            return None
        conversations.add(entry.conversation_id)
        if entry.conversation_id == conversation_id:
            entries.append(entry)
    return entries, conversations
