"""What a stage does: it holds rows that will be added to a conversation, until one transaction moves them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import sqlalchemy as sa

from migrator.core.gaps import GapCount
from migrator.execution.claims import At
from migrator.execution.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A message to be added, sealed; or, without a ciphertext, a gap. `prior_gap`: the gap that stood there before.

    `claim`: what it uses up, where the scheme knows such a thing. `taken_back`: a gap in the place of a message that
    readers see.
    """

    sent_at: int
    message_id: str
    sender_id: str | None = None
    content_type: str | None = None
    key_id: int | None = None
    ciphertext: bytes | None = None
    gap_reason: str | None = None
    prior_gap: str | None = None
    taken_back: bool = False
    claim: bytes | None = field(default=None, repr=False)

    @property
    def at(self) -> At:
        """Its place."""
        return self.sent_at, self.message_id


class Stage(Protocol):
    """What is to be added to one conversation."""

    def clear(self) -> None:
        """Begin anew."""
        ...

    def server_rows(self, ats: Sequence[At]) -> set[At]:
        """Which of these places have a visible server row."""
        ...

    def prior_gaps(self, ats: Sequence[At]) -> dict[At, str]:
        """Which of these places are visible gaps, and why."""
        ...

    def staged(self, ats: Sequence[At]) -> dict[At, str | None]:
        """Which of these places have something staged, and its sender."""
        ...

    def held(self, claims: Sequence[bytes]) -> Mapping[bytes, At]:
        """Which of these claims visible or staged messages have made, and where those are."""
        ...

    def put(self, staged: Sequence[Staged]) -> None:
        """Stage rows; each takes the place of what was staged at its place."""
        ...

    def totals(self) -> GapCount:
        """Counts of the conversation once the stage is moved."""
        ...

    def brings_anything(self) -> bool:
        """Whether moving it changes what readers see."""
        ...

    def move(self, connection: sa.Connection) -> None:
        """Make what is staged part of the server history, in the caller's transaction."""
        ...

    def discard(self, connection: sa.Connection) -> None:
        """Forget what is staged, in the caller's transaction."""
        ...

    def mark_current(self, connection: sa.Connection, work: Work) -> None:
        """Note that the visible history is up to date with source and exports."""
        ...
