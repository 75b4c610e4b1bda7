"""Compares server history with the history that exports hold themselves.

Where both source and history have a message, either may be what was stored: the first to come was kept. A place where
one of the two differs is disputed until the other agrees; what stays disputed is a mismatch. Memory is bounded: history
is walked once before the source, and once more only where something is disputed.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from migrator import history
from migrator.core.errors import IntegrityError
from migrator.core.export import HistoryEntry
from migrator.core.outcomes import GapReason
from migrator.exports.opening import ExportReader
from migrator.history import Place, StoredMessage
from migrator.verification.comparing import MAX_DISPUTED, Examined
from migrator.verification.findings import Findings, MismatchKind


class Claims:
    """The history that exports hold of one conversation, read for one verification."""

    def __init__(
        self, connection: sa.Connection, exports: ExportReader, examined: Examined, exporters: Sequence[str]
    ) -> None:
        self._connection = connection
        self._exports = exports
        self._examined = examined
        self._exporters = exporters

    def before_source(self, findings: Findings) -> None:
        """Note what differs from history, and which gaps history could fill, for the walk over the source."""
        examined = self._examined
        missing = 0
        for page in self._pages():
            stored = self._stored(page)
            absent = {(e.sent_at, e.message_id): e for e in page if (e.sent_at, e.message_id) not in stored}
            gaps = history.gaps_at(self._connection, examined.item.conversation_no, list(absent))
            missing += len(absent.keys() - gaps.keys())
            self._claim(absent, gaps)
            for entry in page:
                at = (entry.sent_at, entry.message_id)
                if at in stored:
                    findings.count("compared_with_exports")
                    if not self._same(entry, stored[at]) and len(examined.disputed) < MAX_DISPUTED:
                        examined.disputed.add(at)
        findings.add_many(
            MismatchKind.MISSING_MESSAGE,
            examined.item.conversation_no,
            "messages of an export's history are neither stored nor gaps",
            missing,
        )

    def after_source(self, findings: Findings) -> None:
        """Settle what is still disputed: any entry of history may agree with it."""
        disputed = self._examined.disputed
        if disputed:
            for page in self._pages():
                entries = [entry for entry in page if (entry.sent_at, entry.message_id) in disputed]
                stored = self._stored(entries)
                for entry in entries:
                    at = (entry.sent_at, entry.message_id)
                    if at in stored and self._same(entry, stored[at]):
                        disputed.discard(at)
        findings.add_many(
            MismatchKind.CONTENT,
            self._examined.item.conversation_no,
            "stored messages differ from source and exports",
            len(disputed),
        )

    def _pages(self) -> Iterator[list[HistoryEntry]]:
        return self._exports.history(self._connection, self._examined.conversation_id, self._exporters)

    def _stored(self, entries: Sequence[HistoryEntry]) -> dict[Place, StoredMessage]:
        places = list({(entry.sent_at, entry.message_id) for entry in entries})
        return history.messages_at(self._connection, self._examined.item.conversation_no, places)

    def _claim(self, absent: dict[Place, HistoryEntry], gaps: dict[Place, str]) -> None:
        claimed = self._examined.claimed_gaps
        for at, reason in gaps.items():
            if reason != GapReason.UNVERIFIED_SENDER.value and len(claimed) < MAX_DISPUTED:
                claimed[at] = absent[at].sender_id

    def _same(self, entry: HistoryEntry, stored: StoredMessage) -> bool:
        try:
            content = history.open_row(self._examined.key, self._examined.conversation_id, stored)
        except IntegrityError:
            return True  # counted as `does_not_open` where the conversation's own messages are opened
        return (entry.sender_id, entry.content_type, entry.content) == (stored[2], stored[3], content)
