"""The sequencer: what a line is, in which order they come, and what it refuses."""

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.audit import log as log_module
from migrator.audit.events import EventType
from migrator.core.errors import AuditLogError, ExitStatus
from migrator.database import tables
from tests.audit.support import NOW, entries, log_of, make_log, numbers, open_database, open_log, record


def test_create_makes_a_private_empty_log_once(tmp_path: Path) -> None:
    """The directory has mode 0700, the file 0600; a second call keeps both."""
    log = make_log(tmp_path)
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert log.path.read_bytes() == b""
    record(tmp_path, 1)
    log.flush()
    assert log.create() is False
    assert numbers(tmp_path) == [0]


def test_a_line_has_the_attributes_of_the_format(tmp_path: Path) -> None:
    """Compact sorted JSON with CloudEvents attributes; the absent ones are left out."""
    log = make_log(tmp_path)
    record(tmp_path, 1, type=EventType.CONVERSATION_REWRAPPED, subject="ab" * 16, run_id="run-1")
    record(tmp_path, 1)
    log.flush()
    first, second = log.path.read_bytes().splitlines()
    entry = json.loads(first)
    identifier = entry.pop("id")
    assert len(identifier) == 36
    assert entry == {
        "specversion": "1.0",
        "source": "example.org/migrator/dm",
        "type": "dev.migrator.conversation.rewrapped",
        "subject": "ab" * 16,
        "time": "2026-05-08T12:00:00.000000Z",
        "dataschema": "urn:migrator:event:conversation.rewrapped:1",
        "data": {"n": 0},
        "seq": 0,
        "runid": "run-1",
        "actor": "tester",
    }
    assert first == json.dumps({**entry, "id": identifier}, sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(second).keys().isdisjoint({"subject", "runid"})


def test_flush_numbers_lines_and_rows_alike(tmp_path: Path) -> None:
    """`seq` counts from 0 without holes over several flushes, in the file and in the outbox."""
    log = make_log(tmp_path)
    record(tmp_path, 3)
    assert log.flush() == 3
    assert log.flush() == 0
    record(tmp_path, 2, start=3)
    assert log.flush() == 2
    assert [entry["seq"] for entry in entries(tmp_path)] == [0, 1, 2, 3, 4]
    with open_database(tmp_path).read() as connection:
        rows = connection.execute(sa.select(tables.outbox.c.event_id, tables.outbox.c.seq)).all()
    assert {entry["id"]: entry["seq"] for entry in entries(tmp_path)} == {row[0]: row[1] for row in rows}


def test_the_database_remembers_the_end_of_the_log(tmp_path: Path) -> None:
    """Size, bytes and digest of the last line are those of the file."""
    log = make_log(tmp_path)
    record(tmp_path, 4)
    log.flush()
    data = log.path.read_bytes()
    state = open_log(tmp_path).state()
    assert (state.size, state.wal_bytes) == (4, len(data))
    assert state.last_line_sha256 == hashlib.sha256(data.splitlines()[-1]).hexdigest()


def test_batches_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than fit in a batch all arrive, in order."""
    monkeypatch.setattr(log_module, "BATCH", 7)
    log = make_log(tmp_path)
    record(tmp_path, 50)
    assert log.flush() == 50
    assert numbers(tmp_path) == list(range(50))


def test_an_event_that_committed_late_is_not_missed(tmp_path: Path) -> None:
    """A row with a lower outbox number that appears after higher ones were moved is taken as well."""
    log = make_log(tmp_path)
    record(tmp_path, 3)
    table = tables.outbox
    with open_database(tmp_path).write("test") as connection:
        late = dict(connection.execute(sa.select(table).where(table.c.outbox_no == 2)).mappings().one())
        connection.execute(table.delete().where(table.c.outbox_no == 2))
    log.flush()
    with open_database(tmp_path).write("test") as connection:
        connection.execute(table.insert().values(**late))
    assert log.flush() == 1
    assert numbers(tmp_path) == [0, 2, 1]


def test_a_dry_run_moves_nothing(tmp_path: Path) -> None:
    """On a read-only database flush leaves the file and the waiting events alone."""
    log = make_log(tmp_path)
    record(tmp_path, 2)
    assert open_log(tmp_path, read_only=True).flush() == 0
    assert log.path.read_bytes() == b""
    assert log.flush() == 2


def test_flushes_at_the_same_time_write_each_event_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequencers that run into each other take turns."""
    monkeypatch.setattr(log_module, "BATCH", 10)
    make_log(tmp_path)
    record(tmp_path, 200)
    logs = [open_log(tmp_path) for _ in range(4)]
    moved: list[int] = []
    threads = [threading.Thread(target=lambda log=log: moved.append(log.flush())) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(moved) == 200
    assert numbers(tmp_path) == list(range(200))


def test_lines_gives_acknowledged_lines_only(tmp_path: Path) -> None:
    """What stands beyond the acknowledged end is not part of the log."""
    log = make_log(tmp_path)
    record(tmp_path, 2)
    log.flush()
    whole = log.path.read_bytes()
    with log.path.open("ab") as file:
        file.write(b'{"id":"unacknowledged"}\n{"to')
    assert list(log.lines()) == whole.splitlines()


# --- what is refused ---


def _refused(log: log_module.AuditLog) -> str:
    before = log.path.read_bytes() if log.path.is_file() else None
    with pytest.raises(AuditLogError) as checked:
        log.check()
    with pytest.raises(AuditLogError) as caught:
        log.flush()
    assert caught.value.exit_status is ExitStatus.AUDIT_LOG
    assert caught.value.hint
    assert checked.value.message == caught.value.message
    assert (log.path.read_bytes() if log.path.is_file() else None) == before
    return caught.value.message


@pytest.mark.parametrize("cut", [1, 100, 10**6])
def test_a_shorter_log_is_refused(tmp_path: Path, cut: int) -> None:
    """A log that lost its end is left as it is."""
    log = make_log(tmp_path)
    record(tmp_path, 5)
    log.flush()
    data = log.path.read_bytes()
    log.path.write_bytes(data[: max(0, len(data) - cut)])
    record(tmp_path, 1, start=5)
    assert "the end of the log is lost" in _refused(log)


@pytest.mark.parametrize("offset", [-1, -2, -50])
def test_an_altered_last_line_is_refused(tmp_path: Path, offset: int) -> None:
    """Any changed byte of the last acknowledged line shows, its newline included."""
    log = make_log(tmp_path)
    record(tmp_path, 5)
    log.flush()
    data = bytearray(log.path.read_bytes())
    data[offset] ^= 1
    log.path.write_bytes(data)
    assert "is not the one that was acknowledged" in _refused(log)


def test_a_database_restored_from_a_backup_is_refused(tmp_path: Path) -> None:
    """Lines that the database does not know are never cut off."""
    log = make_log(tmp_path)
    record(tmp_path, 2)
    log.flush()
    restored = tmp_path / "restored"
    restored.mkdir()
    with (
        closing(sqlite3.connect(tmp_path / "migrator.db")) as source,
        closing(sqlite3.connect(restored / "migrator.db")) as backup,
    ):
        source.backup(backup)
    record(tmp_path, 3, start=2)
    log.flush()
    (restored / "audit").mkdir()
    shutil.copy(log.path, restored / "audit")
    assert "no event waits" in _refused(open_log(restored))
    record(restored, 1, start=9)
    assert "the database does not know" in _refused(open_log(restored))


def test_the_log_of_another_campaign_is_refused(tmp_path: Path) -> None:
    """A new database beside an old log neither adds to it nor cuts it."""
    old = tmp_path / "old"
    new = tmp_path / "new"
    old.mkdir()
    new.mkdir()
    make_log(old)
    record(old, 3)
    open_log(old).flush()
    make_log(new)
    (new / "audit" / "wal.jsonl").write_bytes((old / "audit" / "wal.jsonl").read_bytes())
    record(new, 1)
    assert "the database does not know" in _refused(open_log(new))
    with pytest.raises(AuditLogError):
        open_log(new).create()


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    """A log that is gone is not made anew, neither by flush nor by create."""
    log = make_log(tmp_path)
    record(tmp_path, 1)
    log.flush()
    log.path.unlink()
    assert "missing" in _refused(log)
    with pytest.raises(AuditLogError, match="missing"):
        log.create()
    assert not log.path.exists()


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_only_a_regular_file_is_a_log(tmp_path: Path, kind: str) -> None:
    """Nothing is written through a link, into a pipe or a folder."""
    log = make_log(tmp_path)
    record(tmp_path, 1)
    log.path.unlink()
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    if kind == "symlink":
        log.path.symlink_to(target)
    elif kind == "directory":
        log.path.mkdir()
    else:
        os.mkfifo(log.path)
    with pytest.raises(AuditLogError):
        log.flush()
    assert target.read_bytes() == b""


def test_a_full_disk_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way is taken back; the events go in once there is room."""
    log = make_log(tmp_path)
    record(tmp_path, 3)
    log.flush()
    before = log.path.read_bytes()
    record(tmp_path, 3, start=3)
    written: list[int] = []
    real = os.pwrite

    def full_disk(descriptor: int, data: memoryview, offset: int) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(real(descriptor, data[:100], offset))
        return written[0]

    with monkeypatch.context() as patch:
        patch.setattr("migrator.audit.wal.os.pwrite", full_disk)
        with pytest.raises(AuditLogError, match="No space left"):
            log.flush()
    assert log.path.read_bytes() == before
    assert log.flush() == 3
    assert numbers(tmp_path) == list(range(6))


def test_a_second_sequencer_elsewhere_is_found_out(tmp_path: Path) -> None:
    """Where the file's lock does not reach, the database's state decides who goes on."""
    log = make_log(tmp_path)
    record(tmp_path, 1)
    log.flush()
    record(tmp_path, 1, start=1)

    def meanwhile(label: str, moment: str) -> None:
        if (label, moment) == ("audit-wal-sync", "after"):
            with open_database(tmp_path).write("test") as connection:
                connection.execute(tables.audit_state.update().values(size=2))

    database = open_database(tmp_path)
    database.boundary = meanwhile
    with pytest.raises(AuditLogError, match="another process"):
        log_of(database, tmp_path).flush()


def test_now_is_what_was_recorded(tmp_path: Path) -> None:
    """The time of an entry is that of its event, not of the flush."""
    log = make_log(tmp_path)
    record(tmp_path, 1)
    log.flush()
    assert entries(tmp_path)[0]["time"].startswith(NOW.strftime("%Y-%m-%dT%H:%M:%S"))
