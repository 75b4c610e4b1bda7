"""Opening exports: keys and history, whatever a client handed over."""

import json
import tracemalloc
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator import recipient_key
from migrator.campaign import Campaign
from migrator.client.sealing import Recipient
from migrator.client.signing import Signer
from migrator.core.limits import LIMITS
from migrator.core.outcomes import RefusalReason
from migrator.database import tables
from migrator.exports import rings
from migrator.exports.opening import ExportReader, ExportRefusal, Material, record_refusals
from tests.exports.support import (
    ALICE,
    BOB,
    Export,
    campaign_in,
    device_key,
    events,
    jsonl,
    key,
    message,
    record,
    rows,
)

WANTED = dict.fromkeys(ALICE, ("alice",))
SLOT = ("e1", 4)
ROOT_KEY = {"conversation_id": ALICE[0], "epoch_id": "e1", "epoch_root_key": "A" * 43}
BOBS = Signer.device("bobs", device_key("bobs"))


def secret(number: int) -> bytes:
    """The key that `support.key` writes under a number."""
    return bytes([number]) * 32


def keys(
    campaign: Campaign,
    wanted: Mapping[str, Collection[str]] = WANTED,
    reader: ExportReader | None = None,
    *,
    last: int = 99,
) -> Material:
    """What exports give."""
    with campaign.database.read() as connection:
        return (reader or ExportReader(campaign, last_export_no=last)).keys(connection, wanted)


def unusable(part_no: int, export_no: int = 1) -> ExportRefusal:
    """The refusal of a part."""
    return ExportRefusal(export_no=export_no, part_no=part_no, reason=RefusalReason.UNUSABLE_PART)


def too_broad(export_no: int) -> ExportRefusal:
    """The refusal of an export."""
    return ExportRefusal(export_no=export_no, part_no=None, reason=RefusalReason.SCOPE_TOO_BROAD)


# --- keys ---


@pytest.mark.parametrize("kem", ["X25519", "MLKEM768_X25519"])
def test_keys_come_out_as_they_were_sealed(tmp_path: Path, kem: str) -> None:
    """Over several parts, for wanted conversations only."""
    with campaign_in(tmp_path, kem=kem) as campaign:
        parts = [
            jsonl(key(ALICE[0], 1), key(ALICE[1], 2)),
            jsonl(key(ALICE[0], 3, epoch="e2", version=2), key(ALICE[2], 4)),
        ]
        record(campaign, tmp_path, Export(campaign, parts))
        material = keys(campaign, {ALICE[0]: ("alice",), ALICE[1]: ("alice", "bob")})
    assert material.rings == {ALICE[0]: {SLOT: [secret(1)], ("e2", 2): [secret(3)]}, ALICE[1]: {SLOT: [secret(2)]}}
    assert (material.too_broad, material.with_history, material.refusals, material.ignored) == (
        frozenset(), frozenset(), (), 0,
    )  # fmt: skip


def test_candidates_stand_in_order_of_receipt(campaign: Campaign, inbox: Path) -> None:
    """A later export's keys come behind an earlier one's; a repeated key is one candidate."""
    record(
        campaign,
        inbox,
        *(Export(campaign, [jsonl(*(key(ALICE[0], n) for n in ns))]) for ns in ((1, 2), (2, 3), (1, 4))),
    )
    assert keys(campaign).rings[ALICE[0]][SLOT] == [secret(n) for n in (1, 2, 3, 4)]


def test_later_exports_are_for_the_next_plan(campaign: Campaign, inbox: Path) -> None:
    """The watermark counts, whatever is there by now."""
    record(campaign, inbox, *(Export(campaign, [jsonl(key(ALICE[0], n))]) for n in (1, 2)))
    assert keys(campaign, last=1).rings == {ALICE[0]: {SLOT: [secret(1)]}}
    assert keys(campaign, last=0).rings == {}


def test_only_named_accounts_exports_are_used(campaign: Campaign, inbox: Path) -> None:
    """An export of somebody who is not asked for counts for nothing: not for keys, and not as too broad."""
    record(
        campaign, inbox,
        Export(campaign, [jsonl(key(ALICE[0], 1))]),
        Export(campaign, [jsonl(key(BOB[0], 2))], account_id="bob", signer=BOBS, listed=BOB),
    )  # fmt: skip
    assert keys(campaign, {ALICE[0]: ("bob",), BOB[0]: ("bob",)}).rings == {BOB[0]: {SLOT: [secret(2)]}}


def test_keys_of_conversations_that_are_not_listed_are_ignored_and_counted(campaign: Campaign, inbox: Path) -> None:
    """Others' conversations, even one's own that the manifest leaves out, even if they are asked for."""
    part = jsonl(key(ALICE[0], 1), key(ALICE[1], 2), key(BOB[0], 3), key("in-alice/nobody", 4))
    record(campaign, inbox, Export(campaign, [part], listed=[ALICE[0]]))
    material = keys(campaign, {**WANTED, BOB[0]: ("alice",)})
    assert material.rings == {ALICE[0]: {SLOT: [secret(1)]}}
    assert material.ignored == 3


BROKEN = {
    "not JSON": b"{]\n",
    "no object": b"[]\n",
    "deep": b'{"a":' + b"[" * 1_000_000 + b"\n",
    "no UTF-8": b"\xff\n",
    "long line": b'{"a":"' + b"x" * LIMITS.key_line_bytes + b'"}\n',
    "unknown member": jsonl(key(ALICE[0], 9) | {"more": 1}),
    "missing member": jsonl({"conversation_id": ALICE[0]}),
    "short key": jsonl(key(ALICE[0], 9) | {"message_key": "AAAA"}),
    "repeated member": b'{"conversation_id":"a","conversation_id":"b"}\n',
    "million lines": b'{"a":1}\n' * 1_000_000,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_part_that_can_not_be_read_is_unusable_as_a_whole(campaign: Campaign, inbox: Path, broken: bytes) -> None:
    """Nothing of it counts, not even what stands before the fault; the other parts do."""
    parts = [jsonl(key(ALICE[0], 1)), jsonl(key(ALICE[1], 2)) + broken, jsonl(key(ALICE[2], 3))]
    record(campaign, inbox, Export(campaign, parts))
    material = keys(campaign)
    assert material.rings == {ALICE[0]: {SLOT: [secret(1)]}, ALICE[2]: {SLOT: [secret(3)]}}
    assert material.refusals == (unusable(1),)


def test_blank_lines_and_a_missing_last_line_end_are_fine(campaign: Campaign, inbox: Path) -> None:
    """JSON Lines as editors and libraries write them; an empty part is an empty part."""
    record(
        campaign,
        inbox,
        Export(
            campaign,
            [b"", b"\n \r\n" + jsonl(key(ALICE[0], 1)).rstrip() + b"\r\n\n" + jsonl(key(ALICE[1], 2)).rstrip()],
        ),
    )
    material = keys(campaign)
    assert (len(material.rings), material.refusals) == (2, ())


@pytest.mark.parametrize("fault", ["other key", "other number", "other export", "short", "empty"])
def test_a_part_that_does_not_unseal_is_unusable(campaign: Campaign, inbox: Path, fault: str) -> None:
    """Sealed to somebody else, moved, taken from another export, cut before it was signed."""
    part = jsonl(key(ALICE[0], 1))
    export = Export(campaign, [part, part])
    stranger = Recipient(recipient_key_id="x", kem="X25519", public_key=device_key("x").public_key().public_bytes_raw())
    sealed = {
        "other key": Export(campaign, [part], recipient=stranger, export_id=export.export_id).sealed[0],
        "other number": export.sealed[1],
        "other export": Export(campaign, [part]).sealed[0],
        "short": export.sealed[0][:40],
        "empty": b"",
    }[fault]
    export = Export(campaign, [part], export_id=export.export_id)
    export.replace_part(0, sealed)
    record(campaign, inbox, export)
    material = keys(campaign)
    assert (material.rings, material.refusals) == ({}, (unusable(0),))


def test_a_part_that_was_altered_in_the_database_is_unusable(campaign: Campaign, inbox: Path) -> None:
    """The digest is checked before anything is unsealed."""
    record(campaign, inbox, Export(campaign, [jsonl(key(ALICE[0], 1))]))
    with campaign.database.write("test") as connection:
        connection.execute(tables.export_part.update().values(sealed=b"other"))
    assert keys(campaign).refusals == (unusable(0),)


# --- too broad ---


def test_a_root_key_refuses_the_whole_export(campaign: Campaign, inbox: Path) -> None:
    """None of its keys is used, those of parts before and after neither; unusable parts don't matter any more."""
    parts = [b"junk", jsonl(key(ALICE[0], 1)), jsonl(key(ALICE[1], 2), ROOT_KEY), jsonl(key(ALICE[2], 3))]
    record(campaign, inbox, Export(campaign, parts))
    material = keys(campaign)
    assert (material.rings, material.refusals) == ({}, (too_broad(1),))
    assert material.too_broad == set(ALICE)


def test_a_root_key_of_an_unlisted_conversation_is_too_broad_all_the_same(campaign: Campaign, inbox: Path) -> None:
    """What it would open is not for the manifest to say."""
    record(campaign, inbox, Export(campaign, [jsonl(ROOT_KEY | {"conversation_id": BOB[0]})]))
    assert keys(campaign, {ALICE[0]: ("alice",)}).too_broad == {ALICE[0]}


@pytest.mark.parametrize("kind", ["keys", "history"])
def test_another_export_that_lists_a_conversation_covers_it(campaign: Campaign, inbox: Path, kind: str) -> None:
    """The broad one is refused, the conversation goes on with what the other one gives."""
    other = [jsonl(key(ALICE[0], 1))] if kind == "keys" else [jsonl(message(ALICE[0], 1))]
    record(
        campaign, inbox,
        Export(campaign, [jsonl(ROOT_KEY)], listed=ALICE[:2]),
        Export(campaign, other, listed=ALICE[:1], kind=kind),
    )  # fmt: skip
    material = keys(campaign)
    assert material.too_broad == {ALICE[1]}
    assert material.refusals == (too_broad(1),)


def test_a_recorded_refusal_still_counts_and_is_not_opened_again(campaign: Campaign, inbox: Path) -> None:
    """From the database alone, without the part that showed it."""
    record(
        campaign,
        inbox,
        Export(campaign, [jsonl(ROOT_KEY)]),
        Export(campaign, [b"junk", jsonl(key(ALICE[0], 1))], listed=ALICE[:1]),
    )
    first = keys(campaign)
    with campaign.database.write("test") as connection:
        record_refusals(connection, campaign, first.refusals, "run")
        connection.execute(tables.export_part.delete().where(tables.export_part.c.export_no == 1))
    second = keys(campaign)
    assert second.refusals == ()
    assert (second.rings, second.too_broad) == (first.rings, first.too_broad)
    assert second.too_broad == set(ALICE[1:])


# --- refusals are recorded once ---


def test_refusals_are_recorded_once_with_their_events(campaign: Campaign, inbox: Path) -> None:
    """However often, by however many workers, in one call or several."""
    record(campaign, inbox, Export(campaign, [b"junk"]), Export(campaign, [jsonl(ROOT_KEY)]))
    before = len(events(campaign))
    found = keys(campaign).refusals
    for _ in range(2):
        with campaign.database.write("test") as connection:
            record_refusals(connection, campaign, (*found, *found), "run-1")
    first, second = events(campaign)[before:]
    exports = rows(campaign, tables.export)
    assert (first[0], first[2]) == (
        "export.refused",
        {
            "export_id": exports[0]["export_id"], "manifest_sha256": exports[0]["manifest_sha256"], "part": 0,
            "reason": "unusable_part",
        },
    )  # fmt: skip
    assert (second[2]["part"], second[2]["reason"]) == (None, "scope_too_broad")
    assert first[1] == second[1] == events(campaign)[0][1]
    assert [e["refused"] for e in exports] == [None, "scope_too_broad"]
    assert [p["refused"] for p in rows(campaign, tables.export_part)] == ["unusable_part", None]
    assert {row["run_id"] for row in rows(campaign, tables.outbox) if row["run_id"]} == {"run-1"}


def test_a_refusal_that_was_rolled_back_is_met_again(campaign: Campaign, inbox: Path) -> None:
    """The same reader, after its transaction failed: what it keeps says so again."""
    record(campaign, inbox, Export(campaign, [b"junk", jsonl(key(ALICE[0], 1))]))
    reader = ExportReader(campaign, last_export_no=9)
    with campaign.database.write("test") as connection:
        record_refusals(connection, campaign, keys(campaign, reader=reader).refusals, None)
        connection.rollback()
    assert rows(campaign, tables.export_part)[0]["refused"] is None
    assert keys(campaign, reader=reader).refusals == (unusable(0),)


# --- what a reader keeps ---


def test_an_export_is_opened_once_for_an_owners_conversations(
    campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next unit of the same owner finds its keys; entries that were ignored are counted once."""
    record(campaign, inbox, Export(campaign, [jsonl(*(key(c, n) for n, c in enumerate((*ALICE, *BOB))))]))
    opened = _count_opens(monkeypatch)
    reader = ExportReader(campaign, last_export_no=9)
    ignored = []
    for number, conversation in enumerate(ALICE):
        material = keys(campaign, {conversation: ("alice",)}, reader)
        assert material.rings == {conversation: {SLOT: [secret(number)]}}
        ignored.append(material.ignored)
    assert (len(opened), ignored) == (1, [1, 0, 0])


def test_what_callers_do_with_rings_does_not_reach_the_next_unit(campaign: Campaign, inbox: Path) -> None:
    """Kept keys are handed out as copies."""
    record(campaign, inbox, Export(campaign, [jsonl(key(ALICE[0], 1))]), Export(campaign, [jsonl(key(ALICE[0], 2))]))
    reader = ExportReader(campaign, last_export_no=9)
    keys(campaign, reader=reader).rings[ALICE[0]][SLOT].clear()
    assert keys(campaign, reader=reader).rings[ALICE[0]][SLOT] == [secret(1), secret(2)]


def test_one_unwrap_for_each_recipient_key(campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key service is asked once a process, however many exports there are."""
    calls: list[str] = []
    unwrap = recipient_key.unwrap

    def counting(own: Campaign, connection: sa.Connection, key_id: str) -> recipient_key.RecipientPrivateKey:
        calls.append(key_id)
        return unwrap(own, connection, key_id)

    monkeypatch.setattr(recipient_key, "unwrap", counting)
    record(campaign, inbox, *(Export(campaign, [jsonl(key(ALICE[0], n))]) for n in range(3)))
    keys(campaign)
    assert len(calls) == 1


def test_over_the_bound_only_wanted_and_then_only_needed_keys_stay(
    campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export as long as it likes: the keys that messages need are found in it, the rest is let go."""
    monkeypatch.setattr(rings, "MAX_ENTRIES", 10)
    noise = [key(ALICE[n % 3], n, epoch=f"x{n}") for n in range(100)]
    part = jsonl(*noise[:50], key(ALICE[0], 201), key(ALICE[1], 202), *noise[50:])
    record(campaign, inbox, Export(campaign, [part, part]))
    reader = ExportReader(campaign, last_export_no=9)
    for conversation, number in ((ALICE[0], 201), (ALICE[1], 202)):
        material = keys(campaign, {conversation: ("alice",)}, reader)
        assert material.rings == {conversation: {SLOT: [secret(number)]}}


def test_candidates_for_one_slot_are_bounded_per_export(campaign: Campaign, inbox: Path) -> None:
    """A flood of wrong keys in one export does not push out the next export's right one."""
    record(
        campaign,
        inbox,
        Export(campaign, [jsonl(*(key(ALICE[0], n) for n in range(200)))]),
        Export(campaign, [jsonl(key(ALICE[0], 250))]),
    )
    candidates = keys(campaign).rings[ALICE[0]][SLOT]
    assert len(candidates) == rings.MAX_CANDIDATES + 1
    assert candidates[-1] == secret(250)


def test_a_hostile_export_takes_bounded_memory(
    campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts full of valid keys that nobody needs: six times as many take no more memory."""
    monkeypatch.setattr(rings, "MAX_ENTRIES", 1000)
    line = json.dumps(key(ALICE[0], 1))

    def part(letter: str) -> bytes:
        return "\n".join(line.replace('"e1"', f'"{letter}{n}"') for n in range(3000)).encode()

    def peak(export_no: int) -> int:
        with campaign.database.read() as connection:
            reader = ExportReader(campaign, last_export_no=export_no)
            tracemalloc.start()
            try:
                reader.keys(connection, {ALICE[0]: ("alice",)})
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    record(campaign, inbox, Export(campaign, [part("y"), part("z")]), Export(campaign, [part(c) for c in "abcdefghij"]))
    peak(1)
    assert peak(2) < 1.2 * peak(1)


# --- history ---


def history(
    campaign: Campaign, conversation: str, reader: ExportReader | None = None, *, last: int = 99
) -> list[tuple[str, bytes]]:
    """Message ids and contents, page by page."""
    with campaign.database.read() as connection:
        pages = list(
            (reader or ExportReader(campaign, last_export_no=last)).history(connection, conversation, ["alice"])
        )
    assert all(0 < len(page) <= 1000 for page in pages)
    return [(entry.message_id, entry.content) for page in pages for entry in page]


def test_history_comes_in_order_of_receipt(campaign: Campaign, inbox: Path) -> None:
    """Over parts and exports, one conversation's messages, content as UTF-8; keys exports hold none."""
    first = jsonl(message(ALICE[0], 2), message(ALICE[1], 1))
    record(
        campaign, inbox,
        Export(campaign, [first, jsonl(message(ALICE[0], 1, "☺"))], kind="history"),
        Export(campaign, [jsonl(key(ALICE[0], 1))]),
        Export(campaign, [jsonl(message(ALICE[0], 3, ""))], kind="history"),
    )  # fmt: skip
    assert history(campaign, ALICE[0]) == [("m2", b"hello"), ("m1", "☺".encode()), ("m3", b"")]
    assert history(campaign, ALICE[0], last=2) == [("m2", b"hello"), ("m1", "☺".encode())]
    assert keys(campaign).with_history == set(ALICE)


def test_history_of_others_is_not_asked_for(campaign: Campaign, inbox: Path) -> None:
    """Accounts that are not named, conversations that the manifest does not list."""
    record(
        campaign,
        inbox,
        Export(campaign, [jsonl(message(ALICE[0], 1), message(ALICE[1], 1))], kind="history", listed=ALICE[:1]),
    )
    with campaign.database.read() as connection:
        reader = ExportReader(campaign, last_export_no=9)
        assert list(reader.history(connection, ALICE[0], ["bob"])) == []
        assert list(reader.history(connection, ALICE[1], ["alice"])) == []


def test_long_history_comes_in_pages(campaign: Campaign, inbox: Path) -> None:
    """At most a thousand messages a page."""
    record(campaign, inbox, Export(campaign, [jsonl(*(message(ALICE[0], n) for n in range(2500)))], kind="history"))
    assert len(history(campaign, ALICE[0])) == 2500


@pytest.mark.parametrize(
    "broken",
    [b"junk", jsonl(message(ALICE[1], 1) | {"sent_at": -1}), jsonl(ROOT_KEY), jsonl(key(ALICE[0], 1)),
     b'{"a":"' + b"x" * LIMITS.history_line_bytes + b'"}'],
)  # fmt: skip
def test_an_unusable_part_of_history_is_left_out_and_reported(campaign: Campaign, inbox: Path, broken: bytes) -> None:
    """As with keys: the whole part, and only it."""
    parts = [jsonl(message(ALICE[0], 1)), jsonl(message(ALICE[0], 2)) + broken, jsonl(message(ALICE[0], 3))]
    record(campaign, inbox, Export(campaign, parts, kind="history"))
    reader = ExportReader(campaign, last_export_no=9)
    assert [name for name, _ in history(campaign, ALICE[0], reader)] == ["m1", "m3"]
    assert reader.pending_refusals == [unusable(1)]


def test_the_next_conversation_opens_only_parts_that_have_it(
    campaign: Campaign, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner's history is not read through again for each of the conversations."""
    parts = [jsonl(message(ALICE[n % 2], n)) for n in range(6)]
    record(campaign, inbox, Export(campaign, parts, kind="history"))
    opened = _count_opens(monkeypatch)
    reader = ExportReader(campaign, last_export_no=9)
    assert [name for name, _ in history(campaign, ALICE[0], reader)] == ["m0", "m2", "m4"]
    assert len(opened) == 6
    assert [name for name, _ in history(campaign, ALICE[1], reader)] == ["m1", "m3", "m5"]
    assert history(campaign, ALICE[2], reader) == []
    assert len(opened) == 9


def test_a_large_part_of_history_takes_bounded_memory(campaign: Campaign, inbox: Path) -> None:
    """Of the messages of other conversations nothing stays."""
    own = [message(ALICE[0], n, "x" * 1000) for n in range(100)]
    others = [message(ALICE[1], n, "x" * 100) for n in range(30_000)]
    record(
        campaign,
        inbox,
        Export(campaign, [jsonl(*own)], kind="history"),
        Export(campaign, [jsonl(*others, *own)], kind="history"),
    )
    with campaign.database.read() as connection:
        tracemalloc.start()
        try:
            pages = sum(1 for _ in ExportReader(campaign, last_export_no=9).history(connection, ALICE[0], ["alice"]))
            assert tracemalloc.get_traced_memory()[1] < 4 * LIMITS.part_bytes
        finally:
            tracemalloc.stop()
    assert pages == 2


def _count_opens(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Count what is unsealed."""
    opened: list[bytes] = []
    unseal = recipient_key.RecipientPrivateKey.open

    def counting(self: recipient_key.RecipientPrivateKey, sealed: bytes, info: bytes) -> bytes:
        opened.append(info)
        return unseal(self, sealed, info)

    monkeypatch.setattr(recipient_key.RecipientPrivateKey, "open", counting)
    return opened


def test_nothing_shows_keys(campaign: Campaign, inbox: Path) -> None:
    """A material that is printed by accident holds no key."""
    record(campaign, inbox, Export(campaign, [jsonl(key(ALICE[0], 1))]))
    assert "\\x01" not in repr(keys(campaign))
