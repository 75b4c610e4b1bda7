"""`audit verify` and `audit consistency`: whatever byte is changed, wherever, is found; what is whole is said to be."""

import os
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.audit import consistency, outbox, verifying
from migrator.audit.directory import LogDirectory
from migrator.audit.events import Event, EventType
from migrator.audit.findings import MOST_FINDINGS, FindingKind, Verification
from migrator.audit.log import AuditLog
from migrator.core import notes, proofs, tiles
from migrator.core.errors import AuditLogError, ConfigError, UsageError
from migrator.core.merkle import EMPTY_ROOT, root_of
from migrator.core.notes import Checkpoint
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.keyservices.interface import Signer
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
    assert found.checked == {"leaves": LEAVES, "tiles": 5, "bundles": 4, "files": 10, "tail": 0}


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
    """Each file is missed, every kept checkpoint among them: the database remembers which were signed."""
    for path in sorted((whole / "audit").rglob("*")):
        name = path.relative_to(whole)
        if path.is_dir() or path.name == "wal.jsonl":
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
        "UPDATE migrator_audit_checkpoint SET root = replace(root, substr(root, 9, 1), 'x') WHERE size = 750",
        "UPDATE migrator_audit_checkpoint SET size = 751 WHERE size = 750",
        "UPDATE migrator_audit_checkpoint SET origin = 'x' WHERE size = 800",
        "DELETE FROM migrator_audit_checkpoint WHERE size = 750",
        "UPDATE migrator_audit_checkpoint SET size = 750.5 WHERE size = 750",
        "UPDATE migrator_audit_checkpoint SET size = 'many' WHERE size = 750",
        "UPDATE migrator_audit_checkpoint SET root = x'ff' WHERE size = 750",
        "INSERT INTO migrator_audit_checkpoint SELECT origin, 900, root FROM migrator_audit_checkpoint LIMIT 1",
        "INSERT INTO migrator_audit_checkpoint SELECT origin, 300, root FROM migrator_audit_checkpoint LIMIT 1",
        (
            "INSERT INTO migrator_outbox SELECT 9999, 'x', type, subject, run_id, actor, time, data, 800 "
            "FROM migrator_outbox WHERE seq = 5"
        ),
        (
            "INSERT INTO migrator_outbox SELECT 9999, 'x', type, subject, run_id, actor, time, data, -1 "
            "FROM migrator_outbox WHERE seq = 5"
        ),
    ],
)
def test_any_row_of_the_database(log: Path, change: str) -> None:
    """What the database has of the log is compared with it, event by event."""
    with open_database(log).write("test") as connection:
        assert connection.exec_driver_sql(change).rowcount > 0
    found = verified(log)
    assert not found.ok
    assert FindingKind.DATABASE in {finding.kind for finding in found.findings}


@pytest.mark.parametrize("column", ["size", "wal_bytes", "checkpoint_size", "checkpoint_wal_bytes"])
@pytest.mark.parametrize("value", ["-5", "'many'", "9223372036854775808", "1.5"])
def test_a_memory_that_no_log_has(log: Path, column: str, value: str) -> None:
    """Numbers that can't be are refused by whoever looks, not computed with."""
    with open_database(log).write("test") as connection:
        connection.exec_driver_sql(f"UPDATE migrator_audit_state SET {column} = {value}")
    for act in (verified, lambda folder: open_log(folder).check(), lambda folder: open_log(folder).flush()):
        with pytest.raises(AuditLogError, match="can't be"):
            act(log)


def test_the_kept_checkpoints_of_a_crash_are_recorded_by_the_next_flush(log: Path) -> None:
    """One that was signed and not published: the next flush takes it in, and from then on it is missed."""
    record(log, 100, start=LEAVES)
    open_log(log).flush(checkpoint=False)
    lines = (log / "audit/wal.jsonl").read_bytes().splitlines()
    early = Checkpoint(origin=ORIGIN, size=850, root=root_of(lines[:850]))
    (log / "audit/checkpoints/850").write_bytes(signed(early.body(), ORIGIN, KEY))
    assert verified(log).ok
    open_log(log).flush()
    assert verified(log).findings == []
    with open_log(log).signed(0, 900) as remembered:
        assert [size for size, _ in remembered] == [10, 750, 800, 850, 900]
    (log / "audit/checkpoints/850").unlink()
    assert [(f.kind.value, f.at) for f in verified(log).findings] == [("checkpoint", 850)]


# --- somebody who can write the directory and the database, and does not have the signing key ---


def sign_all_with(folder: Path, key: Ed25519PrivateKey, lines: list[bytes]) -> None:
    """Put a whole log of other lines there: tiles, bundles, all checkpoints, the key, what the database remembers."""
    audit = folder / "audit"
    sizes = open_log(folder).directory.checkpoint_sizes()
    for name in ("tile", "checkpoints"):
        shutil.rmtree(audit / name)
    tree, directory = tiles.GrowingTree(), LogDirectory(audit)
    roots = {}
    for size in sizes:
        directory.put(dict(tree.append(lines[tree.size : size])))
        directory.put(dict(tree.partial_files()))
        roots[size] = tree.root().hex()
        note = signed(Checkpoint(origin=ORIGIN, size=size, root=tree.root()).body(), ORIGIN, key)
        directory.put({f"checkpoints/{size}": note})
        directory.replace_checkpoint(note)
    (audit / "log.vkey").write_text(notes.vkey(ORIGIN, key.public_key()) + "\n")
    (audit / "wal.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    with open_database(folder).write("test") as connection:
        state, kept = tables.audit_state, tables.audit_checkpoint
        connection.execute(state.update().values(checkpoint_root=roots[sizes[-1]]))
        for size, root in roots.items():
            connection.execute(kept.update().where(kept.c.size == size).values(root=root))


def test_a_whole_log_by_another_key(log: Path) -> None:
    """Everything is rewritten and agrees, in the directory and in the database; only the key is not this log's."""
    lines = (log / "audit/wal.jsonl").read_bytes().splitlines()
    lines[100] = lines[100].replace(b'"tester"', b'"nobody"')
    sign_all_with(log, Ed25519PrivateKey.from_private_bytes(bytes(32)), lines)
    with open_database(log).write("test") as connection:
        connection.exec_driver_sql("UPDATE migrator_outbox SET actor = 'nobody' WHERE seq = 100")
    found = verified(log)
    assert kinds(found) == {"key"}
    assert "another key has signed this log" in found.findings[0].message


def test_where_the_key_can_not_be_used(log: Path) -> None:
    """An auditor without the signing key is told what that leaves open; the rest is verified."""

    def no_key() -> Signer:
        raise ConfigError("audit.signing_key: no such file")

    database = open_database(log, read_only=True)
    found = verifying.verify(AuditLog(database, log / "audit", origin=ORIGIN, load_signer=no_key), NoProgress())
    assert found.ok
    assert "audit.signing_key" in found.not_checked[0]


def test_what_was_not_checked_is_said(log: Path) -> None:
    """Without a checkpoint from outside a log that was set back with its database looks whole; with one it does not."""
    assert any("set back together" in text for text in verified(log).not_checked)
    assert verified(log, trusted=(log / "audit/checkpoint").read_bytes()).not_checked == []
    assert any("entries but those from 10 to 20" in text for text in verified(log, 10, 20).not_checked)


def swap_lines(folder: Path) -> None:
    """Two entries change places, in the lines and in the database."""
    path = folder / "audit/wal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]
    path.write_bytes(b"".join(lines))
    with open_database(folder).write("test") as connection:
        for statement in ("seq = 9999 WHERE seq = 3", "seq = 3 WHERE seq = 4", "seq = 4 WHERE seq = 9999"):
            connection.exec_driver_sql(f"UPDATE migrator_outbox SET {statement}")


def put(name: str, data: bytes) -> Callable[[Path], None]:
    """Write a file of the log, in folders that are made where they are missing."""

    def act(folder: Path) -> None:
        path = folder / "audit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return act


def move_behind_a_link(name: str) -> Callable[[Path], None]:
    """What stood there stands elsewhere, and a symbolic link leads to it."""

    def act(folder: Path) -> None:
        (folder / "audit" / name).rename(folder / "elsewhere")
        (folder / "audit" / name).symlink_to(folder / "elsewhere")

    return act


def put_a_pipe(name: str) -> Callable[[Path], None]:
    """Nobody ever writes into it."""

    def act(folder: Path) -> None:
        (folder / "audit" / name).unlink()
        os.mkfifo(folder / "audit" / name)

    return act


def blow_up(name: str) -> Callable[[Path], None]:
    """A terabyte, most of it a hole."""

    def act(folder: Path) -> None:
        with (folder / "audit" / name).open("r+b") as file:
            file.truncate(1 << 40)

    return act


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Edit a file of the log."""

    def act(folder: Path) -> None:
        path = folder / "audit" / name
        path.write_bytes(edit(path.read_bytes()))

    return act


def with_crlf(data: bytes) -> bytes:
    """As a careless copy has it."""
    return data.replace(b"\n", b"\r\n")


def with_a_line_more(data: bytes) -> bytes:
    """An extension line that nobody has signed."""
    return data.replace(b"\n\n", b"\nmore\n\n")


ENTRY = b'{"seq":0}'
NOTE = signed(Checkpoint(origin=ORIGIN, size=7, root=bytes(32)).body(), ORIGIN, KEY)
HOSTILE = {
    "two entries change places": (swap_lines, "sequence"),
    "a partial tile of another tree": (put("tile/0/003.p/20", bytes(640)), "file"),
    "a partial tile beside the full one": (put("tile/0/001.p/20", bytes(640)), "file"),
    "a partial bundle beside the full one": (put("tile/entries/001.p/2", tiles.encode_entries([ENTRY] * 2)), "file"),
    "a partial bundle that is none": (put("tile/entries/001.p/2", b"\xff"), "file"),
    "a tile of a larger log": (put("tile/0/x001/234", bytes(8192)), "file"),
    "a tile of a higher level": (put("tile/9/000", bytes(8192)), "file"),
    "a tile's name that is another's": (put("tile/0/x000/001", bytes(8192)), "stray"),
    "a leading zero": (put("checkpoints/010", NOTE), "stray"),
    "a negative size": (put("checkpoints/-7", NOTE), "stray"),
    "digits of another script": (put("checkpoints/\u0663", NOTE), "stray"),
    "a size of nothing": (put("checkpoints/0", NOTE), "stray"),
    "a checkpoint under another name": (put("checkpoints/7.bak", NOTE), "stray"),
    "a checkpoint of the future": (put("checkpoints/801", NOTE), "checkpoint"),
    "a checkpoint that lies about its size": (put("checkpoints/7", NOTE), "checkpoint"),
    "a folder of tiles behind a link": (move_behind_a_link("tile/0"), "file"),
    "the tiles behind a link": (move_behind_a_link("tile"), "file"),
    "the checkpoints behind a link": (move_behind_a_link("checkpoints"), "file"),
    "a kept checkpoint behind a link": (move_behind_a_link("checkpoints/10"), "checkpoint"),
    "a tile behind a link": (move_behind_a_link("tile/0/001"), "tile"),
    "the checkpoint behind a link": (move_behind_a_link("checkpoint"), "checkpoint"),
    "the key behind a link": (move_behind_a_link("log.vkey"), "key"),
    "a pipe for a checkpoint": (put_a_pipe("checkpoints/750"), "checkpoint"),
    "a pipe for a tile": (put_a_pipe("tile/0/001"), "tile"),
    "a huge checkpoint": (blow_up("checkpoint"), "checkpoint"),
    "a huge kept checkpoint": (blow_up("checkpoints/10"), "checkpoint"),
    "a huge key": (blow_up("log.vkey"), "key"),
    "a huge tile": (blow_up("tile/0/001"), "tile"),
    "a huge bundle": (blow_up("tile/entries/001"), "tile"),
    "a huge file of lines": (blow_up("wal.jsonl"), "database"),
    "CRLF in the checkpoint": (change("checkpoint", with_crlf), "checkpoint"),
    "CRLF in a kept checkpoint": (change("checkpoints/10", with_crlf), "checkpoint"),
    "CRLF in the key": (change("log.vkey", with_crlf), "key"),
    "a line more under a signature": (change("checkpoints/10", with_a_line_more), "checkpoint"),
    "signatures without end": (change("checkpoint", lambda d: d + d.rpartition(b"\n\n")[2] * 100), "checkpoint"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whoever_can_write_everything_but_the_key(log: Path, what: str) -> None:
    """Each is a finding of its kind, whatever else is verified; and never a traceback or an endless read."""
    act, kind = HOSTILE[what]
    act(log)
    found = verified(log)
    assert kind in kinds(found)
    assert found.ok == (kind == "stray")


def test_a_huge_file_of_lines_stops_the_sequencer(log: Path) -> None:
    """More than a crash can leave behind the acknowledged end is not read through, though events wait."""
    blow_up("wal.jsonl")(log)
    record(log, 1)
    with pytest.raises(AuditLogError, match="more bytes"):
        open_log(log).flush()


def test_a_checkpoint_with_more_signatures_and_lines_counts(log: Path) -> None:
    """What the log's key has signed holds with signatures of others below it (c2sp.org/signed-note), once or twice."""
    change("checkpoints/10", lambda d: d + d.rpartition(b"\n\n")[2])(log)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    body = notes.parse_note((log / "audit/checkpoint").read_bytes())[0]
    change("checkpoint", lambda d: d + signed(body, "w\u00efitness", other).rpartition(b"\n\n")[2])(log)
    assert verified(log).ok


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
