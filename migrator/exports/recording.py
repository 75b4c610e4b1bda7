"""What an import writes: an export whole and sealed with its event, or the event of its refusal."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.audit.references import References, ensure_salts
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.export import Manifest
from migrator.core.outcomes import RefusalReason, Refused
from migrator.database import locks, tables
from migrator.database.bulk import chunks, insert_rows

_CONVERSATION_COLUMNS: Final = ("conversation_id", "export_no", "messages", "coverage")
_CONVERSATION_BATCH: Final = 5_000


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What is known of an archive so far, for the report and the event of a refusal.

    `account_id` is set once the signer was checked: nobody else's word names an account in the audit log.
    """

    export_id: str | None = None
    manifest_sha256: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """The manifest as it stands on record, and who answers for it: a device, an issuer, or who brought it in."""

    text: str
    issuer: str | None = None
    brought_in_by: str | None = None


def recorded_sha256(connection: sa.Connection, export_id: str) -> str | None:
    """Digest of the manifest that was recorded under this id; None if there is none."""
    table = tables.export
    return connection.scalar(sa.select(table.c.manifest_sha256).where(table.c.export_id == export_id))


def recipient_key_usable(connection: sa.Connection, recipient_key_id: str) -> bool:
    """Whether the campaign has this recipient key and did not destroy it."""
    table = tables.recipient_key
    query = sa.select(table.c.recipient_key_id).where(
        table.c.recipient_key_id == recipient_key_id, table.c.destroyed_at.is_(None)
    )
    return connection.scalar(query) is not None


def record(campaign: Campaign, voucher: Voucher, manifest: Manifest, parts: Iterator[bytes], now: datetime) -> bool:
    """Write an export with its sealed parts and its event; False if another import was faster with the same one."""
    sha256 = hashlib.sha256(voucher.text.encode()).hexdigest()
    names = campaign.references  # may ask a key service: not under the lock
    with campaign.database.write("exports-import") as connection:
        locks.one_at_a_time(connection, "import")  # so that exports' numbers are those of their commits
        before = recorded_sha256(connection, manifest.export_id)
        if before is not None:
            # What is brought in is sealed anew each time; that its id is the same says that it is the same.
            if before != sha256 and voucher.brought_in_by is None:
                raise Refused(RefusalReason.DUPLICATE_EXPORT)
            return False
        export_no = _insert_export(connection, voucher, manifest, sha256, now)
        _insert_parts(connection, export_no, manifest, parts)
        for batch in chunks(manifest.conversations, _CONVERSATION_BATCH):
            rows = [
                (c.conversation_id, export_no, c.messages, canonical_json(list(c.coverage)).decode()) for c in batch
            ]
            insert_rows(connection, tables.export_conversation, _CONVERSATION_COLUMNS, rows)
        event = Event(
            type=EventType.EXPORT_RECORDED,
            subject=_reference(names, connection, manifest.account_id),
            data={
                "export_id": manifest.export_id,
                "kind": manifest.kind.value,
                "parts": len(manifest.parts),
                "conversations": len(manifest.conversations),
                "issuer": voucher.issuer,
                "manifest_sha256": sha256,
                **({} if voucher.brought_in_by is None else {"brought_in": True}),
            },
        )
        outbox.record(connection, [event], actor=campaign.actor, now=now)
    return True


def _insert_export(connection: sa.Connection, voucher: Voucher, manifest: Manifest, sha256: str, now: datetime) -> int:
    table = tables.export
    connection.execute(
        table.insert().values(
            export_id=manifest.export_id,
            account_id=manifest.account_id,
            kind=manifest.kind.value,
            scheme=manifest.scheme,
            device_id=manifest.device_id,
            issuer=voucher.issuer,
            created_at=format_time(manifest.created_at),
            recipient_key_id=manifest.recipient_key_id,
            manifest_sha256=sha256,
            manifest=voucher.text,
            recorded_at=format_time(now),
            brought_in_by=voucher.brought_in_by,
        )
    )
    export_no: int = connection.execute(
        sa.select(table.c.export_no).where(table.c.export_id == manifest.export_id)
    ).scalar_one()
    return export_no


def _insert_parts(connection: sa.Connection, export_no: int, manifest: Manifest, parts: Iterator[bytes]) -> None:
    for part_no, sealed in enumerate(parts):
        row = {"export_no": export_no, "part_no": part_no, "sha256": manifest.parts[part_no].sha256, "sealed": sealed}
        connection.execute(tables.export_part.insert(), row)


def record_refusal(campaign: Campaign, attempt: Attempt, reason: RefusalReason) -> None:
    """The event of a refusal, in a transaction of its own: the archive's was rolled back."""
    data: dict[str, str | None] = {"reason": reason.value, "manifest_sha256": attempt.manifest_sha256}
    names = campaign.references if attempt.account_id is not None else None
    with campaign.database.write("exports-refused") as connection:
        subject = None
        if names is not None and attempt.account_id is not None:
            subject = _reference(names, connection, attempt.account_id)
            data["export_id"] = attempt.export_id
        event = Event(type=EventType.EXPORT_REFUSED, subject=subject, data=data)
        outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())


def _reference(names: References, connection: sa.Connection, account_id: str) -> str:
    ensure_salts(connection, [account_id])
    return names.accounts(connection, [account_id])[account_id]
