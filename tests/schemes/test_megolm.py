"""The Megolm scheme: what opens, and why each other message stays sealed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.encoding import b64_decode, b64_encode
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes.interface import KeyRing, Opened, Scheme
from migrator.schemes.megolm import MAX_CIPHERTEXT_CHARS, MegolmScheme
from tests.schemes.conformance import SchemeConformance, Unit
from tests.support.megolm import (
    ALICE,
    ALICES_KEY,
    MALLORY,
    MALLORYS_KEY,
    NOBODYS_KEY,
    OWNERS,
    ROOM,
    Sending,
    key_file,
    room,
)  # fmt: skip

OTHER_ROOM = "!other:lab"
PLAIN = "application/json;type=m.room.message"


def ring_of(*entries: Mapping[str, Any], room_id: str = ROOM) -> KeyRing:
    """The ring that a client's line gives."""
    ring: KeyRing = {}
    line = {"conversation_id": room_id, "sessions": list(entries)}
    for entry in MegolmScheme().read_key_entries(line, lambda: None):
        ring.setdefault(entry.slot, []).append(entry.key)
    return ring


def opened(
    ring: KeyRing, *rows: MessageRow, conversation: Conversation | None = None, scheme: Scheme | None = None
) -> list[Opened | GapReason]:
    """What becomes of some rows of one room."""
    return (scheme or MegolmScheme()).open_messages([(conversation or room(), ring, rows)])[0]


def bodies(results: Sequence[Opened | GapReason]) -> list[str]:
    """What opened says, and why the rest does not."""
    return [r.value if isinstance(r, GapReason) else json.loads(r[1])["content"]["body"] for r in results]


class TestConformance(SchemeConformance):
    """What every scheme must do."""

    def scheme(self) -> Scheme:
        """The scheme."""
        return MegolmScheme()

    def units(self) -> list[tuple[Unit, list[bytes]]]:
        """Three rooms with four messages each."""
        return [_unit(f"!{name}:lab") for name in "abc"]


_UNITS: dict[str, tuple[Unit, list[bytes]]] = {}


def _unit(room_id: str) -> tuple[Unit, list[bytes]]:
    """Made once, as sessions are never twice the same."""
    if room_id not in _UNITS:
        sending = Sending(room_id)
        contents = [json.dumps({"type": "m.text", "room_id": room_id, "n": n}).encode() for n in range(4)]
        rows = [sending.row(n, sending.send_raw(content)) for n, content in enumerate(contents)]
        ring = ring_of(sending.entry(), room_id=room_id)
        _UNITS[room_id] = ((room(room_id), ring, rows), contents)
    return _UNITS[room_id]


def test_a_message_opens_byte_for_byte() -> None:
    """Spaces, floats, repeated members, numbers of any length: what was encrypted is what is kept."""
    sending = Sending()
    payload = (
        b'{ "type":"m.room.message","room_id":"!room:lab", "content":{"body":"a","body":"b","x":1.50,"big":'
        + b"9" * 5000
        + b"}}"
    )
    assert opened(ring_of(sending.entry()), sending.row(1, sending.send_raw(payload))) == [(PLAIN, payload)]


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("m.room.message", "application/json;type=m.room.message"),
        ("m.sticker", "application/json;type=m.sticker"),
        ("org.example.a_b-c+d", "application/json;type=org.example.a_b-c+d"),
        ("", "application/json"),
        ("a" * 256, "application/json"),
        ("text/html", "application/json"),
        ("a;charset=utf-7", "application/json"),
        ('a"', "application/json"),
        ("a\r\nX-Header: 1", "application/json"),
        ("a\n", "application/json"),
        ("a\0b", "application/json"),
        ("a\u202eb", "application/json"),
        ("\ud800", "application/json"),
    ],
)
def test_the_events_type_can_not_leave_its_place(kind: str, content_type: str) -> None:
    """The type is the sender's text: what is no plain token is left out, and the message opens all the same."""
    sending = Sending()
    [result] = opened(ring_of(sending.entry()), sending.row(1, sending.send(type=kind)))
    assert isinstance(result, tuple)
    assert result[0] == content_type


# --- pitfalls, by their number in the notes on Matrix ---


@pytest.mark.parametrize("redacted", [True, 1, "yes", None])
def test_pitfall_1_a_redacted_event_is_never_opened(redacted: object) -> None:
    """Whatever ciphertext it still has, and whatever else is wrong with it; in doubt it stays closed."""
    sending = Sending()
    row = sending.row(1, sending.send(), redacted=redacted)
    [result] = opened(ring_of(sending.entry()), row)
    assert result is (GapReason.REDACTED if redacted is True else GapReason.MALFORMED)
    assert opened({}, sending.row(1, None, redacted=True, algorithm=None)) == [GapReason.REDACTED]
    assert MegolmScheme().claims([row]) == [None]


def test_pitfall_2_a_message_says_what_it_uses_up() -> None:
    """The same session and index, in whatever event by whomever; another index or session is another claim."""
    sending, other = Sending(), Sending()
    first, second = sending.send(), sending.send()
    rows = [
        sending.row(1, first), sending.row(9, first, sender_id=MALLORY), sending.row(2, second),
        other.row(3, other.send()), sending.row(4, b"?"),
    ]  # fmt: skip
    claims = MegolmScheme().claims(rows)
    assert claims[0] == claims[1]
    assert claims[4] is None
    assert len(set(claims)) == 4


@pytest.mark.parametrize(
    ("sender_key", "forwarded", "admit_unknown", "sender", "result"),
    [
        (ALICES_KEY, False, False, ALICE, "hello"),
        (ALICES_KEY, False, True, MALLORY, "unverified_sender"),
        (MALLORYS_KEY, False, True, ALICE, "unverified_sender"),
        (NOBODYS_KEY, False, True, ALICE, "hello"),
        (NOBODYS_KEY, False, False, ALICE, "unverified_sender"),
        (None, False, True, ALICE, "hello"),
        (None, False, False, ALICE, "unverified_sender"),
        (ALICES_KEY, True, True, ALICE, "hello"),
        (ALICES_KEY, True, False, ALICE, "unverified_sender"),
        (MALLORYS_KEY, True, True, ALICE, "unverified_sender"),
    ],
)
def test_pitfall_3_the_session_must_be_the_senders(
    sender_key: str | None, forwarded: bool, admit_unknown: bool, sender: str, result: str
) -> None:
    """Another user's never; a deleted device's, nobody's or a forwarded one as policy has it."""
    sending = Sending(sender_key=sender_key)
    chain = [b64_encode(b"\x07" * 32)] if forwarded else []
    entry = sending.entry(forwarding_curve25519_key_chain=chain)
    row = sending.row(1, sending.send(), sender_id=sender, admit_unknown=admit_unknown)
    assert bodies(opened(ring_of(entry), row)) == [result]


def test_pitfall_3_a_key_that_two_users_have_is_nobodys() -> None:
    """The store names no owner for it."""
    sending = Sending()
    row = sending.row(1, sending.send(), owners={ALICES_KEY: ""}, admit_unknown=False)
    assert opened(ring_of(sending.entry()), row) == [GapReason.UNVERIFIED_SENDER]


@pytest.mark.parametrize("lie", [MALLORYS_KEY, NOBODYS_KEY])
@pytest.mark.parametrize("first", [True, False])
def test_pitfall_3_a_lie_about_the_sender_costs_nothing(lie: str, first: bool) -> None:
    """Another export names another creator of the same session: the one that fits counts, in whatever order."""
    sending = Sending()
    entries = [sending.entry(), sending.entry(sender_key=lie)]
    row = sending.row(1, sending.send(), admit_unknown=False)
    assert bodies(opened(ring_of(*(entries[::-1] if first else entries)), row)) == ["hello"]


def test_pitfall_4_the_inner_room_must_be_the_events() -> None:
    """A session is looked up in its own room, and a message of another one does not open in this."""
    sending = Sending(OTHER_ROOM)
    row = sending.row(1, sending.send())
    assert opened(ring_of(), row) == [GapReason.NO_KEY]
    brought_here = ring_of(sending.entry(room_id=ROOM))
    assert opened(brought_here, row) == [GapReason.CORRUPT]


def test_pitfall_5_the_lowest_first_index_counts() -> None:
    """Several exports have the session from different indices on: what any of them reaches, opens."""
    sending = Sending()
    rows = [sending.row(n, sending.send(str(n))) for n in range(6)]
    late = ring_of(sending.entry(4))
    assert bodies(opened(late, *rows)) == ["key_gap_before_index"] * 4 + ["4", "5"]
    both = ring_of(sending.entry(4), sending.entry(2))
    assert bodies(opened(both, *rows)) == ["key_gap_before_index"] * 2 + ["2", "3", "4", "5"]


@pytest.mark.parametrize("forged_first", [True, False])
def test_pitfall_5_a_forged_session_with_a_lower_index_shadows_nothing(forged_first: bool) -> None:
    """It has the right id and can't open a genuine message: the good one is tried as well, in whatever order."""
    sending = Sending()
    rows = [sending.row(n, sending.send(str(n))) for n in range(6)]
    entries = [sending.forged(0), sending.entry(3)]
    ring = ring_of(*(entries if forged_first else entries[::-1]))
    # Below the good one's first index nobody can tell; a key from an earlier index on may still come.
    assert bodies(opened(ring, *rows)) == ["key_gap_before_index"] * 3 + ["3", "4", "5"]
    assert bodies(opened(ring_of(sending.forged(0)), rows[0])) == ["corrupt"]


def test_pitfall_5_a_session_is_filed_under_its_own_id() -> None:
    """One filed under another id is refused when it is read: it could stand in for that one's messages."""
    sending, other = Sending(), Sending()
    with pytest.raises(ValueError, match="id"):
        ring_of(sending.entry(session_id=other.session_id))


def test_pitfall_6_sender_key_may_be_absent_from_the_event() -> None:
    """What counts is what exports say; the event's own word is not looked at, right, wrong or missing."""
    sending = Sending()
    texts: list[object] = [None, NOBODYS_KEY, MALLORYS_KEY, ALICES_KEY, 7]
    rows = [sending.row(n, sending.send(str(n)), sender_key=text) for n, text in enumerate(texts)]
    assert bodies(opened(ring_of(sending.entry()), *rows)) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"this is not json", b"[1,2,3]", b"null", b'"text"', b"{}", b'{"type":"m"}', b'{"room_id":"!room:lab"}',
        b'{"type":7,"room_id":"!room:lab"}', b'{"type":"m","room_id":["!room:lab"]}', b'{"type":"m","room_id":"!x"}',
        b'{"type":"m","room_id":"!room:lab","n":NaN}', b'\xff{"type":"m","room_id":"!room:lab"}',
        b'\xef\xbb\xbf{"type":"m","room_id":"!room:lab"}', b'{"type":"m","room_id":"!room:lab"} x',
        b'{"type":"m","room_id":"!room:lab","a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_pitfall_8_an_inner_payload_out_of_form_is_corrupt(payload: bytes) -> None:
    """It opens, and is no event of this room."""
    sending = Sending()
    assert opened(ring_of(sending.entry()), sending.row(1, sending.send_raw(payload))) == [GapReason.CORRUPT]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"algorithm": "m.megolm.v2.aes-sha2"}, "unsupported_version"),
        ({"algorithm": "m.megolm.v2.aes-sha2", "ciphertext": None}, "unsupported_version"),
        ({"algorithm": "m.megolm.v2.aes-sha2", "session_id": None}, "unsupported_version"),
        ({"algorithm": None}, "malformed"),
        ({"ciphertext": None, "algorithm": None}, "malformed"),
        ({"ciphertext": None}, "malformed"),
        ({"ciphertext": "text"}, "malformed"),
        ({"ciphertext": b""}, "malformed"),
        ({"ciphertext": b"not base64!"}, "malformed"),
        ({"ciphertext": "\u00e9".encode()}, "malformed"),
        ({"ciphertext": b"AAAA"}, "malformed"),
        ({"ciphertext": b"A" * (MAX_CIPHERTEXT_CHARS + 4)}, "malformed"),
        ({"session_id": None}, "malformed"),
        ({"session_id": ""}, "malformed"),
        ({"session_id": "\ud800"}, "no_key"),
        ({"session_id": "x"}, "no_key"),
        ({"sent_at": -1}, "malformed"),
        ({"sent_at": 253_402_300_800_000}, "malformed"),
        ({"sent_at": True}, "malformed"),
        ({"message_id": "$\0"}, "malformed"),
        ({"sender_id": "@\0"}, "malformed"),
        ({"sender_id": None}, "malformed"),
        ({"owners": None}, "malformed"),
        ({"admit_unknown": None}, "malformed"),
    ],
)
def test_pitfall_8_what_is_no_megolm_event_is_told_before_any_key(changes: dict[str, Any], reason: str) -> None:
    """Unknown algorithms first, then what is missing, misshapen or too long; a neighbour opens."""
    sending = Sending()
    rows = [sending.row(1, sending.send(), **changes), sending.row(2, sending.send("good"))]
    assert bodies(opened(ring_of(sending.entry()), *rows)) == [reason, "good"]


def test_pitfall_9_a_late_key_opens_what_was_a_gap() -> None:
    """The scheme remembers nothing of a message that did not open."""
    scheme, sending = MegolmScheme(), Sending()
    rows = [sending.row(n, sending.send(str(n))) for n in range(3)]
    assert bodies(opened({}, *rows, scheme=scheme)) == ["no_key"] * 3
    assert bodies(opened(ring_of(sending.entry(2)), *rows, scheme=scheme)) == ["key_gap_before_index"] * 2 + ["2"]
    assert bodies(opened(ring_of(sending.entry(2), sending.entry()), *rows, scheme=scheme)) == ["0", "1", "2"]


# --- MAC, signature, order, and what is kept ---


@given(st.data())
def test_any_altered_byte_closes_the_message(data: st.DataObject) -> None:
    """Version, index, ciphertext, MAC, signature: none can be changed, and nothing but a reason comes of it."""
    sending = Sending()
    raw = bytearray(b64_decode(sending.send().decode()))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    [result] = opened(ring_of(sending.entry()), sending.row(1, b64_encode(bytes(raw)).encode()))
    assert isinstance(result, GapReason)


@given(st.binary(max_size=200))
def test_any_bytes_for_a_ciphertext_are_a_gap(data: bytes) -> None:
    """Base64 of anything at all, behind the version of a real one."""
    sending = Sending()
    [result] = opened(ring_of(sending.entry()), sending.row(1, b64_encode(b"\x03" + data).encode()))
    assert isinstance(result, GapReason)


@given(st.permutations(range(8)))
def test_rows_in_any_order_give_the_same(order: list[int]) -> None:
    """Time is the sender's word: messages are fed by index, whatever order they stand in."""
    sending = Sending()
    rows = [sending.row(n, sending.send(str(n))) for n in range(8)]
    assert bodies(opened(ring_of(sending.entry()), *[rows[n] for n in order])) == [str(n) for n in order]


def test_what_is_kept_changes_nothing() -> None:
    """One instance over many pages, with other candidates between, gives what fresh ones give."""
    scheme, sending = MegolmScheme(), Sending()
    rows = [sending.row(n, sending.send(str(n))) for n in range(6)]
    rings = [ring_of(sending.entry(4)), ring_of(sending.forged(), sending.entry(1)), ring_of(sending.entry()), {}]
    for ring in rings + rings[::-1]:
        for page in (rows[3:], rows[:3], rows):
            assert opened(ring, *page, scheme=scheme) == opened(ring, *page)


# --- lines and coverage ---


@pytest.mark.parametrize(
    "line",
    [
        {"conversation_id": ROOM, "sessions": {}},
        {"conversation_id": ROOM, "sessions": [None]},
        {"conversation_id": "", "sessions": []},
        {"conversation_id": ROOM, "sessions": [], "more": 1},
        {"conversation_id": ROOM, "sessions": [{}] * 1001},
        {"megolm_key_export": "x", "passphrase": "y"},
        {"megolm_key_export": None, "passphrase": "y"},
        {"megolm_key_export": "x"},
        {"backup_recovery_key": "x"},
        {"secret_storage_passphrase": "x"},
        {"epoch_root_key": "x"},
    ],
)
def test_lines_out_of_form_are_refused(line: dict[str, object]) -> None:
    """As a whole, at once, and without a word of content."""
    with pytest.raises(ValueError, match=r"\w"):
        MegolmScheme().read_key_entries(line, lambda: None)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "m.megolm.v2"}, {"algorithm": None}, {"session_key": "AA"}, {"session_key": None},
        {"session_key": "A" * 10_000}, {"session_key": b64_encode(b"\x02" + bytes(164))}, {"session_id": "x"},
        {"session_id": None}, {"sender_key": "AA"}, {"sender_key": 7}, {"forwarding_curve25519_key_chain": "x"},
        {"forwarding_curve25519_key_chain": [""] * 1001}, {"room_id": OTHER_ROOM},
    ],
)  # fmt: skip
def test_a_session_out_of_form(changes: dict[str, Any]) -> None:
    """In a client's line it makes the part unusable; in a key export file it costs itself."""
    sending, good = Sending(), Sending()
    entry = {name: value for name, value in (sending.entry() | changes).items() if value is not None}
    with pytest.raises(ValueError, match=r"\w"):
        ring_of(entry)
    line = {"megolm_key_export": key_file([entry, good.entry()]), "passphrase": "pass"}
    found = [(e.conversation_id, e.slot) for e in MegolmScheme().read_key_entries(line, lambda: None)]
    expected = [(OTHER_ROOM, sending.session_id)] if "room_id" in changes else []
    assert found == [*expected, (ROOM, good.session_id)]


def test_unknown_members_of_a_session_are_passed_over() -> None:
    """Clients add some of their own."""
    sending = Sending()
    ring = ring_of(sending.entry(**{"org.matrix.msc3061.shared_history": True}))
    assert bodies(opened(ring, sending.row(1, sending.send()))) == ["hello"]


def test_a_key_that_is_no_curve_point_opens_nothing() -> None:
    """The id of a session is its public key: one that is none can't be imported, and is no reason to stop."""
    sending = Sending()
    public = b"\x02" + b"\xff" * 31
    entry = sending.entry()
    raw = b64_decode(entry["session_key"])
    entry |= {"session_key": b64_encode(raw[:133] + public), "session_id": b64_encode(public)}
    row = sending.row(1, sending.send(), session_id=b64_encode(public))
    assert opened(ring_of(entry), row) == [GapReason.CORRUPT]


def test_coverage() -> None:
    """An element names a session; one that nobody looked into covers any."""
    scheme = MegolmScheme()
    assert scheme.read_coverage({"session_id": "abc", "first_index": 3}) == {"abc"}
    assert scheme.read_coverage({"sessions": "unknown"}) == set()
    text = '[{"first_index":3,"session_id":"abc"},{"first_index":0,"session_id":"a\\"b"}]'
    assert scheme.covers(text, "abc")
    assert scheme.covers(text, 'a"b')
    assert not scheme.covers(text, "b")
    assert not scheme.covers(text, ("e", 4))
    assert scheme.covers('[{"sessions":"unknown"}]', "anything")


@pytest.mark.parametrize(
    "entry",
    [
        {"session_id": "a"}, {"session_id": "a", "first_index": -1}, {"session_id": "a", "first_index": 2**32},
        {"session_id": "a", "first_index": True}, {"session_id": "", "first_index": 0}, {"sessions": "all"},
        {"sessions": "unknown", "first_index": 0}, {"session_id": 3, "first_index": 0},
    ],
)  # fmt: skip
def test_coverage_out_of_form_is_refused(entry: object) -> None:
    """As everything is that is not known."""
    with pytest.raises(ValueError, match=r"\w"):
        MegolmScheme().read_coverage(entry)


def test_nothing_shows_a_key() -> None:
    """Entries, sessions and chains show neither session keys nor passphrases."""
    sending = Sending()
    scheme = MegolmScheme()
    line = {"conversation_id": ROOM, "sessions": [sending.entry()]}
    [entry] = scheme.read_key_entries(line, lambda: None)
    chains = scheme._sessions.chains([entry.key])
    assert sending.entry()["session_key"][20:40] not in repr(entry) + repr(chains) + repr(scheme)


def test_owners_of_the_tests_are_as_the_store_gives_them() -> None:
    """Unpadded base64 of 32 bytes."""
    assert {len(key) for key in OWNERS} == {43}
