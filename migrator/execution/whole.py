"""The Merkle root over a whole conversation as it will be once what is staged is shown."""

from collections.abc import Iterator

import sqlalchemy as sa

from migrator.core.merkle import ItemsRoot, in_order
from migrator.database import tables
from migrator.execution.recorder import Recorder
from migrator.execution.work import Work


def whole_root(recorder: Recorder, work: Work) -> bytes:
    """`items_root` over source, server rows and staged rows, merged in message order, in bounded memory."""
    root = ItemsRoot()
    with recorder.campaign.database.read() as connection:
        root.add(in_order(_source(recorder, work), _server(connection, recorder, work)))
    return root.root()


def _source(recorder: Recorder, work: Work) -> Iterator[tuple[int, str, bytes]]:
    store, cursor = recorder.campaign.store, None
    limit = recorder.campaign.settings.execution.page_size
    while True:
        rows = store.page(work.conversation_id, cursor, limit)
        for row in rows:
            yield row[0], row[1], row[3] if isinstance(row[3], bytes) else b""
        if len(rows) < limit:
            return
        cursor = store.cursor(rows[-1])


def _server(connection: sa.Connection, recorder: Recorder, work: Work) -> Iterator[tuple[int, str, bytes]]:
    shown, staged = tables.message, tables.addition
    rows = sa.union_all(
        sa.select(shown.c.sent_at, shown.c.message_id, shown.c.ciphertext).where(
            shown.c.conversation_no == work.conversation_no
        ),
        sa.select(staged.c.sent_at, staged.c.message_id, staged.c.ciphertext).where(
            staged.c.run_id == recorder.assignment.run_id,
            staged.c.conversation_no == work.conversation_no,
            staged.c.ciphertext.is_not(None),
        ),
    ).subquery()
    on_postgresql = connection.dialect.name == "postgresql"
    bytewise = sa.collate(rows.c.message_id, "C") if on_postgresql else rows.c.message_id
    query = sa.select(rows).order_by(rows.c.sent_at, bytewise).execution_options(yield_per=1000)
    for sent_at, message_id, ciphertext in connection.execute(query):
        yield sent_at, message_id, bytes(ciphertext)
