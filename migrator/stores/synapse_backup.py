"""Key backups as a Synapse homeserver keeps them: `e2e_room_keys`, `e2e_room_keys_versions` and `account_data`.

Only read, a page at a time, by the keys that Synapse's own indexes have: (user, version, room, session). What a row
holds is unchecked; whoever opens it checks it (`schemes/megolm_backup`).
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from migrator.core.key_backup import BackedUpSession, BackupVersion
from migrator.stores.source_database import SourceDatabase

PAGE: Final = 500
MOST_VERSIONS: Final = 64
"""Backups of one account that are looked at: a client has one, and makes a new one when it is reset."""

_metadata = sa.MetaData()
ROOM_KEYS: Final = sa.Table(
    "e2e_room_keys",
    _metadata,
    sa.Column("user_id", sa.Text),
    sa.Column("room_id", sa.Text),
    sa.Column("session_id", sa.Text),
    sa.Column("version", sa.BigInteger),
    sa.Column("session_data", sa.Text),
)
VERSIONS: Final = sa.Table(
    "e2e_room_keys_versions",
    _metadata,
    sa.Column("user_id", sa.Text),
    sa.Column("version", sa.BigInteger),
    sa.Column("algorithm", sa.Text),
    sa.Column("auth_data", sa.Text),
    sa.Column("deleted", sa.SmallInteger),
)
ACCOUNT_DATA: Final = sa.Table(
    "account_data",
    _metadata,
    sa.Column("user_id", sa.Text),
    sa.Column("account_data_type", sa.Text),
    sa.Column("content", sa.Text),
)


class SynapseKeyBackup:
    """The backups of one account, limited to some rooms."""

    def __init__(self, database: SourceDatabase, account_id: str, room_ids: Collection[str]) -> None:
        self._database = database
        self._account_id = account_id
        self._room_ids = sorted(room_ids)

    def versions(self) -> Sequence[BackupVersion]:
        """The backups that were not deleted, newest first."""
        table = VERSIONS.c
        query = (
            sa.select(table.version, table.algorithm, table.auth_data)
            .where(table.user_id == self._account_id, table.deleted == 0)
            .order_by(table.version.desc())
            .limit(MOST_VERSIONS)
        )
        rows = self._rows(query)
        return [
            BackupVersion(version, algorithm, auth_data)
            for version, algorithm, auth_data in rows
            if type(version) is int and type(algorithm) is str and type(auth_data) is str
        ]

    def secret(self, name: str) -> str | None:
        """The account data of a type, as JSON text."""
        table = ACCOUNT_DATA.c
        query = sa.select(table.content).where(table.user_id == self._account_id, table.account_data_type == name)
        content = next((row[0] for row in self._rows(query)), None)
        return content if type(content) is str else None

    def sessions(self, version: int) -> Iterator[BackedUpSession]:
        """The sessions of a backup, a page in memory at a time."""
        for room_id in self._room_ids:
            yield from self._sessions(version, room_id)

    def _sessions(self, version: int, room_id: str) -> Iterator[BackedUpSession]:
        table = ROOM_KEYS.c
        query = (
            sa.select(table.session_id, table.session_data)
            .where(table.user_id == self._account_id, table.version == version, table.room_id == room_id)
            .order_by(table.session_id)
            .limit(PAGE)
        )
        after: Any = None
        while True:
            rows = self._rows(query if after is None else query.where(table.session_id > after))
            for session_id, data in rows:
                if type(session_id) is str and type(data) is str:
                    yield BackedUpSession(room_id, session_id, data)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def _rows(self, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        return self._database.run(lambda connection: [tuple(row) for row in connection.execute(query)])
