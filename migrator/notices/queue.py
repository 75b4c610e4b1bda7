"""What `migrator_notice` holds: one row for each account, notice, occasion and channel, with how far it got.

| state | means |
|---|---|
| `queued` | decided and rendered; perhaps handed over by a process that was killed, or waiting for its next attempt |
| `sent` | a channel took it |
| `unreachable` | no address that works |
| `blocked` | no template in the reader's language |
| `failed` | the channel refused it for good, or for too long |
| `bounced` | it was taken, and came back |
| `expired` | its day passed before it could be sent |
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from migrator.core.clock import format_time, parse_time
from migrator.core.errors import ConfigError
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows
from migrator.notices.templates import Rendered, Template


class NoticeState(StrEnum):
    """How far a notice got."""

    QUEUED = "queued"
    SENT = "sent"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    FAILED = "failed"
    BOUNCED = "bounced"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Errand:
    """A notice that one account is to have."""

    account_id: str
    notice_id: str
    occasion: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An errand over one channel as decided: rendered where it can be sent, else why not.

    `detail` has no personal data. `attempts` is how often it was tried before.
    """

    errand: Errand
    channel: str
    state: NoticeState
    version: str
    wanted: str | None
    rendered: Rendered | None = None
    detail: str | None = None
    message_id: str | None = None
    delivery_key: str | None = None
    generation: int = 0
    address_ref: str | None = None
    wave: str | None = None
    queued_at: datetime
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is recorded of an errand over one channel."""

    errand: Errand
    channel: str
    state: NoticeState
    version: str
    locale: str | None
    rendered_sha256: str | None
    generation: int
    address_ref: str | None
    queued_at: datetime
    attempts: int
    retry_at: datetime | None
    accepted_at: datetime | None
    sent_at: datetime | None

    @property
    def notice_id(self) -> str:
        """Which notice it is."""
        return self.errand.notice_id

    @property
    def told_at(self) -> datetime | None:
        """When the account was told, as far as anybody knows; None also for what came back."""
        if self.state is NoticeState.SENT:
            return self.sent_at
        return self.accepted_at if self.state is NoticeState.QUEUED else None


_READ: Final = (
    "account_id", "notice_id", "occasion", "channel", "state", "version", "locale", "rendered_sha256", "generation",
    "address_ref", "queued_at", "attempts", "retry_at", "accepted_at", "sent_at",
)  # fmt: skip
_WRITTEN: Final = (
    "account_id", "notice_id", "occasion", "channel", "version", "locale", "locale_wanted", "template_sha256",
    "rendered_sha256", "state", "detail", "message_id", "delivery_key", "generation", "address_ref", "wave",
    "queued_at", "attempts", "accepted_at",
)  # fmt: skip


def stored(connection: sa.Connection, account_ids: Sequence[str], notice_id: str | None) -> dict[str, list[Stored]]:
    """All that is recorded for some accounts, or of one notice only."""
    table = tables.notice
    found: dict[str, list[Stored]] = {}
    for chunk in chunks(account_ids):
        query = sa.select(*[table.c[name] for name in _READ]).where(table.c.account_id.in_(chunk))
        if notice_id is not None:
            query = query.where(table.c.notice_id == notice_id)
        for row in connection.execute(query):
            found.setdefault(row.account_id, []).append(
                Stored(
                    errand=Errand(row.account_id, row.notice_id, row.occasion),
                    channel=row.channel,
                    state=NoticeState(row.state),
                    version=row.version,
                    locale=row.locale,
                    rendered_sha256=row.rendered_sha256,
                    generation=row.generation,
                    address_ref=row.address_ref,
                    queued_at=parse_time(row.queued_at),
                    attempts=row.attempts,
                    retry_at=_moment(row.retry_at),
                    accepted_at=_moment(row.accepted_at),
                    sent_at=_moment(row.sent_at),
                )
            )
    return found


def published(connection: sa.Connection, notice_ids: Iterable[str]) -> dict[tuple[str, str, str], Template]:
    """The templates of some notices that were sent to somebody, by their identity."""
    table = tables.notice_template.c
    query = sa.select(table.notice_id, table.version, table.locale, table.sha256, table.source).where(
        table.notice_id.in_(sorted(set(notice_ids)))
    )
    return {
        (row[0], row[1], row[2]): Template(
            notice_id=row[0], version=row[1], locale=row[2], sha256=row[3], source=row[4].encode(),
            file=f"the published template {row[0]}.{row[1]}.{row[2]}",
        )
        for row in connection.execute(query)
    }  # fmt: skip


def refuse_changed(connection: sa.Connection, templates: Iterable[Template]) -> None:
    """Raise `ConfigError` if a template's text is not the one that was published under its id, version and locale."""
    given = list(templates)
    known = published(connection, {template.notice_id for template in given})
    for template in given:
        before = known.get(template.identity)
        if before is not None and before.sha256 != template.sha256:
            raise ConfigError(
                f"{template.file} was changed after it had been sent to somebody",
                hint="put the old text back, and give the changed one the next version number",
            )


def put(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """Record what was decided, in place of what was recorded of the same errands over the same channels."""
    table = tables.notice
    if not entries:
        return
    connection.execute(table.delete().where(_one()), [_key(entry.errand, entry.channel) for entry in entries])
    insert_rows(connection, table, _WRITTEN, [_row(entry) for entry in entries])


def accept(connection: sa.Connection, entry: Entry, now: datetime) -> None:
    """A channel took it: from now on it is not handed over again."""
    statement = tables.notice.update().where(_one()).values(accepted_at=format_time(now))
    connection.execute(statement, _key(entry.errand, entry.channel))


def expire(connection: sa.Connection, rows: Sequence[Stored]) -> None:
    """What was queued for a day that has passed is not sent any more."""
    if rows:
        statement = tables.notice.update().where(_one()).values(state=NoticeState.EXPIRED.value)
        connection.execute(statement, [_key(row.errand, row.channel) for row in rows])


def settle(
    connection: sa.Connection, changes: Sequence[tuple[Errand, str, NoticeState, str | None, datetime | None]]
) -> None:
    """Record how errands over channels ended for now: (errand, channel, state, detail, time).

    The time is that of sending for `sent`, that of the next attempt for `queued`. What came back before that was
    recorded stays `bounced`: else no other channel would have its turn.
    """
    if not changes:
        return
    table = tables.notice.c
    back = table.bounced_at.is_not(None)
    statement = tables.notice.update().where(_one()).values(
        state=sa.case((back, NoticeState.BOUNCED.value), else_=sa.bindparam("new_state")),
        detail=sa.case((back, table.detail), else_=sa.bindparam("new_detail")),
        sent_at=sa.bindparam("new_sent_at"), retry_at=sa.bindparam("new_retry_at"), attempts=table.attempts + 1,
    )  # fmt: skip
    connection.execute(
        statement,
        [
            {
                **_key(errand, channel),
                "new_state": state.value,
                "new_detail": detail,
                "new_sent_at": format_time(at) if at is not None and state is NoticeState.SENT else None,
                "new_retry_at": format_time(at) if at is not None and state is NoticeState.QUEUED else None,
            }
            for errand, channel, state, detail, at in changes
        ],
    )


def _one() -> sa.ColumnElement[bool]:
    table = tables.notice.c
    return sa.and_(
        table.account_id == sa.bindparam("of_account"), table.notice_id == sa.bindparam("of_notice"),
        table.occasion == sa.bindparam("of_occasion"), table.channel == sa.bindparam("of_channel"),
    )  # fmt: skip


def _key(errand: Errand, channel: str) -> dict[str, str]:
    return {
        "of_account": errand.account_id, "of_notice": errand.notice_id, "of_occasion": errand.occasion,
        "of_channel": channel,
    }  # fmt: skip


def _row(entry: Entry) -> tuple[object, ...]:
    errand, rendered = entry.errand, entry.rendered
    return (
        errand.account_id,
        errand.notice_id,
        errand.occasion,
        entry.channel,
        entry.version,
        rendered.template.locale if rendered else None,
        entry.wanted,
        rendered.template.sha256 if rendered else None,
        rendered.sha256 if rendered else None,
        entry.state.value,
        entry.detail,
        entry.message_id,
        entry.delivery_key,
        entry.generation,
        entry.address_ref,
        entry.wave,
        format_time(entry.queued_at),
        entry.attempts,
        None,
    )


def _moment(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
