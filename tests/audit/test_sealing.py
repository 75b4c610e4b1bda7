"""Checkpoints and tiles: when they are made, in which order, and which logs and databases are refused."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.audit.log import SECONDS, AuditLog
from migrator.audit.sealing import EVERY
from migrator.audit.signing_key import FileSigner
from migrator.core import notes, tiles
from migrator.core.errors import AuditLogError, ConfigError, ExitStatus
from migrator.core.merkle import root_of
from migrator.core.notes import Checkpoint
from tests.audit.support import KEY, ORIGIN, log_of, make_log, numbers, open_database, open_log, record
from tests.support.notes import signed

VKEY = notes.vkey(ORIGIN, KEY.public_key())


def published(folder: Path, name: str = "checkpoint") -> Checkpoint:
    """A checkpoint of the log, opened with its key as anybody would."""
    note = (folder / "audit" / name).read_bytes()
    return Checkpoint.parse(notes.open_note(note, [VKEY]).body)


def sizes(folder: Path) -> list[int]:
    """The checkpoints that were kept."""
    return open_log(folder).directory.checkpoint_sizes()


def grow(folder: Path, *counts: int) -> None:
    """Flush so many events, one flush each."""
    for count in counts:
        record(folder, count)
        open_log(folder).flush()


def test_a_flush_ends_in_a_checkpoint_over_everything(tmp_path: Path) -> None:
    """Signed by the log's key, with the origin, the size, and the root over the very lines."""
    log = make_log(tmp_path)
    assert (tmp_path / "audit" / "log.vkey").read_text() == VKEY + "\n"
    assert not (tmp_path / "audit" / "checkpoint").exists()
    for count in (1, 300):
        grow(tmp_path, count)
        lines = log.path.read_bytes().splitlines()
        assert published(tmp_path) == Checkpoint(origin=ORIGIN, size=len(lines), root=root_of(lines))
        assert published(tmp_path) == published(tmp_path, f"checkpoints/{len(lines)}")
    assert sizes(tmp_path) == [1, 301]
    before = log.directory.read("checkpoint")
    assert open_log(tmp_path).flush() == 0
    assert log.directory.read("checkpoint") == before


def test_files_of_the_log(tmp_path: Path) -> None:
    """Tiles and bundles for every checkpoint's size; partial ones go when the full one is there."""
    make_log(tmp_path)
    grow(tmp_path, 200, 50)
    audit = tmp_path / "audit"
    assert sorted(path.name for path in (audit / "tile/0/000.p").iterdir()) == ["200", "250"]
    grow(tmp_path, 10)
    found = {str(path.relative_to(audit)) for path in audit.rglob("*") if path.is_file()}
    assert found == {
        "wal.jsonl", "log.vkey", "checkpoint", "checkpoints/200", "checkpoints/250", "checkpoints/260",
        "tile/0/000", "tile/0/001.p/4", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/4",
    }  # fmt: skip
    lines = (audit / "wal.jsonl").read_bytes().splitlines()
    assert tiles.decode_entries((audit / "tile/entries/000").read_bytes()) == lines[:256]
    assert (audit / "tile/0/001.p/4").read_bytes() == tiles.leaf_hashes(lines[256:])


def test_while_a_run_writes_checkpoints_come_by_count_and_by_time(tmp_path: Path) -> None:
    """Without `checkpoint`, lines wait until there are `EVERY` of them or the oldest has waited `SECONDS`."""
    make_log(tmp_path)
    now = [100.0]
    log = log_of(open_database(tmp_path), tmp_path, monotonic=lambda: now[0])
    record(tmp_path, EVERY - 1)
    log.flush(checkpoint=False)
    assert sizes(tmp_path) == []
    record(tmp_path, 1)
    log.flush(checkpoint=False)
    assert sizes(tmp_path) == [768]
    now[0] += SECONDS - 1
    log.flush(checkpoint=False)
    assert sizes(tmp_path) == [768]
    now[0] += 1
    log.flush(checkpoint=False)
    assert sizes(tmp_path) == [768, EVERY]
    now[0] += 10 * SECONDS
    log.flush(checkpoint=False)
    assert sizes(tmp_path) == [768, EVERY]


def test_in_bulk_no_two_checkpoints_are_far_apart(tmp_path: Path) -> None:
    """However many lines come at once, a checkpoint is signed every `EVERY` of them."""
    make_log(tmp_path)
    grow(tmp_path, 7, 4500)
    found = [0, *sizes(tmp_path)]
    assert found[-1] == 4507
    assert max(b - a for a, b in pairwise(found)) <= EVERY
    lines = open_log(tmp_path).path.read_bytes().splitlines()
    for size in found[1:]:
        assert published(tmp_path, f"checkpoints/{size}").root == root_of(lines[:size])


def test_two_writers_go_on_with_one_tree(tmp_path: Path) -> None:
    """Logs that were opened before the other wrote don't sign what the other did not."""
    make_log(tmp_path)
    logs = [open_log(tmp_path), open_log(tmp_path)]
    for turn in range(6):
        record(tmp_path, 100, start=turn * 100)
        logs[turn % 2].flush()
    assert sizes(tmp_path) == [100, 200, 300, 400, 500, 600]
    assert numbers(tmp_path) == list(range(600))
    open_log(tmp_path).check(replay=True)


# --- what is refused ---


def refused(folder: Path, log: AuditLog | None = None) -> str:
    """Neither check nor flush takes it, and no file is touched; the message."""
    before = {path: path.read_bytes() for path in (folder / "audit").rglob("*") if path.is_file()}
    with pytest.raises(AuditLogError):
        (log or open_log(folder)).check()
    record(folder, 1)
    with pytest.raises(AuditLogError) as caught:
        (log or open_log(folder)).flush()
    assert caught.value.exit_status is ExitStatus.AUDIT_LOG
    assert caught.value.hint
    assert {path: path.read_bytes() for path in (folder / "audit").rglob("*") if path.is_file()} == before
    return caught.value.message


def remove_checkpoint(audit: Path) -> None:
    """As if it had never been signed."""
    (audit / "checkpoint").unlink()


def put_older_checkpoint_back(audit: Path) -> None:
    """As a backup of that one file would."""
    shutil.copy(audit / "checkpoints/300", audit / "checkpoint")


def sign_with_another_key(audit: Path) -> None:
    """The right text by the wrong hand."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    body = notes.parse_note((audit / "checkpoint").read_bytes())[0]
    (audit / "checkpoint").write_bytes(signed(body, ORIGIN, key))


def sign_another_root(audit: Path) -> None:
    """A fork by the log's own key."""
    body = Checkpoint(origin=ORIGIN, size=301, root=bytes(32)).body()
    (audit / "checkpoint").write_bytes(signed(body, ORIGIN, KEY))


def sign_another_origin(audit: Path) -> None:
    """A checkpoint of another log that has the same key and name."""
    body = Checkpoint(origin="example.org/other", size=301, root=bytes(32)).body()
    (audit / "checkpoint").write_bytes(signed(body, ORIGIN, KEY))


def sign_the_future(audit: Path) -> None:
    """As if the database had been restored."""
    body = Checkpoint(origin=ORIGIN, size=1301, root=bytes(32)).body()
    (audit / "checkpoint").write_bytes(signed(body, ORIGIN, KEY))


def flip(name: str, at: int = 5) -> Callable[[Path], None]:
    """Change one bit of a file."""

    def damage(audit: Path) -> None:
        data = bytearray((audit / name).read_bytes())
        data[at] ^= 1
        (audit / name).write_bytes(data)

    return damage


DAMAGES = {
    "there is no checkpoint": remove_checkpoint,
    "the log is older than the database": put_older_checkpoint_back,
    "no known key has signed": sign_with_another_key,
    "the log was forked": sign_another_root,
    "is of the log 'example.org/other'": sign_another_origin,
    "the database is older than the log": sign_the_future,
    "does not verify": flip("checkpoint"),
    "log.vkey": flip("log.vkey", -10),
    "tile/0/001.p/45": lambda audit: (audit / "tile/0/001.p/45").unlink(),
    "length of a tile": lambda audit: (audit / "tile/1/000.p/1").write_bytes(b"short"),
    "is not an entry bundle": lambda audit: (audit / "tile/entries/001.p/45").write_bytes(b"\xff\xff"),
    "was altered": flip("tile/entries/001.p/45"),
    "tiles are not those": flip("tile/1/000.p/1"),
}


@pytest.mark.parametrize("finding", DAMAGES)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, finding: str) -> None:
    """Whatever is lost, older, forked, foreign or altered at the edge of the log: told, and nothing is signed."""
    make_log(tmp_path)
    grow(tmp_path, 300, 1)
    DAMAGES[finding](tmp_path / "audit")
    assert finding in refused(tmp_path)


def test_a_log_that_is_in_use_is_looked_at_again(tmp_path: Path) -> None:
    """Damage after the first flush of a process is found by the next."""
    make_log(tmp_path)
    record(tmp_path, 3)
    log = open_log(tmp_path)
    log.flush()
    flip("checkpoint")(tmp_path / "audit")
    assert "does not verify" in refused(tmp_path, log)


def test_a_fork_is_never_signed(tmp_path: Path) -> None:
    """A kept checkpoint of the size to be signed has another root: the log stops before it signs a second one."""
    make_log(tmp_path)
    grow(tmp_path, 3)
    fork = Checkpoint(origin=ORIGIN, size=5, root=bytes(32))
    (tmp_path / "audit/checkpoints/5").write_bytes(signed(fork.body(), ORIGIN, KEY))
    record(tmp_path, 2)
    with pytest.raises(AuditLogError, match="forked"):
        open_log(tmp_path).flush()
    assert published(tmp_path).size == 3


def test_tiles_of_another_log_are_never_overwritten(tmp_path: Path) -> None:
    """A tile that is there with other bytes stops the log."""
    make_log(tmp_path)
    grow(tmp_path, 3)
    (tmp_path / "audit/tile/0/000.p/5").write_bytes(bytes(160))
    record(tmp_path, 2)
    with pytest.raises(AuditLogError, match="other bytes"):
        open_log(tmp_path).flush()
    assert published(tmp_path).size == 3


def test_a_line_deep_in_the_log_is_found_by_replay(tmp_path: Path) -> None:
    """The ends fit, the middle does not: a run is not begun on such a log."""
    log = make_log(tmp_path)
    grow(tmp_path, 300)
    data = bytearray(log.path.read_bytes())
    data[100] ^= 1
    log.path.write_bytes(data)
    log.check()
    with pytest.raises(AuditLogError, match="a line was altered"):
        log.check(replay=True)


def test_both_sides_of_one_backup_go_on(tmp_path: Path) -> None:
    """Log and database of the same moment are one state: nothing to refuse."""
    make_log(tmp_path)
    grow(tmp_path, 300)
    restored = tmp_path / "restored"
    shutil.copytree(tmp_path / "audit", restored / "audit")
    with (
        closing(sqlite3.connect(tmp_path / "migrator.db")) as source,
        closing(sqlite3.connect(restored / "migrator.db")) as backup,
    ):
        source.backup(backup)
    grow(tmp_path, 20)
    grow(restored, 5)
    assert published(restored).size == 305
    shutil.rmtree(restored / "audit")
    shutil.copytree(tmp_path / "audit", restored / "audit")
    record(restored, 1)
    with pytest.raises(AuditLogError, match="not the one that the database remembers"):
        open_log(restored).flush()


def test_another_key_does_not_go_on(tmp_path: Path) -> None:
    """A signing key that was replaced is found before it signs."""
    make_log(tmp_path)
    grow(tmp_path, 3)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    log = AuditLog(open_database(tmp_path), tmp_path / "audit", origin=ORIGIN, load_signer=lambda: FileSigner(other))
    assert "another key has signed this log" in refused(tmp_path, log)


def test_an_origin_that_names_no_log(tmp_path: Path) -> None:
    """Spaces and plus signs can't stand in the name of a note's key."""
    make_log(tmp_path)
    log = AuditLog(open_database(tmp_path), tmp_path / "new", origin="two words", load_signer=lambda: FileSigner(KEY))
    with pytest.raises(ConfigError, match="origin"):
        log.create()


def test_an_entry_that_is_too_long(tmp_path: Path) -> None:
    """The outbox refuses it with its effect; one that came in by another door stops the log, and nothing is lost."""
    log = make_log(tmp_path)
    with pytest.raises(AuditLogError, match="too large"):
        record(tmp_path, 1, subject=None, run_id=None, data={"n": "x" * 65_000})
    record(tmp_path, 2)
    with open_database(tmp_path).write("test") as connection:
        connection.exec_driver_sql(
            "UPDATE migrator_outbox SET data = ? WHERE outbox_no = 2", (f'{{"n":"{"x" * 66_000}"}}',)
        )
    with pytest.raises(AuditLogError, match="does not fit"):
        log.flush()
    assert log.path.read_bytes() == b""
    with open_database(tmp_path).write("test") as connection:
        connection.exec_driver_sql("UPDATE migrator_outbox SET data = '{\"n\":1}' WHERE outbox_no = 2")
    assert log.flush() == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, which only root can become")
def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """Read-only for this user: the log is refused by an error of ours, the events wait, and nothing is left behind."""
    make_log(tmp_path)
    grow(tmp_path, 3)
    record(tmp_path, 2)
    (tmp_path / "audit").chmod(0o555)
    for path in (tmp_path / "audit").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "audit/wal.jsonl").chmod(0o666)
    for path in tmp_path.glob("migrator.db*"):
        path.chmod(0o666)
    child = os.fork()
    if child == 0:
        for folder in tmp_path.parents:
            folder.chmod(folder.stat().st_mode | 0o005)
        tmp_path.chmod(0o777)
        os.setuid(65534)
        try:
            open_log(tmp_path).flush()
        except AuditLogError as error:
            os._exit(7 if "Permission denied" in error.message else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    for path in [tmp_path / "audit", *(p for p in (tmp_path / "audit").rglob("*") if p.is_dir())]:
        path.chmod(0o700)
    open_log(tmp_path).flush()
    assert published(tmp_path).size == 5
