"""The walk over every conversation of a Labyrinth store, by keyset pagination.

The population is the thread rows and the distinct (inbox, thread) of messages. A page is the keys up to the last of
either kind that was read, so that both are complete in it, and each page is one transaction of four statements and
some: threads, message counts, members, inboxes. Messages are counted once, from the covering primary key.

Keys with a NULL, which only SQLite admits, come last, by offset: a keyset can't stand on them.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from migrator.core.model import Conversation
from migrator.lookups import rows_among
from migrator.stores import labyrinth_rows as meaning
from migrator.stores.identifiers import escaped_fault_id, faulty, identifiers
from migrator.stores.labyrinth_queries import KeyedQuery
from migrator.stores.labyrinth_rows import Key
from migrator.stores.labyrinth_tables import inbox, message, thread, thread_member
from migrator.stores.source_database import SourceDatabase, bound, iterate_rows, raw_rows

_Tallies = dict[Key, tuple[int, Any]]
_NOTHING: tuple[int, Any] = (0, None)
_NOBODY: list[Any] = []
_THREAD_EXISTS = KeyedQuery(thread, sa.select(thread.c.inbox_id).distinct())
_MESSAGE_EXISTS = KeyedQuery(message, sa.select(message.c.inbox_id).distinct())


class PopulationWalk:
    """Reads pages of about `size` conversations."""

    def __init__(self, database: SourceDatabase, size: int) -> None:
        self._database = database
        self._size = size
        self._native = False

    def pages(self) -> Iterator[list[Conversation]]:
        """Every conversation once. The order is that of (inbox, thread) from page to page, of ids within one."""
        after: Key | None = None
        tables = (thread, thread_member, message)
        self._native = all(self._database.sort_alike([t.c[name] for t in tables]) for name in ("inbox_id", "thread_id"))
        while True:
            page, after = self._database.run(partial(self._page, after=after))
            if page:
                yield page
            if after is None:
                break
        if self._database.is_sqlite:
            yield from self._pages_with_null()

    def _page(self, connection: sa.Connection, after: Key | None) -> tuple[list[Conversation], Key | None]:
        threads = raw_rows(connection, self._threads(after, None).limit(self._size))
        end: Key | None = threads[-1][:2] if len(threads) == self._size else None
        counted = raw_rows(connection, self._counts(after, end).limit(self._size))
        if len(counted) == self._size and counted[-1][:2] != end:
            end = counted[-1][:2]
            threads = raw_rows(connection, self._threads(after, end))
        tallies = {(row[0], row[1]): (row[2], row[3]) for row in counted}
        kinds = {(row[0], row[1]): row[2] or "" for row in threads}
        members = self._members(connection, after, end, kinds)
        return conversations_of(connection, kinds, members, tallies), end

    def _threads(self, after: Key | None, end: Key | None) -> sa.Select[Any]:
        query = sa.select(thread.c.inbox_id, thread.c.thread_id, thread.c.kind)
        return self._between(query, thread, after, end)

    def _counts(self, after: Key | None, end: Key | None) -> sa.Select[Any]:
        columns = message.c.inbox_id, message.c.thread_id
        query = sa.select(*columns, sa.func.count(), sa.func.max(message.c.sent_at)).group_by(*columns)
        return self._between(query, message, after, end)

    def _members(
        self, connection: sa.Connection, after: Key | None, end: Key | None, kinds: dict[Key, Any]
    ) -> dict[Key, list[Any]]:
        columns = thread_member.c.inbox_id, thread_member.c.thread_id, thread_member.c.account_id
        query = self._between(sa.select(*columns), thread_member, after, end)
        by_key = groupby(iterate_rows(connection, query), itemgetter(0, 1))
        return {key: [row[2] for row in rows] for key, rows in by_key if key in kinds}

    def _between(self, query: sa.Select[Any], table: sa.Table, after: Key | None, end: Key | None) -> sa.Select[Any]:
        """Keys over `after` up to and with `end`: in the order of the primary keys, or bytewise where they differ."""
        columns: list[sa.ColumnElement[Any]] = [table.c.inbox_id, table.c.thread_id]
        if not self._native:
            columns = list(map(self._database.bytewise, columns))
        key = sa.tuple_(*columns)
        query = query.where(table.c.inbox_id.is_not(None), table.c.thread_id.is_not(None)).order_by(*columns)
        if after is not None:
            query = query.where(key > sa.tuple_(*map(bound, after)))
        if end is not None:
            query = query.where(key <= sa.tuple_(*map(bound, end)))
        return query

    def _pages_with_null(self) -> Iterator[list[Conversation]]:
        parts = [
            sa.select(table.c.inbox_id, table.c.thread_id, count.label("messages")).where(
                sa.or_(table.c.inbox_id.is_(None), table.c.thread_id.is_(None))
            )
            for table, count in ((thread, sa.literal(0)), (message, sa.literal(1)))
        ]
        rows = sa.union_all(*parts).subquery()
        query = (
            sa.select(rows.c.inbox_id, rows.c.thread_id, sa.func.sum(rows.c.messages))
            .group_by(rows.c.inbox_id, rows.c.thread_id)
            .order_by(rows.c.inbox_id, rows.c.thread_id)
        )
        offset = 0
        while True:
            statement = query.limit(self._size).offset(offset)
            found = self._database.run(partial(raw_rows, statement=statement))
            if found:
                yield [faulty(escaped_fault_id(row[:2]), row[2], None) for row in found]
            if len(found) < self._size:
                return
            offset += len(found)


def conversations_of(
    connection: sa.Connection, kinds: dict[Key, Any], members: dict[Key, list[Any]], tallies: _Tallies
) -> list[Conversation]:
    """The conversations that some thread rows and message counts make, in order of their ids."""
    keys = [*kinds, *[key for key in tallies if key not in kinds]]
    owners = _owners(connection, keys)
    checked = _all_identifiers(keys, owners, members)
    sound_id, conversation = meaning.sound_id, meaning.conversation
    page: list[Conversation] = []
    faults: list[Key] = []
    for key in keys:
        conversation_id = sound_id(key, checked)
        if conversation_id is None:
            faults.append(key)
            continue
        kind, owner, tally = kinds.get(key), owners.get(key[0]), tallies.get(key, _NOTHING)
        named = members.get(key, _NOBODY)
        page.append(conversation(conversation_id, key, kind, owner, named, tally, checked))
    page.extend(faulty(_fault_id(connection, key), *tallies.get(key, _NOTHING)) for key in faults)
    page.sort(key=itemgetter(0))
    return page


def _all_identifiers(keys: list[Key], owners: dict[str, Any], members: dict[Key, list[Any]]) -> bool:
    """Whether all ids of a page are plain: a look at them together costs a tenth of a look at each."""
    ids = [*chain.from_iterable(keys), *owners.values(), *chain.from_iterable(members.values())]
    try:
        text = "".join(ids)
    except TypeError:
        return False
    return text.isascii() and "\0" not in text


def _owners(connection: sa.Connection, keys: list[Key]) -> dict[str, Any]:
    inbox_ids = identifiers({key[0] for key in keys})
    return dict(rows_among(connection, sa.select(inbox.c.inbox_id, inbox.c.account_id), inbox.c.inbox_id, inbox_ids))


def _fault_id(connection: sa.Connection, key: Key) -> str:
    """`inbox/thread` like every other, unless that is another conversation's id already."""
    natural = meaning.natural_fault_id(key)
    rivals = None if natural is None else meaning.rival_keys(natural, key)
    if natural is None or rivals is None:
        return escaped_fault_id(key)
    if _THREAD_EXISTS.rows(connection, rivals) or _MESSAGE_EXISTS.rows(connection, rivals):
        return escaped_fault_id(key)
    return natural
