"""Rows by many keys at once: one statement whatever their number, answered as the driver's own tuples.

The hot path of planning. All keys travel as one parameter, which SQLite and PostgreSQL take apart themselves; an
`IN (…)` of as many parameters costs SQLAlchemy a microsecond for each (measured), and has to be cut into pieces.
"""

import json
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

_AT_ONCE = 500
"""Keys in one `IN (…)` of other databases: under every one's limit on parameters."""


def rows_among(
    connection: sa.Connection, query: sa.Select[Any], column: sa.ColumnElement[Any], keys: Collection[Any]
) -> list[tuple[Any, ...]]:
    """The rows of a query whose `column` is one of some keys (identifiers without NUL, or integers); in no order."""
    if not keys:
        return []
    if connection.dialect.name == "sqlite":
        given = sa.func.json_each(json.dumps(list(keys))).table_valued("value")
        return _fetched(connection, query.where(column.in_(sa.select(given.c.value))))
    if connection.dialect.name == "postgresql":
        array = sa.bindparam("keys", list(keys), type_=postgresql.ARRAY(column.type))
        return _fetched(connection, query.where(column == sa.any_(array)))
    rows: list[tuple[Any, ...]] = []
    for chunk in _chunks(keys):
        rows.extend(_fetched(connection, query.where(column.in_(chunk))))
    return rows


def _fetched(connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
    with connection.execute(query) as result:
        return list(result.cursor.fetchall())


def _chunks(keys: Collection[Any]) -> Iterator[list[Any]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, _AT_ONCE)):
        yield chunk
