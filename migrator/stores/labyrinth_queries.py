"""Queries about many conversations of a Labyrinth store at once.

SQLite scans the whole table for `(inbox_id, thread_id) IN (…)` with an order, so there a compiled statement runs once
for each conversation (3 µs each); other databases take the `IN`, and one round trip.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from migrator.stores.labyrinth_rows import Key
from migrator.stores.source_database import raw_rows

KEYS_AT_ONCE = 500
"""Keys in one `IN (…)`: two parameters each, under every database's limit."""


class KeyedQuery:
    """A select over one table with `inbox_id` and `thread_id`, asked of many keys. Order holds within a key."""

    def __init__(self, table: sa.Table, query: sa.Select[*tuple[Any, ...]]) -> None:
        self._inbox, self._thread = table.c.inbox_id, table.c.thread_id
        self._query = query

    def rows(self, connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, list[tuple[Any, ...]]]:
        """The rows of each key that has any."""
        if connection.dialect.name == "sqlite":
            return self._one_by_one(connection, keys)
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

    @cached_property
    def _statement(self) -> str:
        query = self._query.where(self._inbox == sa.bindparam("inbox"), self._thread == sa.bindparam("thread"))
        compiled = query.compile(dialect=sqlite.dialect())
        if list(compiled.positiontup or ()) != ["inbox", "thread"]:
            raise ValueError("a keyed query takes its key and no other parameter")
        return str(compiled)
