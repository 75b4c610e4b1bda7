"""What is learnt of a notice after it left."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What happened to a notice, or what its reader wants."""

    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SEEN = "seen"
    REMINDERS_OFF = "reminders_off"
    REMINDERS_ON = "reminders_on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One thing learnt of the notice with this delivery key. `at`: when, if whoever says so knows.

    `detail`: a status code, never anybody's words.
    """

    key: str
    kind: Kind
    detail: str = ""
    at: datetime | None = None
