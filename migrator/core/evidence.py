"""How sure it is that an account was told: evidence levels, from the marks that a notice left.

| level | means |
|---|---|
| E0 | queued: decided, perhaps on its way |
| E1 | accepted by the mail server or gateway |
| E2 | no bounce within 72 hours of that |
| E3 | seen in the app |
| E4 | acted upon: the account has handed in an answer |

1. A bounce takes the first two back, whenever it comes; not what the account itself has shown (E3, E4).
2. Notice is dated from when it left, whatever the level: the level says how sure one is that it arrived.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

BOUNCES_COME_WITHIN: Final = timedelta(hours=72)


class Evidence(IntEnum):
    """Levels, in order."""

    E0 = 0
    E1 = 1
    E2 = 2
    E3 = 3
    E4 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The marks of one notice to one account over one channel. `acted`: the account has handed in an answer since."""

    sent_at: datetime | None
    bounced: bool = False
    seen: bool = False
    acted: bool = False


def level(trace: Trace, now: datetime) -> Evidence:
    """The level that a notice has reached at `now`."""
    if trace.sent_at is None:
        return Evidence.E0
    if trace.acted:
        return Evidence.E4
    if trace.seen:
        return Evidence.E3
    if trace.bounced:
        return Evidence.E0
    return Evidence.E2 if now >= trace.sent_at + BOUNCES_COME_WITHIN else Evidence.E1
