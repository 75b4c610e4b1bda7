"""Gathers what the schedule looks at, for a page of accounts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import parse_time
from migrator.core.model import Account
from migrator.core.policy import Answer
from migrator.core.schedule import Case, StepKind
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.notices import locales
from migrator.notices.circumstances import Circumstances, RecordedAnswer
from migrator.notices.kinds import Audience, NoticeKind
from migrator.notices.queue import Stored

UTC_ZONE: Final = ZoneInfo("UTC")
_TELLING: Final = frozenset({NoticeKind.FIRST, NoticeKind.REMINDER, NoticeKind.LAST_CALL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One account's case for the schedule, and for the words of its notices."""

    case: Case
    first_told_at: datetime | None
    audience: Audience | None
    answers: Mapping[str, RecordedAnswer]

    def circumstances(self, notice_id: str, occasion: str) -> Circumstances:
        """What one notice may say of this account."""
        return Circumstances(
            audience=self.audience,
            first_noticed_at=None if notice_id == NoticeKind.FIRST else self.first_told_at,
            moved=self.case.moved,
            sealed=self.case.sealed,
            answer=self.answers.get(occasion),
        )


@dataclass(frozen=True, slots=True)
class _Record:
    account_id: str
    guardian_id: str | None
    answer: RecordedAnswer


def gather(
    connection: sa.Connection, accounts: Sequence[Account], rows: Mapping[str, list[Stored]], now: datetime,
    *, results: bool,
) -> dict[str, Known]:  # fmt: skip
    """What is known of some accounts. `results`: whether `migrator_notice_result` is complete."""
    ids = [account.account_id for account in accounts]
    own, signed = (
        _newest(connection, ids, tables.authorization.c.account_id),
        _newest(connection, ids, tables.authorization.c.guardian_id),
    )
    waiting = _wards_without_answer(connection, ids)
    off = _reminders_off(connection, ids)
    became = _results(connection, ids) if results else {}
    found = {}
    for account in accounts:
        identifier = account.account_id
        mine = rows.get(identifier, [])
        records = [*own.get(identifier, ()), *signed.get(identifier, ())]
        told = [row for row in mine if row.notice_id in _TELLING and row.told_at is not None]
        first = [row.told_at for row in told if row.notice_id == NoticeKind.FIRST]
        confirmed = {row.errand.occasion for row in mine if row.notice_id == NoticeKind.RECEIVED and row.told_at}
        moved, sealed = became.get(identifier, (0, 0)) if results else (None, None)
        case = Case(
            zone=locales.zone(account.timezone) or UTC_ZONE,
            told_at=max(row.told_at or now for row in told) if first else None,
            answered=_answered(account, own.get(identifier, ()), now) and not waiting.get(identifier, 0),
            reminders_off=identifier in off,
            had=frozenset(_had(mine)),
            moved=moved,
            sealed=sealed,
            unconfirmed=tuple(sorted({r.answer.record_id for r in records} - confirmed)),
        )
        found[identifier] = Known(
            case=case,
            first_told_at=min((at for at in first if at is not None), default=None),
            audience=Audience.GUARDIAN if identifier in waiting and not account.minor else None,
            answers={record.answer.record_id: record.answer for record in records},
        )
    return found


def can_be_stored(account_id: str) -> bool:
    """Databases take no NUL and no broken UTF-8; an account with such an id can't authorise anything either."""
    return "\0" not in account_id and account_id.encode("utf-8", "replace").decode() == account_id


def note_wards(campaign: Campaign) -> None:
    """Learn from the source who is whose guardian: only the wards' accounts say so."""
    table = tables.notice_ward
    for accounts in campaign.store.all_accounts():
        for chunk in chunks(accounts):
            storable = {account.account_id: account for account in chunk if can_be_stored(account.account_id)}
            pairs = {
                (account.guardian_account_id, identifier)
                for identifier, account in storable.items()
                if account.minor and account.guardian_account_id and can_be_stored(account.guardian_account_id)
            }
            known = table.c.account_id.in_(list(storable))  # all of them: who was a ward may be one no longer
            with campaign.database.read() as connection:
                query = sa.select(table.c.guardian_id, table.c.account_id).where(known)
                there = {(row[0], row[1]) for row in connection.execute(query)}
            if there != pairs:
                with campaign.database.write("notices-wards") as connection:
                    connection.execute(table.delete().where(known))
                    if pairs:
                        rows = [{"guardian_id": g, "account_id": w} for g, w in sorted(pairs)]
                        connection.execute(table.insert(), rows)


def _had(rows: Iterable[Stored]) -> Iterable[str]:
    for row in rows:
        if row.notice_id in (NoticeKind.DONE, NoticeKind.KEPT_SEALED) and row.told_at is not None:
            yield row.errand.occasion
            if row.notice_id == NoticeKind.DONE:
                yield StepKind.MOVED.value


def _answered(account: Account, records: Sequence[_Record], now: datetime) -> bool:
    """Whether somebody who counts has spoken for the account; an answer that has expired does not count any more."""
    for record in records:
        expires = record.answer.valid_until
        grant = record.answer.answer is Answer.GRANT
        if grant and expires is not None and now >= expires:
            continue
        if not account.minor or record.guardian_id is not None or not grant:
            return True
    return False


def _newest(connection: sa.Connection, ids: Sequence[str], by: sa.Column[str]) -> dict[str, list[_Record]]:
    """The newest records about (or signed as a guardian by) each account: its own, and a guardian's of each ward."""
    table = tables.authorization
    found: dict[str, list[_Record]] = {}
    for chunk in chunks(ids):
        newest = (
            sa.select(sa.func.max(table.c.authorization_no))
            .where(by.in_(chunk))
            .group_by(by, table.c.account_id, table.c.guardian_id.is_(None))
        )
        query = sa.select(
            by.label("of"), table.c.account_id, table.c.guardian_id, table.c.answer, table.c.recorded_at,
            table.c.record_id, table.c.covers_all, table.c.valid_until,
        ).where(table.c.authorization_no.in_(newest))  # fmt: skip
        for row in connection.execute(query):
            answer = RecordedAnswer(
                answer=Answer(row.answer),
                recorded_at=parse_time(row.recorded_at),
                record_id=row.record_id,
                all_conversations=row.covers_all,
                valid_until=parse_time(row.valid_until) if row.valid_until else None,
            )
            found.setdefault(row.of, []).append(_Record(row.account_id, row.guardian_id, answer))
    return found


def _wards_without_answer(connection: sa.Connection, ids: Sequence[str]) -> dict[str, int]:
    """For each of the accounts that is a guardian: how many wards it has not answered for."""
    ward, record = tables.notice_ward, tables.authorization
    found: dict[str, int] = {}
    for chunk in chunks(ids):
        answered = sa.exists().where(
            record.c.account_id == ward.c.account_id, record.c.guardian_id == ward.c.guardian_id
        )
        query = (
            sa.select(ward.c.guardian_id, sa.func.sum(sa.case((answered, 0), else_=1)))
            .where(ward.c.guardian_id.in_(chunk))
            .group_by(ward.c.guardian_id)
        )
        found.update((row[0], int(row[1])) for row in connection.execute(query))
    return found


def _reminders_off(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    table = tables.notice_preference
    found: set[str] = set()
    for chunk in chunks(ids):
        query = sa.select(table.c.account_id).where(
            table.c.account_id.in_(chunk), table.c.reminders_off_at.is_not(None)
        )
        found.update(connection.scalars(query))
    return found


def _results(connection: sa.Connection, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    table = tables.notice_result
    found: dict[str, tuple[int, int]] = {}
    for chunk in chunks(ids):
        query = sa.select(table.c.account_id, table.c.moved, table.c.sealed).where(table.c.account_id.in_(chunk))
        found.update((row[0], (row[1], row[2])) for row in connection.execute(query))
    return found
