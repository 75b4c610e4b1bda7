"""What a verification of the log finds: faults and notes, the first hundred of them in words."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from migrator.core.merkle import EMPTY_ROOT

MOST_FINDINGS: Final = 100


class FindingKind(StrEnum):
    """What part of the log a finding is about. Notes are no fault of the log's."""

    KEY = "key"
    CHECKPOINT = "checkpoint"
    TRUSTED_CHECKPOINT = "trusted_checkpoint"
    TILE = "tile"
    BUNDLE = "bundle"
    LINES = "lines"
    SEQUENCE = "sequence"
    DATABASE = "database"
    FILE = "file"
    ANCHOR = "anchor"
    UNSIGNED_TAIL = "unsigned_tail"
    SILENCE = "silence"
    UNANCHORED_TAIL = "unanchored_tail"
    STRAY = "stray"

    @property
    def is_note(self) -> bool:
        """Whether it is worth knowing without making the log wrong."""
        return self in _NOTES


_NOTES: Final = frozenset(
    {FindingKind.UNSIGNED_TAIL, FindingKind.SILENCE, FindingKind.UNANCHORED_TAIL, FindingKind.STRAY}
)
_CHECKED: Final = ("leaves", "tiles", "bundles", "files", "tail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found. `at`: number of the leaf, or size of the checkpoint, that it is about."""

    kind: FindingKind
    message: str
    at: int | None = None


@dataclass(slots=True)
class Verification:
    """What a verification found. `size`, `root`: of the newest checkpoint; `findings` has the first 100 of them.

    `not_checked`: what nothing was at hand for to check it with, in words; it may be so although all else agrees.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    checkpoints: int = 0
    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_CHECKED, 0))
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    more_findings: int = 0
    faults: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts the log."""
        return self.faults == 0

    def add(self, kind: FindingKind, message: str, at: int | None = None) -> None:
        """Take note of something."""
        self.faults += not kind.is_note
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(kind=kind, message=message, at=at))
        else:
            self.more_findings += 1
