"""What a verification finds: a closed set of mismatches, all of them counted, the first ones listed."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_LISTED: Final = 1000
"""Mismatches that are kept one by one; further ones are only counted."""


class MismatchKind(StrEnum):
    """What does not agree."""

    PLAN = "plan"
    """The plan's items are not those that its root covers."""
    MISSING_ITEM = "missing_item"
    """A conversation of the plan has no outcome in a completed run."""
    UNEXPECTED_ITEM = "unexpected_item"
    """An outcome of a conversation that the plan does not have."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """An outcome outside the closed set."""
    OUTCOME = "outcome"
    """An outcome that contradicts the plan, or the conversation's row."""
    MESSAGE_COUNT = "message_count"
    """Stored messages, the conversation's count and the item's differ."""
    GAP_COUNT = "gap_count"
    """Recorded gaps, the conversation's count and the item's differ."""
    ORPHAN_ROWS = "orphan_rows"
    """Messages, gaps, keys or notes of a conversation that shows nothing."""
    DATA_KEY = "data_key"
    """Not exactly one data key, or one that does not unwrap or is bound to something else."""
    DOES_NOT_OPEN = "does_not_open"
    """A stored message that its data key does not open."""
    CONTENT = "content"
    """A stored message that differs from what the source, or the export it came from, holds."""
    GAP_OPENS = "gap_opens"
    """A gap that opens with the keys that the run had."""
    MISSING_MESSAGE = "missing_message"
    """A message that the run covered and that is neither stored nor a gap."""
    CLAIM = "claim"
    """A stored message without the claim that guards against its replay, or a claim without its message."""
    ITEMS_ROOT = "items_root"
    """The conversation's Merkle root is not the one in the audit log."""
    AUDIT_EVENTS = "audit_events"
    """Events are missing, doubled, or say something else than the rows."""
    AUDIT_LOG = "audit_log"
    """The log's lines are not the events that the database has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One thing that does not agree. `detail` holds no content and no ids of people."""

    conversation_no: int | None
    kind: MismatchKind
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result: `checked` counts what was looked at, `mismatches` lists the first of `mismatch_count`."""

    verification_id: str
    run_id: str
    ok: bool
    checked: dict[str, int]
    mismatch_count: int
    mismatches: tuple[Mismatch, ...]


@dataclass(slots=True)
class Findings:
    """Counts so far, and the mismatches that are not saved yet."""

    checked: Counter[str] = field(default_factory=Counter)
    mismatch_count: int = 0
    unsaved: list[tuple[int, Mismatch]] = field(default_factory=list)
    """(number, mismatch): numbered from 1 in the order of discovery."""

    def count(self, what: str, number: int = 1) -> None:
        """So many more of something were checked."""
        self.checked[what] += number

    def add(self, kind: MismatchKind, conversation_no: int | None, detail: str) -> None:
        """Something does not agree."""
        self.mismatch_count += 1
        if self.mismatch_count <= MAX_LISTED:
            mismatch = Mismatch(conversation_no=conversation_no, kind=kind, detail=detail)
            self.unsaved.append((self.mismatch_count, mismatch))

    def add_many(self, kind: MismatchKind, conversation_no: int | None, detail: str, number: int) -> None:
        """One line for several of a kind."""
        if number:
            self.add(kind, conversation_no, f"{detail} ({number})")
