"""The one transaction that writes a batch: records, scopes, audit events and the raised version, or nothing (G3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

import sqlalchemy as sa

from migrator.audit import outbox, references
from migrator.audit.events import Event, EventType
from migrator.authorizations.known import digests
from migrator.authorizations.scopes import COLUMNS as SCOPE_COLUMNS
from migrator.authorizations.scopes import lock, raise_version, thread_keys
from migrator.campaign import Campaign
from migrator.core.authorization import AuthorizationRecord
from migrator.core.clock import format_time
from migrator.core.outcomes import RefusalReason
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows

_COLUMNS: Final = (
    "record_id", "record_sha256", "account_id", "guardian_id", "answer", "covers_all", "decided_at", "valid_until",
    "device_id", "issuer", "notice_id", "notice_version", "notice_locale", "recorded_at", "record",
)  # fmt: skip
_SIGNER_UNKNOWN: Final = frozenset(
    {RefusalReason.UNKNOWN_ACCOUNT, RefusalReason.UNKNOWN_ISSUER, RefusalReason.BAD_SIGNATURE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A candidate that is not taken. `issuer`: the one that signed it, if one did; `sha256` of its text, if read."""

    reason: RefusalReason
    record_id: str | None = None
    issuer: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A record that nothing stands against."""

    record: AuthorizationRecord
    sha256: str

    def refused(self, reason: RefusalReason) -> Refusal:
        """The same record, not taken after all; an issuer is named only if it did sign."""
        issuer = None if reason in _SIGNER_UNKNOWN else self.record.issuer
        return Refusal(reason=reason, record_id=self.record.record_id, issuer=issuer, sha256=self.sha256)


class Repeat(Enum):
    """A record that was imported before, byte for byte."""

    ALREADY = "already"


Verdict = Verified | Refusal | Repeat


def record_batch(campaign: Campaign, verdicts: Sequence[Verdict], now: datetime) -> list[Verdict]:
    """Write what was verified and report what was refused; the verdicts that came of it, in the same order.

    A verified record becomes `already` or a `duplicate_record` where another import, or an earlier line, came first.
    """
    if all(verdict is Repeat.ALREADY for verdict in verdicts):
        return list(verdicts)
    scopes = [v.record.conversations or () for v in verdicts if isinstance(v, Verified)]
    keys = thread_keys(campaign.store, (identifier for ids in scopes for identifier in ids))
    reference_key = campaign.references  # asks the key service: not while others wait for this transaction
    with campaign.database.write("authorizations-import") as connection:
        lock(connection)
        settled = _settle(connection, verdicts)
        new = [verdict for verdict in settled if isinstance(verdict, Verified)]
        _insert(connection, new, keys, now)
        accounts = {verdict.record.account_id for verdict in new}
        references.ensure_salts(connection, accounts)
        subjects = reference_key.accounts(connection, accounts)
        outbox.record(connection, _events(settled, subjects), actor=campaign.actor, now=now)
        if new:
            raise_version(connection, campaign.name)
    return settled


def _settle(connection: sa.Connection, verdicts: Sequence[Verdict]) -> list[Verdict]:
    recorded = digests(connection, (v.record.record_id for v in verdicts if isinstance(v, Verified)))
    settled: list[Verdict] = []
    for verdict in verdicts:
        if not isinstance(verdict, Verified):
            settled.append(verdict)
            continue
        first = recorded.get(verdict.record.record_id)
        if first is None:
            recorded[verdict.record.record_id] = verdict.sha256
            settled.append(verdict)
        elif first == verdict.sha256:
            settled.append(Repeat.ALREADY)
        else:
            settled.append(verdict.refused(RefusalReason.DUPLICATE_RECORD))
    return settled


def _insert(connection: sa.Connection, new: Sequence[Verified], keys: Mapping[str, str], now: datetime) -> None:
    recorded_at = format_time(now)
    insert_rows(connection, tables.authorization, _COLUMNS, [_row(v, recorded_at) for v in new])
    scoped = {v.record.record_id: v.record.conversations for v in new if v.record.conversations is not None}
    table = tables.authorization
    for chunk in chunks(scoped):
        query = sa.select(table.c.record_id, table.c.authorization_no).where(table.c.record_id.in_(chunk))
        rows = {
            (number, keys[identifier])
            for record_id, number in connection.execute(query)
            for identifier in scoped[record_id]
        }
        insert_rows(connection, tables.authorization_scope, SCOPE_COLUMNS, sorted(rows))


def _row(verified: Verified, recorded_at: str) -> tuple[object, ...]:
    record = verified.record
    return (
        record.record_id,
        verified.sha256,
        record.account_id,
        record.guardian_id,
        record.answer.value,
        record.conversations is None,
        format_time(record.decided_at),
        None if record.valid_until is None else format_time(record.valid_until),
        record.device_id,
        record.issuer,
        record.notice.notice_id,
        record.notice.version,
        record.notice.locale,
        recorded_at,
        record.token.text,
    )


def _events(settled: Sequence[Verdict], subjects: Mapping[str, str]) -> list[Event]:
    events: list[Event] = []
    for verdict in settled:
        if isinstance(verdict, Verified):
            events.append(_recorded(verdict, subjects[verdict.record.account_id]))
        elif isinstance(verdict, Refusal):
            events.append(_refused(verdict))
    return events


def _recorded(verified: Verified, subject: str) -> Event:
    return Event(
        type=EventType.AUTHORIZATION_RECORDED,
        subject=subject,
        data={
            "answer": verified.record.answer.value,
            "guardian": verified.record.guardian_id is not None,
            "issuer": verified.record.issuer,
            "record_sha256": verified.sha256,
        },
    )


def _refused(refusal: Refusal) -> Event:
    """Names nobody: whose a refused record is, is a claim. The digest lets who sent it find it again."""
    return Event(
        type=EventType.AUTHORIZATION_REFUSED,
        data={"reason": refusal.reason.value, "issuer": refusal.issuer, "record_sha256": refusal.sha256},
    )
