"""Signed notes and checkpoints: the published vectors, and everything that must not pass."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from migrator.core import notes
from migrator.core.notes import Checkpoint, KeyKind, NoteError, VerifierKey
from tests.support.notes import signed

# From the documentation of golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
NAME = "example.org/migrator/dm"
VKEY = notes.vkey(NAME, KEY.public_key())
BODY = Checkpoint(origin=NAME, size=20852163, root=bytes(range(32))).body()


def test_the_published_note_opens() -> None:
    """A note signed by Go's library, with the key as Go writes it."""
    opened = notes.open_note(PETERS_NOTE.encode(), [PETER])
    assert opened.body == PETERS_NOTE.partition("\n\n")[0] + "\n"
    assert [signature.name for signature in opened.verified] == ["PeterNeumann"]
    assert notes.parse_vkey(PETER).encode() == PETER


def test_what_is_signed_opens_and_reads_back() -> None:
    """A checkpoint through a note and back; the text is that of c2sp.org/tlog-checkpoint."""
    assert f"{NAME}\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n" == BODY
    opened = notes.open_note(signed(BODY, NAME, KEY), [VKEY])
    assert Checkpoint.parse(opened.body) == Checkpoint(origin=NAME, size=20852163, root=bytes(range(32)))
    assert opened.others == ()


@given(data=st.data())
def test_any_changed_bit_is_found(data: st.DataObject) -> None:
    """Whatever bit of a note is flipped, it does not open as another text."""
    note = bytearray(signed(BODY, NAME, KEY))
    at = data.draw(st.integers(0, len(note) * 8 - 1))
    note[at // 8] ^= 1 << at % 8
    with pytest.raises(NoteError):
        notes.open_note(bytes(note), [VKEY])


@given(st.binary(max_size=300))
def test_rubbish_is_refused(data: bytes) -> None:
    """Bytes that nobody signed raise nothing but `NoteError`."""
    with pytest.raises(NoteError):
        notes.open_note(data, [VKEY])
    with pytest.raises(NoteError):
        notes.parse_vkey(data.decode("latin-1"))


@pytest.mark.parametrize(
    "note",
    [
        BODY.encode() + b"\n",
        BODY.encode(),
        signed(BODY, NAME, KEY)[:-1],
        signed(BODY, NAME, KEY) + b"\n",
        signed(BODY, NAME, KEY).replace("— ".encode(), b"- "),
        signed(BODY, NAME, KEY) * 1000,
        signed(BODY, NAME, KEY) + signed(BODY, NAME, KEY).split(b"\n\n")[1] * 100,
        signed(BODY, NAME, KEY).replace(b"2085", b"\t085"),
        b"\xff" + signed(BODY, NAME, KEY),
    ],
)
def test_malformed_notes(note: bytes) -> None:
    """Cut off, repeated, with control characters, with too many signatures, too long."""
    with pytest.raises(NoteError):
        notes.open_note(note, [VKEY])


def test_an_unknown_signature_is_passed_over_a_wrong_one_is_not() -> None:
    """Witnesses' lines don't matter to who knows the log's key alone; a bad line of a known key does."""
    note = signed(BODY, NAME, KEY)
    line = signed(BODY, "witness.example/w", OTHER).decode().split("\n\n")[1].encode()
    opened = notes.open_note(note + line, [VKEY])
    assert [signature.name for signature in opened.others] == ["witness.example/w"]
    with pytest.raises(NoteError, match="no known key"):
        notes.open_note(note, [notes.vkey("witness.example/w", OTHER.public_key())])
    forged = notes.parse_note(signed(BODY.replace("2", "3"), "witness.example/w", OTHER))[1][0].line().encode()
    with pytest.raises(NoteError, match="not right"):
        notes.open_note(note + forged, [VKEY, notes.vkey("witness.example/w", OTHER.public_key())])


def test_cosignatures_cover_their_time() -> None:
    """c2sp.org/tlog-cosignature: 8 bytes of time before the signature are part of what is signed."""
    key = VerifierKey(name="w", kind=KeyKind.COSIGNATURE, public_key=OTHER.public_key().public_bytes_raw())
    signature = OTHER.sign(f"cosignature/v1\ntime 1700000000\n{BODY}".encode())
    assert key.verifies(BODY, (1700000000).to_bytes(8, "big") + signature)
    assert not key.verifies(BODY, (1700000001).to_bytes(8, "big") + signature)
    assert not key.verifies(BODY, signature)
    assert notes.parse_vkey(key.encode()) == key


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "line\nbreak", "nb\u00a0sp"])
def test_names_that_no_key_has(name: str) -> None:
    """A key's name is not empty and has neither space nor plus."""
    with pytest.raises(NoteError):
        notes.vkey(name, KEY.public_key())


@pytest.mark.parametrize(
    "text",
    [
        VKEY.replace("+", "-"),
        VKEY[:-4],
        VKEY + "A",
        VKEY.replace("dm+", "dn+"),
        f"{NAME}+00000000+{VKEY.rpartition('+')[2]}",
        f"{NAME}+{VKEY.split('+')[1]}+{base64.b64encode(bytes([9]) + bytes(32)).decode()}",
    ],
)
def test_malformed_verifier_keys(text: str) -> None:
    """Another name, another id, another type, cut off or too long."""
    with pytest.raises(NoteError):
        notes.parse_vkey(text)


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "a\n1\n",
        f"a\n1\n{ROOT}",
        f"a\n01\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n1_0\n{ROOT}\n",
        f"a\n{2**63}\n{ROOT}\n",
        f"a\n{'9' * 10000}\n{ROOT}\n",
        f"a\n\u0661\n{ROOT}\n",
        f"a\n1\n{ROOT[:-4]}\n",
        f"a\n1\n{ROOT[:-2]}B=\n",
        f"a\n1\n{ROOT}\n\n",
        f"\n1\n{ROOT}\n",
    ],
)
def test_malformed_checkpoints(body: str) -> None:
    """Lines missing or empty, sizes that are no plain decimal numbers, roots that are not 32 bytes of base64."""
    with pytest.raises(NoteError):
        Checkpoint.parse(body)


def test_extension_lines_are_passed_over() -> None:
    """Other logs may have them."""
    assert Checkpoint.parse(f"a\n1\n{ROOT}\nmore\n").size == 1


def test_only_text_is_signed() -> None:
    """A note's text ends in a newline and has no control characters."""
    for body in ("no newline", "tab\t\n"):
        with pytest.raises(NoteError):
            signed(body, NAME, KEY)
