"""The Merkle root over a whole conversation as it will be once what is staged is shown."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from migrator.core.merkle import ItemsRoot, in_order
from migrator.core.model import MessageRow
from migrator.database import tables
from migrator.execution.claims import At
from migrator.execution.recorder import Recorder
from migrator.execution.sealing import gap_key
from migrator.execution.stage import Stage
from migrator.execution.work import Work


def whole_root(recorder: Recorder, work: Work, stage: Stage) -> bytes:
    """`items_root` over source, server rows and staged rows, merged in message order, in bounded memory.

    Of a conversation that may not be opened, what is neither a message nor a gap yet is no part of it.
    """
    root = ItemsRoot()
    with recorder.campaign.database.read() as connection:
        root.add(in_order(_source(recorder, work, stage), _server(connection, recorder, work)))
    return root.root()


def source_pages(recorder: Recorder, work: Work) -> Iterator[list[MessageRow]]:
    """All messages of the source in order, a page at a time; at least one page, which may be empty."""
    store, cursor = recorder.campaign.store, None
    limit = recorder.campaign.settings.execution.page_size
    while True:
        rows = store.page(work.conversation_id, cursor, limit)
        yield rows
        if len(rows) < limit:
            return
        cursor = store.cursor(rows[-1])


def _source(recorder: Recorder, work: Work, stage: Stage) -> Iterator[tuple[int, str, bytes]]:
    for rows in source_pages(recorder, work):
        known = None if work.closed is None else _accounted(stage, rows)
        for row in rows:
            if known is None or gap_key(row) in known:
                yield row[0], row[1], row[3] if isinstance(row[3], bytes) else b""


def _accounted(stage: Stage, rows: Sequence[MessageRow]) -> set[At]:
    ats = [gap_key(row) for row in rows]
    return stage.server_rows(ats) | stage.prior_gaps(ats).keys() | stage.staged(ats).keys()


def _server(connection: sa.Connection, recorder: Recorder, work: Work) -> Iterator[tuple[int, str, bytes]]:
    shown, staged = tables.message, tables.addition
    mine = staged.c.run_id == recorder.assignment.run_id, staged.c.conversation_no == work.conversation_no
    going = sa.select(staged.c.sent_at, staged.c.message_id).where(*mine, staged.c.taken_back)
    rows = sa.union_all(
        sa.select(shown.c.sent_at, shown.c.message_id, shown.c.ciphertext).where(
            shown.c.conversation_no == work.conversation_no,
            sa.tuple_(shown.c.sent_at, shown.c.message_id).not_in(going) if work.conversation.changes else sa.true(),
        ),
        sa.select(staged.c.sent_at, staged.c.message_id, staged.c.ciphertext).where(
            *mine, staged.c.ciphertext.is_not(None)
        ),
    ).subquery()
    on_postgresql = connection.dialect.name == "postgresql"
    bytewise = sa.collate(rows.c.message_id, "C") if on_postgresql else rows.c.message_id
    query = sa.select(rows).order_by(rows.c.sent_at, bytewise).execution_options(yield_per=1000)
    for sent_at, message_id, ciphertext in connection.execute(query):
        yield sent_at, message_id, bytes(ciphertext)
