"""What `migrator_notice` holds: one row for each account, notice and channel, with how far it got.

States: `queued` (decided and rendered, perhaps delivered by a process that was killed), `sent`, and for those who were
not told `unreachable` (no address that works), `blocked` (no template in the reader's language), `failed` (the
channel refused it). All but `sent` are tried again by the next `send`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventData, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time, parse_time
from migrator.core.errors import ConfigError
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.notices.templates import Rendered, Template


class NoticeState(StrEnum):
    """How far a notice got."""

    QUEUED = "queued"
    SENT = "sent"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One account's notice as decided: rendered where it can be sent, else why not (no personal data in `detail`)."""

    account_id: str
    state: NoticeState
    version: str
    wanted: str | None
    rendered: Rendered | None = None
    detail: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What an earlier `send` recorded of an account's notice."""

    state: NoticeState
    version: str
    locale: str | None
    rendered_sha256: str | None
    queued_at: datetime


def stored(connection: sa.Connection, account_ids: Sequence[str], notice_id: str, channel: str) -> dict[str, Stored]:
    """How far the notice got for each of some accounts."""
    table = tables.notice.c
    found: dict[str, Stored] = {}
    for chunk in chunks(account_ids):
        query = sa.select(
            table.account_id, table.state, table.version, table.locale, table.rendered_sha256, table.queued_at
        ).where(table.account_id.in_(chunk), table.notice_id == notice_id, table.channel == channel)
        for row in connection.execute(query):
            found[row[0]] = Stored(NoticeState(row[1]), row[2], row[3], row[4], parse_time(row[5]))
    return found


def published(connection: sa.Connection, notice_id: str) -> dict[tuple[str, str], Template]:
    """The templates of a notice that were sent to somebody, by version and locale."""
    table = tables.notice_template.c
    query = sa.select(table.version, table.locale, table.sha256, table.source).where(table.notice_id == notice_id)
    return {
        (row[0], row[1]): Template(
            notice_id=notice_id, version=row[0], locale=row[1], sha256=row[2], source=row[3].encode(),
            file=f"the published template {notice_id}.{row[0]}.{row[1]}",
        )
        for row in connection.execute(query)
    }  # fmt: skip


def refuse_changed(connection: sa.Connection, templates: Iterable[Template]) -> None:
    """Raise `ConfigError` if a template's text is not the one that was published under its id, version and locale."""
    for template in templates:
        known = published(connection, template.notice_id).get((template.version, template.locale))
        if known is not None and known.sha256 != template.sha256:
            raise ConfigError(
                f"{template.file} was changed after it had been sent to somebody",
                hint="put the old text back, and give the changed one the next version number",
            )


def put(
    connection: sa.Connection,
    campaign: Campaign,
    channel: str,
    entries: Sequence[Entry],
    before: Mapping[str, Stored],
    *,
    notice_id: str,
    now: datetime,
) -> None:
    """Record what was decided for a page of accounts, in the caller's transaction, and publish its templates."""
    table = tables.notice
    rows = [
        {
            "account_id": entry.account_id, "notice_id": notice_id, "channel": channel,
            "version": entry.version, "locale_wanted": entry.wanted, "state": entry.state.value, "detail": entry.detail,
            "message_id": entry.message_id, "queued_at": format_time(now), "sent_at": None, **_shown(entry.rendered),
        }
        for entry in entries
    ]  # fmt: skip
    for chunk in chunks(entry.account_id for entry in entries if entry.account_id in before):
        connection.execute(
            table.delete().where(
                table.c.account_id.in_(chunk), table.c.notice_id == notice_id, table.c.channel == channel
            )
        )
    if rows:
        connection.execute(table.insert(), rows)
    _publish(connection, campaign, [entry.rendered.template for entry in entries if entry.rendered])
    news = [entry for entry in entries if entry.rendered is None and not _was(before, entry)]
    _record_failures(connection, campaign, notice_id, channel, news)


def finish(
    connection: sa.Connection,
    campaign: Campaign,
    channel: str,
    delivered: Sequence[tuple[Entry, str | None]],
    references: Mapping[str, str],
    *,
    notice_id: str,
) -> None:
    """Mark what a channel accepted (None) or rejected (why), and report it, in the caller's transaction."""
    if not delivered:
        return
    table = tables.notice
    now = campaign.clock.now()
    one = sa.and_(
        table.c.account_id == sa.bindparam("account"), table.c.notice_id == notice_id, table.c.channel == channel
    )
    values: dict[str, Any] = {
        "state": sa.bindparam("new"),
        "detail": sa.bindparam("why"),
        "sent_at": sa.bindparam("at"),
    }
    connection.execute(
        table.update().where(one).values(values),
        [
            {"account": entry.account_id, "new": NoticeState.SENT.value, "why": None, "at": format_time(now)}
            if rejection is None
            else {"account": entry.account_id, "new": NoticeState.FAILED.value, "why": rejection, "at": None}
            for entry, rejection in delivered
        ],
    )
    sent = [entry for entry, rejection in delivered if rejection is None]
    for version in sorted({entry.version for entry in sent}):
        shown = [(e.account_id, e.rendered) for e in sent if e.rendered is not None and e.version == version]
        data: EventData = {
            "notice_id": notice_id, "version": version, "channel": channel, "sent": len(shown),
            "locales": dict(Counter(rendered.template.locale for _, rendered in shown)),
            "templates": {rendered.template.locale: rendered.template.sha256 for _, rendered in shown},
            "recipients_sha256": _recipients_sha256(shown, references),
        }  # fmt: skip
        event = Event(type=EventType.NOTICE_SENT, subject=notice_id, data=data)
        outbox.record(connection, [event], actor=campaign.actor, now=now)
    failed = [replace(entry, state=NoticeState.FAILED) for entry, rejection in delivered if rejection is not None]
    _record_failures(connection, campaign, notice_id, channel, failed)


def _was(before: Mapping[str, Stored], entry: Entry) -> bool:
    known = before.get(entry.account_id)
    return known is not None and known.state is entry.state


def _shown(rendered: Rendered | None) -> dict[str, Any]:
    if rendered is None:
        return {"locale": None, "template_sha256": None, "rendered_sha256": None}
    return {
        "locale": rendered.template.locale,
        "template_sha256": rendered.template.sha256,
        "rendered_sha256": rendered.sha256,
    }


def _publish(connection: sa.Connection, campaign: Campaign, templates: Sequence[Template]) -> None:
    """Keep the text of templates that go out for the first time: authorisations may name them from now on."""
    table = tables.notice_template
    used = {template.identity: template for template in templates}
    rows = connection.execute(sa.select(table.c.notice_id, table.c.version, table.c.locale))
    new = [used[identity] for identity in sorted(used.keys() - {(row[0], row[1], row[2]) for row in rows})]
    if not new:
        return
    now = campaign.clock.now()
    connection.execute(
        table.insert(),
        [
            {
                "notice_id": template.notice_id, "version": template.version, "locale": template.locale,
                "sha256": template.sha256, "source": template.source.decode(), "published_at": format_time(now),
            }
            for template in new
        ],
    )  # fmt: skip
    events = [
        Event(
            type=EventType.NOTICE_PUBLISHED,
            subject=template.notice_id,
            data={
                "notice_id": template.notice_id, "version": template.version, "locale": template.locale,
                "sha256": template.sha256,
            },
        )
        for template in new
    ]  # fmt: skip
    outbox.record(connection, events, actor=campaign.actor, now=now)


def _record_failures(
    connection: sa.Connection, campaign: Campaign, notice_id: str, channel: str, entries: Sequence[Entry]
) -> None:
    if entries:
        reasons = dict(Counter(entry.state.value for entry in entries))
        data: EventData = {"notice_id": notice_id, "channel": channel, "reasons": reasons}
        event = Event(type=EventType.NOTICE_FAILED, subject=notice_id, data=data)
        outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())


def _recipients_sha256(shown: Sequence[tuple[str, Rendered]], references: Mapping[str, str]) -> str:
    """Digest over who was sent what (lines `reference rendered_sha256`, sorted): no row can be added later."""
    lines = sorted(f"{references[account_id]} {rendered.sha256}\n" for account_id, rendered in shown)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
