"""A source in a SQL database, opened only to read.

SQLite is opened with `mode=ro` and `query_only`, so that nothing is created or written, and a missing file is an error.
PostgreSQL, a replica or the primary, reads in read-only transactions with one snapshot each. Exceptions of a driver
become `SourceError` here; a read that a server's restart or a replica's conflict broke off is done again.

SQLite holds whatever was stored, also text that is not UTF-8. Reads first take the driver's fast decoding; where that
fails, the same read runs again and gives such text as `UndecodableText`, so that one bad row costs no other.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from migrator import postgres
from migrator.core.errors import ConfigError, SourceBusyError, SourceError, SourceGoneError, SourceUnavailableError
from migrator.patience import PATIENCE_SECONDS, patiently

T = TypeVar("T")
BUSY_TIMEOUT_SECONDS = 60
_CHECK = "check source.url"


class UndecodableText(bytes):
    """Bytes that the database calls text and that are not UTF-8."""

    __slots__ = ()


class _UndecodableRowError(Exception):
    """A row holds text that the driver's own decoding refuses."""


_COLLATIONS = (
    "SELECT attcollation, collisdeterministic FROM unnest(%s::text[], %s::text[]) AS wanted(relation, attribute) "
    "JOIN pg_attribute ON attrelid = to_regclass(relation) AND attname = attribute "
    "JOIN pg_collation ON pg_collation.oid = attcollation"
)


class SourceDatabase:
    """A database of somebody else's, as one process reads it."""

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(url)
        except (ArgumentError, ValueError):
            raise SourceError("source.url is not a database URL", hint="for example sqlite:///messages.db") from None
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.is_postgresql = self._url.get_backend_name() == "postgresql"
        self._engine = _sqlite_engine(self._url) if self.is_sqlite else _engine(self._url)
        self._reached = False

    def location(self) -> str:
        """Where the database is, the same for every way to write its URL, without user or password."""
        if self.is_sqlite:
            return str(_sqlite_path(self._url).resolve())
        url = self._url
        host, port = (url.query.get(name) or given or "" for name, given in (("host", url.host), ("port", url.port)))
        return f"{url.get_backend_name()}://{str(host).lower()}:{port}/{url.database or ''}"

    def require_tables(self, tables: Sequence[sa.Table]) -> None:
        """Raise `SourceError` unless each of the tables (or a view of its name) is there."""
        with self._read(tolerant=False) as connection:
            if self.is_postgresql and not postgres.in_utf8(connection):
                raise SourceError("the source is not in UTF-8", hint="copy it into a database that is")
            inspector = sa.inspect(connection)
            missing = [table.name for table in tables if not inspector.has_table(table.name)]
        if missing:
            raise SourceGoneError(
                f"the source has no table {', '.join(missing)}",
                hint="check that source.url and source.kind belong together",
            )

    def columns_of(self, names: Sequence[str]) -> dict[str, set[str]]:
        """The columns of some tables or views; none of one that is not there."""

        def look(connection: sa.Connection) -> dict[str, set[str]]:
            inspector = sa.inspect(connection)
            there = set(filter(inspector.has_table, names))
            return {name: _names(inspector.get_columns(name)) if name in there else set() for name in names}

        return self.run(look)

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a piece of reading in one transaction; again, if a server that was reached goes away for a moment."""
        seconds = PATIENCE_SECONDS if self._reached else 0.0
        result = patiently(lambda: self._run(work), SourceUnavailableError, seconds=seconds)
        self._reached = True
        return result

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        """Once; again and tolerantly if it meets undecodable text."""
        try:
            with self._read(tolerant=False) as connection:
                return work(connection)
        except _UndecodableRowError:
            pass
        try:
            with self._read(tolerant=True) as connection:
                return work(connection)
        except _UndecodableRowError:
            raise SourceError("the source holds text that is not in its own encoding", hint=_CHECK) from None

    def bytewise(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A text column as it compares and sorts by its bytes."""
        return sa.collate(column, "C") if self.is_postgresql else column

    def sort_alike(self, columns: Sequence[sa.Column[Any]]) -> bool:
        """Whether text columns of several tables have one order between them, which is that of their indexes.

        On PostgreSQL that is one collation, of the kind that tells any two texts apart.
        """
        if not self.is_postgresql:
            return True
        places = [[column.table.name for column in columns], [column.name for column in columns]]
        rows = self.run(lambda connection: binary_rows(connection, _COLLATIONS, places))
        return len(rows) == len(columns) and len(set(rows)) == 1 and bool(rows[0][1])

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def _read(self, *, tolerant: bool) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as connection, connection.begin():
            if not (tolerant and self.is_sqlite):
                yield connection
                return
            driver: Any = connection.connection.driver_connection
            driver.text_factory = _decode
            try:
                yield connection
            finally:
                driver.text_factory = str

    @contextmanager
    def _translated(self) -> Iterator[None]:
        driver_errors: tuple[type[Exception], ...] = (sqlite3.Error,)
        if self._engine.dialect.loaded_dbapi is not None:
            driver_errors = (self._engine.dialect.loaded_dbapi.Error,)
        try:
            yield
        except DBAPIError as error:
            raise _explain(error.orig or error) from None
        except SQLAlchemyError as error:
            raise SourceError(f"the source can't be read ({type(error).__name__})", hint=_CHECK) from None
        except driver_errors as error:  # rows are fetched past SQLAlchemy
            raise _explain(error) from None
        except UnicodeDecodeError:
            raise _UndecodableRowError from None


def _names(columns: Sequence[Any]) -> set[str]:
    return {column["name"] for column in columns}


def raw_rows(connection: sa.Connection, statement: sa.Select[Any] | sa.CompoundSelect[Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement as the driver's own tuples: a third of the cost of SQLAlchemy's."""
    with connection.execute(statement) as result:
        return list(result.cursor.fetchall())


def binary_rows(connection: sa.Connection, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement in psycopg's own words, prepared once a session and answered in binary form."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        cursor.execute(statement, parameters, prepare=True)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def iterate_rows(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    """The same, as the driver hands them out."""
    with connection.execute(statement) as result:
        cursor: Any = result.cursor
        yield from cursor


def bound(value: Any) -> sa.ColumnElement[Any]:
    """A value of a key column as a parameter, also one that a driver does not take."""
    if isinstance(value, UndecodableText):
        return sa.cast(sa.literal(bytes(value), sa.LargeBinary), sa.Text)
    return sa.literal(value, sa.LargeBinary if isinstance(value, bytes) else None)


def _decode(raw: bytes) -> str | UndecodableText:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return UndecodableText(raw)


def _sqlite_path(url: URL) -> Path:
    database = (url.database or "").removeprefix("file:")
    return Path(database.partition("?")[0])


def _sqlite_engine(url: URL) -> sa.Engine:
    path = _sqlite_path(url)
    if not path.is_file():
        raise SourceGoneError(f"there is no source database at {path}", hint=_CHECK)
    address = f"file:{quote(str(path.resolve()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)
        connection.isolation_level = None  # we say BEGIN ourselves: one snapshot for each read
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-65536")
        if connection.execute("PRAGMA encoding").fetchone() != ("UTF-8",):
            raise SourceError(
                "the source is a UTF-16 database", hint="copy it into one with UTF-8, whose order is ours"
            )
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=sa.pool.QueuePool)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _engine(url: URL) -> sa.Engine:
    try:
        if not postgres.is_postgresql(url):
            return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
        settings = {"default_transaction_read_only": "on"}
        engine = postgres.open_engine(url, application_name="migrator (source)", settings=settings)
    except (NoSuchModuleError, ImportError):
        hint = "pip install 'migrator[postgres]'" if postgres.is_postgresql(url) else "install the driver's package"
        raise SourceError(f"there is no database driver for {url.drivername!r}", hint=hint) from None
    except ConfigError as error:
        raise SourceError(error.message, hint=error.hint) from None
    return engine.execution_options(**postgres.READING)


_REMEDIES = (
    ("not a database", "source.url does not point to a database", _CHECK),
    ("malformed", "the source database is damaged", "read from a replica or a backup"),
    ("unable to open", "the source database can't be opened", "check source.url and the permissions of its folder"),
    ("readonly", "the source database can't be opened for reading alone", "check the permissions of its folder"),
    ("locked", "the source database is locked by another process", "try again when it is free"),
    ("no such table", "the source lacks a table", "check that source.url and source.kind belong together"),
    ("no such column", "the source lacks a column", "check that its schema is the documented one"),
    ("does not exist", "the source lacks a table, column or database", "check source.url and the schema"),
    ("permission denied", "the source refuses access", "grant SELECT on its tables"),
    ("password", "the source refuses the login", _CHECK),
    ("connection", "the source can't be reached", "check source.url and the network"),
)


_BY_STATE = {
    "08": ("the connection to the source was lost", "see that its server is up; then go on"),
    "08001": ("the source can't be reached", "check host and port of source.url, the network, and that it is up"),
    "28": ("the source refuses the login", _CHECK),
    "3D000": ("the database of source.url does not exist", _CHECK),
    "40": ("the source gave a read up", "on a replica: raise max_standby_streaming_delay or set hot_standby_feedback"),
    "42501": ("the source refuses access", "grant SELECT on its tables"),
    "42P01": ("the source lacks a table", "check that source.url and source.kind belong together"),
    "42703": ("the source lacks a column", "check that its schema is the documented one"),
    "53300": ("the source has no connection left", "take fewer workers, or raise its max_connections"),
    "57014": ("the source cancelled a statement that took too long", "raise statement_timeout for migrator's role"),
    "57": ("the source was shut down", "see that its server is up; then go on"),
}


_GONE = ("3D000",)
"""The database does not exist. Tables that don't are known before: `require_tables`."""


def _explain_postgresql(error: BaseException) -> SourceError:
    state = postgres.sqlstate(error)
    kind = SourceUnavailableError if postgres.passes(state) else SourceGoneError if state in _GONE else SourceError
    found = postgres.find(_BY_STATE, state) or (f"the source can't be read ({type(error).__name__})", _CHECK)
    return kind(found[0], hint=found[1])


def _explain(error: BaseException) -> SourceError | _UndecodableRowError:
    if type(error).__module__.startswith("psycopg"):
        return _explain_postgresql(error)
    text = str(error).lower()
    if "could not decode to utf-8" in text:
        return _UndecodableRowError()
    for mark, message, hint in _REMEDIES:
        if mark in text:
            return (SourceBusyError if mark == "locked" else SourceError)(message, hint=hint)
    return SourceError(f"the source can't be read ({type(error).__name__})", hint=_CHECK)
