"""Exports and parts that turn out unusable when they are needed: said once, whoever meets them."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.audit.references import ensure_salts
from migrator.campaign import Campaign
from migrator.core.outcomes import RefusalReason
from migrator.database import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRefusal:
    """A part, or where `part_no` is None a whole export, that turned out unusable."""

    export_no: int
    part_no: int | None
    reason: RefusalReason


def record_refusals(
    connection: sa.Connection, campaign: Campaign, refusals: Iterable[ExportRefusal], run_id: str | None
) -> None:
    """Mark what was refused and write its events, in the caller's transaction; what is marked already is left alone."""
    # In one order everywhere, so that two workers never wait for each other's rows.
    ordered = sorted(set(refusals), key=lambda r: (r.export_no, -1 if r.part_no is None else r.part_no))
    news = [refusal for refusal in ordered if _mark(connection, refusal)]
    if not news:
        return
    table = tables.export
    exports = {
        row.export_no: row
        for row in connection.execute(
            sa.select(table.c.export_no, table.c.export_id, table.c.account_id, table.c.manifest_sha256).where(
                table.c.export_no.in_({refusal.export_no for refusal in news})
            )
        )
    }
    accounts = {row.account_id for row in exports.values()}
    ensure_salts(connection, accounts)
    names = campaign.references.accounts(connection, accounts)
    events = [
        Event(
            type=EventType.EXPORT_REFUSED,
            subject=names[exports[refusal.export_no].account_id],
            run_id=run_id,
            data={
                "export_id": exports[refusal.export_no].export_id,
                "manifest_sha256": exports[refusal.export_no].manifest_sha256,
                "part": refusal.part_no,
                "reason": refusal.reason.value,
            },
        )
        for refusal in news
    ]
    outbox.record(connection, events, actor=campaign.actor, now=campaign.clock.now())


def _mark(connection: sa.Connection, refusal: ExportRefusal) -> bool:
    """Whether this call is the one that marks it: the row's lock lets one worker win."""
    if refusal.part_no is None:
        table = tables.export
        update = table.update().where(table.c.export_no == refusal.export_no, table.c.refused.is_(None))
    else:
        part = tables.export_part
        update = part.update().where(
            part.c.export_no == refusal.export_no, part.c.part_no == refusal.part_no, part.c.refused.is_(None)
        )
    return connection.execute(update.values(refused=refusal.reason.value)).rowcount == 1
