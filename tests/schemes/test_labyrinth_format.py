"""The bytes of a Labyrinth message, against independent arithmetic."""

import hashlib
import hmac
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.schemes.labyrinth_format import SHORTEST_SEALED, message_key, pad, padme, seal, seal_many, thread_of

ROOT = bytes(range(32))


def hkdf(root: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 to 32 bytes from RFC 5869's two steps."""
    extracted = hmac.digest(salt, root, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


@pytest.mark.parametrize(
    ("version", "salt", "info"),
    [
        (0, "thread/é".encode(), "message_key_in_epoch_7"),
        (2, "thread/é".encode(), "message_key_in_epoch_7_cipher_version_2"),
        (3, bytes(32), "message_key_in_epoch_7_cipher_version_3_thread_thread/é"),
        (4, bytes(32), "message_key_in_epoch_7_cipher_version_4_thread_thread/é"),
    ],
)
def test_message_keys_follow_the_paper(version: int, salt: bytes, info: str) -> None:
    """Salt and info of each version; no salt is a salt of zeros (RFC 5869, section 2.2)."""
    assert message_key(ROOT, 7, version, "thread/é") == hkdf(ROOT, salt, info.encode())


@pytest.mark.parametrize("version", [-1, 1, 5, 2**31])
def test_other_versions_have_no_key(version: int) -> None:
    """Version 1 and unknown ones can't be derived."""
    with pytest.raises(ValueError, match="cipher version"):
        message_key(ROOT, 7, version, "t")


@given(st.integers(min_value=1, max_value=2**40))
def test_padme_is_the_papers(length: int) -> None:
    """E = floor(log2 L), S = floor(log2 E) + 1, and the last E - S bits are rounded up to zero."""
    exponent = length.bit_length() - 1
    significant = math.floor(math.log2(exponent)) + 1 if exponent else 0
    step = 2 ** max(exponent - significant, 0)
    assert padme(length) == -(-length // step) * step
    assert length <= padme(length) <= length * 1.12


@pytest.mark.parametrize(("length", "padded"), [(0, 10), (5, 10), (6, 10), (7, 12), (13, 18), (60, 64), (96, 104)])
def test_padded_lengths(length: int, padded: int) -> None:
    """The length field counts, and nothing is shorter than ten bytes."""
    assert len(pad(bytes(length))) == padded


@given(st.binary(max_size=500))
def test_padding_frames_the_content(content: bytes) -> None:
    """Length, content, zeros."""
    padded = pad(content)
    assert int.from_bytes(padded[:4], "big") == len(content)
    assert padded[4:].startswith(content)
    assert not any(padded[4 + len(content) :])


def test_sealing_many_is_sealing_each() -> None:
    """A batch gives what single calls give."""
    keys = [hashlib.sha256(bytes([n])).digest() for n in range(5)]
    nonces = [hashlib.sha256(bytes([n, n])).digest()[:28] for n in range(5)]
    threads = [f"thread-{n}" for n in range(5)]
    contents = [bytes([n]) * n for n in range(5)]
    each = [seal(*each) for each in zip(keys, nonces, threads, contents, strict=True)]
    assert seal_many(keys, nonces, threads, contents) == each
    assert len(each[0]) == SHORTEST_SEALED
    assert [sealed[:28] for sealed in each] == nonces


@pytest.mark.parametrize("nonce", [b"", bytes(27), bytes(29)])
def test_a_nonce_of_another_length_is_refused(nonce: bytes) -> None:
    """A short nonce would seal under another subkey than a reader derives."""
    with pytest.raises(ValueError, match="28 bytes"):
        seal(ROOT, nonce, "t", b"")


@pytest.mark.parametrize(("conversation_id", "thread_id"), [("i/t", "t"), ("i/a/b", "a/b"), ("i/", ""), ("i", "")])
def test_the_thread_is_what_follows_the_first_slash(conversation_id: str, thread_id: str) -> None:
    """Thread ids may hold slashes, inbox ids can't."""
    assert thread_of(conversation_id) == thread_id
