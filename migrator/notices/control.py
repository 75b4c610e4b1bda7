"""What holds sending back: an operator's pause, and the stop that too many bounces or complaints bring about.

1. Bounces and refusals for good, and complaints, are counted since the last `resume` against what was sent since then.
   More than the settings allow stops sending at once, and no later `send` begins before somebody has resumed it. An
   import of receipts counts as well, and so stops a `send` that is under way. A percentage allows a few (`FEW`): else
   one bad address at the beginning of a wave would stop it.
2. A pause that an operator asks for stops a `send` that is under way at its next notice.
3. Resuming also switches channels on again that their receiver had switched off (410).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import GateError
from migrator.core.quantities import Share
from migrator.core.settings import NotifySettings
from migrator.database import tables
from migrator.database.bulk import insert_unless_there
from migrator.notices.queue import NoticeState

FEW: Final = {"bounces": 5, "complaints": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`paused_at` and why; since when bounces count; which run the results speak of."""

    paused_at: str | None = None
    reason: str | None = None
    resumed_at: str | None = None
    results_for: str | None = None


def read(connection: sa.Connection, campaign: str) -> Control:
    """What is recorded."""
    table = tables.notice_control
    row = connection.execute(sa.select(table).where(table.c.campaign == campaign)).one_or_none()
    if row is None:
        return Control()
    return Control(paused_at=row.paused_at, reason=row.reason, resumed_at=row.resumed_at, results_for=row.results_for)


def write(connection: sa.Connection, campaign: str, **values: str | None) -> None:
    """Record some of it, in the caller's transaction."""
    table = tables.notice_control
    if connection.scalar(sa.select(table.c.campaign).where(table.c.campaign == campaign)) is None:
        connection.execute(insert_unless_there(connection, table).values(campaign=campaign))
    connection.execute(table.update().where(table.c.campaign == campaign).values(**values))


def refuse_paused(connection: sa.Connection, campaign: str) -> None:
    """Raise `GateError` while sending is paused."""
    found = read(connection, campaign)
    if found.paused_at is not None:
        raise GateError(
            f"sending notices is paused since {found.paused_at}: {found.reason}",
            hint="see `migrator notify status`; `migrator notify resume` goes on",
        )


def pause(campaign: Campaign, reason: str) -> bool:
    """Pause sending; False, and nothing changed, where it was paused already."""
    with campaign.database.write("notices-pause") as connection:
        if read(connection, campaign.name).paused_at is not None:
            return False
        stop(connection, campaign.name, campaign.clock.now(), reason)
    return True


def stop(connection: sa.Connection, campaign: str, now: datetime, reason: str) -> None:
    """Record a pause, in the caller's transaction."""
    write(connection, campaign, paused_at=format_time(now), reason=reason)


def stop_if_alarmed(campaign: Campaign) -> str | None:
    """Stop sending if too much has come back; why, or None where it may go on or was held already."""
    with campaign.database.write("notices-alarm") as connection:
        if read(connection, campaign.name).paused_at is not None:
            return None
        alarm = Watch.since_resumed(connection, campaign).alarm
        if alarm is not None:
            stop(connection, campaign.name, campaign.clock.now(), alarm)
        return alarm


def resume(campaign: Campaign) -> bool:
    """End a pause, count bounces anew, and switch channels on again; False where nothing was held back."""
    channel = tables.notice_channel
    now = campaign.clock.now()
    with campaign.database.write("notices-resume") as connection:
        found = read(connection, campaign.name)
        held = connection.execute(channel.delete()).rowcount
        if found.paused_at is None and not held:
            return False
        write(connection, campaign.name, paused_at=None, reason=None, resumed_at=format_time(now))
        event = Event(type=EventType.OVERRIDE_USED, data={"what": "notify resume", "reason": found.reason or "channel"})
        outbox.record(connection, [event], actor=campaign.actor, now=now)
    campaign.audit.flush()
    return True


class Watch:
    """Counts bounces and complaints against the settings while notices go out."""

    def __init__(self, settings: NotifySettings, sent: int, bounces: int, complaints: int) -> None:
        self._most = {"bounces": settings.max_bounces, "complaints": settings.max_complaints}
        self._sent = sent
        self._counts = {"bounces": bounces, "complaints": complaints}

    @classmethod
    def since_resumed(cls, connection: sa.Connection, campaign: Campaign) -> "Watch":
        """What was counted since the last `resume`."""
        table = tables.notice
        since = read(connection, campaign.name).resumed_at or ""
        tried = sa.func.coalesce(table.c.sent_at, table.c.queued_at) > since
        bounced = sa.and_(table.c.state.in_((NoticeState.BOUNCED.value, NoticeState.FAILED.value)), tried)
        left = sa.func.coalesce(table.c.sent_at, table.c.accepted_at) > since  # its page may still be under way
        query = sa.select(
            sa.func.count(sa.case((sa.or_(left, bounced), 1))),
            sa.func.count(sa.case((bounced, 1))),
            sa.func.count(sa.case((table.c.complained_at > since, 1))),
        )
        sent, bounces, complaints = connection.execute(query).one()
        return cls(campaign.settings.notify, sent, bounces, complaints)

    def count(self, *, bounced: bool) -> None:
        """One more notice was taken, or refused for good."""
        self._sent += 1
        self._counts["bounces"] += bounced

    @property
    def alarm(self) -> str | None:
        """Why sending must stop; None as long as it may go on."""
        for what, most in self._most.items():
            count, share = self._counts[what], Share.parse(most)
            if count > max(share.of(self._sent), FEW[what] if share.count is None else 0):
                return f"{count:,} {what} among {self._sent:,} notices, more than {most}"
        return None
