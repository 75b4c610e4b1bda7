"""A homeserver's SQLite database as a PostgreSQL one: all rows, as Synapse's `synapse_port_db` moves them.

Without indices, and without the tables of full-text search, which are SQLite's own affair.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from psycopg import sql

from tests.support.postgres import server

_KINDS: Final = {
    "BIGINT": "BIGINT", "INTEGER": "BIGINT", "INT": "BIGINT", "SMALLINT": "SMALLINT", "BOOLEAN": "BOOLEAN",
    "BOOL": "BOOLEAN", "BYTEA": "BYTEA", "BLOB": "BYTEA",
}  # fmt: skip
_TABLES: Final = """SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'
                    AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '%search%'"""


def copied(database: Path) -> str:
    """The URL of a PostgreSQL database with all tables of an SQLite one."""
    name = server().create()
    source = sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)
    with closing(source), server().connect(name) as target, target.transaction():
        for (table,) in source.execute(_TABLES).fetchall():
            declared = source.execute(f'PRAGMA table_info("{table}")').fetchall()
            columns = [(column[1], _KINDS.get(column[2].upper(), "TEXT")) for column in declared]
            made = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(k)) for n, k in columns)
            target.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), made))
            with target.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as copy:
                for row in source.execute(f'SELECT * FROM "{table}"'):
                    copy.write_row([_value(value, kind) for value, (_, kind) in zip(row, columns, strict=True)])
    return server().url(name)


def _value(value: object, kind: str) -> object:
    if kind == "BOOLEAN" and value is not None:
        return bool(value)
    if kind == "TEXT" and isinstance(value, bytes):
        return value.decode()
    return value
