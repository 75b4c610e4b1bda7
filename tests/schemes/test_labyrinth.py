"""The Labyrinth scheme: the port's tests, every gap and its order, candidates, key lines, coverage."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes.hchacha20 import subkeys
from migrator.schemes.interface import KeyRing, ScopeTooBroadError
from migrator.schemes.labyrinth import CONTENT_TYPE, LATEST_SENT_AT, LabyrinthScheme
from migrator.schemes.labyrinth_format import message_key, pad, seal
from tests.schemes.conformance import SchemeConformance, Unit
from tests.schemes.test_hchacha20 import plain_subkey

ROOT = bytes(range(32))
NONCE = bytes(range(100, 128))
THREAD = "bob"
KEY = message_key(ROOT, 3, 4, THREAD)
WRONG = bytes(32)
MALFORMED, CORRUPT, NO_KEY = GapReason.MALFORMED, GapReason.CORRUPT, GapReason.NO_KEY


def conversation(thread_id: str = THREAD) -> Conversation:
    """Ada's copy of a thread."""
    return Conversation(f"in-a/{thread_id}", "ada", "", ("ada",), 1)


def row(data: Any, **changes: Any) -> MessageRow:
    """A sound row around a ciphertext, with some fields changed."""
    fields = {"sent_at": 5, "message_id": "m", "sender_id": "bob", "data": data, "epoch_id": "e", "version": 4}
    return tuple({**fields, **changes}.values())


def opened(rows: list[MessageRow], ring: KeyRing | None = None, thread_id: str = THREAD) -> list[Any]:
    """What becomes of rows; with the right key unless another ring is given."""
    return LabyrinthScheme().open_messages([(conversation(thread_id), ring or {("e", 4): [KEY]}, rows)])[0]


def sealed_padded(padded: bytes) -> bytes:
    """Seal a plaintext frame as it is, by another road than `labyrinth_format`."""
    cipher = AESGCM(plain_subkey(KEY, NONCE[:16]))
    return NONCE + cipher.encrypt(NONCE[16:], padded, b"message_thread_" + THREAD.encode())


class TestConformance(SchemeConformance):
    """The port's own tests."""

    def scheme(self) -> LabyrinthScheme:
        return LabyrinthScheme()

    def units(self) -> list[tuple[Unit, list[bytes]]]:
        units: list[tuple[Unit, list[bytes]]] = []
        for thread_id in ("bob", "group/1", "zoë"):
            ring: KeyRing = {("e", v): [message_key(ROOT, 3, v, thread_id)] for v in (0, 2, 3, 4)}
            contents = [f"{thread_id} {version}".encode() * version for version in (0, 2, 3, 4)]
            rows = [
                row(seal(ring["e", v][0], NONCE, thread_id, content), version=v)
                for v, content in zip((0, 2, 3, 4), contents, strict=True)
            ]
            units.append(((conversation(thread_id), ring, rows), contents))
        return units


# --- opening ---


@given(
    st.sampled_from([0, 2, 3, 4]), st.text(max_size=20), st.binary(max_size=300), st.binary(min_size=28, max_size=28)
)
def test_round_trip(version: int, thread_id: str, content: bytes, nonce: bytes) -> None:
    """What a client seals opens byte for byte, also content that ends in zeros, under every version."""
    key = message_key(ROOT, 3, version, thread_id)
    for written in (content, content + bytes(7)):
        found = opened([row(seal(key, nonce, thread_id, written), version=version)], {("e", version): [key]}, thread_id)
        assert found == [(CONTENT_TYPE, written)]


@given(st.integers(min_value=0), st.binary(max_size=60))
def test_tampering_with_any_bit_is_corrupt(position: int, content: bytes) -> None:
    """Nonce, ciphertext and tag: one flipped bit anywhere and the message does not open."""
    sealed = bytearray(seal(KEY, NONCE, THREAD, content))
    sealed[position // 8 % len(sealed)] ^= 1 << position % 8
    assert opened([row(bytes(sealed))]) == [CORRUPT]


@given(st.integers(min_value=54, max_value=120))
def test_truncation_is_corrupt(length: int) -> None:
    """A ciphertext that lost its end does not open."""
    assert opened([row(seal(KEY, NONCE, THREAD, bytes(100))[:length])]) == [CORRUPT]


def test_moved_to_another_thread_is_corrupt() -> None:
    """The thread is bound in, even under the same key."""
    assert opened([row(seal(KEY, NONCE, "eve", b"hello"))]) == [CORRUPT]


@pytest.mark.parametrize(
    ("padded", "result"),
    [
        (b"\0\0\0\5hello\0", (CONTENT_TYPE, b"hello")),
        (b"\0\0\0\5hello" + bytes(1000), (CONTENT_TYPE, b"hello")),
        (b"\0\0\0\6hello!", (CONTENT_TYPE, b"hello!")),
        (b"\0\0\0\0" + bytes(6), (CONTENT_TYPE, b"")),
        (b"\0\0\0\7hello!", CORRUPT),
        (b"\xff\xff\xff\xffhello!", CORRUPT),
        (b"\0\0\0\5hello\1", CORRUPT),
        (b"\0\0\0\4hello\0", CORRUPT),
        (b"\0\0\0\5hello\0\0\0\0\1", CORRUPT),
    ],
)
def test_length_and_padding(padded: bytes, result: object) -> None:
    """Zeros of any length are padding; a length that does not fit or padding that is not zero is corrupt."""
    assert opened([row(sealed_padded(padded))]) == [result]


def test_the_frame_is_the_clients() -> None:
    """The reference client's sealing and the independent one agree."""
    assert sealed_padded(pad(b"hello")) == seal(KEY, NONCE, THREAD, b"hello")


# --- gaps and their order ---


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"data": b""},
        {"data": bytes(53)},
        {"data": "x" * 60},
        {"data": bytearray(60)},
        {"sent_at": None},
        {"sent_at": -1},
        {"sent_at": LATEST_SENT_AT + 1},
        {"sent_at": 5.0},
        {"sent_at": True},
        {"sent_at": "5"},
        {"message_id": None},
        {"message_id": b"m"},
        {"message_id": "a\0b"},
        {"message_id": "\ud800"},
        {"sender_id": None},
        {"sender_id": 7},
        {"sender_id": "\0"},
        {"sender_id": "\udfff"},
        {"epoch_id": None},
        {"epoch_id": b"e"},
        {"epoch_id": "e\0"},
        {"version": None},
        {"version": "4"},
        {"version": 4.0},
        {"version": True},
    ],
)
def test_malformed_before_all_else(changes: dict[str, Any]) -> None:
    """A row out of form is malformed even where its version is unknown and no key is there, and costs no neighbour."""
    sealed = seal(KEY, NONCE, THREAD, b"hello")
    good = (CONTENT_TYPE, b"hello")
    unknown = {"version": 1, "epoch_id": "other", **changes}
    assert opened([row(sealed), row(**{"data": sealed, **changes}), row(sealed)]) == [good, MALFORMED, good]
    assert opened([row(**{"data": sealed, **unknown})]) == [MALFORMED]


def test_bounds_that_are_in_form() -> None:
    """The first and last moment, the empty id, ids beyond ASCII, the shortest ciphertext."""
    sealed = seal(KEY, NONCE, THREAD, b"")
    assert len(sealed) == 54
    rows = [
        row(sealed, sent_at=0),
        row(sealed, sent_at=LATEST_SENT_AT),
        row(sealed, message_id="", sender_id="😀"),
    ]
    assert opened(rows) == [(CONTENT_TYPE, b"")] * 3


@pytest.mark.parametrize("version", [-1, 1, 5, 255, 2**40])
def test_unsupported_version_before_no_key(version: int) -> None:
    """Nobody can open it, so a missing key is not why; a key that claims to be for it changes nothing."""
    sealed = seal(KEY, NONCE, THREAD, b"hello")
    ring: KeyRing = {("e", version): [KEY]}
    assert opened([row(sealed, version=version)], ring) == [GapReason.UNSUPPORTED_VERSION]
    assert opened([row(sealed, version=version)]) == [GapReason.UNSUPPORTED_VERSION]


def test_no_key_before_corrupt() -> None:
    """Garbage without a key is a missing key; keys are found by epoch and version."""
    for changes in ({"epoch_id": "other"}, {"version": 3}):
        assert opened([row(bytes(60), **changes)]) == [NO_KEY]
    assert opened([row(bytes(60))], {("e", 4): []}) == [NO_KEY]
    assert opened([row(bytes(60))]) == [CORRUPT]


# --- candidates ---


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_right_candidate_opens(slots: list[list[bool]]) -> None:
    """In each epoch a message opens if one of the candidates is right, wherever it stands among wrong ones."""
    ring: KeyRing = {}
    rows = []
    expected: list[Any] = []
    for number, candidates in enumerate(slots):
        key = message_key(ROOT, number, 4, THREAD)
        ring[f"e{number}", 4] = [key if right else bytes([place]) * 32 for place, right in enumerate(candidates)]
        rows.append(row(seal(key, NONCE, THREAD, bytes([number])), epoch_id=f"e{number}"))
        expected.append((CONTENT_TYPE, bytes([number])) if any(candidates) else CORRUPT)
    assert opened(rows, ring) == expected


def test_a_key_may_be_right_for_some_messages_only() -> None:
    """Each message tries the candidates for itself."""
    other = message_key(bytes(32), 3, 4, THREAD)
    rows = [row(seal(key, NONCE, THREAD, b"x")) for key in (KEY, other, KEY)]
    assert opened(rows, {("e", 4): [KEY, other]}) == [(CONTENT_TYPE, b"x")] * 3


def test_the_same_wrong_key_many_times_costs_one_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handing a wrong key in again and again makes opening no slower."""
    passes: list[int] = []

    def counted(keys: bytes, nonces: bytes) -> bytes:
        passes.append(len(keys))
        return subkeys(keys, nonces)

    monkeypatch.setattr("migrator.schemes.labyrinth.subkeys", counted)
    sealed = seal(KEY, NONCE, THREAD, b"hello")
    assert opened([row(sealed)], {("e", 4): [WRONG] * 1000 + [KEY]}) == [(CONTENT_TYPE, b"hello")]
    assert len(passes) == 2


# --- what exports hold ---

ENTRY: dict[str, object] = {
    "conversation_id": "in-a/bob",
    "epoch_id": "e",
    "epoch_sequence": 3,
    "version": 4,
    "message_key": b64url_encode(KEY),
}


def test_a_key_entry_is_read() -> None:
    """The slot is (epoch id, version), and nothing shows the key."""
    [entry] = LabyrinthScheme().read_key_entries(ENTRY, lambda: None)
    assert tuple(entry) == ("in-a/bob", ("e", 4), KEY)
    assert repr(KEY) not in repr(entry)
    assert b64url_encode(KEY) not in repr(entry)


@pytest.mark.parametrize("entry", [{**ENTRY, "epoch_root_key": "AA"}, {"epoch_root_key": None}])
def test_an_epoch_root_key_is_too_broad(entry: dict[str, object]) -> None:
    """It opens every thread of the epoch, so the whole export is refused, whatever else the entry holds."""
    with pytest.raises(ScopeTooBroadError):
        LabyrinthScheme().read_key_entries(entry, lambda: None)


@pytest.mark.parametrize(
    "changes",
    [
        *[{name: None} for name in ENTRY],
        *[{name: []} for name in ENTRY],
        {"more": 1},
        {"conversation_id": ""},
        {"conversation_id": "a\0/b"},
        {"conversation_id": "x" * 1025},
        {"epoch_id": ""},
        {"epoch_id": "\ud800"},
        {"epoch_sequence": -1},
        {"epoch_sequence": "3"},
        {"epoch_sequence": 2**63},
        {"version": True},
        {"version": -4},
        {"message_key": b64url_encode(KEY[:31])},
        {"message_key": b64url_encode(KEY + b"x")},
        {"message_key": b64url_encode(KEY) + "="},
        {"message_key": KEY.hex()},
        {"message_key": "A" * 1_000_000},
    ],
)
def test_a_key_entry_out_of_form_is_refused(changes: dict[str, object]) -> None:
    """Members of another kind or size make the entry unusable, and the message repeats no content."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        LabyrinthScheme().read_key_entries({**ENTRY, **changes}, lambda: None)
    assert b64url_encode(KEY)[:20] not in str(caught.value)


@pytest.mark.parametrize("missing", ENTRY)
def test_a_key_entry_without_a_member_is_refused(missing: str) -> None:
    """All five members have to be there."""
    entry = {name: value for name, value in ENTRY.items() if name != missing}
    with pytest.raises(ValueError, match="members"):
        LabyrinthScheme().read_key_entries(entry, lambda: None)


def test_coverage_names_slots() -> None:
    """One slot a version, the same kind of slot that keys have."""
    assert LabyrinthScheme().read_coverage({"epoch_id": "e", "versions": [3, 4, 4]}) == {("e", 3), ("e", 4)}
    assert LabyrinthScheme().read_coverage({"epoch_id": "e", "versions": []}) == set()


_EPOCHS = st.one_of(
    st.sampled_from(["e", "e1", 'e","versions":[4', '{"epoch_id":"e","versions":[4]}', "e\\", 'e"', "é\n"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=5),
)
_VERSIONS = st.sampled_from([0, 2, 4, 14, 41, 2**63 - 1])
_COVERAGES = st.lists(
    st.fixed_dictionaries({"epoch_id": _EPOCHS, "versions": st.lists(_VERSIONS, max_size=4)}), max_size=4
)


@given(_COVERAGES, _EPOCHS, _VERSIONS)
def test_what_is_found_in_the_text_is_what_parsing_finds(
    coverage: list[dict[str, object]], epoch: str, version: int
) -> None:
    """Also where epochs are called what looks like coverage."""
    scheme = LabyrinthScheme()
    named = set().union(*(scheme.read_coverage(element) for element in coverage))
    text = canonical_json(coverage).decode()
    assert scheme.covers(text, (epoch, version)) == ((epoch, version) in named)
    assert all(scheme.covers(text, slot) for slot in named)


@pytest.mark.parametrize(
    "entry",
    [
        {"epoch_id": "e", "versions": [4], "more": 1},
        {"epoch_id": "e", "versions": 4},
        {"epoch_id": "e", "versions": ["4"]},
        {"epoch_id": "e", "versions": [True]},
        {"epoch_id": "e", "versions": [-1]},
        {"epoch_id": "e", "versions": [[]]},
        {"epoch_id": "e", "versions": list(range(65))},
        {"epoch_id": "", "versions": [4]},
        {"epoch_id": 1, "versions": [4]},
    ],
)
def test_coverage_out_of_form_is_refused(entry: object) -> None:
    """A manifest that can't be understood covers nothing."""
    with pytest.raises(ValueError, match=r"\w"):
        LabyrinthScheme().read_coverage(entry)
