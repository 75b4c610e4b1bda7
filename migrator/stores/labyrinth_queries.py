"""Queries about many conversations of a Labyrinth store at once.

SQLite scans the whole table for `(inbox_id, thread_id) IN (…)` with an order, so there a compiled statement runs once
for each conversation (3 µs each). PostgreSQL takes all keys as two arrays in one prepared statement, and answers in its
binary form: no ciphertext is turned into hexadecimal digits and back. Other databases take the `IN`.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from migrator.stores.labyrinth_rows import Key
from migrator.stores.source_database import binary_rows, raw_rows

_POSTGRESQL = sa.make_url("postgresql+psycopg://").get_dialect()()
KEYS_AT_ONCE = 500
"""Keys in one `IN (…)`: two parameters each, under every database's limit."""


_PLACE, _ALL_BUT_PLACE = itemgetter(-1), itemgetter(slice(None, -1))


class KeyedQuery:
    """A select over one table with `inbox_id` and `thread_id`, asked of many keys. Order holds within a key."""

    def __init__(self, table: sa.Table, query: sa.Select[*tuple[Any, ...]]) -> None:
        self._inbox, self._thread = table.c.inbox_id, table.c.thread_id
        self._query = query

    def rows(self, connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, list[tuple[Any, ...]]]:
        """The rows of each key that has any."""
        if connection.dialect.name == "sqlite":
            return self._one_by_one(connection, keys)
        if connection.dialect.name == "postgresql":
            return self._from_arrays(connection, keys)
        found: dict[Key, list[tuple[Any, ...]]] = {}
        remaining = iter(keys)
        while chunk := list(islice(remaining, KEYS_AT_ONCE)):
            query = self._query.add_columns(self._inbox, self._thread).where(
                sa.tuple_(self._inbox, self._thread).in_(chunk)
            )
            for row in raw_rows(connection, query):
                found.setdefault(row[-2:], []).append(row[:-2])
        return found

    def _one_by_one(self, connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, list[tuple[Any, ...]]]:
        driver: Any = connection.connection.driver_connection
        cursor = driver.cursor()
        execute, statement = cursor.execute, self._statement
        found: dict[Key, list[tuple[Any, ...]]] = {}
        for key in keys:
            rows = execute(statement, key).fetchall()
            if rows:
                found[key] = rows
        cursor.close()
        return found

    def _from_arrays(self, connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, list[tuple[Any, ...]]]:
        found: dict[Key, list[tuple[Any, ...]]] = {}
        if not keys:
            return found
        distinct = list(dict.fromkeys(keys))
        arrays = [[key[0] for key in distinct], [key[1] for key in distinct]]
        rows = binary_rows(connection, self._statement_on_arrays, arrays)
        for place, of_one_key in groupby(rows, key=_PLACE):
            found.setdefault(distinct[place - 1], []).extend(map(_ALL_BUT_PLACE, of_one_key))
        return found

    @cached_property
    def _statement_on_arrays(self) -> str:
        """The query once for each key, in the keys' order: LATERAL keeps the planner on the index."""
        inbox, thread = (sa.literal_column(f"wanted.{name}", sa.Text) for name in ("inbox", "thread"))
        each = self._query.where(self._inbox == inbox, self._thread == thread)
        text = str(each.compile(dialect=_POSTGRESQL))
        wanted = "unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted(inbox, thread, place)"
        return f"SELECT found.*, wanted.place FROM {wanted} CROSS JOIN LATERAL ({text}) AS found"  # noqa: S608 - no value

    @cached_property
    def _statement(self) -> str:
        query = self._query.where(self._inbox == sa.bindparam("inbox"), self._thread == sa.bindparam("thread"))
        compiled = query.compile(dialect=sqlite.dialect())
        if list(compiled.positiontup or ()) != ["inbox", "thread"]:
            raise ValueError("a keyed query takes its key and no other parameter")
        return str(compiled)
