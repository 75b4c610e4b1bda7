"""Attachments of messages: sealed with them, shown with them, and each that can't be is a gap with a reason."""

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from migrator.attachments import strays
from migrator.core.errors import BlobsUnavailableError, MigratorError
from migrator.core.lifecycle import RunState
from migrator.core.progress import NoProgress
from migrator.core.streams import CHUNK, Sink
from migrator.database import tables
from migrator.execution import attaching
from migrator.rollback import rollback
from migrator.schemes.labyrinth_format import seal_many, thread_of
from migrator.verification import verify
from tests.execution.bench import EPOCH, KEY, NOW, Bench, entry, run_in
from tests.execution.media import EventScheme, attachment_row, bytes_of, encrypted_file, event, shown

SECTIONS: dict[str, dict[str, Any]] = {
    "source": {"url": "sqlite:///store.db", "media": "media"},
    "attachments": {"target": "file:blobs"},
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Ann's mailbox, whose attachments go to a folder."""
    made = Bench(tmp_path / "c", **SECTIONS)
    made.account("ann")
    (made.folder / "media").mkdir()
    (made.folder / "media" / "another").touch()
    return made


def blobs(bench: Bench) -> list[str]:
    """Every file in the store of sealed blobs."""
    return sorted(path.name for path in (bench.folder / "blobs").rglob("*") if path.is_file())


def content_by_id(bench: Bench) -> dict[str, bytes | str]:
    """What readers get of every attachment, by its id."""
    with bench.open() as campaign:
        return {key[2]: value for key, value in shown(campaign).items()}


def reconciles(bench: Bench) -> None:
    """The store holds what rows show and nothing else, and a verification agrees."""
    rows = bench.all(tables.attachment)
    assert sorted(row["blob"] for row in rows if row["blob"]) == blobs(bench)
    assert bench.all(tables.stray_blob) == []
    with bench.open() as campaign:
        found = verify(campaign, None, sample=None, progress=NoProgress())
    assert found.ok, found.mismatches
    assert "stray_blobs" not in found.checked


def events_of(bench: Bench, name: str, contents: Sequence[bytes]) -> None:
    """Messages of ann's that are Matrix events."""
    thread = thread_of(name)
    nonces = [bytes([number]) * 28 for number in range(len(contents))]
    sealed = seal_many([KEY] * len(contents), nonces, [thread] * len(contents), list(contents))
    bench.rows(name, [(number, f"m{number:06}", data, EPOCH) for number, data in enumerate(sealed)])


def run_events(bench: Bench, **options: Any) -> Any:
    """Plan and execute with a scheme whose messages are Matrix events."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        campaign.__dict__["scheme"] = EventScheme()
        return run_in(campaign, plan, **options)


def test_labyrinth_attachments_are_sealed_as_their_clients_made_them(bench: Bench) -> None:
    """Two of one message, one of another, an empty one, and one of several segments: byte for byte, and counted."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(4))
    bench.keys("ann", [name])
    contents = {"x/one": b"1", "two": bytes_of(2, 5000), "three": bytes_of(3, 3 * 1024 * 1024 + 7), "four": b""}
    for (file, content), message in zip(contents.items(), ("m000000", "m000000", "m000001", "m000002"), strict=True):
        attachment_row(bench, name, message, file, content)
    run = bench.run()
    assert bench.outcomes(run.run_id)[name] == ("rewrapped", 4, 0)
    assert content_by_id(bench) == {f"a-{file}": content for file, content in contents.items()}
    reconciles(bench)
    said = bench.events("conversation.rewrapped")[0]
    assert (said["attachments"], said["attachment_gaps"]) == (4, 0)


def test_encrypted_files_of_events_are_opened_and_sealed(bench: Bench) -> None:
    """File and thumbnail of a message, each under a key of its own; the server's copy is what the user sent."""
    name = bench.thread("ann", "bob")
    media = bench.folder / "media"
    picture, small = bytes_of(1, 1_500_000), bytes_of(2, 300)
    with_both = event(encrypted_file(media, "p", picture), encrypted_file(media, "t", small))
    events_of(bench, name, [event(None), with_both])
    bench.keys("ann", [name])
    run_events(bench)
    assert content_by_id(bench) == {"file": picture, "thumbnail": small}
    rows = bench.all(tables.attachment)
    assert len({row["wrapped_keyset"] for row in rows}) == 2
    assert not any(small in path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    with bench.open() as campaign:
        campaign.__dict__["scheme"] = EventScheme()
        found = verify(campaign, None, sample=None, progress=NoProgress())
    assert found.ok
    assert (found.checked["attachments"], found.checked["attachments_compared"]) == (2, 2)


GAPS: dict[str, tuple[dict[str, Any], str]] = {
    "gone": ({"url": "mxc-nowhere"}, "missing"),
    "climbs": ({"url": "../mxc"}, "unsafe_path"),
    "absolute": ({"url": "/etc/mxc"}, "unsafe_path"),
    "long": ({"url": "mxc" * 100}, "unsafe_path"),
    "nul": ({"url": "mxc\0"}, "unsafe_path"),
    "link": ({"url": "mxc-out"}, "unsafe_path"),
    "pipe": ({"url": "mxc-fifo"}, "unsafe_path"),
    "folder": ({"url": "mxc-folders"}, "unsafe_path"),
    "altered": ({}, "corrupt"),
    "cut": ({}, "truncated"),
    "empty": ({}, "truncated"),
    "old": ({"v": "v1"}, "unsupported_version"),
    "versionless": ({"v": 2}, "malformed"),
    "keyless": ({"key": {"kty": "oct", "alg": "A256CTR", "k": "AA", "key_ops": ["decrypt"]}}, "malformed"),
    "hashless": ({"hashes": {}}, "malformed"),
    "short-iv": ({"iv": base64.b64encode(bytes(8)).decode()}, "malformed"),
    "large": ({}, "too_large"),
}


def test_each_that_cant_be_taken_over_is_a_gap_with_its_reason(bench: Bench) -> None:
    """Its message is taken over, the others too, and nothing of it is in the store."""
    name = bench.thread("ann", "bob")
    media = bench.folder / "media"
    (media / "mxc-out").symlink_to(bench.folder / "store.db")
    (media / "mxc-folders").mkdir()
    os.mkfifo(media / "mxc-fifo")
    contents = [
        event(encrypted_file(media, case, bytes_of(7, 2_000_001 if case == "large" else 100), **changes), size=100)
        for case, (changes, _) in GAPS.items()
    ]
    good = bytes_of(8, 64)
    contents.append(event(encrypted_file(media, "good", good), size=64))
    (media / "mxc-altered").write_bytes(b"\0" * 100)
    (media / "mxc-cut").write_bytes((media / "mxc-cut").read_bytes()[:99])
    (media / "mxc-empty").write_bytes(b"")
    events_of(bench, name, contents)
    bench.keys("ann", [name])
    settings = bench.spec.settings.model_copy(
        update={"attachments": bench.spec.settings.attachments.model_copy(update={"max_bytes": 2_000_000})}
    )
    bench.spec = type(bench.spec)(
        settings=settings, directory=bench.spec.directory, clock=bench.spec.clock, actor=bench.spec.actor
    )
    run = run_events(bench)
    assert bench.outcomes(run.run_id)[name] == ("rewrapped", len(contents), 0)
    reasons = {row["message_id"]: row["reason"] for row in bench.all(tables.attachment)}
    found = dict(zip(GAPS, [reasons[f"m{number:06}"] for number in range(len(GAPS))], strict=True))
    assert found == {case: reason for case, (_, reason) in GAPS.items()}
    assert len(blobs(bench)) == 1
    assert bench.all(tables.stray_blob) == []
    said = bench.events("conversation.rewrapped")[0]
    assert (said["attachments"], said["attachment_gaps"]) == (1, len(GAPS))


def test_labyrinth_rows_that_make_no_sense(bench: Bench) -> None:
    """Wrong sizes and digests, ids and addresses of other types, too many for one message: a reason each."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    inbox, _, thread = name.partition("/")
    attachment_row(bench, name, "m000000", "fine", b"fine")
    attachment_row(bench, name, "m000000", "longer", b"longer")
    attachment_row(bench, name, "m000000", "shorter", b"shorter")
    attachment_row(bench, name, "m000000", "digest", b"digest")
    bench.source("UPDATE attachment SET size = size + 1 WHERE attachment_id = 'a-shorter'")
    bench.source("UPDATE attachment SET size = size - 1 WHERE attachment_id = 'a-longer'")
    bench.source("UPDATE attachment SET sha256 = zeroblob(32) WHERE attachment_id = 'a-digest'")
    odd = [("a-text", "x", 4, b"short"), ("a-size", "x", "four", bytes(32)), (b"\xff", "x", 4, bytes(32)),
           ("a-uri", b"x", 4, bytes(32)), ("i" * 300, "nowhere", 4, bytes(32))]  # fmt: skip
    bench.source(
        "INSERT INTO attachment VALUES (?, ?, ?, 'm000000', ?, ?, ?)",
        [(inbox, attachment_id, thread, *rest) for attachment_id, *rest in odd],
    )
    bench.source(
        "INSERT INTO attachment VALUES (?, ?, ?, 'm000001', 'fine', 4, ?)",
        [(inbox, f"b-{number:03}", thread, hashlib.sha256(b"fine").digest()) for number in range(101)],
    )
    bench.run()
    reasons = {row["attachment_id"]: row["reason"] for row in bench.all(tables.attachment)}
    assert {key: reasons[key] for key in ("a-fine", "a-longer", "a-shorter", "a-digest", "b-099", "b-100")} == {
        "a-fine": None, "a-longer": "corrupt", "a-shorter": "truncated", "a-digest": "corrupt", "b-099": None,
        "b-100": "too_large",
    }  # fmt: skip
    assert [reasons[key] for key in ("a-text", "a-size", "a-uri")] == ["malformed"] * 3
    assert sorted(reasons[key] for key in reasons if key.startswith("sha256:")) == ["malformed", "missing"]
    reconciles(bench)


def test_a_message_that_is_a_gap_keeps_its_attachments(bench: Bench) -> None:
    """Nobody authorised more than what opens, and nothing of a conversation that is held is in the store."""
    open_one, held = bench.thread("ann", "bob"), bench.thread("ann", "eve")
    bench.messages(open_one, range(30))
    bench.messages(open_one, [30], key=bytes(32))
    bench.messages(held, range(2))
    bench.messages(held, [2, 3], key=bytes(32))
    bench.keys("ann", [open_one, held])
    attachment_row(bench, open_one, "m000030", "sealed", b"sealed")
    attachment_row(bench, held, "m000000", "held", b"held")
    run = bench.run()
    assert bench.outcomes(run.run_id) == {
        open_one: ("rewrapped_with_gaps", 30, 1), held: ("held:too_many_gaps", 2, 2)
    }  # fmt: skip
    assert bench.all(tables.attachment) == []
    reconciles(bench)


def test_a_long_conversation_goes_page_by_page(tmp_path: Path) -> None:
    """Attachments of each page commit with it; stopped in between, the rest follows."""
    bench = Bench(tmp_path / "c", **SECTIONS, execution={"page_size": 1000})
    bench.account("ann")
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2500))
    bench.keys("ann", [name])
    contents = {f"a-{number}": b"%d" % number for number in (0, 999, 1000, 2499)}
    for number in (0, 999, 1000, 2499):
        attachment_row(bench, name, f"m{number:06}", str(number), b"%d" % number)
    bench.run()
    assert content_by_id(bench) == contents
    assert bench.events("conversation.rewrapped")[0]["attachments"] == 4
    reconciles(bench)


def test_a_long_conversation_that_is_held_leaves_no_blob(tmp_path: Path) -> None:
    """What pages have written goes with them."""
    bench = Bench(tmp_path / "c", **SECTIONS, execution={"page_size": 1000})
    bench.account("ann")
    name = bench.thread("ann", "bob")
    bench.messages(name, range(1500))
    bench.messages(name, range(1500, 2500), key=bytes(32))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "x", b"x")
    run = bench.run()
    assert bench.outcomes(run.run_id)[name][0] == "held:too_many_gaps"
    assert (bench.all(tables.attachment), bench.all(tables.stray_blob), blobs(bench)) == ([], [], [])


def test_a_new_tail_and_history_bring_theirs(bench: Bench) -> None:
    """Staged, shown in one transaction, and taken back by a rollback of that run alone."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "first", b"first")
    bench.run()
    bench.messages(name, [2])
    bench.keys("ann", [name])
    bench.history("ann", [entry(name, 3)])
    attachment_row(bench, name, "m000002", "second", b"second")
    attachment_row(bench, name, "m000003", "third", b"third")
    bench.run()
    assert content_by_id(bench) == {"a-first": b"first", "a-second": b"second", "a-third": b"third"}
    assert [said["attachments"] for said in bench.events("conversation.rewrapped")] == [1, 3]
    reconciles(bench)
    with bench.open() as campaign:
        rollback(campaign, None, NoProgress())
    assert content_by_id(bench) == {"a-first": b"first"}
    assert len(blobs(bench)) == 1


def test_attachments_that_nobody_looked_at_follow_later(tmp_path: Path) -> None:
    """A campaign that gets a place for attachments after its run takes them over with the next plan, once."""
    bench = Bench(tmp_path / "c")
    bench.account("ann")
    name = bench.thread("ann", "bob")
    bench.messages(name, range(3))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000001", "late", b"late")
    bench.run()
    assert bench.all(tables.attachment) == []
    given = bench.spec.settings.model_dump(by_alias=True)
    given["source"]["media"], given["attachments"]["target"] = "media", "file:blobs"
    settings = type(bench.spec.settings).model_validate(given)
    bench.spec = type(bench.spec)(
        settings=settings, directory=bench.spec.directory, clock=bench.spec.clock, actor=bench.spec.actor
    )
    rehearsed = bench.run(dry_run=True)
    run = bench.run()
    assert bench.outcomes(run.run_id)[name] == ("rewrapped", 3, 0)
    assert rehearsed.counts == run.counts
    assert content_by_id(bench) == {"a-late": b"late"}
    reconciles(bench)
    again = bench.run()
    assert bench.outcomes(again.run_id)[name] == ("already_server", 3, 0)


def test_a_dry_run_opens_and_writes_nothing(bench: Bench) -> None:
    """No row, no note, no blob; what can't be read stops it as it would stop the run."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "x", b"x")
    assert bench.run(dry_run=True).state is RunState.COMPLETED
    assert (bench.all(tables.attachment), bench.all(tables.stray_blob)) == ([], [])
    assert not (bench.folder / "blobs").exists()


def test_a_media_store_that_is_not_mounted_is_no_gap(bench: Bench) -> None:
    """Empty or away as a whole: the run is refused before it begins, and nothing is recorded as missing."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "x", b"x")
    for path in (bench.folder / "media").iterdir():
        path.unlink()
    plan = bench.plan().plan_id
    with pytest.raises(BlobsUnavailableError, match="empty"):
        bench.run(plan)
    (bench.folder / "media").rmdir()
    with pytest.raises(BlobsUnavailableError):
        bench.run(plan)
    assert bench.all(tables.run) == []


def test_a_full_store_stops_the_run_and_a_resume_goes_on(bench: Bench) -> None:
    """Nothing is a gap because there is no room for it."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "x", b"x")
    (bench.folder / "blobs").write_text("in the way")
    with pytest.raises(BlobsUnavailableError):
        bench.run()
    (bench.folder / "blobs").unlink()
    assert bench.resume().state is RunState.COMPLETED
    assert content_by_id(bench) == {"a-x": b"x"}
    reconciles(bench)


def test_a_writer_that_was_taken_for_dead_shows_nothing(bench: Bench) -> None:
    """Its notes are doomed while it writes: its commit fails, and what it wrote is removed."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "x", b"x")
    plan = bench.plan().plan_id
    with bench.open() as campaign:

        def boundary(label: str, moment: str) -> None:
            if (label, moment) == ("attachments", "after"):
                strays.abandon(campaign, str(bench.all(tables.run)[0]["run_id"]))

        campaign.database.boundary = boundary
        with pytest.raises(MigratorError, match="worker"):
            run_in(campaign, plan)
    assert bench.all(tables.attachment) == []
    assert bench.resume().state is RunState.COMPLETED
    assert content_by_id(bench) == {"a-x": b"x"}
    reconciles(bench)


def test_a_withdrawal_stops_a_long_attachment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only at the commit: what is being opened is left, decided again, and nothing of it stays."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    attachment_row(bench, name, "m000000", "x", bytes_of(1, 5 * CHUNK))
    monkeypatch.setattr(attaching, "LOOK_SECONDS", 0.0)
    whole = Sink.write
    written: list[int] = []

    def withdrawing(self: Sink, data: bytes) -> int:
        if not written:
            bench.answer("ann", "withdraw", decided_at=NOW)
        written.append(len(data))
        return whole(self, data)

    monkeypatch.setattr(Sink, "write", withdrawing)
    run = bench.run()
    assert bench.outcomes(run.run_id)[name][0] == "skipped:withdrawn"
    assert sum(written) < 3 * CHUNK
    assert (bench.all(tables.attachment), bench.all(tables.stray_blob), blobs(bench)) == ([], [], [])


def test_a_stop_is_heard_in_the_middle_of_an_attachment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops, resumable, before the attachment is through; nothing of it stays."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(2))
    bench.keys("ann", [name])
    content = bytes_of(1, 5 * CHUNK)
    attachment_row(bench, name, "m000000", "x", content)
    monkeypatch.setattr(attaching, "LOOK_SECONDS", 0.0)
    whole = Sink.write
    written: list[int] = []

    def stopping(self: Sink, data: bytes) -> int:
        if not written:
            with bench.database() as connection:
                connection.execute(tables.run.update().values(stop_reason="paused"))
        written.append(len(data))
        return whole(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Sink, "write", stopping)
        with pytest.raises(MigratorError):
            bench.run()
    assert sum(written) < 3 * CHUNK
    assert (bench.all(tables.attachment), bench.all(tables.stray_blob), blobs(bench)) == ([], [], [])
    assert bench.resume().state is RunState.COMPLETED
    assert content_by_id(bench) == {"a-x": content}
