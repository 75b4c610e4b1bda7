"""Many rows at once: tuples in the table's order, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows
from migrator.database.connect import Database

COLUMNS = ("conversation_no", "sent_at", "message_id", "reason")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with a table of gaps."""
    made = Database(f"sqlite:///{tmp_path / 'test.db'}")
    made.make_file()
    with made.write("test") as connection:
        tables.gap.create(connection)
    yield made
    made.close()


def rows(connection: sa.Connection) -> list[tuple[object, ...]]:
    """What is there."""
    return [tuple(row) for row in connection.execute(sa.select(tables.gap).order_by(tables.gap.c.sent_at))]


def test_rows_go_in_as_they_are(database: Database) -> None:
    """Whatever their number and text: quotes, percent signs and question marks are content."""
    wanted = [(1, number, f"m'{number}\" %s ? :x é", "no_key") for number in range(-3, 5000)]
    with database.write("test") as connection:
        insert_rows(connection, tables.gap, COLUMNS, list(wanted))
        assert rows(connection) == wanted


def test_no_rows_is_no_statement(database: Database) -> None:
    """An empty batch does not even compile one."""
    with database.write("test") as connection:
        insert_rows(connection, tables.gap, ("no such column",), [])
        assert rows(connection) == []


@pytest.mark.parametrize("columns", [COLUMNS[::-1], (*COLUMNS[:2], "reason", "message_id")])
def test_columns_out_of_order_are_refused(database: Database, columns: tuple[str, ...]) -> None:
    """Values in the wrong columns would be silent damage."""
    with database.write("test") as connection, pytest.raises(ValueError, match="order"):
        insert_rows(connection, tables.gap, columns, [(1, 2, "m", "no_key")])


@given(st.lists(st.integers(), max_size=40), st.integers(1, 12))
def test_chunks_are_all_of_it_in_order(items: list[int], size: int) -> None:
    """Nothing lost, none too long, none empty; an iterator is taken as well."""
    found = list(chunks(iter(items), size))
    assert [item for chunk in found for item in chunk] == items
    assert all(0 < len(chunk) <= size for chunk in found)
