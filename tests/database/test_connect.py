"""The way to the migrator database: transactions, and what each kind of trouble is called."""

import os
import resource
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.core.errors import ConfigError, DatabaseError
from migrator.database import connect, schema, tables
from migrator.database.connect import Database, parse_url

SECRET = "hunter2-in-a-parameter"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "migrator.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """A database with its tables."""
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database)
    yield database
    database.close()


def _insert(database: Database, subject: str, *, pragma: str = "user_version", salt: bytes = b"s") -> None:
    """One transaction that inserts a row, after a PRAGMA that makes trouble."""
    with database.write("test") as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.execute(tables.reference_salt.insert().values(subject_id=subject, salt=salt))


def _insert_and_fail(database: Database, subject: str) -> None:
    with database.write("test") as connection:
        connection.execute(tables.reference_salt.insert().values(subject_id=subject, salt=b"s"))
        raise ZeroDivisionError


def _subjects(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(sa.select(tables.reference_salt.c.subject_id)).scalars())


def test_write_is_all_or_nothing(database: Database) -> None:
    """An error in a transaction leaves no trace of it."""
    _insert(database, "kept")
    with pytest.raises(ZeroDivisionError):
        _insert_and_fail(database, "lost")
    assert _subjects(database) == ["kept"]


def test_boundaries_are_told_around_the_commit(database: Database, path: Path) -> None:
    """Crash tests pull the plug before and after a commit: at "before" nobody else sees it, at "after" all do."""
    seen = []
    other = Database(f"sqlite:///{path}")
    database.boundary = lambda label, moment: seen.append((label, moment, _subjects(other)))
    _insert(database, "a")
    assert seen == [("test", "before", []), ("test", "after", ["a"])]
    other.close()


def test_read_sees_one_state(database: Database, path: Path) -> None:
    """What another process commits during a read transaction is not seen in it."""
    other = Database(f"sqlite:///{path}")
    query = sa.select(sa.func.count()).select_from(tables.reference_salt)
    with database.read() as connection:
        before = connection.execute(query).scalar_one()
        _insert(other, "late")
        assert connection.execute(query).scalar_one() == before == 0
    assert _subjects(database) == ["late"]
    other.close()


def test_commits_survive_a_power_cut(database: Database) -> None:
    """WAL and synchronous=FULL (2), on every connection."""
    with database.read() as one, database.engine.connect() as two:
        for connection in (one, two):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_file_is_private(database: Database, path: Path) -> None:
    """Account ids and records are nobody else's to read, in the WAL's files either."""
    _insert(database, "a")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_make_file_keeps_what_is_there(database: Database) -> None:
    """Made twice, the database still has its rows."""
    _insert(database, "kept")
    database.make_file()
    assert _subjects(database) == ["kept"]


@pytest.mark.parametrize("name", ["a b.db", "a#b.db", "a?b.db", "a%20b.db", "a&mode=ro.db", "ä.db"])
def test_any_file_name_works(name: str, tmp_path: Path) -> None:
    """Characters that mean something in an SQLite URI are a name's own, for writers and readers."""
    url = sa.URL.create("sqlite", database=str(tmp_path / name)).render_as_string(hide_password=False)
    database = Database(url)
    expected = database.url.database
    schema.upgrade(database)
    _insert(database, "a")
    assert expected is not None
    assert Path(expected).is_file()
    reader = Database(url, read_only=True)
    assert _subjects(reader) == ["a"]
    reader.close()
    database.close()


# --- trouble ---


def test_dry_run_cannot_write(database: Database, path: Path) -> None:
    """Read-only means refused by us, and by SQLite if somebody got around us."""
    reader = Database(f"sqlite:///{path}", read_only=True)
    with pytest.raises(DatabaseError, match="dry run"):
        _insert(reader, "a")
    with pytest.raises(DatabaseError, match="read-only"), reader.read() as connection:
        connection.execute(tables.reference_salt.insert().values(subject_id="a", salt=b"s"))
    reader.close()
    assert _subjects(database) == []


def test_locked(database: Database, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the write lock for too long."""
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_SECONDS", 0)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    second = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="locked by another process") as caught:
        _insert(second, "a")
    assert "find the process" in caught.value.hint
    holder.close()
    _insert(second, "a")
    second.close()
    assert _subjects(database) == ["a"]


def test_read_only_file(database: Database) -> None:
    """SQLite may read, not write."""
    with pytest.raises(DatabaseError, match="read-only"):
        _insert(database, "a", pragma="query_only=ON")


def test_full_disk(database: Database) -> None:
    """No room for another page: SQLite's own "database or disk is full"; nothing of the transaction stays."""
    with database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    with pytest.raises(DatabaseError, match="disk under the migrator database is full") as caught:
        _insert(database, "a", pragma=f"max_page_count={pages}", salt=bytes(100_000))
    assert "make room" in caught.value.hint
    assert "is kept" in caught.value.changed
    assert _subjects(database) == []


def test_write_that_the_system_refuses(database: Database, path: Path) -> None:
    """EFBIG stands for any failing write: an error of ours, and the database is whole afterwards."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, old[1]))
        with pytest.raises(DatabaseError, match="the disk under the migrator database fails"):
            _insert(database, "a", salt=bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert _subjects(database) == []
    _insert(database, "b")
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


@pytest.mark.parametrize("content", [b"PK\x03\x04 not SQLite at all" * 100, b"SQLite format 3\0" + bytes(500)])
def test_not_a_database(content: bytes, path: Path) -> None:
    """A file of another kind is named as such."""
    path.write_bytes(content)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match=r"not point to a database|damaged"):
        schema.require_current(database)
    assert path.read_bytes() == content
    database.close()


def test_damaged(database: Database, path: Path) -> None:
    """A database whose pages were overwritten is damaged: restore, keep the file."""
    _insert(database, "a")
    database.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    again = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="damaged") as caught:
        _subjects(again)
    assert "backup" in caught.value.hint
    again.close()


def test_missing_table(path: Path) -> None:
    """An SQLite database of somebody else's is not a migrator database."""
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE t (x)")
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="not a migrator database"):
        _subjects(database)
    database.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_missing_file(path: Path, read_only: bool) -> None:
    """Nothing is made where nothing is; the hint names what does make one."""
    database = Database(f"sqlite:///{path}", read_only=read_only)
    with pytest.raises(DatabaseError, match="can't be opened") as caught:
        _subjects(database)
    assert "`migrator init`" in caught.value.hint
    assert not path.exists()
    database.close()


def test_file_that_cannot_be_made(tmp_path: Path) -> None:
    """A missing folder is named."""
    with pytest.raises(DatabaseError, match="No such file or directory"):
        Database(f"sqlite:///{tmp_path}/none/migrator.db").make_file()


def test_parameters_never_show(database: Database) -> None:
    """G5: a refused statement says nothing of what it carried, in no link of its chain."""
    _insert(database, SECRET)
    with pytest.raises(DatabaseError) as caught:
        _insert(database, SECRET)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__suppress_context__
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"


@pytest.mark.parametrize("url", ["", "not a url", "sqlite", "://", "postgresql://u:hunter2@h:port/d"])
def test_url_that_is_none(url: str) -> None:
    """The setting is named, the URL, which may hold a password, is not repeated."""
    with pytest.raises(ConfigError) as caught:
        parse_url(url, "database.url")
    assert "database.url" in caught.value.message
    assert "hunter2" not in f"{caught.value!r}{caught.value.hint}"


def test_unknown_driver() -> None:
    """A driver that is not installed is a configuration error."""
    with pytest.raises(ConfigError, match="no database driver"):
        Database("nosuchdb://h/d")


def test_schema_needs_a_server() -> None:
    """SQLite has no schemas."""
    with pytest.raises(ConfigError, match=r"database\.schema"):
        Database("sqlite:///x.db", schema="s")


def test_folder_without_permission(path: Path, database: Database) -> None:
    """A database in a folder that may not be written: WAL can't be, and the error is ours."""
    if os.getuid() == 0:
        pytest.skip("root may write anywhere")
    database.close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(DatabaseError):
            _insert(Database(f"sqlite:///{path}"), "a")
    finally:
        path.parent.chmod(0o700)


def test_a_commit_that_need_not_wait_for_the_disk(tmp_path: Path) -> None:
    """Only the transaction that says so; the next one on the same connection waits again."""
    database = Database(f"sqlite:///{tmp_path}/migrator.db")
    database.make_file()
    found = []
    for synced in (True, False, True):
        with database.write("test", synced=synced) as connection:
            found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
    assert found == [2, 1, 2]
