"""What is done to attachments after a run is found; what the source has lost since is counted and no mismatch."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import history
from migrator.attachments import attachments_at, open_attachment
from migrator.core.envelope import DataKey
from migrator.core.errors import ConfigError, IntegrityError
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.keys.destroying import destroy
from migrator.verification import verify
from migrator.verification.findings import Verification
from tests.execution.bench import Bench
from tests.execution.media import attachment_row, bytes_of
from tests.execution.test_attaching import SECTIONS, blobs, content_by_id


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two conversations with three attachments and a gap."""
    bench = Bench(tmp_path_factory.mktemp("verify") / "c", **SECTIONS)
    bench.account("ann")
    names = [bench.thread("ann", other) for other in ("bob", "eve")]
    for name in names:
        bench.messages(name, range(3))
    bench.keys("ann", names)
    attachment_row(bench, names[0], "m000000", "one", bytes_of(1, 1_300_000))
    attachment_row(bench, names[0], "m000001", "two", b"two")
    attachment_row(bench, names[1], "m000000", "three", b"three")
    attachment_row(bench, names[1], "m000002", "gone", b"gone")
    (bench.folder / "media" / "gone").unlink()
    bench.run()
    return bench


@pytest.fixture
def bench(executed: Bench, tmp_path: Path) -> Bench:
    """A copy of it, which its source's place does not tell apart."""
    shutil.copytree(executed.folder, tmp_path / "c")
    copied = Bench.__new__(Bench)
    copied.__dict__.update(executed.__dict__)
    copied.folder = tmp_path / "c"
    copied.spec = replace(executed.spec, directory=tmp_path / "c")
    copied.__dict__["_engine"] = sa.create_engine(f"sqlite:///{tmp_path / 'c' / 'migrator.db'}")
    return copied


def verified(bench: Bench, sample: float | None = None) -> Verification:
    """Verify the run."""
    with bench.open() as campaign:
        return verify(campaign, None, sample=sample, progress=NoProgress())


def sql(statement: str) -> Callable[[Bench], None]:
    """Somebody who writes to the database."""

    def change(bench: Bench) -> None:
        with bench.database() as connection:
            connection.exec_driver_sql(statement)

    return change


def blob_path(bench: Bench) -> Path:
    """Where the blob of `two` lies."""
    (name,) = [row["blob"] for row in bench.all(tables.attachment) if row["attachment_id"] == "a-two"]
    assert isinstance(name, str)
    return bench.folder / "blobs" / name[:2] / name[2:4] / name


def to_blob(change: Callable[[bytes], bytes]) -> Callable[[Bench], None]:
    """Somebody who writes to the store."""

    def changed(bench: Bench) -> None:
        blob_path(bench).write_bytes(change(blob_path(bench).read_bytes()))

    return changed


def another_source(bench: Bench) -> None:
    """The source's copy and its digest are another's."""
    (bench.folder / "media" / "two").write_bytes(b"owt")
    bench.source(f"UPDATE attachment SET sha256 = x'{hashlib.sha256(b'owt').hexdigest()}' {TWO}")


TWO = "WHERE attachment_id = 'a-two'"
CASES: dict[str, tuple[Callable[[Bench], None], set[str]]] = {
    "a blob is gone": (lambda bench: blob_path(bench).unlink(), {"attachment"}),
    "a bit of a blob": (to_blob(lambda data: data[:-1] + bytes([data[-1] ^ 1])), {"attachment"}),
    "a blob that is longer": (to_blob(lambda data: data + b"x"), {"attachment"}),
    "a row is gone": (sql(f"DELETE FROM migrator_attachment {TWO}"), {"attachment", "audit_events"}),
    "a row became a gap": (
        sql(f"UPDATE migrator_attachment SET blob = NULL, reason = 'missing' {TWO}"), {"audit_events"},
    ),
    "a reason that there is not": (
        sql("UPDATE migrator_attachment SET reason = 'lost' WHERE reason IS NOT NULL"), {"attachment"},
    ),
    "another message's": (sql(f"UPDATE migrator_attachment SET message_id = 'm000002' {TWO}"), {"attachment"}),
    "no message's": (sql(f"UPDATE migrator_attachment SET message_id = 'nothing' {TWO}"), {"attachment"}),
    "another kind": (sql(f"UPDATE migrator_attachment SET kind = 'thumbnail' {TWO}"), {"attachment"}),
    "no kind": (sql(f"UPDATE migrator_attachment SET kind = 'x' {TWO}"), {"attachment"}),
    "another sender": (
        sql("UPDATE migrator_message SET sender_id = 'x' WHERE message_id = 'm000001'"),
        {"attachment", "does_not_open"},
    ),
    "another digest": (sql(f"UPDATE migrator_attachment SET sha256 = zeroblob(32) {TWO}"), {"attachment"}),
    "another size": (sql(f"UPDATE migrator_attachment SET size = size + 1 {TWO}"), {"attachment"}),
    "another key": (sql(f"UPDATE migrator_attachment SET key_id = key_id + 1 {TWO}"), {"attachment"}),
    "another keyset": (
        sql("UPDATE migrator_attachment SET wrapped_keyset = (SELECT wrapped_keyset FROM migrator_attachment "
            f"WHERE attachment_id = 'a-one') {TWO}"), {"attachment"},
    ),
    "a path for a blob": (sql(f"UPDATE migrator_attachment SET blob = '../../store.db' {TWO}"), {"attachment"}),
    "staged and left": (sql(f"UPDATE migrator_attachment SET staged = 1 {TWO}"),
                        {"orphan_rows", "attachment", "audit_events"}),
    "a conversation that is sealed": (
        sql("INSERT INTO migrator_attachment SELECT 99, sent_at, message_id, 'x', kind, 1, NULL, NULL, NULL, NULL, "
            f"NULL, 'missing', 0, run_id FROM migrator_attachment {TWO}"), {"orphan_rows"},
    ),
    "the source's differs": (another_source, {"attachment"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_done_to_attachments_is_found(bench: Bench, case: str) -> None:
    """Each by its kind, and everything else is as it was."""
    change, kinds = CASES[case]
    change(bench)
    found = verified(bench)
    extra = {"missing_message", "content", "items_root"} if case == "another sender" else set()
    assert kinds <= {mismatch.kind.value for mismatch in found.mismatches} <= kinds | extra


def test_a_sound_run_counts_what_was_looked_at(bench: Bench) -> None:
    """Blobs, gaps, comparisons; a blob that nothing shows is counted and no mismatch."""
    found = verified(bench)
    assert found.ok, found.mismatches
    counted = {name: found.checked.get(name) for name in ("attachments", "attachment_gaps", "attachments_compared")}
    assert counted == {"attachments": 3, "attachment_gaps": 1, "attachments_compared": 3}
    stray = bench.folder / "blobs" / "ab" / "cd" / ("abcd" + "0" * 28)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.touch()
    assert verified(bench).checked["stray_blobs"] == 1


def test_a_source_that_has_lost_them_since(bench: Bench) -> None:
    """There is nothing to compare with: counted, and what is sealed opens all the same."""
    bench.source("DELETE FROM attachment WHERE attachment_id = 'a-one'")
    (bench.folder / "media" / "two").write_bytes(b"altered since")
    found = verified(bench)
    assert found.ok, found.mismatches
    assert (found.checked["attachments_without_source"], found.checked["attachments_compared"]) == (2, 1)


def test_without_a_store_nothing_can_be_verified(bench: Bench) -> None:
    """The setting is asked for, rather than passing over what is there."""
    settings = bench.spec.settings
    bare = settings.attachments.model_copy(update={"target": None})
    bench.spec = replace(bench.spec, settings=settings.model_copy(update={"attachments": bare}))
    with pytest.raises(ConfigError, match=r"attachments\.target"):
        verified(bench)


def test_destroying_a_conversation_takes_its_blobs(bench: Bench) -> None:
    """Rows, keys and blobs of that one; the others stay, and a verification knows."""
    with bench.open() as campaign:
        destroy(campaign, "in-ann/bob", confirm="bench")
    assert content_by_id(bench).keys() == {"a-three", "a-gone"}
    assert len(blobs(bench)) == 1
    assert bench.all(tables.stray_blob) == []
    assert verified(bench).ok


def test_reading_one(bench: Bench) -> None:
    """What `read` gets: the files of a page of messages, as streams; a gap and a blob that is gone are errors."""
    with bench.open() as campaign, campaign.database.read() as connection:
        number = {row["conversation_id"]: row["conversation_no"] for row in bench.all(tables.conversation)}[
            "in-ann/eve"
        ]
        (key,) = history.unwrap(campaign, history.living_keys(connection, [number])[number])
        assert isinstance(key, DataKey)
        found = attachments_at(connection, number, [(0, "m000000"), (1, "m000001"), (2, "m000002")])
        assert [stored.reason for listed in found.values() for stored in listed] == [None, "missing"]
        (good,), (gap,) = found.values()
        assert list(open_attachment(campaign, key, "in-ann/eve", "them", good)) == [b"three"]
        other: Any = replace(good, blob="0" * 32)
        for bad, sender in ((gap, "them"), (other, "them"), (good, "somebody")):
            with pytest.raises(IntegrityError):
                list(open_attachment(campaign, key, "in-ann/eve", sender, bad))
