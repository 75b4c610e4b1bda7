"""How a demo tells what happens: numbered stations, what they are for, and their numbers."""

from collections.abc import Callable, Iterable
from pathlib import Path

from migrator.core.imports import ImportResult
from migrator.core.plan import PlanCounts
from migrator.execution.runs import RunSummary
from migrator.verification import Verification

Tell = Callable[[str], object]


class Teller:
    """Tells line by line."""

    def __init__(self, tell: Tell) -> None:
        self.line = tell
        self._station = 0

    def station(self, title: str, *explanation: str) -> None:
        """The heading of the next station, and what it is for."""
        self._station += 1
        self.line("")
        self.line(f"{self._station}. {title}")
        for line in explanation:
            self.line(f"   {line}")

    def fact(self, text: str) -> None:
        """Something that came out."""
        self.line(f"  {text}")

    def imported(self, what: str, result: ImportResult) -> None:
        """What an import made of what was handed in."""
        self.fact(f"{result.recorded:,} {what} recorded, {len(result.refused):,} refused")
        for refused in result.refused:
            self.fact(f"  {Path(refused.file).name}: {refused.reason.value}")

    def planned(self, counts: PlanCounts) -> None:
        """What a plan decided."""
        self._table([("rewrap", counts.rewrap.conversations, counts.rewrap.messages)])
        self._table((f"leave: {r}", c.conversations, c.messages) for r, c in sorted(counts.skip.items()))

    def outcomes(self, summary: RunSummary) -> None:
        """What a run came to."""
        self._table((o, c.conversations, c.messages + c.gaps) for o, c in sorted(summary.counts.items()))
        rate = f"{summary.messages_per_second:,.0f} messages/s, starting the workers included"
        self.fact("nothing was written" if summary.dry_run else rate)

    def verified(self, found: Verification) -> None:
        """What a verification looked at and found."""
        for what, count in found.checked.items():
            self.fact(f"{what.replace('_', ' ') + ':':<32} {count:>6,}")
        self.fact("no mismatch" if found.ok else f"{found.mismatch_count:,} MISMATCHES")

    def _table(self, rows: Iterable[tuple[str, int, int]]) -> None:
        for name, conversations, messages in rows:
            self.fact(f"{name:<32} {conversations:>6,} conversations {messages:>9,} messages")
