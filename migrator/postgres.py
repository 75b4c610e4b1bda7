"""PostgreSQL by psycopg 3, as both the migrator database and a source use it: engine, session, kinds of errors.

Nothing waits for ever: locks, statements and idle transactions have limits, unless the role, the database or the URL
sets others, and the server notices a lost client within a minute. Errors are told by their SQLSTATE (PostgreSQL
manual, appendix A); what happens before a session begins has none, and is told by its words.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from migrator.core.errors import ConfigError

DRIVER: Final = "postgresql+psycopg"
CONNECT_TIMEOUT_SECONDS: Final = 10
READING: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of a transaction that sees one state and changes nothing."""

_SETTINGS: Final = {"TimeZone": "UTC", "DateStyle": "ISO"}
_UNLESS_SET: Final = {
    "lock_timeout": "60s",
    "statement_timeout": "30min",
    "idle_in_transaction_session_timeout": "15min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


def is_postgresql(url: URL) -> bool:
    """Whether a URL names a PostgreSQL database, by whichever driver."""
    return url.get_backend_name() in ("postgresql", "postgres")


def open_engine(url: URL, *, application_name: str, settings: Mapping[str, str]) -> sa.Engine:
    """An engine whose sessions have some settings beside those of every session; raises `ImportError` without psycopg.

    The pool asks each connection whether it lives before handing it out, so that a server's restart between two
    transactions costs nothing.
    """
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername=DRIVER)
    if url.drivername != DRIVER:
        raise ConfigError(f"migrator does not use the driver {url.drivername!r}", hint=f"write {DRIVER}://…")
    given = {"application_name": application_name, "connect_timeout": CONNECT_TIMEOUT_SECONDS}
    arguments: dict[str, Any] = {name: value for name, value in given.items() if name not in url.query}
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=8,
        isolation_level="READ COMMITTED",
        use_native_hstore=False,
        connect_args={**arguments, "client_encoding": "utf8"},
    )
    statement = _settings({**_SETTINGS, **settings})

    def set_up(connection: Any, _record: object) -> None:
        # Outside any transaction: what is set in one that is rolled back would be lost.
        connection.autocommit = True
        connection.execute(statement)
        connection.autocommit = False

    sa.event.listen(engine, "connect", set_up)
    return engine


def _settings(always: Mapping[str, str]) -> str:
    """One statement, so one round trip; a commit is never safe on fewer disks than the server's own."""
    parts = [f"set_config('{name}', '{value}', false)" for name, value in always.items()]
    parts += [_unless(name, ["0"], value) for name, value in _UNLESS_SET.items()]
    parts.append(_unless("synchronous_commit", ["off", "local"], "on"))
    return f"SELECT {', '.join(parts)}"


def _unless(name: str, replaced: list[str], value: str) -> str:
    """Set a parameter where its present value is one of those to be replaced."""
    weak = ", ".join(f"'{one}'" for one in replaced)
    present = f"current_setting('{name}')"
    return f"set_config('{name}', CASE WHEN {present} IN ({weak}) THEN '{value}' ELSE {present} END, false)"


def in_utf8(connection: sa.Connection) -> bool:
    """Whether the database keeps its texts in UTF-8: in other encodings not every id has a place, nor its own order."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.info.parameter_status("server_encoding") == "UTF8")


UNKNOWN: Final = "HV000"
UNREACHABLE: Final = "08001"
_PASSING: Final = ("08", "40001", "40P01", "53300", "57P01", "57P02", "57P03", "57P05", "25P03")
_BEFORE_SESSION: Final = (
    ("too many clients", "53300"),
    ("connection slots", "53300"),
    ("too many connections", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("recovery mode", "57P03"),
    ("not yet accepting", "57P03"),
    ("authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("pg_hba.conf", "28000"),
    ("permission denied for database", "42501"),
    ("database", "3D000"),
    ("role", "28000"),
)


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of one of psycopg's errors, also of one that it raises without."""
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "DataError" in kinds:
        return "22021"  # psycopg refuses what it can't send: a NUL in a text
    if "OperationalError" not in kinds and "InterfaceError" not in kinds:
        return UNKNOWN
    text = str(error).lower()
    if "fatal" not in text:
        return UNREACHABLE
    return next((state for mark, state in _BEFORE_SESSION if mark in text), UNREACHABLE)


def passes(state: str) -> bool:
    """Whether an error may pass by itself when the same is done again."""
    return state.startswith(_PASSING)


def find(remedies: Mapping[str, tuple[str, str]], state: str) -> tuple[str, str] | None:
    """What is said and advised about an error: by its SQLSTATE, else by its class."""
    return remedies.get(state) or remedies.get(state[:2])
