"""Waves: a growing share of the accounts, the same ones always, and each wave inside the next.

An account's place is drawn once, by a keyed hash of its id: nobody outside can tell who is in the first wave.
"""

from dataclasses import dataclass
from typing import Final

from migrator.audit.references import References
from migrator.core.errors import UsageError
from migrator.core.quantities import Share

_PURPOSE: Final = "notice-wave"


@dataclass(frozen=True, slots=True)
class Wave:
    """A share of all accounts; `label` is what rows and counts call it."""

    label: str
    fraction: float

    @classmethod
    def parse(cls, text: str) -> "Wave":
        """`0.1%`, `10%`, `100%`; `UsageError` for anything else."""
        try:
            share = Share.parse(text)
        except ValueError:
            share = Share(None, None)
        if not share.fraction:
            raise UsageError("a wave is a percentage above 0", hint="for example --wave 1%")
        return cls(f"{share.fraction * 100:.4f}".rstrip("0").rstrip(".") + "%", share.fraction)

    def has(self, account_id: str, references: References) -> bool:
        """Whether an account is in this wave."""
        return references.fraction(account_id, _PURPOSE) < self.fraction


EVERYBODY: Final = Wave("100%", 1.0)
