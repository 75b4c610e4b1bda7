"""Makes a campaign final, or shreds what stayed sealed; killed at any instant it goes on when it is called again.

1. Gates, in the transaction that makes the row. From then on nothing can be rolled back.
2. The source: what readers see, message by message (`retiring`), or all that is left (`shredding`).
3. With what was migrated go the sealed exports, and, if no export had to stay, the recipient keys: nobody opens
   anything of this campaign any more.
4. The last transaction: state, the `source.retired` event. Then the certificate, from the rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from migrator import lease as leases
from migrator import plugins
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign, located_source
from migrator.core.clock import format_time
from migrator.core.errors import GateError
from migrator.core.progress import Progress
from migrator.database import tables
from migrator.finalization import certificate, retiring, shredding, state
from migrator.finalization.gates import require_confirmed, require_final, require_grace_over, require_source
from migrator.finalization.state import Finalization, Progressed, What
from migrator.lease import Lease
from migrator.stores.interface import Eraser

_AT_ONCE: Final = 100
"""Exports whose parts go in one transaction."""


@dataclass(frozen=True, slots=True)
class _Exports:
    """A page of exports: numbers of those that may go, and how many stay."""

    free: list[int]
    kept: int
    last_no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalized:
    """What went, over all sessions; `already`: it was complete, and there was nothing more to take."""

    row: Progressed
    certificate: Path
    already: bool


def finalize(
    campaign: Campaign, run_id: str | None, *, sealed: bool, confirm: str | None, progress: Progress
) -> Finalized:
    """Finalise what was migrated, or (`sealed`) shred what was not.

    Raises `GateError`, `LeaseHeldError`, `SourceError`.
    """
    what = What.SEALED if sealed else What.MIGRATED
    require_confirmed(campaign, confirm)
    campaign.audit.check()
    with leases.hold(campaign, purpose="finalize") as lease:
        work = _begin(campaign, lease, run_id, what)
        if work is None:
            with campaign.database.read() as connection:
                row = state.newest(connection, what)
            assert row is not None  # noqa: S101 - there is nothing to begin because it is complete
            return Finalized(row=row, certificate=certificate.issue(campaign, row), already=True)
        progress.phase("shredding" if sealed else "retiring", total=None, unit="messages")
        eraser = open_eraser(campaign)
        try:
            (shredding.shred if sealed else retiring.retire)(work, eraser, progress)
        finally:
            eraser.close()
        if not sealed:
            _destroy_exports(work)
            _destroy_recipient_keys(work)
        _finish(work)
    campaign.audit.flush()
    return Finalized(row=work.row, certificate=certificate.issue(campaign, work.row), already=False)


def open_eraser(campaign: Campaign) -> Eraser:
    """What deletes from this campaign's source."""
    kind = plugins.store_class(campaign.settings.source.kind)
    return kind.open_eraser(located_source(campaign.spec))


def _begin(campaign: Campaign, lease: Lease, run_id: str | None, what: What) -> Finalization | None:
    """The one that was interrupted, or a new one; None where the last one is complete and left nothing."""
    with campaign.database.read() as connection:
        require_source(connection, campaign)
        last = state.newest(connection, what)
        if last is not None and not last.completed:
            return Finalization(campaign, lease, last)
        if last is not None and not _has_more(campaign, connection, what):
            return None
        if what is What.MIGRATED:
            require_final(connection, campaign, run_id)
            _refuse_attachments(campaign, connection)
    with campaign.database.write("finalize-begin") as connection:
        run = require_final(connection, campaign, run_id)
        if what is What.SEALED:
            _require_retired_before(connection)
            require_grace_over(connection, campaign)
        return Finalization.begin(campaign, connection, lease, run.run_id, what)


def _refuse_attachments(campaign: Campaign, connection: sa.Connection) -> None:
    """Look at every page before anything goes; a walk over the source, so in no write transaction."""
    for page in retiring.pages(campaign, connection, 0):
        del page


def _has_more(campaign: Campaign, connection: sa.Connection, what: What) -> bool:
    """Whether something may go now that had to stay before: a hold was released, or something new came."""
    if what is What.SEALED:
        return any(page.ids for page in shredding.pages(campaign, connection))
    return any(page.numbers for page in retiring.pages(campaign, connection, 0)) or _has_exports(campaign, connection)


def _has_exports(campaign: Campaign, connection: sa.Connection) -> bool:
    after = 0
    while (page := _exports(campaign, connection, after)) is not None:
        if page.free:
            return True
        after = page.last_no
    return False


def _require_retired_before(connection: sa.Connection) -> None:
    row = state.newest(connection, What.MIGRATED)
    if row is None or not row.completed:
        raise GateError(
            "what was migrated is not final yet", hint="`migrator finalize` first; then `migrator finalize --sealed`"
        )


def _destroy_exports(work: Finalization) -> None:
    """The sealed parts of every export that no hold protects; manifests stay as evidence."""
    table, part = tables.export, tables.export_part
    after = 0
    with work.transaction("exports-again") as connection:
        work.update(connection, kept_exports=0)
    while True:
        with work.transaction("exports") as connection:
            page = _exports(work.campaign, connection, after)
            if page is None:
                return
            connection.execute(part.delete().where(part.c.export_no.in_(page.free)))
            connection.execute(
                table.update()
                .where(table.c.export_no.in_(page.free))
                .values(destroyed_at=format_time(work.campaign.clock.now()))
            )
            work.update(connection, add={"exports": len(page.free), "kept_exports": page.kept})
        after = page.last_no


def _exports(campaign: Campaign, connection: sa.Connection, after_no: int) -> _Exports | None:
    """The next page of exports that are still there; None behind the last.

    One is kept while its account is under a hold, or while it opens a migrated conversation that had to stay.
    """
    table, covered, conversation = tables.export, tables.export_conversation, tables.conversation
    stays = (
        sa.select(covered.c.export_no)
        .join(conversation, conversation.c.conversation_id == covered.c.conversation_id)
        .where(covered.c.export_no == table.c.export_no, conversation.c.mode == "server")
        .where(conversation.c.retired_at.is_(None))
        .exists()
    )
    rows = connection.execute(
        sa.select(table.c.export_no, table.c.account_id, stays.label("stays"))
        .where(table.c.destroyed_at.is_(None), table.c.export_no > after_no)
        .order_by(table.c.export_no)
        .limit(_AT_ONCE)
    ).all()
    if not rows:
        return None
    held = campaign.store.on_hold(sorted({row.account_id for row in rows}), campaign.clock.now())
    free = [row.export_no for row in rows if not row.stays and row.account_id not in held]
    return _Exports(free, len(rows) - len(free), rows[-1].export_no)


def _destroy_recipient_keys(work: Finalization) -> None:
    """All of them, unless an export had to stay: it would be worth nothing without its key."""
    if work.row.counts["kept_exports"]:
        return
    table = tables.recipient_key
    with work.transaction("recipient-keys") as connection:
        destroyed = connection.execute(
            table.update()
            .where(table.c.wrapped_private_key.is_not(None))
            .values(wrapped_private_key=None, destroyed_at=format_time(work.campaign.clock.now()))
        )
        work.update(connection, add={"recipient_keys": destroyed.rowcount})


def _finish(work: Finalization) -> None:
    now = work.campaign.clock.now()
    with work.transaction("complete") as connection:
        work.update(connection, state="completed", finished_at=format_time(now))
        row = work.row
        event = Event(
            type=EventType.SOURCE_RETIRED,
            subject=row.finalization_id,
            run_id=row.run_id,
            data={"what": row.what.value, **row.counts, "destroyed_keys": _destroyed_keys(connection)},
        )
        outbox.record(connection, [event], actor=work.campaign.actor, now=now)


def _destroyed_keys(connection: sa.Connection) -> dict[str, str]:
    """The recipient keys that are gone: id → when."""
    table = tables.recipient_key
    query = sa.select(table.c.recipient_key_id, table.c.destroyed_at).where(table.c.destroyed_at.is_not(None))
    rows = connection.execute(query.order_by(table.c.recipient_key_id)).all()
    return {row.recipient_key_id: row.destroyed_at for row in rows}
