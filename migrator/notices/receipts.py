"""Imports what came back: bounces, complaints, what was seen, who wants no more reminders.

1. A mark counts for the notice with its delivery key, and once: the same file again is `already`.
2. A bounce takes the notice back (state `bounced`); the next `send` goes on to the account's next channel. A complaint
   does not, as it did arrive, but it ends reminders. What a reader did (`seen`) outweighs a bounce as evidence.
3. Times that lie before the notice left or in the future are not believed: the import's own time stands for them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time, parse_time
from migrator.core.progress import NoProgress, Progress
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.notices import control, receipt_files
from migrator.notices.marks import Kind, Mark
from migrator.notices.queue import NoticeState

BATCH = 500
_COLUMNS = {Kind.BOUNCED: "bounced_at", Kind.COMPLAINED: "complained_at", Kind.SEEN: "seen_at"}


@dataclass(slots=True)
class ReceiptsResult:
    """`recorded`: new marks, by kind. `unmatched`: of no notice of this campaign. `ignored`: no report at all.

    `stopped`: why sending was stopped, where what came back is more than the settings allow.
    """

    recorded: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    already: int = 0
    unmatched: int = 0
    ignored: int = 0
    stopped: str | None = None


def import_receipts(campaign: Campaign, paths: Sequence[Path], *, progress: Progress | None = None) -> ReceiptsResult:
    """Import Maildirs, mboxes, messages and JSON Lines. Raises `UsageError` for a path that can't be read."""
    progress = progress or NoProgress()
    progress.phase("receipts", total=None, unit="receipts")
    result = ReceiptsResult()
    try:
        for batch in chunks(receipt_files.marks(paths), BATCH):
            found = [mark for mark in batch if mark is not None]
            result.ignored += len(batch) - len(found)
            with campaign.database.write("notices-receipts") as connection:
                _record(connection, campaign, found, result)
            progress.advance(len(batch))
    finally:
        campaign.audit.flush()
    if result.recorded[Kind.BOUNCED.value] or result.recorded[Kind.COMPLAINED.value]:
        result.stopped = control.stop_if_alarmed(campaign)
    return result


@dataclass(frozen=True, slots=True)
class _Notice:
    """The row that a key names."""

    account_id: str
    notice_id: str
    channel: str
    sent_at: str | None
    marks: dict[Kind, str | None]


def _record(connection: sa.Connection, campaign: Campaign, batch: Sequence[Mark], result: ReceiptsResult) -> None:
    now = campaign.clock.now()
    known = _known(connection, {mark.key for mark in batch})
    reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for mark in batch:
        notice = known.get(mark.key)
        if notice is None:
            result.unmatched += 1
        elif not _apply(connection, notice, mark, now):
            result.already += 1
        else:
            result.recorded[mark.kind.value] += 1
            reasons[(notice.notice_id, notice.channel)][mark.kind.value] += 1
    events = [
        Event(
            type=EventType.RECEIPT_RECORDED,
            subject=notice_id,
            data={"notice_id": notice_id, "channel": channel, "receipts": dict(sorted(counts.items()))},
        )
        for (notice_id, channel), counts in sorted(reasons.items())
    ]
    outbox.record(connection, events, actor=campaign.actor, now=now)


def _known(connection: sa.Connection, keys: set[str]) -> dict[str, _Notice]:
    table = tables.notice.c
    found = {}
    for chunk in chunks(sorted(keys)):
        query = sa.select(
            table.delivery_key, table.account_id, table.notice_id, table.channel,
            sa.func.coalesce(table.sent_at, table.accepted_at).label("left_at"),
            table.bounced_at, table.complained_at, table.seen_at,
        ).where(table.delivery_key.in_(chunk))  # fmt: skip
        for row in connection.execute(query):
            marks = {Kind.BOUNCED: row.bounced_at, Kind.COMPLAINED: row.complained_at, Kind.SEEN: row.seen_at}
            found[row.delivery_key] = _Notice(row.account_id, row.notice_id, row.channel, row.left_at, marks)
    return found


def _apply(connection: sa.Connection, notice: _Notice, mark: Mark, now: datetime) -> bool:
    """Record one mark; False where it was there."""
    at = _believed(mark.at, notice.sent_at, now)
    if mark.kind in _COLUMNS:
        if notice.marks[mark.kind] is not None:
            return False
        notice.marks[mark.kind] = at
        values = {_COLUMNS[mark.kind]: at}
        if mark.kind is Kind.BOUNCED:
            values |= {"state": NoticeState.BOUNCED.value, "detail": mark.detail}
        table = tables.notice
        connection.execute(table.update().where(table.c.delivery_key == mark.key).values(**values))
        if mark.kind is Kind.COMPLAINED:
            _prefer(connection, notice.account_id, at)
        return True
    return _prefer(connection, notice.account_id, at if mark.kind is Kind.REMINDERS_OFF else None)


def _prefer(connection: sa.Connection, account_id: str, off_at: str | None) -> bool:
    """Record whether an account wants reminders; False where that was known."""
    table = tables.notice_preference
    row = connection.execute(sa.select(table.c.reminders_off_at).where(table.c.account_id == account_id)).one_or_none()
    if (None if row is None else row[0] is not None) == (off_at is not None) or (row is None and off_at is None):
        return False
    if row is None:
        connection.execute(table.insert().values(account_id=account_id, reminders_off_at=off_at))
    else:
        connection.execute(table.update().where(table.c.account_id == account_id).values(reminders_off_at=off_at))
    return True


def _believed(said: datetime | None, sent_at: str | None, now: datetime) -> str:
    if said is None or said > now or (sent_at is not None and said < parse_time(sent_at)):
        return format_time(now)
    return format_time(said)
