"""Small Labyrinth stores, written row by row: sound ones by `Mailboxes`, odd ones through its raw connection."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from migrator.stores import labyrinth_tables as tables


class Mailboxes:
    """A store in a SQLite file. Rows go in as they are: SQLite takes anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._connection: Any = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        for table in tables.metadata.sorted_tables:
            self._create(table)

    def _create(self, table: sa.Table) -> None:
        """A table as an operator may have it: SQLite's keys admit NULL where it is not forbidden."""
        dialect = sqlite.dialect()
        columns = [f'"{column.name}" {column.type.compile(dialect)}' for column in table.columns]
        key = ", ".join(column.name for column in table.primary_key)
        self.execute(f"CREATE TABLE {table.name} ({', '.join(columns)}, PRIMARY KEY ({key}))")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def execute(self, statement: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Run a statement for each row of parameters."""
        self._connection.executemany(statement, rows) if "?" in statement else self._connection.execute(statement)

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Put whole rows into a table."""
        marks = ", ".join("?" * len(tables.metadata.tables[table].columns))
        self.execute(f"INSERT INTO {table} VALUES ({marks})", rows)

    def account(self, account_id: Any, **values: Any) -> None:
        """An active adult, unless said otherwise."""
        row = {
            "account_id": account_id,
            "email": f"{account_id}@example.org",
            "locale": "de",
            "timezone": "Europe/Berlin",
            "region": "eu",
            "jurisdiction": "DE",
            "age_band": "adult",
            "guardian_account_id": None,
            "status": "active",
            "created_at": "2020-01-01T00:00:00Z",
            **values,
        }
        self.insert("account", [tuple(row.values())])

    def device(self, device_id: Any, *rest: Any) -> None:
        """A device: account id, key, added at, revoked at."""
        self.insert("device", [(device_id, *rest)])

    def inbox(self, inbox_id: Any, account_id: Any) -> None:
        """A mailbox."""
        self.insert("inbox", [(inbox_id, account_id)])

    def thread(self, inbox_id: Any, thread_id: Any, kind: Any, members: Sequence[Any] = ()) -> None:
        """A thread and its members."""
        self.insert("thread", [(inbox_id, thread_id, kind)])
        self.insert("thread_member", [(inbox_id, thread_id, m) for m in members])

    def message(
        self,
        inbox_id: Any,
        thread_id: Any,
        sent_at: Any,
        message_id: Any,
        *,
        sender_id: Any = "sender",
        epoch_id: Any = "epoch-1",
        version: Any = 4,
        data: Any = bytes(60),
    ) -> None:
        """A message."""
        self.insert("message", [(inbox_id, thread_id, sent_at, message_id, sender_id, epoch_id, version, data)])


class PostgresMailboxes(Mailboxes):
    """The same in a PostgreSQL database, whose tables take what their types allow."""

    def __init__(self, url: str, collation: str = "C") -> None:
        self.url = url
        self.collation = collation
        engine = sa.create_engine(url)
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for table in tables.metadata.sorted_tables:
            self._connection.exec_driver_sql(_definition(table, collation))

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        self._connection.engine.dispose()

    def execute(self, statement: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Run a statement for each row of parameters."""
        for row in rows:
            self._connection.exec_driver_sql(statement.replace("?", "%s"), tuple(row))

    def column(self, query: str) -> list[Any]:
        """The first column of what a query gives."""
        return [row[0] for row in self._connection.exec_driver_sql(query)]


def _definition(table: sa.Table, collation: str) -> str:
    """A table as an operator may have it, without regard to how migrator compares ids."""
    dialect = sa.make_url("postgresql+psycopg://").get_dialect()()
    columns = []
    for column in table.columns:
        kind = column.type.compile(dialect).partition(" COLLATE")[0]
        collated = f' COLLATE "{collation}"' if kind == "TEXT" else ""
        columns.append(f'"{column.name}" {kind}{collated}')
    key = ", ".join(column.name for column in table.primary_key)
    return f"CREATE TABLE {table.name} ({', '.join(columns)}, PRIMARY KEY ({key}))"


def fill(store: Mailboxes) -> None:
    """A dozen accounts, each in a direct thread with the next and all in one group; ids that need bytewise order."""
    names = [*(f"account-{number:02}" for number in range(10)), "Zoë", "😀", "\uff5e"]
    for name in names:
        store.account(name)
        store.inbox(f"inbox-{name}", name)
    for number, name in enumerate(names[:4]):
        for place in range(number):
            store.device(f"device-{place}-{name}", name, bytes(32), "2024-01-01T00:00:00Z", None)
    for number, (name, other) in enumerate(zip(names, [*names[1:], names[0]], strict=True)):
        store.thread(f"inbox-{name}", other, "direct", [name, other])
        store.thread(f"inbox-{other}", name, "direct", [name, other])
        for place in range(number % 4):
            store.message(f"inbox-{name}", other, 1_700_000_000_000 + place // 2, f"m-{place}")
    store.thread("inbox-account-00", "group-1", "group", names)
    for place, ending in enumerate(["a", "B", "é", "😀", "\uff5e"] * 5):
        store.message("inbox-account-00", "group-1", 1000 + place // 10, f"{ending}-{place}", epoch_id=f"e-{place % 3}")
    store.message("inbox-account-01", "orphaned", 5, "m")
