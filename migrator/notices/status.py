"""How far a notice has reached: the evidence that the notice gate reads, in numbers.

An account counts once, by the best that happened to it over all channels.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time, parse_time
from migrator.core.errors import UsageError
from migrator.core.evidence import BOUNCES_COME_WITHIN, Evidence
from migrator.database import tables
from migrator.notices import control, outlets, templates
from migrator.notices.control import Control
from migrator.notices.queue import NoticeState

UNKNOWN_LOCALE: Final = "und"
"""Where an account's locale is no locale (BCP 47: undetermined)."""
_BEST_FIRST: Final = (
    NoticeState.SENT, NoticeState.QUEUED, NoticeState.BOUNCED, NoticeState.FAILED, NoticeState.BLOCKED,
    NoticeState.UNREACHABLE, NoticeState.EXPIRED,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldChannel:
    """A channel that is not used: until a time, or until somebody resumes it (`not_before` is None)."""

    channel: str
    not_before: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeStatus:
    """Reach of one notice.

    `accounts`: all of the source. `waiting`: those for whom nothing is recorded yet. `states`: the others by the best
    that happened; `locales`: the same for each locale that readers asked for. `channels`: rows by channel and state.
    `evidence`: accounts by level. `waves`: accounts that were told, by the wave they were told in. `not_told`: why the
    others were not. `complaints`: how many. `reminders_off`: accounts that opted out.
    """

    notice_id: str
    channel: str
    accounts: int
    waiting: int
    states: dict[str, int]
    locales: dict[str, dict[str, int]]
    channels: dict[str, dict[str, int]]
    evidence: dict[str, int]
    waves: dict[str, int]
    not_told: dict[str, int]
    complaints: int
    reminders_off: int
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    control: Control
    held_channels: tuple[HeldChannel, ...]


def status(campaign: Campaign, *, notice_id: str = templates.DEFAULT_NOTICE) -> NoticeStatus:
    """Count how far a notice has reached. Raises `UsageError` for a notice that there is not and never was."""
    with campaign.database.read() as connection:
        found = counts(connection, notice_id, campaign.clock.now())
        held = control.read(connection, campaign.name)
        rows = connection.execute(sa.select(tables.notice_channel).order_by(tables.notice_channel.c.channel)).all()
        off = connection.scalar(
            sa.select(sa.func.count()).where(tables.notice_preference.c.reminders_off_at.is_not(None))
        )
    if not found.states:
        known = templates.found(campaign.settings, campaign.spec.directory)
        if notice_id not in {template.notice_id for template in known}:
            raise UsageError(f"there is no notice {notice_id!r}", hint="`migrator notify templates` lists them")
    accounts = sum(len(page) for page in campaign.store.all_accounts())
    states = {state.value: found.states.get(state.value, 0) for state in NoticeState}
    return NoticeStatus(
        notice_id=notice_id,
        channel=", ".join(outlets.names(campaign)),
        accounts=accounts,
        waiting=max(0, accounts - sum(states.values())),
        states=states,
        locales=found.locales,
        channels=found.channels,
        evidence=found.evidence,
        waves=found.waves,
        not_told=found.not_told,
        complaints=found.complaints,
        reminders_off=off or 0,
        first_sent_at=parse_time(found.first) if found.first else None,
        last_sent_at=parse_time(found.last) if found.last else None,
        control=held,
        held_channels=tuple(
            HeldChannel(
                channel=row.channel, not_before=None if row.disabled_at else row.not_before, detail=row.detail or ""
            )
            for row in rows
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the rows of one notice amount to; see `NoticeStatus`."""

    states: dict[str, int]
    locales: dict[str, dict[str, int]]
    channels: dict[str, dict[str, int]]
    evidence: dict[str, int]
    waves: dict[str, int]
    not_told: dict[str, int]
    complaints: int
    first: str | None
    last: str | None


def counts(connection: sa.Connection, notice_id: str, now: datetime) -> Counts:
    """Count the rows of one notice; the database does it, whatever their number."""
    table = tables.notice.c
    ours = table.notice_id == notice_id
    best = _best(notice_id, now)
    states: dict[str, int] = defaultdict(int)
    by_locale: dict[str, dict[str, int]] = defaultdict(dict)
    evidence = {level.name: 0 for level in Evidence}
    query = sa.select(best.c.rank, best.c.locale, best.c.level, sa.func.count()).group_by(
        best.c.rank, best.c.locale, best.c.level
    )
    for rank, locale, level, count in connection.execute(query):
        state = _BEST_FIRST[rank].value
        states[state] += count
        evidence[Evidence(level).name] += count
        mine = by_locale[locale or UNKNOWN_LOCALE]
        mine[state] = mine.get(state, 0) + count
    by_channel: dict[str, dict[str, int]] = defaultdict(dict)
    for channel, state, count in connection.execute(
        sa.select(table.channel, table.state, sa.func.count()).where(ours).group_by(table.channel, table.state)
    ):
        by_channel[channel][state] = count
    first, last, complaints = connection.execute(
        sa.select(sa.func.min(table.sent_at), sa.func.max(table.sent_at), sa.func.count(table.complained_at)).where(
            ours
        )
    ).one()
    waves = connection.execute(
        sa.select(table.wave, sa.func.count(sa.distinct(table.account_id)))
        .where(ours, table.state == NoticeState.SENT.value, table.wave.is_not(None))
        .group_by(table.wave)
    )
    return Counts(
        states=dict(states), locales=dict(sorted(by_locale.items())), channels=dict(sorted(by_channel.items())),
        evidence=evidence, waves=dict(sorted((row[0], row[1]) for row in waves)),
        not_told=_not_told(connection, notice_id), complaints=complaints, first=first, last=last,
    )  # fmt: skip


def unreachable(connection: sa.Connection, notice_id: str) -> Iterator[tuple[str, str, str, str]]:
    """The accounts that no channel has told, in order: (account id, channel, state, detail), a row for each channel."""
    table = tables.notice.c
    query = (
        sa.select(table.account_id, table.channel, table.state, sa.func.coalesce(table.detail, ""))
        .where(_untold(notice_id))
        .order_by(table.account_id, table.channel)
    )
    for row in connection.execution_options(yield_per=1000).execute(query):
        yield row[0], row[1], row[2], row[3]


def _best(notice_id: str, now: datetime) -> sa.Subquery:
    """One row for each account: the rank of its best state, the locale it asked for, its evidence level."""
    table = tables.notice.c
    record = tables.authorization.c
    rank = sa.case({state.value: place for place, state in enumerate(_BEST_FIRST)}, value=table.state)
    acted = sa.exists().where(sa.or_(record.account_id == table.account_id, record.guardian_id == table.account_id))
    quiet = table.sent_at <= format_time(now - BOUNCES_COME_WITHIN)
    level = sa.case(
        (table.sent_at.is_(None), Evidence.E0),
        (acted, Evidence.E4),
        (table.seen_at.is_not(None), Evidence.E3),
        (table.bounced_at.is_not(None), Evidence.E0),
        (quiet, Evidence.E2),
        else_=Evidence.E1,
    )
    return (
        sa.select(
            sa.func.min(rank).label("rank"), sa.func.max(table.locale_wanted).label("locale"),
            sa.func.max(level).label("level"),
        )
        .where(table.notice_id == notice_id)
        .group_by(table.account_id)
        .subquery()
    )  # fmt: skip


def _not_told(connection: sa.Connection, notice_id: str) -> dict[str, int]:
    """Rows of accounts that nobody told, by what stands against it."""
    table = tables.notice.c
    detail = sa.func.coalesce(table.detail, "")
    query = sa.select(table.state, detail, sa.func.count()).where(_untold(notice_id)).group_by(table.state, detail)
    rows = ((f"{state}: {why}" if why else state, count) for state, why, count in connection.execute(query))
    return dict(sorted(rows))


def _untold(notice_id: str) -> sa.ColumnElement[bool]:
    """The rows of a notice to accounts that no channel has told, or is about to tell."""
    table, told = tables.notice.c, tables.notice.alias("told").c
    reached = sa.exists().where(
        told.account_id == table.account_id, told.notice_id == notice_id,
        told.state.in_((NoticeState.SENT.value, NoticeState.QUEUED.value)),
    )  # fmt: skip
    return sa.and_(table.notice_id == notice_id, ~reached)
