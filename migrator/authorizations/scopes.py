"""Which threads a record covers, as keys that every participant's copy of a thread shares.

An id that the source does not know (yet) is kept as `id:<id>` and covers that one conversation. `link_scopes` looks
such ids up again, so that a thread whose copy appears later is covered in all its copies.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.database import locks, tables
from migrator.database.bulk import chunks, insert_rows
from migrator.stores.interface import MessageStore

COLUMNS: Final = ("authorization_no", "thread_key")
_UNKNOWN: Final = "id:"
_PAGE: Final = 5000


def thread_keys(store: MessageStore, conversation_ids: Iterable[str]) -> dict[str, str]:
    """The key of the thread that each id stands for."""
    keys: dict[str, str] = {}
    for page in chunks(sorted(set(conversation_ids)), _PAGE):
        known = store.conversations(page)
        for conversation_id in page:
            conversation = known.get(conversation_id)
            keys[conversation_id] = conversation.thread_key if conversation else f"{_UNKNOWN}{conversation_id}"
    return keys


def link_scopes(campaign: Campaign) -> int:
    """Cover the threads of ids that were unknown when their records were imported; how many links were added.

    To be called before planning. A record keeps its `id:` entries, so that a repeat finds nothing to do.
    """
    added = 0
    for page in _unlinked(campaign):
        keys = thread_keys(campaign.store, (conversation_id for _, conversation_id in page))
        rows = [(no, keys[i]) for no, i in page if not keys[i].startswith(_UNKNOWN)]
        if not rows:
            continue
        with campaign.database.write("authorizations-link") as connection:
            lock(connection)
            new = sorted(set(rows) - _existing(connection, rows))
            insert_rows(connection, tables.authorization_scope, COLUMNS, new)
            if new:
                raise_version(connection, campaign.name)
        added += len(new)
    return added


def lock(connection: sa.Connection) -> None:
    """Let one transaction at a time write authorisations: their numbers are then those of their commits."""
    locks.one_at_a_time(connection, "import")


def raise_version(connection: sa.Connection, campaign_name: str) -> None:
    """Tell running work to decide again. Commits of workers wait from here: to be called last, and first where what
    is under way must have ended before one looks."""
    table = tables.campaign
    locks.ahead_of_sharers(connection, table)
    connection.execute(
        table.update()
        .where(table.c.name == campaign_name)
        .values(authorization_version=table.c.authorization_version + 1)
    )


def _unlinked(campaign: Campaign) -> Iterator[Sequence[tuple[int, str]]]:
    """Pages of (record, conversation id) for ids that no source knew, in order of their key."""
    table = tables.authorization_scope
    after = (0, "")
    while True:
        query = (
            sa.select(table.c.authorization_no, table.c.thread_key)
            .where(
                sa.tuple_(table.c.authorization_no, table.c.thread_key) > sa.tuple_(*after),
                table.c.thread_key.startswith(_UNKNOWN, autoescape=True),
            )
            .order_by(table.c.authorization_no, table.c.thread_key)
            .limit(_PAGE)
        )
        with campaign.database.read() as connection:
            page = [(row[0], row[1]) for row in connection.execute(query)]
        if not page:
            return
        # LIKE takes `ID:` for `id:` on SQLite.
        yield [(number, key.removeprefix(_UNKNOWN)) for number, key in page if key.startswith(_UNKNOWN)]
        after = page[-1]


def _existing(connection: sa.Connection, rows: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    table = tables.authorization_scope
    found: set[tuple[int, str]] = set()
    for chunk in chunks(rows):
        query = sa.select(table.c.authorization_no, table.c.thread_key).where(
            table.c.authorization_no.in_({number for number, _ in chunk}),
            table.c.thread_key.in_({key for _, key in chunk}),
        )
        found.update((row[0], row[1]) for row in connection.execute(query))
    return found
