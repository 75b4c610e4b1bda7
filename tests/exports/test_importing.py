"""Imports of exports: recorded whole or refused whole, each with its event."""

import json
import os
import threading
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from migrator.campaign import Campaign, open_campaign
from migrator.client.exporting import ExportHeader, MessageKey, write_export
from migrator.client.sealing import Recipient
from migrator.client.signing import Signer
from migrator.core.clock import format_time
from migrator.core.errors import UsageError
from migrator.core.export import ExportKind, part_name
from migrator.core.imports import ImportResult
from migrator.core.limits import LIMITS
from migrator.core.outcomes import RefusalReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.exports.importing import import_paths
from migrator.exports.opening import ExportReader
from tests.exports.support import (
    ALICE,
    BOB,
    CONSENT,
    NOW,
    Export,
    campaign_in,
    device_key,
    events,
    jsonl,
    key,
    recipient_of,
    rows,
    spec_in,
)
from tests.exports.tars import END, member

PARTS = (jsonl(key(ALICE[0], 1)), jsonl(key(ALICE[1], 2)))
NOTHING = (tables.export, tables.export_part, tables.export_conversation)


def device(device_id: str, private_key: Ed25519PrivateKey | None = None) -> Signer:
    """A device that signs, as a rule with its own key."""
    return Signer.device(device_id, private_key or device_key(device_id))


# --- what is recorded ---


def test_an_export_is_stored_sealed_as_it_is(campaign: Campaign, inbox: Path) -> None:
    """Manifest, parts and conversations stand in the database as they were handed in; nothing is opened."""
    export = Export(campaign, PARTS)
    assert import_paths(campaign, [export.save(inbox / "a.export.tar")]) == ImportResult(recorded=1, already=0)
    (row,) = rows(campaign, tables.export)
    assert (row["export_id"], row["account_id"], row["kind"]) == (export.export_id, "alice", "keys")
    assert (row["device_id"], row["issuer"], row["refused"], row["recorded_at"]) == (
        "phone", None, None, format_time(NOW),
    )  # fmt: skip
    assert row["manifest"].encode() == export.members()[0][1]
    assert [(p["part_no"], p["sealed"]) for p in rows(campaign, tables.export_part)] == list(enumerate(export.sealed))
    listed = rows(campaign, tables.export_conversation)
    assert [(c["conversation_id"], c["messages"]) for c in listed] == [(c, 1) for c in ALICE]
    assert json.loads(listed[0]["coverage"]) == [{"epoch_id": "e1", "versions": [4]}]


def test_the_event_names_the_account_by_reference_only(campaign: Campaign, inbox: Path) -> None:
    """One `export.recorded`, with counts and the manifest's digest."""
    import_paths(campaign, [Export(campaign, PARTS).save(inbox / "a.export.tar")])
    (event,) = events(campaign)
    kind, subject, data = event
    assert kind == "export.recorded"
    assert subject is not None
    assert len(subject) == 32
    assert (data["kind"], data["parts"], data["conversations"], data["issuer"]) == ("keys", 2, 3, None)
    assert data["manifest_sha256"] == rows(campaign, tables.export)[0]["manifest_sha256"]
    assert "alice" not in json.dumps(event)


def test_an_export_without_parts_or_conversations_is_an_export(campaign: Campaign, inbox: Path) -> None:
    """A client that has nothing says so."""
    assert import_paths(campaign, [Export(campaign, listed=()).save(inbox / "a.export.tar")]).recorded == 1


def test_a_consent_service_may_sign(campaign: Campaign, inbox: Path) -> None:
    """Only one that the campaign configures; its exports are told apart."""
    known = Export(campaign, PARTS, signer=Signer.issuer("consent", CONSENT))
    assert import_paths(campaign, [known.save(inbox / "a.export.tar")]).recorded == 1
    assert rows(campaign, tables.export)[0]["issuer"] == "consent"
    assert events(campaign)[0][2]["issuer"] == "consent"


def test_the_hybrid_key_seals_too(tmp_path: Path) -> None:
    """Exports to a campaign whose recipient key is MLKEM768-X25519."""
    with campaign_in(tmp_path, kem="MLKEM768_X25519") as campaign:
        path = Export(campaign, PARTS).save(tmp_path / "a.export.tar")
        assert import_paths(campaign, [path]).recorded == 1


def test_what_the_reference_client_writes_is_taken_and_opens(campaign: Campaign, inbox: Path) -> None:
    """The model for mobile teams and the import agree."""
    header = ExportHeader(
        export_id=uuid.uuid4(), campaign="dm", account_id="alice", kind=ExportKind.KEYS, created_at=NOW
    )
    entry = MessageKey(conversation_id=ALICE[0], epoch_id="e1", epoch_sequence=1, version=4, key=b"k" * 32)
    path = inbox / "client.export.tar"
    with path.open("wb") as file:
        write_export(
            file, header, recipient=recipient_of(campaign), signer=device("phone"), conversations={ALICE[0]: 3},
            entries=[entry],
        )  # fmt: skip
    assert import_paths(campaign, [path]).recorded == 1
    with campaign.database.read() as connection:
        material = ExportReader(campaign, last_export_no=1).keys(connection, {ALICE[0]: ["alice"]})
    assert material.rings == {ALICE[0]: {("e1", 4): [b"k" * 32]}}


def test_many_conversations_go_in_batches(campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are listed, whatever the size of a batch."""
    monkeypatch.setattr("migrator.exports.recording._CONVERSATION_BATCH", 2)
    import_paths(campaign, [Export(campaign, PARTS).save(inbox / "a.export.tar")])
    assert len(rows(campaign, tables.export_conversation)) == 3


# --- twice ---


def test_a_repeat_is_already_there(campaign: Campaign, inbox: Path) -> None:
    """The same manifest again writes nothing, even if the rest of the file is gone or its device is revoked since."""
    export = Export(campaign, PARTS)
    path = export.save(inbox / "a.export.tar")
    import_paths(campaign, [path])
    again = inbox / "b.export.tar"
    again.write_bytes(export.archive()[:2048])
    assert import_paths(campaign, [path, again]) == ImportResult(recorded=0, already=2)
    with open_campaign(spec_in(campaign.spec.directory, now=NOW + timedelta(days=365))) as later:
        assert import_paths(later, [path]).already == 1
    assert len(events(campaign)) == 1


def test_another_export_under_a_known_id_is_refused(campaign: Campaign, inbox: Path) -> None:
    """The first one imported counts."""
    first = Export(campaign, PARTS)
    second = Export(campaign, PARTS, export_id=first.export_id)
    import_paths(campaign, [first.save(inbox / "a.export.tar")])
    (refused,) = import_paths(campaign, [second.save(inbox / "b.export.tar")]).refused
    assert (refused.reason, refused.record_id) == (RefusalReason.DUPLICATE_EXPORT, first.export_id)
    assert rows(campaign, tables.export)[0]["manifest"].encode() == first.members()[0][1]


def test_the_same_export_imported_at_once_is_recorded_once(campaign: Campaign, inbox: Path) -> None:
    """Two processes read the same archive: one records it, the other finds it there."""
    path = Export(campaign, PARTS).save(inbox / "a.export.tar")
    results: list[ImportResult] = []
    barrier = threading.Barrier(2)

    def work() -> None:
        with open_campaign(spec_in(campaign.spec.directory)) as own:
            barrier.wait()
            results.append(import_paths(own, [path]))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted((r.recorded, r.already, len(r.refused)) for r in results) == [(0, 1, 0), (1, 0, 0)]
    assert len(rows(campaign, tables.export)) == len(events(campaign)) == 1


def test_a_rival_that_was_faster_is_seen_under_the_lock(
    campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not there at the first look is looked for again inside the transaction."""
    export = Export(campaign, PARTS)
    rival = Export(campaign, PARTS, export_id=export.export_id)
    with open_campaign(spec_in(campaign.spec.directory)) as slow:
        conversations = slow.store.conversations

        def overtaken(ids: Any) -> Any:
            import_paths(campaign, [rival.save(inbox / "r.export.tar")])
            return conversations(ids)

        monkeypatch.setattr(slow.store, "conversations", overtaken)
        (refused,) = import_paths(slow, [export.save(inbox / "a.export.tar")]).refused
    assert refused.reason is RefusalReason.DUPLICATE_EXPORT
    assert [row["manifest"].encode() for row in rows(campaign, tables.export)] == [rival.members()[0][1]]


class _PulledPlugError(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_the_commit_leaves_all_or_nothing(campaign: Campaign, inbox: Path, moment: str) -> None:
    """Export and event stand or fall together; the next import finishes."""

    def pull(label: str, at: str) -> None:
        if (label, at) == ("exports-import", moment):
            raise _PulledPlugError

    path = Export(campaign, PARTS).save(inbox / "a.export.tar")
    with open_campaign(spec_in(campaign.spec.directory)) as killed:
        killed.database.boundary = pull
        with pytest.raises(_PulledPlugError):
            import_paths(killed, [path])
    there = int(moment == "after")
    assert [len(rows(campaign, table)) for table in NOTHING] == [there, 2 * there, 3 * there]
    assert len(events(campaign)) == there
    assert import_paths(campaign, [path]) == ImportResult(recorded=1 - there, already=there)
    assert len(events(campaign)) == 1


# --- what is refused ---

STRANGER = Recipient(
    recipient_key_id="0" * 32, kem="X25519", public_key=X25519PrivateKey.generate().public_key().public_bytes_raw()
)
REFUSED: list[tuple[RefusalReason, dict[str, Any]]] = [
    (RefusalReason.MALFORMED, {"scheme": "megolm"}),
    (RefusalReason.MALFORMED, {"conversations": [{"id": ALICE[0], "coverage": [{"epoch_id": "e1"}], "messages": 1}]}),
    (RefusalReason.UNKNOWN_ACCOUNT, {"account_id": "mallory"}),
    (RefusalReason.UNKNOWN_DEVICE, {"signer": device("nobodys")}),
    (RefusalReason.UNKNOWN_DEVICE, {"signer": device("bobs")}),
    (RefusalReason.UNKNOWN_DEVICE, {"signer": device("late")}),
    (RefusalReason.UNKNOWN_ISSUER, {"signer": Signer.issuer("other", CONSENT)}),
    (RefusalReason.BAD_SIGNATURE, {"signer": device("phone", device_key("bobs"))}),
    (RefusalReason.BAD_SIGNATURE, {"signer": Signer.issuer("consent", device_key("bobs"))}),
    (RefusalReason.REVOKED_DEVICE, {"signer": device("stolen")}),
    (RefusalReason.REVOKED_DEVICE, {"signer": device("old")}),
    (RefusalReason.REVOKED_DEVICE, {"signer": device("old"), "created_at": "2026-01-15T00:00:00Z"}),
    (RefusalReason.WRONG_CAMPAIGN, {"campaign": "other"}),
    (RefusalReason.WRONG_RECIPIENT_KEY, {"recipient": STRANGER}),
    (RefusalReason.FUTURE, {"created_at": format_time(NOW + timedelta(minutes=5, seconds=1))}),
    (RefusalReason.FOREIGN_CONVERSATION, {"listed": (ALICE[0], BOB[0])}),
    (RefusalReason.FOREIGN_CONVERSATION, {"listed": (ALICE[0], "in-alice/nobody")}),
    (RefusalReason.FOREIGN_CONVERSATION, {"listed": ("no slash",)}),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A campaign for tests that must not change it."""
    with campaign_in(tmp_path_factory.mktemp("campaign")) as opened:
        yield opened


@pytest.mark.parametrize(("reason", "changes"), REFUSED)
def test_each_refusal_has_its_reason_and_event(
    shared: Campaign, tmp_path: Path, reason: RefusalReason, changes: dict[str, Any]
) -> None:
    """Nothing of it is stored; the event says why, and names an account only where its own device spoke."""
    before = len(events(shared))
    export = Export(shared, PARTS, **changes)
    path = export.save(tmp_path / "a.export.tar")
    (refused,) = import_paths(shared, [path]).refused
    assert (refused.file, refused.line, refused.record_id, refused.reason) == (
        str(path), None, export.export_id, reason,
    )  # fmt: skip
    assert [rows(shared, table) for table in NOTHING] == [[], [], []]
    (event,) = events(shared)[before:]
    assert (event[0], event[2]["reason"]) == ("export.refused", reason.value)
    signed = reason in (
        RefusalReason.WRONG_CAMPAIGN, RefusalReason.WRONG_RECIPIENT_KEY, RefusalReason.FUTURE,
        RefusalReason.FOREIGN_CONVERSATION,
    )  # fmt: skip
    assert (event[1] is not None) is signed


def test_earlier_reasons_go_before_later_ones(shared: Campaign, tmp_path: Path) -> None:
    """An export that is wrong in every way is refused for the first; mend it, and the next one shows."""
    wrong: dict[str, Any] = {
        "scheme": "megolm", "account_id": "mallory", "signer": device("phone", device_key("bobs")),
        "campaign": "other", "recipient": STRANGER, "created_at": "2027-01-01T00:00:00Z", "listed": BOB,
    }  # fmt: skip
    reasons = []
    for mended in ("scheme", "account_id", "signer", "campaign", "recipient", "created_at", "listed"):
        export = Export(shared, PARTS, **wrong)
        export.sealed.pop()
        (refused,) = import_paths(shared, [export.save(tmp_path / "a.export.tar")]).refused
        reasons.append(refused.reason.value)
        del wrong[mended]
    assert reasons == [
        "malformed", "unknown_account", "bad_signature", "wrong_campaign", "wrong_recipient_key", "future",
        "foreign_conversation",
    ]  # fmt: skip


def test_a_destroyed_recipient_key_is_the_wrong_one(campaign: Campaign, inbox: Path) -> None:
    """What is sealed to it could never be opened."""
    path = Export(campaign, PARTS).save(inbox / "a.export.tar")
    with campaign.database.write("test") as connection:
        connection.execute(tables.recipient_key.update().values(destroyed_at=format_time(NOW)))
    (refused,) = import_paths(campaign, [path]).refused
    assert refused.reason is RefusalReason.WRONG_RECIPIENT_KEY


def test_a_little_ahead_is_not_the_future(campaign: Campaign, inbox: Path) -> None:
    """Clocks of phones are off by minutes."""
    export = Export(campaign, PARTS, created_at=format_time(NOW + timedelta(minutes=5)))
    assert import_paths(campaign, [export.save(inbox / "a.export.tar")]).recorded == 1


def _archive(change: Callable[[list[tuple[str, bytes]]], object]) -> Callable[[Export], bytes]:
    """An archive whose list of members was changed."""

    def build(export: Export) -> bytes:
        members = export.members()
        change(members)
        return b"".join(member(name.encode(), content) for name, content in members) + END

    return build


SPOILED: list[tuple[RefusalReason, Callable[[Export], bytes]]] = [
    (RefusalReason.PART_MISSING, _archive(lambda m: m.pop())),
    (RefusalReason.PART_MISSING, _archive(lambda m: m.pop(1))),
    (RefusalReason.UNEXPECTED_MEMBER, _archive(lambda m: m.reverse())),
    (RefusalReason.UNEXPECTED_MEMBER, _archive(lambda m: m.insert(1, m.pop()))),
    (RefusalReason.UNEXPECTED_MEMBER, _archive(lambda m: m.append((part_name(2), b"x")))),
    (RefusalReason.UNEXPECTED_MEMBER, _archive(lambda m: m.insert(0, ("notes.txt", b"")))),
    (RefusalReason.UNSAFE_MEMBER, _archive(lambda m: m.insert(1, ("../evil", b"")))),
    (RefusalReason.DIGEST_MISMATCH, _archive(lambda m: m.__setitem__(1, (m[1][0], m[1][1][:-1])))),
    (RefusalReason.DIGEST_MISMATCH, _archive(lambda m: m.__setitem__(2, (m[2][0], bytes(len(m[2][1])))))),
    (RefusalReason.TOO_LARGE, _archive(lambda m: m.__setitem__(1, (m[1][0], bytes(LIMITS.part_bytes + 1))))),
    (RefusalReason.TOO_LARGE, _archive(lambda m: m.__setitem__(0, (m[0][0], b"a" * (LIMITS.manifest_bytes + 1))))),
    (RefusalReason.MALFORMED, _archive(lambda m: m.__setitem__(0, (m[0][0], b"")))),
    (RefusalReason.MALFORMED, _archive(lambda m: m.__setitem__(0, (m[0][0], b"\xff.a.b")))),
    (RefusalReason.MALFORMED, lambda _: b"no tar at all" * 100),
    (RefusalReason.TRUNCATED, lambda _: b""),
    (RefusalReason.TRUNCATED, lambda e: e.archive()[:-1024]),
    (RefusalReason.TRUNCATED, lambda e: e.archive()[:-1600]),
]


@pytest.mark.parametrize(("reason", "spoil"), SPOILED)
def test_a_spoiled_archive_leaves_nothing(
    shared: Campaign, tmp_path: Path, reason: RefusalReason, spoil: Callable[[Export], bytes]
) -> None:
    """Parts that were good are rolled back with the bad one."""
    before = len(events(shared))
    path = tmp_path / "a.export.tar"
    path.write_bytes(spoil(Export(shared, PARTS)))
    (refused,) = import_paths(shared, [path]).refused
    assert refused.reason is reason
    assert [rows(shared, table) for table in NOTHING] == [[], [], []]
    assert [event[2]["reason"] for event in events(shared)[before:]] == [reason.value]


def test_a_bad_archive_does_not_stop_the_good_ones(campaign: Campaign, inbox: Path) -> None:
    """Each archive for itself."""
    Export(campaign, PARTS).save(inbox / "a.export.tar")
    (inbox / "b.export.tar").write_bytes(b"junk")
    Export(campaign, PARTS).save(inbox / "c.export.tar")
    result = import_paths(campaign, [inbox])
    assert (result.recorded, [Path(r.file).name for r in result.refused]) == (2, ["b.export.tar"])


# --- files ---


def test_folders_are_walked_in_order_and_links_are_not_followed(campaign: Campaign, inbox: Path) -> None:
    """Other files are passed over; a link in a folder of hand-ins could lead anywhere."""
    deep = inbox / "b" / "deep"
    deep.mkdir(parents=True)
    outside = inbox.parent / "outside"
    outside.mkdir()
    Export(campaign).save(outside / "x.export.tar")
    for path in (inbox / "z.export.tar", deep / "a.export.tar", inbox / "a.export.tar"):
        Export(campaign, campaign="other").save(path)
    (inbox / "readme.txt").write_text("hello")
    (inbox / "folder.export.tar").mkdir()
    (inbox / "link.export.tar").symlink_to(outside / "x.export.tar")
    (inbox / "linked").symlink_to(outside)
    os.mkfifo(inbox / "pipe.export.tar")
    result = import_paths(campaign, [inbox])
    assert (result.recorded, [str(Path(r.file).relative_to(inbox)) for r in result.refused]) == (
        0, ["a.export.tar", "b/deep/a.export.tar", "z.export.tar"],
    )  # fmt: skip
    assert import_paths(campaign, [inbox / "link.export.tar"]).recorded == 1


@pytest.mark.parametrize("name", ["missing.export.tar", "notes.txt", "pipe.export.tar"])
def test_a_path_that_is_no_archive_is_a_usage_error(campaign: Campaign, inbox: Path, name: str) -> None:
    """Before the first archive is taken."""
    good = Export(campaign, PARTS).save(inbox / "good.export.tar")
    (inbox / "notes.txt").write_text("hello")
    os.mkfifo(inbox / "pipe.export.tar")
    with pytest.raises(UsageError, match=name):
        import_paths(campaign, [good, inbox / name])
    assert rows(campaign, tables.export) == []


def test_a_very_deep_folder_is_walked(campaign: Campaign, inbox: Path) -> None:
    """Deeper than Python recurses."""
    archive = Export(campaign, PARTS).archive()
    folder = os.open(inbox, os.O_RDONLY)
    depth = min(1200, (4000 - len(str(inbox))) // 2)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    file = os.open("a.export.tar", os.O_WRONLY | os.O_CREAT, dir_fd=folder)
    os.write(file, archive)
    os.close(file)
    os.close(folder)
    try:
        assert import_paths(campaign, [inbox]).recorded == 1
    finally:
        _flatten(inbox)


def _flatten(folder: Path) -> None:
    """Take a chain of folders apart from its top: pytest would recurse into it."""
    inner = folder / "d"
    while inner.exists():
        inner.rename(folder / "taken")
        for entry in (folder / "taken").iterdir():
            entry.rename(folder / entry.name)
        (folder / "taken").rmdir()


def test_an_archive_that_can_not_be_read_says_what_was_kept(campaign: Campaign, inbox: Path) -> None:
    """A vanished file stops the import; what came before it stays, and its events are in the log."""
    good = Export(campaign, PARTS).save(inbox / "a.export.tar")
    gone = Export(campaign, PARTS).save(inbox / "b.export.tar")

    class Watcher(NoProgress):
        def advance(self, count: int) -> None:
            gone.unlink()

    with pytest.raises(UsageError, match=r"b\.export\.tar") as caught:
        import_paths(campaign, [good, gone], progress=Watcher())
    assert "before it are imported" in caught.value.changed
    assert len(rows(campaign, tables.export)) == 1
    assert all(row["seq"] is not None for row in rows(campaign, tables.outbox))


def test_parts_stream_by_in_fixed_memory(campaign: Campaign, inbox: Path) -> None:
    """Five times as many parts take no more memory: one sealed part at a time."""
    recipient_parts = [os.urandom(1024 * 1024) for _ in range(2)]

    def peak(count: int) -> int:
        export = Export(campaign, [recipient_parts[n % 2] for n in range(count)], export_id=str(uuid.uuid4()))
        path = export.save(inbox / f"{count}.export.tar")
        del export
        tracemalloc.start()
        try:
            assert import_paths(campaign, [path]).recorded == 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(20) < peak(4) + 512 * 1024
