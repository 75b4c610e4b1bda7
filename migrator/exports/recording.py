"""What an import writes: an export whole and sealed with its event, or the event of its refusal."""

import hashlib
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
from migrator.core.export import Manifest, part_name
from migrator.core.limits import LIMITS
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.signatures import SignedToken
from migrator.database import locks, tables
from migrator.database.bulk import chunks, insert_rows
from migrator.exports.archive import ArchiveReader

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


def record(campaign: Campaign, token: SignedToken, manifest: Manifest, archive: ArchiveReader, now: datetime) -> bool:
    """Write an export with its parts and its event; False if another import was faster with the same one."""
    sha256 = hashlib.sha256(token.text.encode()).hexdigest()
    names = campaign.references  # may ask a key service: not under the lock
    with campaign.database.write("exports-import") as connection:
        locks.one_at_a_time(connection, "import")  # so that exports' numbers are those of their commits
        before = recorded_sha256(connection, manifest.export_id)
        if before is not None:
            if before != sha256:
                raise Refused(RefusalReason.DUPLICATE_EXPORT)
            return False
        export_no = _insert_export(connection, token, manifest, sha256, now)
        _insert_parts(connection, export_no, manifest, archive)
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
                "issuer": token.issuer,
                "manifest_sha256": sha256,
            },
        )
        outbox.record(connection, [event], actor=campaign.actor, now=now)
    return True


def _insert_export(
    connection: sa.Connection, token: SignedToken, manifest: Manifest, sha256: str, now: datetime
) -> int:
    table = tables.export
    connection.execute(
        table.insert().values(
            export_id=manifest.export_id,
            account_id=manifest.account_id,
            kind=manifest.kind.value,
            scheme=manifest.scheme,
            device_id=manifest.device_id,
            issuer=token.issuer,
            created_at=format_time(manifest.created_at),
            recipient_key_id=manifest.recipient_key_id,
            manifest_sha256=sha256,
            manifest=token.text,
            recorded_at=format_time(now),
        )
    )
    export_no: int = connection.execute(
        sa.select(table.c.export_no).where(table.c.export_id == manifest.export_id)
    ).scalar_one()
    return export_no


def _insert_parts(connection: sa.Connection, export_no: int, manifest: Manifest, archive: ArchiveReader) -> None:
    names = [part_name(part_no) for part_no in range(len(manifest.parts))]
    expected = frozenset(names)
    for part_no, part in enumerate(manifest.parts):
        sealed = archive.member(names[part_no], max_bytes=LIMITS.part_bytes, later=expected)
        if len(sealed) != part.size or hashlib.sha256(sealed).hexdigest() != part.sha256:
            raise Refused(RefusalReason.DIGEST_MISMATCH, names[part_no])
        connection.execute(
            tables.export_part.insert(),
            {"export_no": export_no, "part_no": part_no, "sha256": part.sha256, "sealed": sealed},
        )
    archive.end()


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
