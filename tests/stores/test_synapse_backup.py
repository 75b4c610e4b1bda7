"""Key backups in a homeserver's database: whose, which, and in pages; rows of any kind."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.core.key_backup import BackedUpSession, BackupVersion
from migrator.stores import synapse_backup
from migrator.stores.source_database import SourceDatabase
from migrator.stores.synapse_backup import SynapseKeyBackup

_TABLES = """
CREATE TABLE e2e_room_keys (user_id TEXT NOT NULL, room_id TEXT NOT NULL, session_id TEXT NOT NULL, version BIGINT,
  first_message_index INT, forwarded_count INT, is_verified BOOLEAN, session_data TEXT NOT NULL);
CREATE TABLE e2e_room_keys_versions (user_id TEXT NOT NULL, version BIGINT NOT NULL, algorithm TEXT NOT NULL,
  auth_data TEXT NOT NULL, deleted SMALLINT DEFAULT 0 NOT NULL, etag BIGINT);
CREATE TABLE account_data (user_id TEXT NOT NULL, account_data_type TEXT NOT NULL, stream_id BIGINT NOT NULL,
  content TEXT NOT NULL, instance_name TEXT);
"""
_VERSIONS = [
    ("@a", 1, "m.old", "{}", 1), ("@a", 2, "m.x", "{2}", 0), ("@a", 3, "m.x", "{3}", 0), ("@b", 9, "m.x", "{}", 0),
    ("@a", 4, b"\xff", "{}", 0),
]  # fmt: skip
_KEYS = [("@a", "!r", f"s{n}", 3, f"data{n}") for n in range(7)] + [
    ("@a", "!r", "s9", 2, "older"), ("@b", "!r", "s8", 3, "another's"), ("@a", "!other", "s0", 3, "elsewhere"),
    ("@a", "!r", "sx", 3, b"\xff\xfe"), ("@a", "!q", "s0", 3, "q"),
]  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SourceDatabase]:
    """A homeserver's database, as far as this goes."""
    connection = sqlite3.connect(tmp_path / "homeserver.db")
    with connection:
        connection.executescript(_TABLES)
        connection.executemany("INSERT INTO e2e_room_keys_versions VALUES (?, ?, ?, ?, ?, 0)", _VERSIONS)
        connection.executemany("INSERT INTO e2e_room_keys VALUES (?, ?, ?, ?, 0, 0, 1, ?)", _KEYS)
        connection.executemany(
            "INSERT INTO account_data VALUES (?, ?, 1, ?, NULL)",
            [("@a", "m.megolm_backup.v1", '{"a":1}'), ("@b", "m.x", "{}"), ("@a", "m.broken", b"\xff")],
        )
    connection.close()
    opened = SourceDatabase(f"sqlite:///{tmp_path / 'homeserver.db'}")
    yield opened
    opened.close()


def test_versions_newest_first(database: SourceDatabase) -> None:
    """Without those that were deleted, another's, and rows of another kind."""
    backup = SynapseKeyBackup(database, "@a", ["!r"])
    assert backup.versions() == [BackupVersion(3, "m.x", "{3}"), BackupVersion(2, "m.x", "{2}")]
    assert SynapseKeyBackup(database, "@nobody", []).versions() == []


@pytest.mark.parametrize("page", [1, 2, 3, 500])
def test_sessions_of_the_rooms_that_are_asked_for(
    database: SourceDatabase, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many fit in a page: each once, room by room."""
    monkeypatch.setattr(synapse_backup, "PAGE", page)
    backup = SynapseKeyBackup(database, "@a", {"!r", "!q", "!none"})
    expected = [BackedUpSession("!q", "s0", "q"), *[BackedUpSession("!r", f"s{n}", f"data{n}") for n in range(7)]]
    assert list(backup.sessions(3)) == expected


def test_account_data(database: SourceDatabase) -> None:
    """By its type; nothing for what is another's, missing or no text."""
    backup = SynapseKeyBackup(database, "@a", [])
    assert backup.secret("m.megolm_backup.v1") == '{"a":1}'
    assert [backup.secret(name) for name in ("m.x", "m.none", "m.broken")] == [None, None, None]
