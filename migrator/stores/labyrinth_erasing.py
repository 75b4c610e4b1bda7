"""Deletes ciphertext from a Labyrinth store, when a campaign is made final. Nothing else writes to a source.

Every call is one transaction, and does nothing the second time. On SQLite freed pages are overwritten
(`secure_delete`); on PostgreSQL, `VACUUM` and the expiry of backups and of write-ahead logs are the operator's.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from migrator import postgres
from migrator.core.errors import KEPT, ConfigError, SourceError, SourceUnavailableError
from migrator.stores import labyrinth_rows as meaning
from migrator.stores.interface import Place
from migrator.stores.labyrinth_tables import message

_AT_ONCE = 200
"""Places in one statement: four parameters each."""
_WAIT_SECONDS = 60.0


class LabyrinthEraser:
    """One connection that may delete."""

    unaided: ClassVar[bool] = True

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "LabyrinthEraser":
        """`SourceError` where there is no such source, or no driver for it."""
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite":
                engine = sa.create_engine(url, connect_args={"timeout": _WAIT_SECONDS}, hide_parameters=True)
                sa.event.listen(engine, "connect", _overwrite)
            elif postgres.is_postgresql(parsed):
                engine = postgres.open_engine(parsed, application_name="migrator (finalize)", settings={})
            else:
                engine = sa.create_engine(url, hide_parameters=True)
        except (ArgumentError, NoSuchModuleError, ImportError, ConfigError):
            raise SourceError("the source can't be opened for writing", hint="check source.url") from None
        return cls(engine)

    def count(self, places: Sequence[Place]) -> int:
        """How many of the messages are there."""
        query = sa.select(sa.func.count()).select_from(message)
        with self._transaction() as connection:
            return sum(int(connection.scalar(query.where(condition)) or 0) for condition in _at(places))

    def erase(self, places: Sequence[Place]) -> None:
        """Delete messages; those that are gone are no error."""
        with self._transaction() as connection:
            for condition in _at(places):
                connection.execute(message.delete().where(condition))

    def count_all(self, conversation_ids: Sequence[str]) -> int:
        """How many messages some conversations have, whatever their rows hold."""
        query = sa.select(sa.func.count()).select_from(message)
        with self._transaction() as connection:
            return sum(int(connection.scalar(query.where(condition)) or 0) for condition in _of(conversation_ids))

    def erase_all(self, conversation_ids: Sequence[str]) -> None:
        """Delete all messages of some conversations."""
        with self._transaction() as connection:
            for condition in _of(conversation_ids):
                connection.execute(message.delete().where(condition))

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None)
            passing = isinstance(cause, BaseException) and postgres.passes(postgres.sqlstate(cause))
            kind = SourceUnavailableError if passing else SourceError
            raise kind(
                f"the source can't be written ({type(cause or error).__name__})",
                hint="grant DELETE on its table message, and see that nobody holds a lock on it; then go on",
                changed=KEPT,
            ) from None


def _overwrite(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA secure_delete = ON")


def _at(places: Sequence[Place]) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that together match the places; each uses the primary key."""
    remaining = iter(places)
    while chunk := list(islice(remaining, _AT_ONCE)):
        found = []
        for conversation_id, sent_at, message_id in chunk:
            key = meaning.key_of(conversation_id)
            if key is not None:
                found.append(_one(key, sa.and_(message.c.sent_at == sent_at, message.c.message_id == message_id)))
        if found:
            yield sa.or_(*found)


def _of(conversation_ids: Sequence[str]) -> Iterator[sa.ColumnElement[bool]]:
    for conversation_id in conversation_ids:
        key = meaning.key_of(conversation_id)
        if key is not None:
            yield _one(key, sa.true())


def _one(key: meaning.Key, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.and_(message.c.inbox_id == key[0], message.c.thread_id == key[1], condition)
