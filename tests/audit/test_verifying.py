"""`audit verify` and `audit consistency`: whatever byte is changed, wherever, is found; what is whole is said to be."""

import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.audit import consistency, outbox, verifying
from migrator.audit.events import Event, EventType
from migrator.audit.findings import MOST_FINDINGS, FindingKind, Verification
from migrator.core import proofs, tiles
from migrator.core.errors import AuditLogError, UsageError
from migrator.core.merkle import EMPTY_ROOT, root_of
from migrator.core.notes import Checkpoint
from migrator.core.progress import NoProgress
from tests.audit.support import KEY, ORIGIN, make_log, open_database, open_log, record
from tests.support.notes import signed

LEAVES = 800
FLIPPED = 7
"""Bits that are flipped in each file."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with full and partial tiles, several checkpoints, and its database."""
    folder = tmp_path_factory.mktemp("whole")
    make_log(folder)
    for start, count in ((0, 10), (10, 740), (750, 50)):
        record(folder, count, start=start)
        open_log(folder).flush()
    database = open_database(folder)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return folder


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    return copy


def verified(folder: Path, first: int = 0, end: int | None = None, trusted: bytes | None = None) -> Verification:
    """What a verification of the log in a folder finds."""
    return verifying.verify(open_log(folder, read_only=True), NoProgress(), first=first, end=end, trusted=trusted)


def kinds(found: Verification) -> set[str]:
    """Kinds of the findings."""
    return {finding.kind.value for finding in found.findings}


def test_a_whole_log_verifies(log: Path) -> None:
    """Everything is counted, nothing is found, and size and root are those of the newest checkpoint."""
    found = verified(log)
    assert found.findings == []
    assert found.ok
    lines = (log / "audit/wal.jsonl").read_bytes().splitlines()
    assert (found.size, found.root, found.checkpoints) == (LEAVES, root_of(lines), 3)
    assert found.checked == {"leaves": LEAVES, "tiles": 5, "bundles": 4, "tail": 0}


def test_an_empty_log_verifies(tmp_path: Path) -> None:
    """A log that was just made has nothing in it, and nothing wrong."""
    make_log(tmp_path)
    found = verified(tmp_path)
    assert (found.ok, found.size, found.root, found.checkpoints) == (True, 0, EMPTY_ROOT, 0)


def test_any_byte_of_any_file(whole: Path, tmp_path: Path) -> None:
    """One bit flipped in a tile, bundle, checkpoint, key or line: the log does not verify, and it is not an error."""
    generator = random.Random(5)
    names = [str(path.relative_to(whole)) for path in (whole / "audit").rglob("*") if path.is_file()]
    assert len(names) > 12
    for name in names:
        for _ in range(FLIPPED):
            copy = tmp_path / "copy"
            shutil.copytree(whole, copy)
            data = bytearray((copy / name).read_bytes())
            bit = generator.randrange(len(data) * 8)
            data[bit // 8] ^= 1 << bit % 8
            (copy / name).write_bytes(data)
            found = verified(copy)
            assert not found.ok, (name, bit)
            shutil.rmtree(copy)


def test_any_file_that_is_gone(whole: Path, tmp_path: Path) -> None:
    """Each file is missed; of the kept checkpoints the newest, and others where a stretch of leaves has none."""
    for path in sorted((whole / "audit").rglob("*")):
        name = path.relative_to(whole)
        if path.is_dir() or path.name in ("wal.jsonl", "10", "750"):
            continue
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy)
        (copy / name).unlink()
        found = verified(copy)
        assert not found.ok, name
        shutil.rmtree(copy)


def test_a_leaf_replaced_everywhere_in_the_log(log: Path) -> None:
    """Line, bundle and tile agree on a forged entry: the tile above, the checkpoints and the database do not."""
    audit = log / "audit"
    lines = (audit / "wal.jsonl").read_bytes().splitlines()
    lines[100] = lines[100].replace(b'"n":100', b'"n":101')
    (audit / "wal.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (audit / "tile/entries/000").write_bytes(tiles.encode_entries(lines[:256]))
    (audit / "tile/0/000").write_bytes(tiles.leaf_hashes(lines[:256]))
    found = verified(log)
    assert {"tile", "database"} <= kinds(found)
    assert 100 in {finding.at for finding in found.findings}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE migrator_outbox SET data = '{\"n\":1000}' WHERE seq = 400",
        "UPDATE migrator_outbox SET actor = 'another' WHERE seq = 0",
        "UPDATE migrator_outbox SET time = '2026-05-08T12:00:00.000001Z' WHERE seq = 799",
        "UPDATE migrator_outbox SET event_id = 'x' WHERE seq = 5",
        "DELETE FROM migrator_outbox WHERE seq = 300",
        "DELETE FROM migrator_outbox",
        "UPDATE migrator_audit_state SET size = 799",
        "UPDATE migrator_audit_state SET size = 801",
        "UPDATE migrator_audit_state SET wal_bytes = wal_bytes - 1",
        "UPDATE migrator_audit_state SET last_line_sha256 = ''",
        "UPDATE migrator_audit_state SET checkpoint_size = 750",
        "UPDATE migrator_audit_state SET checkpoint_root = '00'",
        "UPDATE migrator_audit_state SET checkpoint_wal_bytes = 1",
        "DELETE FROM migrator_audit_state",
    ],
)
def test_any_row_of_the_database(log: Path, change: str) -> None:
    """What the database has of the log is compared with it, event by event."""
    with open_database(log).write("test") as connection:
        assert connection.exec_driver_sql(change).rowcount > 0
    found = verified(log)
    assert not found.ok
    assert FindingKind.DATABASE in {finding.kind for finding in found.findings}


def test_findings_are_bounded(log: Path) -> None:
    """A log that is wrong everywhere gives the first findings and their number."""
    with open_database(log).write("test") as connection:
        connection.exec_driver_sql("UPDATE migrator_outbox SET actor = 'another'")
    found = verified(log)
    assert (len(found.findings), found.faults) == (MOST_FINDINGS, LEAVES)
    assert found.more_findings == LEAVES - MOST_FINDINGS


def test_a_stretch(log: Path) -> None:
    """A range looks at its entries and the checkpoints that end in it, and hangs them on the same root."""
    found = verified(log, 300, 760)
    assert (found.ok, found.checked["leaves"], found.checkpoints) == (True, 460, 1)
    bundle = log / "audit/tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b'"n":5', b'"n":6', 1))
    assert verified(log, 300, 760).ok
    assert not verified(log, 200, 300).ok
    assert verified(log, 5000, 6000).checked["leaves"] == 0


def test_lines_without_a_checkpoint_are_noted(log: Path) -> None:
    """A tail that waits for its checkpoint is verified by line and database, and is no fault."""
    record(log, 30)
    open_log(log).flush(checkpoint=False)
    found = verified(log)
    assert (found.ok, kinds(found), found.checked["tail"]) == (True, {"unsigned_tail"}, 30)
    assert found.checked["leaves"] == LEAVES + 30
    with open_database(log).write("test") as connection:
        connection.exec_driver_sql("UPDATE migrator_outbox SET actor = 'another' WHERE seq = 815")
    assert [finding.at for finding in verified(log).findings if not finding.kind.is_note] == [815]


def test_checkpoints_that_were_taken_away(tmp_path: Path) -> None:
    """Where more than `EVERY` leaves have no kept checkpoint, one is missing."""
    make_log(tmp_path)
    record(tmp_path, 3000)
    open_log(tmp_path).flush()
    assert verified(tmp_path).ok
    (tmp_path / "audit/checkpoints/1536").unlink()
    assert "no checkpoint is kept between 768 and 2304" in verified(tmp_path).findings[0].message


def test_trusted_checkpoints(log: Path, whole: Path) -> None:
    """One from earlier is found again; of a log that was cut off, forked or replaced, it is not."""
    for size in (10, 750, 800):
        assert verified(log, trusted=(whole / f"audit/checkpoints/{size}").read_bytes()).ok
    later = Checkpoint(origin=ORIGIN, size=900, root=bytes(32))
    forked = Checkpoint(origin=ORIGIN, size=600, root=bytes(32))
    foreign = Checkpoint(origin="example.org/other", size=600, root=bytes(32))
    for checkpoint, message in ((later, "cut off"), (forked, "don't have the root"), (foreign, "example.org/other")):
        found = verified(log, trusted=signed(checkpoint.body(), ORIGIN, KEY))
        assert [f.kind for f in found.findings] == [FindingKind.TRUSTED_CHECKPOINT]
        assert message in found.findings[0].message
    assert kinds(verified(log, trusted=b"rubbish")) == {"trusted_checkpoint"}


def test_silence_while_a_run_is_open_is_noted(tmp_path: Path) -> None:
    """More than an hour without a line shows, between runs it does not."""
    log = make_log(tmp_path)
    start = datetime(2026, 5, 8, 12, 30, tzinfo=UTC)
    story = [
        (0, EventType.RUN_STARTED), (60, EventType.LOG_HEARTBEAT), (120, EventType.LOG_HEARTBEAT),
        (300, EventType.RUN_PAUSED), (900, EventType.RUN_RESUMED), (910, EventType.RUN_COMPLETED),
        (2000, EventType.LOG_READ),
    ]  # fmt: skip
    for minutes, kind in story:
        event = Event(type=kind, subject="run-1", run_id="run-1")
        with open_database(tmp_path).write("test") as connection:
            outbox.record(connection, [event], actor="a", now=start + timedelta(minutes=minutes))
    log.flush()
    found = verified(tmp_path)
    assert found.ok
    assert [(finding.kind.value, finding.at) for finding in found.findings] == [("silence", 3)]
    assert "3:00:00" in found.findings[0].message


def test_no_log_at_all(tmp_path: Path) -> None:
    """A folder without a log is an error, not a finding."""
    make_log(tmp_path).path.unlink()
    with pytest.raises(AuditLogError, match="missing"):
        verified(tmp_path)


# --- consistency ---


@pytest.mark.parametrize(("old", "new"), [("10", "750"), ("0", "800"), ("750", "750"), ("256", "600"), ("799", "800")])
def test_consistency_is_proven(log: Path, old: str, new: str) -> None:
    """Between kept checkpoints and any sizes; the proof convinces who has the roots alone."""
    found = consistency.prove(open_log(log), old, new)
    lines = (log / "audit/wal.jsonl").read_bytes().splitlines()
    assert (found.old.root, found.new.root) == (root_of(lines[: int(old)]), root_of(lines[: int(new)]))
    assert proofs.extends(found.old.root, found.old.size, found.new.root, found.new.size, found.proof)


def test_consistency_of_files(log: Path, whole: Path, tmp_path: Path) -> None:
    """A checkpoint from elsewhere is verified by the log's key before it counts."""
    kept = whole / "audit/checkpoints/10"
    assert consistency.prove(open_log(log), str(kept), "800").old.size == 10
    forked = Checkpoint(origin=ORIGIN, size=600, root=bytes(32))
    longer = Checkpoint(origin=ORIGIN, size=900, root=bytes(32))
    cases = {
        "forked": signed(forked.body(), ORIGIN, KEY),
        "cut off": signed(longer.body(), ORIGIN, KEY),
        "does not verify": b"rubbish",
    }
    for message, note in cases.items():
        (tmp_path / "note").write_bytes(note)
        with pytest.raises(AuditLogError, match=message):
            consistency.prove(open_log(log), "10", str(tmp_path / "note"))


@pytest.mark.parametrize(
    ("old", "new"), [("750", "10"), ("10", "801"), ("10", "nowhere"), ("-1", "800"), ("1", "9" * 99)]
)
def test_states_that_are_none(log: Path, old: str, new: str) -> None:
    """The wrong way round, beyond the log, no file."""
    with pytest.raises(UsageError):
        consistency.prove(open_log(log), old, new)


def test_an_altered_tile_proves_nothing(log: Path) -> None:
    """Consistency is not claimed over tiles that don't have the roots that were signed."""
    tile = log / "audit/tile/1/000.p/3"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    with pytest.raises(AuditLogError):
        consistency.prove(open_log(log), "10", "750")
