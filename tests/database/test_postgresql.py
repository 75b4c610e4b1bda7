"""PostgreSQL as migrator's database: sessions, bulk writes, locks between transactions, and what its errors say."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from migrator.core.errors import ConfigError, DatabaseError, DatabaseUnavailableError
from migrator.database import locks, schema, tables
from migrator.database.bulk import insert_rows, insert_rows_unless_there, insert_unless_there, next_numbers, update_rows
from migrator.database.connect import Database
from tests.support.postgres import Server, server

SCHEMA = "E2EE move"
"""A name that has to be quoted wherever it is written."""


@pytest.fixture(scope="module")
def made() -> str:
    """A database with migrator's tables in a schema."""
    name = server().create()
    with closing(Database(server().url(name), schema=SCHEMA)) as database:
        assert schema.upgrade(database) is True
        assert schema.upgrade(database) is False
    return name


@pytest.fixture
def database(made: str) -> Iterator[Database]:
    """That database, opened, without rows."""
    with closing(Database(server().url(made), schema=SCHEMA)) as database:
        yield database
        with database.write("test") as connection:
            for table in reversed(tables.metadata.sorted_tables):
                connection.execute(table.delete())


def name_of(database: Database) -> str:
    """The name of a database."""
    return str(database.url.database)


# --- sessions ---


def test_revisions_make_the_tables(database: Database) -> None:
    """Alembic finds nothing to add, drop or change: columns, types, nullability, indexes."""
    with database.read() as connection:
        connection.exec_driver_sql(f'SET LOCAL search_path = "{SCHEMA}"')
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, tables.metadata) == []
    schema.require_current(database)


def test_ids_are_compared_bytewise(database: Database) -> None:
    """Every text of a primary or unique key has collation "C", whatever the database's is."""
    query = sa.text(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = :schema AND data_type = 'text' AND column_name LIKE '%\\_id'"
    )
    with database.read() as connection:
        found = connection.execute(query, {"schema": SCHEMA}).all()
    assert len(found) > 10
    assert {row.collation_name for row in found} == {"C"}


@pytest.mark.parametrize(
    ("setting", "value"), [("TimeZone", "UTC"), ("synchronous_commit", "on"), ("lock_timeout", "1min")]
)
def test_sessions_are_set_up(made: str, setting: str, value: str) -> None:
    """Times in UTC, commits on disk, nothing waits for ever: also where the role says otherwise."""
    weak = server().url(made, options="-csynchronous_commit%3Doff%20-cTimeZone%3DAsia/Tokyo")
    with closing(Database(weak)) as database:
        for transaction in (database.read(), database.write("test")):
            with transaction as connection:
                assert connection.scalar(sa.select(sa.func.current_setting(setting))) == value
                assert isinstance(connection.scalar(sa.select(sa.func.current_timestamp())), datetime)


def test_a_read_sees_one_state(database: Database) -> None:
    """What is committed while a read goes on does not show up in the middle of it, and it can't write."""
    count = sa.select(sa.func.count()).select_from(tables.conversation)
    with database.read() as reading:
        assert reading.scalar(count) == 0
        with database.write("test") as writing:
            insert_rows(writing, tables.conversation, ("conversation_id", "mode"), [("a", "sealed")])
        assert reading.scalar(count) == 0
    with pytest.raises(DatabaseError, match="read-only"), database.read() as reading:
        reading.execute(tables.conversation.delete())


def test_a_read_only_database_is_not_written(made: str) -> None:
    """A dry run's sessions refuse to write, whatever statement slips in."""
    with closing(Database(server().url(made), schema=SCHEMA, read_only=True)) as database:
        with pytest.raises(DatabaseError, match="dry run"), database.write("test"):
            pass
        with database.read() as connection:
            assert connection.scalar(sa.select(sa.func.current_setting("default_transaction_read_only"))) == "on"


# --- bulk writes ---


def test_copy_keeps_every_value(database: Database) -> None:
    """What goes in by COPY comes out again: extremes, empty and long texts, bytes, NULL, true and false."""
    rows: list[tuple[Any, ...]] = [
        (2**63 - 1, -(2**63), "", "Zoë", "a/b", 2**32 - 1, bytes(range(256))),
        (1, 0, "😀\t\n\\N", "\uff5e", "x" * 100_000, 0, b""),
    ]
    columns = [column.name for column in tables.message.columns]
    with database.write("test") as connection:
        insert_rows(connection, tables.message, columns, rows)
        insert_rows(
            connection,
            tables.shard,
            ("run_id", "generation", "shard_no", "first_no", "last_no", "finished"),
            [("r", 2**31 - 1, 1, 1, 2, True), ("r", 1, 2, 1, 2, False)],
        )
        insert_rows(connection, tables.gap, ("conversation_no", "sent_at", "message_id", "reason"), [])
    with database.read() as connection:
        assert sorted(tuple(row) for row in connection.execute(sa.select(tables.message))) == sorted(rows)
        found = connection.execute(sa.select(tables.shard.c.finished, tables.shard.c.token)).all()
        assert sorted(found) == [(False, 0), (True, 0)]


def test_copy_is_part_of_its_transaction(database: Database) -> None:
    """What fails in the middle leaves nothing, and the connection can be used again."""
    columns, rows = ("conversation_id", "mode"), [("a", "sealed"), ("a", "sealed")]
    with pytest.raises(DatabaseError, match="UniqueViolation"), database.write("test") as connection:
        insert_rows(connection, tables.conversation, columns, rows)
    with pytest.raises(DatabaseError, match="can't be stored"), database.write("test") as connection:
        insert_rows(connection, tables.conversation, columns, [("a\0b", "sealed")])
    with pytest.raises(DatabaseError, match="UTF-8"), database.write("test") as connection:
        insert_rows(connection, tables.conversation, columns, [("\ud800", "sealed")])
    with database.write("test") as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.conversation)) == 0
        insert_rows(connection, tables.conversation, columns, rows[:1])


def test_update_rows(database: Database) -> None:
    """Each key gets its own values and all get the same ones; other rows stay as they are."""
    table = tables.conversation
    with database.write("test") as connection:
        insert_rows(connection, table, ("conversation_id", "mode"), [(name, "sealed") for name in "abc"])
        numbers = dict(connection.execute(sa.select(table.c.conversation_id, table.c.conversation_no)).all())
        rows = [(numbers["a"], 5, "x"), (numbers["c"], 7, None), (-1, 9, "nobody")]
        update_rows(connection, table, "conversation_no", ("message_count", "source_through"), rows, mode="server")
        columns = (table.c.conversation_id, table.c.mode, table.c.message_count, table.c.source_through)
        found = connection.execute(sa.select(*columns).order_by(table.c.conversation_id)).all()
    assert found == [("a", "server", 5, "x"), ("b", "sealed", 0, None), ("c", "server", 7, None)]


def test_who_inserts_second_gives_way(database: Database) -> None:
    """Two transactions give one subject a salt: the first to commit wins, the second finds it there."""
    salt, began = tables.reference_salt, threading.Event()

    def second() -> None:
        with database.write("second") as connection:
            began.set()
            connection.execute(insert_unless_there(connection, salt), [{"subject_id": "s", "salt": b"2"}])

    with database.write("first") as connection:
        connection.execute(insert_unless_there(connection, salt), [{"subject_id": "s", "salt": b"1"}])
        other = threading.Thread(target=second)
        other.start()
        assert began.wait(10)
    other.join()
    with database.read() as connection:
        assert connection.execute(sa.select(salt)).all() == [("s", b"1")]


# --- locks ---


def test_many_that_insert_second_give_way(database: Database) -> None:
    """Rows in bulk pass over those that are there."""
    salt, columns = tables.reference_salt, ("subject_id", "salt")
    with database.write("test") as connection:
        insert_rows_unless_there(connection, salt, columns, [("a", b"1"), ("b", b"1")])
        insert_rows_unless_there(connection, salt, columns, [("b", b"2"), ("c'\\", b"2")])
        insert_rows_unless_there(connection, salt, columns, [])
        found = connection.execute(sa.select(salt).order_by(salt.c.subject_id)).all()
    assert found == [("a", b"1"), ("b", b"1"), ("c'\\", b"2")]


def test_numbers_for_new_rows(database: Database) -> None:
    """They rise, are nobody else's, and what the database gives out by itself goes on behind them."""
    table = tables.conversation
    with database.write("test") as connection:
        first, second = (next_numbers(connection, table.c.conversation_no, count) for count in (3, 2))
        assert [*first, *second] == sorted({*first, *second})
        connection.execute(table.insert().values(conversation_id="x", mode="sealed"))
        assert (connection.scalar(sa.select(table.c.conversation_no)) or 0) > second[-1]


def test_what_a_transaction_shares_stays_until_its_commit(database: Database) -> None:
    """Who changes it waits for the commit, and later sharers queue behind: no stream of them holds the change up."""
    done: list[str] = []
    table = tables.campaign
    values = {"environment": "staging", "created_at": "", "reference_key_service": "", "wrapped_reference_key": b""}
    with database.write("test") as connection:
        connection.execute(table.insert().values(name="c", authorization_version=1, **values))

    def change() -> None:
        with database.write("change") as connection:
            locks.ahead_of_sharers(connection, table)
            connection.execute(table.update().values(authorization_version=2))
        done.append("change")

    def share() -> None:
        with database.write("share") as connection:
            done.append(f"saw {connection.scalar(locks.shared(sa.select(table.c.authorization_version)))}")

    with database.write("first") as connection:
        assert connection.scalar(locks.shared(sa.select(table.c.authorization_version))) == 1
        share()  # sharers don't wait for each other
        threads = [threading.Thread(target=change)]
        threads[0].start()
        _wait_for_waiters(database, 1)
        threads.append(threading.Thread(target=share))
        threads[1].start()
        _wait_for_waiters(database, 2)
        assert done == ["saw 1"]
    for thread in threads:
        thread.join()
    assert done[0] == "saw 1"
    assert set(done[1:]) == {"change", "saw 2"}


def test_one_at_a_time(database: Database) -> None:
    """Work of a kind waits for the work of that kind under way, in this schema, and for no other."""
    done: list[str] = []

    def work() -> None:
        with database.write("second") as connection:
            locks.one_at_a_time(connection, "import")
            done.append("second")

    with database.write("first") as connection:
        locks.one_at_a_time(connection, "import")
        with database.write("other") as other:
            locks.one_at_a_time(other, "plan")
        thread = threading.Thread(target=work)
        thread.start()
        _wait_for_waiters(database, 1)
        done.append("first")
    thread.join()
    assert done == ["first", "second"]


def _wait_for_waiters(database: Database, number: int) -> None:
    """Until so many of the database's sessions wait for a lock: seen, not slept for."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with server().connect("postgres") as watcher:
        while (watcher.execute(query, [name_of(database)]).fetchone() or (0,))[0] < number:
            pass


# --- errors ---


@pytest.mark.parametrize(
    ("state", "words", "passing"),
    [
        ("40001", "met on the same rows", True),
        ("40P01", "waited for each other", True),
        ("53100", "disk .* full", False),
        ("53300", "no connection left", True),
        ("57P01", "shut down", True),
        ("57P03", "starting or stopping", True),
        ("57014", "took too long", False),
        ("25006", "read-only", False),
        ("42P01", "not a migrator database", False),
        ("58030", "disk .* fails", False),
        ("08006", "connection .* lost", True),
        ("23505", "refused a statement", False),
    ],
)
def test_errors_have_a_remedy(database: Database, state: str, words: str, passing: bool) -> None:
    """By SQLSTATE: what it is, what to do, whether the same may succeed later; never the statement's values."""
    raising = sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(DatabaseError, match=words) as caught, database.write("test") as connection:
        connection.execute(raising)
    assert isinstance(caught.value, DatabaseUnavailableError) == passing
    assert caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("/test_", "/none_"), "does not exist"),
        (("migrator@", "nobody-here@"), "login"),
        (("migrator-pg-", "migrator-none-"), "can't be reached"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(made: str, change: tuple[str, str], words: str) -> None:
    """Server, database and role are told apart, at once: what was never reached is not waited for."""
    with closing(Database(server().url(made).replace(*change))) as database:
        with pytest.raises(DatabaseError, match=words) as caught, database.read():
            pass
        assert caught.value.hint


def test_another_driver_is_refused(made: str) -> None:
    """The plain name of the database means psycopg; another driver is a mistake that is said."""
    with closing(Database(server().url(made).replace("+psycopg", ""))) as database, database.read():
        pass
    with pytest.raises(ConfigError, match="driver"):
        Database(server().url(made).replace("+psycopg", "+psycopg2"))


def test_a_database_in_another_encoding_is_refused() -> None:
    """Before any table is made in it."""
    name = server().create(options="ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'")
    with closing(Database(server().url(name))) as database, pytest.raises(DatabaseError, match="UTF-8"):
        schema.upgrade(database)


def test_a_role_without_rights_is_told(made: str) -> None:
    """A schema that `init` may not make: it says so."""
    with server().connect(made) as connection:
        connection.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    url = server().url(made).replace("migrator@", "guest@")
    with closing(Database(url, schema="not_there")) as guest, pytest.raises(DatabaseError, match="permission"):
        schema.upgrade(guest)


# --- a server that goes away ---


def test_sessions_that_were_cut_cost_nothing_between_transactions(database: Database) -> None:
    """A restart or failover between two transactions is not noticed; within one it is an error that may pass."""
    with database.read() as connection:
        connection.scalar(sa.select(1))
    assert server().cut_off(name_of(database)) > 0
    with database.write("test") as connection:
        connection.scalar(sa.select(1))

    def cut(_label: str, _moment: str) -> None:
        server().cut_off(name_of(database))

    database.boundary = cut
    with pytest.raises(DatabaseUnavailableError), database.write("test") as connection:
        insert_rows(connection, tables.conversation, ("conversation_id", "mode"), [("a", "sealed")])
    database.boundary = lambda _label, _moment: None
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.conversation)) == 0


def test_a_server_without_a_free_connection_is_waited_for() -> None:
    """Too many connections: first waited out, then said with the number to raise."""
    small = Server(max_connections="5", superuser_reserved_connections="0", reserved_connections="0")
    try:
        with closing(Database(small.url("postgres"))) as database:
            taken = [small.connect("postgres") for _ in range(5)]
            with pytest.raises(DatabaseUnavailableError, match="no connection left") as caught, database.read():
                pass
            assert "max_connections" in caught.value.hint
            taken.pop().close()
            query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            while taken[0].execute(query).fetchone() != (4,):
                pass  # the server is told of the end a moment later than the client
            with database.read() as connection:
                connection.scalar(sa.select(1))
            database.engine.dispose()
            taken.append(small.connect("postgres"))
            freed = threading.Timer(0.3, taken[0].close)
            freed.start()
            with database.read() as connection:
                assert connection.scalar(sa.select(1)) == 1
            for connection_ in taken:
                connection_.close()
    finally:
        small.remove()
