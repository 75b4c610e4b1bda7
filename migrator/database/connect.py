"""One way to the migrator database: an engine, read transactions, write transactions.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that the audit log reports must survive a power cut. Writers
begin with `BEGIN IMMEDIATE`, so that they queue for the lock instead of failing on an upgrade. What is peculiar to
PostgreSQL stands in `postgresql`. Exceptions of the driver become `DatabaseError` here; statements' parameters never
show up in them.

A server that is away when a transaction is to begin is waited for, once it was reached; what breaks in the middle of
one is an error, and whoever can do the whole again does so (`migrator.patience`).
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from migrator import postgres
from migrator.core.errors import KEPT, ConfigError, DatabaseError, DatabaseUnavailableError
from migrator.core.load import Meter
from migrator.database import postgresql
from migrator.patience import PATIENCE_SECONDS, patiently

BUSY_TIMEOUT_SECONDS: Final = 60

Boundary = Callable[[str, str], None]
"""Told (label of a write transaction, "before" or "after" its commit): where crash tests pull the plug."""


def _nothing(label: str, moment: str) -> None:
    """Nobody listens at the boundaries."""


class Database:
    """The migrator database as one process sees it."""

    def __init__(self, url: str, *, schema: str | None = None, read_only: bool = False) -> None:
        self.url = parse_url(url, "database.url")
        self.schema = schema
        self.read_only = read_only
        self.boundary: Boundary = _nothing
        self.meter = Meter()
        """What this process finds of the database: its commits, and transactions that came to nothing for its sake."""
        self.engine = _create_engine(self.url, read_only=read_only)
        if schema is not None:
            if self.is_sqlite:
                raise ConfigError("database.schema: SQLite has no schemas", hint="leave it out")
            self.engine = self.engine.execution_options(schema_translate_map={None: schema})
        self._reader = self.engine.execution_options(**postgres.READING) if self.is_postgresql else self.engine
        self._reached = False

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded default is in use."""
        return self.engine.dialect.name == "sqlite"

    @property
    def is_postgresql(self) -> bool:
        """Whether a PostgreSQL server is in use."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state and changes nothing."""
        with translated(), self._connect(self._reader) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, label: str, *, synced: bool = True) -> Iterator[sa.Connection]:
        """A transaction that changes something; everything in it happens, or nothing does.

        Unless `synced`, its commit does not wait for the disk: a killed process loses nothing, a power cut may.
        """
        if self.read_only:
            raise DatabaseError(f"a dry run tried to write ({label})", hint="this is a bug in migrator")
        with self._metered(), translated():
            with self._connect(self.engine) as connection:
                connection = connection.execution_options(migrator_write=True, migrator_synced=synced)
                with connection.begin():
                    if not synced and self.is_postgresql:
                        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                    yield connection
                    self.boundary(label, "before")
                    began = time.monotonic()
                self.meter.count(time.monotonic() - began)
            self.boundary(label, "after")

    @contextmanager
    def _metered(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnavailableError:
            self.meter.count(0.0, failed=True)
            raise

    def _connect(self, engine: sa.Engine) -> sa.Connection:
        """A connection that lives; a server that went away since it was reached is waited for."""

        def connect() -> sa.Connection:
            with translated():
                return engine.connect()

        seconds = PATIENCE_SECONDS if self._reached else 0.0
        connection = patiently(connect, DatabaseUnavailableError, seconds=seconds)
        self._reached = True
        return connection

    def make_file(self) -> None:
        """Make an empty SQLite file with mode 0600 if there is none: SQLite itself would let everybody read it.

        Nothing else makes one, so that a mistyped path is an error. The WAL's files inherit the mode.
        """
        path = _file_of(self.url)
        if path is None:
            return
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise DatabaseError(
                f"the migrator database {path} can't be made or written: {reason}",
                hint="check database.url and the folder's permissions",
            ) from None

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def parse_url(url: str, setting: str) -> URL:
    """A SQLAlchemy URL; `ConfigError` naming the setting, never repeating a password."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"{setting} is not a database URL",
            hint="for example sqlite:///file.db or postgresql+psycopg://host/db",
        ) from None


def _create_engine(url: URL, *, read_only: bool) -> sa.Engine:
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        arguments["timeout"] = BUSY_TIMEOUT_SECONDS
        path = _file_of(url)
        if path is not None:
            mode = {"mode": "ro" if read_only else "rw", "uri": "true"}
            url = url.set(database=f"file:{quote(os.fsencode(path))}", query={**url.query, **mode})
    try:
        if postgres.is_postgresql(url):
            return postgresql.create_engine(url, read_only=read_only)
        engine = sa.create_engine(url, hide_parameters=True, connect_args=arguments)
    except (NoSuchModuleError, ImportError):
        hint = "pip install 'migrator[postgres]'" if postgres.is_postgresql(url) else "install the driver's package"
        raise ConfigError(f"there is no database driver for {url.drivername!r}", hint=hint) from None
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite_read_only if read_only else _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _file_of(url: URL) -> str | None:
    """Path of an SQLite database that is a plain file."""
    path = url.database
    if url.get_backend_name() != "sqlite" or not path or path == ":memory:" or path.startswith("file:"):
        return None
    return path


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    cursor.execute("PRAGMA page_size=16384")  # of a new file: a third less work a message than with 4,096
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-65536")
    cursor.close()


def _set_up_sqlite_read_only(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    write = options.get("migrator_write", False)
    if write:  # takes effect outside of a transaction only, and stays with the connection: so it is said each time
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('migrator_synced', True) else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's exceptions into ours, with a remedy where one is known."""
    try:
        yield
    except DBAPIError as error:
        raise _explain(error) from None
    except UnicodeEncodeError:
        raise DatabaseError("a text that is not UTF-8 can't be in the migrator database") from None
    except SQLAlchemyError as error:
        raise DatabaseError(
            f"the migrator database can't be used ({type(error).__name__})",
            hint="see that it can be reached and is not overloaded",
            changed=KEPT,
        ) from None


_REMEDIES = (
    (
        "locked",
        "the migrator database is locked by another process",
        "find the process that holds it; then go on",
    ),
    ("readonly", "the migrator database is read-only", "check its permissions and those of its folder"),
    ("disk is full", "the disk under the migrator database is full", "make room; then go on"),
    ("disk i/o", "the disk under the migrator database fails", "see the system's log; then go on"),
    (
        "unable to open",
        "the migrator database can't be opened",
        "`migrator init` makes a new one; otherwise check database.url and the permissions",
    ),
    ("malformed", "the migrator database is damaged", "restore it from a backup; keep the damaged file"),
    ("not a database", "database.url does not point to a database", "check database.url"),
    ("no such table", "this is not a migrator database", "`migrator init` makes one; check database.url"),
)


def _explain(error: DBAPIError) -> DatabaseError:
    if error.orig is not None and type(error.orig).__module__.startswith("psycopg"):
        return postgresql.explain(error.orig)
    text = str(error.orig).lower()
    for mark, message, hint in _REMEDIES:
        if mark in text:
            return DatabaseError(message, hint=hint, changed=KEPT)
    kind = type(error.orig).__name__ if error.orig is not None else type(error).__name__
    return DatabaseError(
        f"the migrator database refused a statement ({kind})",
        hint="the database server's own log has the details",
        changed=KEPT,
    )
