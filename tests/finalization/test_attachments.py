"""The end of a campaign with attachments: what is sealed leaves the source with its message, the rest stays."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from migrator.core.errors import GateError
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.finalization import finalize
from migrator.finalization.shredding import grace_end
from migrator.verification import verify
from tests.execution.bench import EPOCH, NOW, Bench
from tests.execution.media import attachment_row
from tests.execution.test_attaching import SECTIONS, content_by_id
from tests.verification.support import Killed


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Ann's two threads, one with a message that does not open, and the same blob in bob's mailbox, who refused."""
    made = Bench(tmp_path / "c", **SECTIONS)
    made.account("ann")
    made.account("bob", answer="refuse")
    name, other, sealed = made.thread("ann", "bob"), made.thread("ann", "eve"), made.thread("bob", "ann")
    for conversation in (name, other, sealed):
        made.messages(conversation, range(30))
    made.messages(name, [30], key=bytes(32))
    made.keys("ann", [name, other])
    for file, conversation, message in (
        ("shared", name, 0), ("own", name, 1), ("of-a-gap", name, 30), ("gone", other, 0), ("last", other, 1),
    ):  # fmt: skip
        attachment_row(made, conversation, f"m{message:06}", file, file.encode())
    made.source(
        "INSERT INTO attachment SELECT 'in-bob', 'b', 'ann', message_id, blob_uri, size, sha256 FROM attachment "
        "WHERE attachment_id = 'a-shared'"
    )
    attachment_row(made, sealed, "m000001", "bobs", b"bobs")
    (made.folder / "media" / "gone").rename(made.folder / "elsewhere")
    made.run()
    (made.folder / "elsewhere").rename(made.folder / "media" / "gone")
    with made.open() as campaign:
        assert verify(campaign, None, sample=None, progress=NoProgress()).ok
    made.at(NOW + timedelta(days=31))
    return made


def finalized(bench: Bench, *, sealed: bool = False, die_after: str | None = None) -> None:
    """Finalise; with `die_after`, until the first commit of that label."""

    def boundary(label: str, moment: str) -> None:
        if (label, moment) == (die_after, "after"):
            raise Killed

    with bench.open() as campaign:
        campaign.database.boundary = boundary
        finalize(campaign, None, sealed=sealed, confirm="bench", progress=NoProgress())


def in_source(bench: Bench) -> tuple[set[str], set[str]]:
    """Attachments in the source's table, and blobs in its media folder."""
    connection = sqlite3.connect(bench.folder / "store.db")
    listed = {row[0] for row in connection.execute("SELECT attachment_id FROM attachment")}
    connection.close()
    return listed, {path.name for path in (bench.folder / "media").iterdir()}


def test_what_is_sealed_goes_with_its_message(bench: Bench) -> None:
    """Not what is a gap, of a gap, or another mailbox's; readers have all of it afterwards."""
    before = content_by_id(bench)
    finalized(bench)
    assert in_source(bench) == ({"a-of-a-gap", "a-gone", "b", "a-bobs"}, {"shared", "of-a-gap", "gone", "bobs"})
    assert content_by_id(bench) == before
    with bench.open() as campaign:
        found = verify(campaign, None, sample=None, progress=NoProgress())
    assert found.ok, found.mismatches


@pytest.mark.parametrize("label", ["finalize-begin", "finalize-pending", "finalize-batch", "finalize-page"])
def test_killed_it_goes_on(bench: Bench, label: str) -> None:
    """Wherever it was, the end is the same."""
    with pytest.raises(Killed):
        finalized(bench, die_after=label)
    finalized(bench)
    assert in_source(bench) == ({"a-of-a-gap", "a-gone", "b", "a-bobs"}, {"shared", "of-a-gap", "gone", "bobs"})


def test_what_stayed_sealed_is_shredded_with_its_attachments(bench: Bench) -> None:
    """When its grace period is over: bob's copy, and what belongs to the message that never opened."""
    finalized(bench)
    bench.at(NOW + timedelta(days=400))
    finalized(bench, sealed=True)
    assert in_source(bench) == ({"a-gone"}, {"gone"})


def test_one_that_nobody_looked_at_is_in_the_way(bench: Bench) -> None:
    """Refused before anything goes."""
    with bench.database() as connection:
        connection.execute(tables.attachment.delete().where(tables.attachment.c.attachment_id == "a-own"))
    before = in_source(bench)
    with pytest.raises(GateError, match="1 attachments"):
        finalized(bench)
    assert in_source(bench) == before


def test_what_came_after_the_grace_period_keeps_its_attachments(bench: Bench) -> None:
    """In a conversation of which all the rest goes."""
    with bench.open() as campaign:
        late = grace_end(campaign)
    conversation = "in-bob/ann"
    bench.rows(conversation, [(late, "m-late", bytes(60), EPOCH), (late - 1, "m-early", bytes(60), EPOCH)])
    for message in ("m-late", "m-early"):
        attachment_row(bench, conversation, message, message, message.encode())
    finalized(bench)
    bench.at(NOW + timedelta(days=400))
    finalized(bench, sealed=True)
    assert in_source(bench) == ({"a-gone", "a-m-late"}, {"gone", "m-late"})
