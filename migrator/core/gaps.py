"""How many gaps a conversation may have and still be shown (formats, section 5; command line, "Outcomes")."""

from dataclasses import dataclass
from fractions import Fraction

from migrator.core.outcomes import HOPELESS_GAPS, GapReason, Outcome


@dataclass(slots=True)
class GapCount:
    """What became of the messages of one conversation so far."""

    opened: int = 0
    gaps: int = 0
    countable: int = 0
    """Gaps that somebody's key might still close."""

    @property
    def total(self) -> int:
        """All its messages."""
        return self.opened + self.gaps

    def add_gap(self, reason: GapReason, number: int = 1) -> None:
        """So many messages stay sealed."""
        self.gaps += number
        if reason not in HOPELESS_GAPS:
            self.countable += number

    def outcome(self, max_gap_fraction: float) -> Outcome:
        """Rewrapped, with or without gaps, or held: at least one must open, and few enough be missing."""
        # Exactly: in binary 0.29 of 100 is a little less than 29.
        allowed = max(Fraction(1), Fraction(str(max_gap_fraction)) * self.total)
        if self.opened == 0 or self.countable > allowed:
            return Outcome.HELD_TOO_MANY_GAPS
        return Outcome.REWRAPPED_WITH_GAPS if self.gaps else Outcome.REWRAPPED
