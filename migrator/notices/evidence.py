"""Since when accounts count as told, and why others don't: what the notice gate asks.

Only notices that must say what happens without an answer, and by when, count (`kinds.BEFORE_CUTOVER`, held to it by the
linter). A receipt, what became of a chat afterwards, or an operator's own notice of a maintenance window tells nobody
that there was a choice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from migrator.core.clock import parse_time
from migrator.core.evidence import Evidence, Trace, level
from migrator.core.policy import Untold
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.notices.kinds import BEFORE_CUTOVER
from migrator.notices.queue import NoticeState

_CAUSES: Final = {
    NoticeState.QUEUED: Untold.QUEUED,
    NoticeState.SENT: Untold.EVIDENCE,
    NoticeState.UNREACHABLE: Untold.UNREACHABLE,
    NoticeState.BLOCKED: Untold.BLOCKED,
    NoticeState.FAILED: Untold.REFUSED,
    NoticeState.BOUNCED: Untold.BOUNCED,
    NoticeState.EXPIRED: Untold.QUEUED,
}
_NEAREST: Final = (
    Untold.EVIDENCE, Untold.QUEUED, Untold.BOUNCED, Untold.REFUSED, Untold.BLOCKED, Untold.UNREACHABLE
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """Since when an account counts as told; None, and why, for one that does not."""

    at: datetime | None
    cause: Untold | None = None


NOBODY: Final = Told(None, Untold.NOT_SENT)


def told(connection: sa.Connection, account_ids: Iterable[str], required: Evidence, now: datetime) -> dict[str, Told]:
    """For each of some accounts of which there is anything; the others were sent nothing yet (`NOBODY`)."""
    table = tables.notice.c
    found: dict[str, Told] = {}
    for chunk in chunks(sorted(account_ids)):
        rows = connection.execute(
            sa.select(table.account_id, table.state, table.sent_at, table.bounced_at, table.seen_at).where(
                table.account_id.in_(chunk), table.notice_id.in_(sorted(BEFORE_CUTOVER))
            )
        ).all()
        # What an account has done matters only where sending alone does not settle it.
        doubtful = {row.account_id for row in rows if row.sent_at and (required > Evidence.E1 or row.bounced_at)}
        acted = _acted(connection, doubtful)
        for row in rows:
            trace = Trace(
                sent_at=parse_time(row.sent_at) if row.sent_at else None,
                bounced=row.bounced_at is not None,
                seen=row.seen_at is not None,
                acted=row.account_id in acted,
            )
            found[row.account_id] = _better(found.get(row.account_id), _told(trace, row.state, required, now))
    return found


def _told(trace: Trace, state: str, required: Evidence, now: datetime) -> Told:
    if level(trace, now) >= max(required, Evidence.E1):
        return Told(trace.sent_at)
    return Told(None, _CAUSES[NoticeState(state)])


def _better(one: Told | None, other: Told) -> Told:
    """The earlier of two times; of two causes the one that is nearer to being told."""
    if one is None:
        return other
    if one.at is not None and other.at is not None:
        return one if one.at <= other.at else other
    if one.at is not None or other.at is not None:
        return one if one.at is not None else other
    return min(one, other, key=lambda told: _NEAREST.index(told.cause) if told.cause in _NEAREST else len(_NEAREST))


def _acted(connection: sa.Connection, account_ids: set[str]) -> set[str]:
    """Accounts that have handed in an answer, for themselves or for a ward."""
    table = tables.authorization.c
    found: set[str] = set()
    for chunk in chunks(sorted(account_ids)):
        own = sa.select(table.account_id).where(table.account_id.in_(chunk), table.guardian_id.is_(None)).distinct()
        guardians = sa.select(table.guardian_id).where(table.guardian_id.in_(chunk)).distinct()
        found.update(connection.scalars(own))
        found.update(one for one in connection.scalars(guardians) if one is not None)
    return found
