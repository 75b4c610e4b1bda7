"""How far a notice has reached: the evidence that the notice gate reads, in numbers."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import parse_time
from migrator.core.errors import UsageError
from migrator.database import tables
from migrator.notices import templates
from migrator.notices.queue import NoticeState

UNKNOWN_LOCALE = "und"
"""Where an account's locale is no locale (BCP 47: undetermined)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeStatus:
    """Reach of one notice over the configured channel.

    `accounts`: all of the source. `waiting`: those for whom nothing is recorded yet. `states` counts the others.
    `locales`: the same counts for each locale that readers asked for.
    """

    notice_id: str
    channel: str
    accounts: int
    waiting: int
    states: dict[str, int]
    locales: dict[str, dict[str, int]]
    first_sent_at: datetime | None
    last_sent_at: datetime | None


def status(campaign: Campaign, *, notice_id: str = templates.DEFAULT_NOTICE) -> NoticeStatus:
    """Count how far a notice has reached. Raises `UsageError` for a notice that there is not and never was."""
    channel = campaign.settings.notify.channel.partition(":")[0]
    table = tables.notice.c
    ours = sa.and_(table.notice_id == notice_id, table.channel == channel)
    with campaign.database.read() as connection:
        counted = connection.execute(
            sa.select(table.state, table.locale_wanted, sa.func.count())
            .where(ours)
            .group_by(table.state, table.locale_wanted)
        ).all()
        first, last = connection.execute(
            sa.select(sa.func.min(table.sent_at), sa.func.max(table.sent_at)).where(ours)
        ).one()
    if not counted:
        known = templates.catalogue(campaign.settings, campaign.spec.directory)
        if notice_id not in {template.notice_id for template in known}:
            raise UsageError(f"there is no notice {notice_id!r}", hint="`migrator notify templates` lists them")
    accounts = sum(len(page) for page in campaign.store.all_accounts())
    states, by_locale = _sums(counted)
    return NoticeStatus(
        notice_id=notice_id,
        channel=channel,
        accounts=accounts,
        waiting=max(0, accounts - sum(states.values())),
        states=states,
        locales=by_locale,
        first_sent_at=parse_time(first) if first else None,
        last_sent_at=parse_time(last) if last else None,
    )


def _sums(counted: Any) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    states = {state.value: 0 for state in NoticeState}
    by_locale: dict[str, dict[str, int]] = defaultdict(dict)
    for state, locale, count in counted:
        states[state] += count
        by_locale[locale or UNKNOWN_LOCALE][state] = count
    return states, dict(sorted(by_locale.items()))
