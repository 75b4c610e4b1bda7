"""Rows by many keys: the same from every database, whatever the keys say and however many they are."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from migrator.lookups import rows_among
from tests.support import postgres

ODD = ["", "a", "A", "a'b", 'a"b', "a\\b", "%s", "?", ":x", "é", "\N{GRINNING FACE}", "{a,b}", "null", "1"]
METADATA = sa.MetaData()
TABLE = sa.Table("things", METADATA, sa.Column("name", sa.Text), sa.Column("number", sa.BigInteger))


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    """A database with a thing of each odd name and some thousand others."""
    rows = [{"name": name, "number": number} for number, name in enumerate([*ODD, *map(str, range(100, 3000))])]
    if request.param == "sqlite":
        with sa.create_engine("sqlite://", poolclass=sa.NullPool).begin() as connection:
            METADATA.create_all(connection)
            connection.execute(TABLE.insert(), rows)
            yield connection
        return
    with postgres.database() as url, sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        METADATA.create_all(connection)
        connection.execute(TABLE.insert(), rows)
        yield connection


@pytest.mark.parametrize("column", ["name", "number"])
@pytest.mark.parametrize("dialect", ["its own", "another"])
def test_rows_are_those_of_the_keys(
    connection: sa.Connection, column: str, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found once each, and nothing for keys that nobody has; also the way that a database takes which is not known."""
    query = sa.select(TABLE.c.name, TABLE.c.number)
    everything = [tuple(row) for row in connection.execute(query)]
    wanted = everything[:1500]
    keys = [*(row[0] if column == "name" else row[1] for row in wanted), "nobody" if column == "name" else 10**12]
    if dialect == "another":
        monkeypatch.setattr(connection.dialect, "name", "unknown")
    assert sorted(rows_among(connection, query, TABLE.c[column], keys)) == sorted(wanted)
    assert rows_among(connection, query, TABLE.c[column], []) == []
