"""Which channel an errand takes next: a pure decision over what is recorded of it.

1. One channel that took it is enough.
2. Channels are tried in the order of the settings. The next one's turn comes when the one before can't reach the
   account, has refused the notice for good or for too long, has returned it, or is switched off.
3. A notice that was refused or came back is tried again over the same channel when the account has another address
   there, or when the operator asks for it. After a bounce it is another message, under another key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from migrator.notices.queue import NoticeState, Stored

RETRY_AFTER: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""Waits before the second attempt and those that follow (Standard Webhooks 1.0.0); after the last it has failed."""
FAILOVER_AFTER: Final = timedelta(hours=24)
"""How long an errand waits for a channel while there is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A channel as it is for one account: why it can't reach it, the address's reference, whether it is usable now."""

    name: str
    obstacle: str | None = None
    address_ref: str | None = None
    disabled: bool = False
    resting: bool = False


@dataclass(frozen=True, slots=True)
class Take:
    """Hand it to this channel. `again`: the attempt before, whose text counts if it still reads the same."""

    channel: str
    generation: int = 0
    again: Stored | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Done, or handed over by a process that could not say so any more (`unreported`)."""

    unreported: Stored | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Its next attempt is later."""


@dataclass(frozen=True, slots=True)
class NoWay:
    """No channel reaches the account. `obstacles`: by channel, where it is the account's; the others have given up."""

    obstacles: Mapping[str, str]


Route = Take | Told | Wait | NoWay


def route(rows: Mapping[str, Stored], ways: Sequence[Way], now: datetime, *, retry_failed: bool = False) -> Route:
    """What to do with an errand, by what is recorded of it over each channel."""
    for row in rows.values():
        if row.state is NoticeState.SENT:
            return Told()
        if row.state is NoticeState.QUEUED and row.accepted_at is not None:
            return Told(row)
    obstacles = {}
    for way in ways:
        known = rows.get(way.name)
        if way.obstacle is not None:
            obstacles[way.name] = way.obstacle
        elif not way.disabled:
            found = _over(way, known, now, retry_failed=retry_failed)
            if found is not None:
                return found
    return NoWay(obstacles)


def _over(way: Way, row: Stored | None, now: datetime, *, retry_failed: bool) -> Take | Wait | None:
    if row is None or row.state in (NoticeState.UNREACHABLE, NoticeState.BLOCKED):
        return Wait() if way.resting else Take(way.name, 0 if row is None else row.generation)
    if row.state is NoticeState.QUEUED:
        resting = way.resting or (row.retry_at is not None and now < row.retry_at)
        return Wait() if resting else Take(way.name, row.generation, row)
    if not retry_failed and row.address_ref == way.address_ref:
        return None
    return Wait() if way.resting else Take(way.name, row.generation + (row.state is NoticeState.BOUNCED))


def next_attempt(
    queued_at: datetime, attempts: int, now: datetime, *, after: float | None, others: bool
) -> datetime | None:
    """When to try an errand again that a channel put off; None: it has failed there.

    `attempts`: how many there were, this one not counted. `after`: seconds that the channel asks for. `others`:
    there is another channel that could take it.
    """
    if attempts >= len(RETRY_AFTER) or (others and now - queued_at >= FAILOVER_AFTER):
        return None
    wait = RETRY_AFTER[attempts]
    return now + max(wait, timedelta(seconds=after or 0))
