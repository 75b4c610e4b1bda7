"""Key export files: read, opened, refused; no more computed than an honest file asks for."""

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.encoding import b64_decode, b64_encode
from migrator.core.limits import LIMITS
from migrator.core.megolm_export import (
    FOOTER,
    HEADER,
    TooManyRoundsError,
    check_rounds,
    exported_entries,
    pbkdf2,
    read_key_export,
)  # fmt: skip
from tests.support.megolm import PASSPHRASE, key_file

ENTRIES: list[dict[str, Any]] = [{"room_id": "!a", "n": 1}, {"room_id": "!b", "list": [[], {}]}]


def opened(text: str, passphrase: str = PASSPHRASE) -> list[object]:
    """What a file lists."""
    sealed = read_key_export(text)
    return list(exported_entries(sealed.open(sealed.derive(passphrase.encode()))))


def body_of(text: str) -> bytes:
    """The bytes between the markers."""
    return b64_decode("".join(text.split()[5:-5]).replace(HEADER, ""))


def file_of(body: bytes) -> str:
    """A file with these bytes."""
    return f"{HEADER}\n{base64.b64encode(body).decode()}\n{FOOTER}\n"


@pytest.mark.parametrize("wrap", [0, 1, 64, 76, 128])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("padded", [True, False])
def test_a_file_opens_however_it_is_wrapped(wrap: int, ending: str, padded: bool) -> None:
    """One line or many, with or without padding, and whatever ends a line."""
    text = key_file(ENTRIES, wrap=wrap).replace("\n", ending)
    assert opened(text if padded else text.replace("=", "")) == ENTRIES


def test_the_specifications_order_of_checks() -> None:
    """The HMAC is over everything before it, under the second half of what PBKDF2 gives."""
    sealed = read_key_export(key_file(ENTRIES, rounds=5))
    assert (sealed.rounds, len(sealed.salt), len(sealed.iv), len(sealed.mac)) == (5, 16, 16, 32)
    assert sealed.derive(b"pass") == pbkdf2(b"pass", sealed.salt, 5, 64)
    assert sealed.authenticated[37:] == sealed.ciphertext


def test_a_wrong_passphrase_and_an_altered_file_look_alike() -> None:
    """One message for both."""
    text = key_file(ENTRIES)
    body = bytearray(b64_decode("".join(text.split("\n")[1:-2])))
    body[-1] ^= 1
    said = set()
    for given_text, passphrase in ((text, "other"), (file_of(bytes(body)), PASSPHRASE)):
        with pytest.raises(ValueError, match="passphrase") as caught:
            opened(given_text, passphrase)
        said.add(str(caught.value))
    assert len(said) == 1


@given(st.data())
def test_any_altered_byte_is_noticed(data: st.DataObject) -> None:
    """Version, salt, IV, ciphertext, HMAC; rounds may be over the limit, and are not computed then."""
    body = bytearray(b64_decode("".join(key_file(ENTRIES).split("\n")[1:-2])))
    places = [place for place in range(len(body)) if not 33 <= place < 36]  # more rounds would only be slow
    body[data.draw(st.sampled_from(places))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"\w"):
        opened(file_of(bytes(body)))


@pytest.mark.parametrize("rounds", [0, LIMITS.pbkdf2_rounds + 1, 2**31, 2**32 - 1])
def test_rounds_out_of_range_are_not_computed(rounds: int) -> None:
    """They are refused as the file is read: 2^31 rounds would be an hour."""
    body = b"\x01" + bytes(32) + rounds.to_bytes(4) + bytes(64)
    began = time.process_time()
    with pytest.raises(ValueError if rounds == 0 else TooManyRoundsError):
        read_key_export(file_of(body))
    with pytest.raises(ValueError, match="rounds"):
        pbkdf2(b"p", b"s", rounds, 64)
    assert time.process_time() - began < 1
    check_rounds(LIMITS.pbkdf2_rounds)


@pytest.mark.parametrize(
    "text",
    [
        "", HEADER, FOOTER, HEADER + FOOTER, f"{HEADER}\n{FOOTER}", f"{HEADER}\nAAAA\n{FOOTER}",
        f"x{HEADER}\n{'A' * 200}\n{FOOTER}", f"{HEADER}\n{'A' * 200}\n", f"{HEADER}\n{'!' * 200}\n{FOOTER}",
        HEADER[:-1] + "\n" + "A" * 200 + "\n" + FOOTER, f"{HEADER}\n{'A' * 201}\n{FOOTER}",
        file_of(b"\x02" + bytes(200)), file_of(b"\x01" + bytes(67)), "\ufeff" + key_file(ENTRIES),
        key_file(ENTRIES).replace("\n", "\n\u00a0", 1), HEADER[:40] + FOOTER[10:],
    ],
)  # fmt: skip
def test_what_is_no_key_export(text: str) -> None:
    """Markers, base64, version and length are looked at before anything is derived."""
    with pytest.raises(ValueError, match=r"\w"):
        read_key_export(text)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"", b"{}", b"null", b"[", b"[1,]", b"[1 2]", b"[]]", b"[] x", b'[{"a":1.5}]', b'[{"a":1,"a":2}]', b"[NaN]",
        b"[" * 100 + b"]" * 100, b"[" * 60_000, b'["' + b"x" * (64 * 1024) + b'"]', b"\xff", b'[{"a":"\\ud800"}]',
    ],
)  # fmt: skip
def test_what_is_inside_is_read_strictly(plaintext: bytes) -> None:
    """A JSON array of items of bounded size and depth, without floats and repeated members."""
    with pytest.raises(ValueError, match=r"\w"):
        opened(key_file(plaintext))


@given(st.lists(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4)))
def test_items_come_as_they_were(items: list[Any]) -> None:
    """One at a time, with white space anywhere between them."""
    assert list(exported_entries(json.dumps(items, indent=1))) == items


def test_items_are_read_one_at_a_time() -> None:
    """What follows an item is looked at when it is asked for: memory holds one."""
    found = exported_entries('[1, 2, "')
    assert (next(found), next(found)) == (1, 2)
    with pytest.raises(ValueError, match="JSON"):
        next(found)


@given(st.binary(max_size=70))
def test_base64_without_padding(data: bytes) -> None:
    """There and back, padded or not; odd trailing bits are no third way to write the same."""
    text = b64_encode(data)
    assert b64_decode(text) == b64_decode(base64.b64encode(data).decode()) == data
    if len(data) % 3:
        odd = text[:-1] + chr(ord(text[-1]) + 1)
        with pytest.raises(ValueError, match="base64"):
            b64_decode(odd)


@pytest.mark.parametrize("text", ["A", "A===", "AA=A", "A A", "-_", "AAA=====", "\u00e9\u00e9"])
def test_what_is_no_base64(text: str) -> None:
    """Other alphabets, lengths, padding inside."""
    with pytest.raises(ValueError, match="base64"):
        b64_decode(text)
