"""PostgreSQL as migrator's database: its engine, and what its errors mean to an operator.

1. Writes are READ COMMITTED; where one transaction counts on what another must not change meanwhile, it locks the row
   (`database.locks`). Reads are REPEATABLE READ, READ ONLY: one state from the first statement to the last.
2. A commit is safe on disk before it is reported: `synchronous_commit` is never weaker than `on`.
3. Errors that may pass when the same is done again become `DatabaseUnavailableError`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from migrator import postgres
from migrator.core.errors import KEPT, DatabaseError, DatabaseUnavailableError


def create_engine(url: URL, *, read_only: bool) -> sa.Engine:
    """An engine on migrator's database."""
    settings = {"default_transaction_read_only": "on"} if read_only else {}
    return postgres.open_engine(url, application_name="migrator", settings=settings)


def require_utf8(connection: sa.Connection) -> None:
    """Raise `DatabaseError` unless every id that a source can have finds its place."""
    if not postgres.in_utf8(connection):
        raise DatabaseError(
            "the migrator database is not in UTF-8", hint="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


@contextmanager
def explained(connection: sa.Connection) -> Iterator[None]:
    """For what is done on the driver's own connection: its errors become ours, and a broken connection is dropped."""
    driver: Any = connection.connection.driver_connection
    dialect = connection.dialect.loaded_dbapi
    try:
        yield
    except dialect.Error as error:
        if driver.closed:
            connection.invalidate()
        raise explain(error) from None


def explain(error: BaseException) -> DatabaseError:
    """One of psycopg's errors as ours, with a remedy; its own text may hold values and is not repeated."""
    state = postgres.sqlstate(error)
    kind = DatabaseUnavailableError if postgres.passes(state) else DatabaseError
    message, hint = postgres.find(_REMEDIES, state) or (
        f"the migrator database refused a statement ({type(error).__name__})",
        _SERVER_LOG,
    )
    return kind(message, hint=hint, changed=KEPT)


_SERVER_LOG: Final = "the database server's own log has the details"
_GO_ON: Final = "see that the server is up; then go on"
_REMEDIES: Final[Mapping[str, tuple[str, str]]] = {
    "08": ("the connection to the migrator database was lost", _GO_ON),
    "08001": (
        "the migrator database can't be reached",
        "check host and port of database.url, the network, and that the server is up",
    ),
    "22021": ("a text can't be stored in the migrator database", "PostgreSQL keeps neither NUL nor broken UTF-8"),
    "25006": ("the migrator database is read-only", "database.url must lead to the primary, not to a replica"),
    "25P03": (
        "the migrator database ended a transaction that idled",
        "raise idle_in_transaction_session_timeout for migrator's role",
    ),
    "28": ("the migrator database refuses the login", "check user and password of database.url, and pg_hba.conf"),
    "3D000": ("the database of database.url does not exist", "make it with CREATE DATABASE, or check the URL"),
    "3F000": ("the schema of database.schema is not there", "`migrator init` makes it"),
    "40001": ("two transactions of migrator met on the same rows", _SERVER_LOG),
    "40P01": ("two transactions of migrator waited for each other", _SERVER_LOG),
    "42501": ("the migrator database refuses permission", "grant migrator's role its tables, or CREATE for `init`"),
    "42P01": ("this is not a migrator database", "`migrator init` makes one; check database.url and database.schema"),
    "53": ("the migrator database is out of memory or another resource", _SERVER_LOG),
    "53100": ("the disk under the migrator database is full", "make room; then go on"),
    "53300": (
        "the migrator database has no connection left",
        "raise max_connections or take fewer workers: each holds up to three",
    ),
    "55P03": (
        "the migrator database is locked by another session",
        "find it in pg_stat_activity and pg_locks; then go on",
    ),
    "57014": (
        "the migrator database cancelled a statement that took too long",
        "raise statement_timeout for migrator's role, or lower execution.page_size",
    ),
    "57P01": ("the migrator database was shut down", _GO_ON),
    "57P02": ("the migrator database crashed", "see the server's log; when it is up, go on"),
    "57P03": ("the migrator database is starting or stopping", _GO_ON),
    "57P05": ("the migrator database ended an idle session", "raise idle_session_timeout for migrator's role"),
    "58": ("the disk under the migrator database fails", "see the server's log; then go on"),
    "XX": ("the migrator database is damaged", "see the server's log; restore it from a backup"),
}
