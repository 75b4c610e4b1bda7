"""Rows in bulk on SQLite: every one arrives, in order and as it is, however many go into a statement."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.core.errors import DatabaseError
from migrator.database import schema, tables
from migrator.database.bulk import insert_rows
from migrator.database.connect import Database

_COLUMNS = ("conversation_no", "sent_at", "message_id", "reason")
_TOGETHER = 999 // len(_COLUMNS)
"""Rows of this table in one statement."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty migrator database."""
    with closing(Database(f"sqlite:///{tmp_path / 'migrator.db'}")) as made:
        schema.upgrade(made)
        yield made


def gaps(count: int) -> list[tuple[int, int, str, str]]:
    """Rows that differ."""
    return [(1, number, f"m{number:05}", "corrupt") for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, _TOGETHER - 1, _TOGETHER, _TOGETHER + 1, 3 * _TOGETHER + 2])
def test_every_row_arrives(database: Database, count: int) -> None:
    """Whether they fill whole statements, leave a rest, or are none."""
    with database.write("test") as connection:
        insert_rows(connection, tables.gap, _COLUMNS, gaps(count))
    with database.read() as connection:
        found = connection.execute(sa.select(tables.gap).order_by(tables.gap.c.sent_at)).all()
    assert [tuple(row) for row in found] == gaps(count)


@pytest.mark.parametrize("place", [3, 3 * _TOGETHER + 1])
def test_a_row_that_is_there_already_undoes_all(database: Database, place: int) -> None:
    """In a whole statement or in the rest: none of the others stays."""
    rows = gaps(3 * _TOGETHER + 2)
    with pytest.raises(DatabaseError), database.write("test") as connection:
        insert_rows(connection, tables.gap, _COLUMNS, [*rows, rows[place]])
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.gap)) == 0


def test_columns_in_another_order_are_refused(database: Database) -> None:
    """Tuples have no names: a wrong order would put values into wrong columns."""
    with pytest.raises(ValueError, match="order"), database.write("test") as connection:
        insert_rows(connection, tables.gap, _COLUMNS[::-1], [("corrupt", "m", 1, 1)])
