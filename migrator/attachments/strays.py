"""Blobs that no row of server history shows, and how they leave the store.

A store of blobs does not commit together with the database, so every blob is noted before it is written:

1. `note`: names that are about to be written, in a transaction of their own. They are random, so no writer ever
   overwrites what another one wrote, however late it wakes up.
2. `claim`: the transaction that shows a blob takes its note away, and fails where the note is gone or doomed. So
   a writer that was taken for dead can't show a blob that is being removed.
3. `abandon` dooms the notes of a run whose writers can't commit any more; `doom` takes rows of attachments away in
   the caller's transaction, and dooms their blobs.
4. `sweep` removes what is doomed from the store, then its note. Killed in between, it does the same again.
"""

from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows

_AT_ONCE: Final = 500
_COLUMNS: Final = ("blob", "run_id", "doomed", "noted_at")


def note(connection: sa.Connection, campaign: Campaign, run_id: str, names: Sequence[str]) -> None:
    """Note blobs that are about to be written."""
    now = format_time(campaign.clock.now())
    insert_rows(connection, tables.stray_blob, _COLUMNS, [(name, run_id, False, now) for name in names])


def claim(connection: sa.Connection, names: Sequence[str]) -> bool:
    """Take the notes of blobs away that rows show from now on; False where one was doomed meanwhile."""
    table = tables.stray_blob
    taken = 0
    for chunk in chunks(names):
        taken += connection.execute(table.delete().where(table.c.blob.in_(chunk), table.c.doomed.is_(False))).rowcount
    return taken == len(names)


def doom(connection: sa.Connection, campaign: Campaign, *conditions: sa.ColumnElement[bool]) -> None:
    """Take rows of attachments away, and note that their blobs are to go."""
    table = tables.attachment
    now = format_time(campaign.clock.now())
    gone = sa.select(table.c.blob, table.c.run_id, sa.true(), sa.literal(now)).where(
        *conditions, table.c.blob.is_not(None)
    )
    connection.execute(tables.stray_blob.insert().from_select(list(_COLUMNS), gone))
    connection.execute(table.delete().where(*conditions))


def abandon(campaign: Campaign, run_id: str, fence: Callable[[sa.Connection], None] = lambda _: None) -> None:
    """Doom what a run has noted and not shown: none of the writers that noted it can commit any more.

    `fence` raises in the transaction where the caller may not say so.
    """
    table = tables.stray_blob
    waiting = sa.and_(table.c.run_id == run_id, table.c.doomed.is_(False))
    with campaign.database.read() as connection:
        if connection.scalar(sa.select(table.c.blob).where(waiting).limit(1)) is None:
            return
    with campaign.database.write("strays-abandoned") as connection:
        fence(connection)
        connection.execute(table.update().where(waiting).values(doomed=True))


def sweep(campaign: Campaign) -> int:
    """Remove doomed blobs from the store; how many. Without a store they stay noted."""
    table, blobs, swept = tables.stray_blob, campaign.blobs, 0
    while blobs is not None:
        with campaign.database.read() as connection:
            names = list(
                connection.scalars(sa.select(table.c.blob).where(table.c.doomed).order_by(table.c.blob).limit(_AT_ONCE))
            )
        if not names:
            break
        blobs.delete(names)
        with campaign.database.write("strays-swept") as connection:
            connection.execute(table.delete().where(table.c.blob.in_(names), table.c.doomed))
        swept += len(names)
    return swept
