"""What campaign and source know about a batch of records, looked up in a few queries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.authorization import AuthorizationRecord, NoticeShown, Surroundings
from migrator.core.encoding import b64url_decode
from migrator.core.model import Account, Device
from migrator.database import tables
from migrator.database.bulk import chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Answers for one batch. `recorded`: digests of the records that are there already, by id."""

    campaign: str
    issuers: Mapping[str, bytes]
    accounts: Mapping[str, Account]
    devices: Mapping[str, Device]
    recipient_key_ids: frozenset[str]
    notices: frozenset[NoticeShown]
    recorded: Mapping[str, str]

    def around(self, record: AuthorizationRecord, now: datetime) -> Surroundings:
        """What the check of one record needs."""
        guardian_id = record.guardian_id
        return Surroundings(
            campaign=self.campaign,
            account=self.accounts.get(record.account_id),
            guardian=None if guardian_id is None else self.accounts.get(guardian_id),
            device=self.devices.get(record.token.kid),
            issuers=self.issuers,
            recipient_key_ids=self.recipient_key_ids,
            notices=self.notices,
            now=now,
        )


def look_up(campaign: Campaign, records: Sequence[AuthorizationRecord]) -> Known:
    """Look up everything about a batch; `SourceError` or `DatabaseError` where that fails as a whole."""
    account_ids = {r.account_id for r in records} | {r.guardian_id for r in records if r.guardian_id is not None}
    device_ids = {r.token.kid for r in records if r.issuer is None}
    with campaign.database.read() as connection:
        recorded = digests(connection, (r.record_id for r in records))
        recipient_key_ids = _recipient_keys(connection)
        notices = _published(connection)
    return Known(
        campaign=campaign.name,
        issuers={name: b64url_decode(key) for name, key in campaign.settings.authorization.issuers.items()},
        accounts=campaign.store.accounts(sorted(account_ids)),
        devices=campaign.store.devices(sorted(device_ids)),
        recipient_key_ids=recipient_key_ids,
        notices=notices,
        recorded=recorded,
    )


def digests(connection: sa.Connection, record_ids: Iterable[str]) -> dict[str, str]:
    """Digests of those records that are in the migrator database, by id."""
    table = tables.authorization
    found: dict[str, str] = {}
    for chunk in chunks(record_ids):
        query = sa.select(table.c.record_id, table.c.record_sha256).where(table.c.record_id.in_(chunk))
        found.update((row[0], row[1]) for row in connection.execute(query))
    return found


def _recipient_keys(connection: sa.Connection) -> frozenset[str]:
    table = tables.recipient_key
    query = sa.select(table.c.recipient_key_id).where(table.c.destroyed_at.is_(None))
    return frozenset(connection.scalars(query))


def _published(connection: sa.Connection) -> frozenset[NoticeShown]:
    """The notice templates that were sent to somebody."""
    table = tables.notice_template
    query = sa.select(table.c.notice_id, table.c.version, table.c.locale, table.c.sha256)
    return frozenset(
        NoticeShown(notice_id=notice_id, version=version, locale=locale, sha256=sha256)
        for notice_id, version, locale, sha256 in connection.execute(query)
    )
