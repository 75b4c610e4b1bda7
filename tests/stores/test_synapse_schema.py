"""Tests of what is a homeserver's database of a known version, and of what preflight is told about it."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrator.core.errors import SourceError
from migrator.stores import synapse_tables as tables
from migrator.stores.synapse import SynapseStore
from tests.support.synapse import Homeserver, opened, source


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Homeserver]:
    """A homeserver with one user."""
    with closing(Homeserver(tmp_path / "homeserver.db")) as made:
        made.user("ada")
        yield made


def refusal(server: Homeserver, **values: str) -> SourceError:
    """Why it is not opened."""
    with pytest.raises(SourceError) as caught:
        SynapseStore.open(source(server.url, **values))
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(("version", "compatible"), [(72, 60), (94, 84), (94, 94), (120, 94)])
def test_known_schemas(server: Homeserver, version: int, compatible: int) -> None:
    """By Synapse's own rule: one that is compatible with what is known may be newer."""
    server.execute("UPDATE schema_version SET version = ?", [(version,)])
    server.execute("UPDATE schema_compat_version SET compat_version = ?", [(compatible,)])
    with opened(source(server.url)) as store:
        assert list(store.population()) == []


@pytest.mark.parametrize(("version", "compatible", "said"), [(71, 60, "version 71"), (120, 95, "from version 95")])
def test_unknown_schemas(server: Homeserver, version: int, compatible: int, said: str) -> None:
    """Older, or not compatible any more: a clear error, with the versions that are read."""
    server.execute("UPDATE schema_version SET version = ?", [(version,)])
    server.execute("UPDATE schema_compat_version SET compat_version = ?", [(compatible,)])
    error = refusal(server)
    assert said in error.message
    assert f"{tables.OLDEST_SCHEMA} to {tables.NEWEST_SCHEMA}" in error.hint


def test_a_schema_that_says_nothing(server: Homeserver) -> None:
    """Without a row nobody knows what the tables mean."""
    server.execute("DELETE FROM schema_version")
    assert "schema version" in refusal(server).message


@pytest.mark.parametrize("table", ["events", "redactions", "device_lists_remote_cache"])
def test_a_missing_table_is_named(server: Homeserver, table: str) -> None:
    """Whichever it is."""
    server.execute(f"DROP TABLE {table}")
    assert table in refusal(server).message


def test_a_missing_column_is_named(server: Homeserver) -> None:
    """Also where the version says that it should be there."""
    server.execute("ALTER TABLE events RENAME COLUMN rejection_reason TO other")
    assert "events.rejection_reason" in refusal(server).message


def test_columns_and_tables_of_later_schemas_may_be_missing(server: Homeserver) -> None:
    """`locked`, `suspended` and the redactions by ban came with schemas 80, 85 and 92."""
    for column in tables.LOCKS:
        server.execute(f"ALTER TABLE users DROP COLUMN {column}")
    server.execute("DROP TABLE room_ban_redactions")
    room = server.room("!r", "@ada:a.example")
    server.message(room, "@ada:a.example")
    with opened(source(server.url)) as store:
        assert len(store.page(room, None, 10)) == 1
        assert len(next(store.all_accounts())) == 1


def test_a_background_update_that_matters(server: Homeserver) -> None:
    """Until it has run, rows don't say which events are state."""
    server.insert("background_updates", update_name="events_populate_state_key_rejections", progress_json="{}")
    assert "events_populate_state_key_rejections" in refusal(server).message


def test_another_domain(server: Homeserver) -> None:
    """A slip in `source.local_domain` would make every account unresolvable: it is told at once."""
    assert "local_domain" in refusal(server, domain="a.exmple").message


def test_identity_is_of_place_domain_and_oldest_users(server: Homeserver, tmp_path: Path) -> None:
    """Rooms may come and be purged: it stays. Another domain, place or homeserver is another source."""
    with opened(source(server.url)) as store:
        first = store.identity()
        server.room("!r", server.user("bob"))
        for number in range(8):
            server.user(f"more-{number}")
        grown = store.identity()
        server.user("latest")
        server.purge("!r")
        assert store.identity() == grown
    with closing(Homeserver(tmp_path / "other.db")) as other, opened(source(other.url)) as elsewhere:
        assert len({first, grown, elsewhere.identity()}) == 3


# --- what preflight is told ---


def said(server: Homeserver) -> str:
    """What is doubtful about it."""
    with opened(source(server.url)) as store:
        return " ".join(f"{doubt.message} ({doubt.remedy})" for doubt in store.doubts())


def test_a_stopped_homeserver_is_beyond_doubt(server: Homeserver) -> None:
    """A copy that nobody has open."""
    assert said(server) == ""


def test_a_pending_update_is_told(server: Homeserver) -> None:
    """One that matters for speed only."""
    server.insert("background_updates", update_name="some_index", progress_json="{}")
    assert "some_index" in said(server)


def test_a_homeserver_that_runs_is_told(server: Homeserver) -> None:
    """By its open file, seen from another process, and by the write-ahead log that it left when it was killed."""
    script = f"import sqlite3; c = sqlite3.connect({str(server.path)!r}); c.execute('SELECT 1 FROM users'); print(1)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}; import sys; sys.stdout.flush(); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "another process" in said(server)
        process.communicate(b"\n")
    assert said(server) == ""
    with closing(sqlite3.connect(server.path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE something (x)")
        connection.commit()
        assert "write-ahead log" in said(server)
