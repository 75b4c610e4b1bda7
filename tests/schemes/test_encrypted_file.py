"""Tests of migrator.schemes.encrypted_file."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.attachments import Attachment, AttachmentGap, AttachmentKind, UnusableAttachment
from migrator.schemes.encrypted_file import MAX_CONTENT_BYTES, attachments_of

JSON = "application/json;type=m.room.message"


def text(data: bytes) -> str:
    """Unpadded base64, as clients write it."""
    return base64.b64encode(data).rstrip(b"=").decode()


def file(**changes: Any) -> dict[str, Any]:
    """A sound `EncryptedFile`, with changes."""
    key = {"kty": "oct", "alg": "A256CTR", "ext": True, "k": "A" * 43, "key_ops": ["encrypt", "decrypt"]}
    return {
        "v": "v2", "url": "mxc://a.example/abcdef", "key": key, "iv": text(b"\1" * 16),
        "hashes": {"sha256": text(b"\2" * 32)}, **changes,
    }  # fmt: skip


def read(content: Any) -> list[Any]:
    """What an event with this content describes."""
    return list(attachments_of(JSON, json.dumps({"type": "m.room.message", "content": content}).encode()))


def test_a_file_with_its_thumbnail() -> None:
    """Keys, vectors, digests and the sizes that the client claims."""
    info = {"size": 5, "thumbnail_file": file(url="mxc://a.example/thumb"), "thumbnail_info": {"size": 2}}
    first, second = read({"file": file(), "info": info})
    assert first == Attachment(
        attachment_id="file", kind=AttachmentKind.FILE, uri="mxc://a.example/abcdef", sha256=b"\2" * 32,
        claimed_size=5, key=bytes(32), iv=b"\1" * 16,
    )  # fmt: skip
    assert (second.attachment_id, second.kind, second.claimed_size) == ("thumbnail", AttachmentKind.THUMBNAIL, 2)


def test_the_key_is_not_shown() -> None:
    """Neither key nor vector is in the representation."""
    (found,) = read({"file": file(key=file()["key"] | {"k": base64.urlsafe_b64encode(b"s" * 32).decode()})})
    assert found.key == b"s" * 32
    assert "sss" not in repr(found)
    assert "iv" not in repr(found)


def test_an_edit_that_repeats_its_file_has_one() -> None:
    """And one more where the new content has another."""
    same = {"file": file(), "m.new_content": {"file": file()}}
    assert [found.attachment_id for found in read(same)] == ["file"]
    other = {"file": file(), "m.new_content": {"file": file(url="mxc://a.example/other")}}
    assert [found.attachment_id for found in read(other)] == ["file", "new.file"]


def test_padded_and_unpadded_text_of_either_alphabet() -> None:
    """Clients differ in that, and mean the same."""
    assert read({"file": file(iv=text(b"\xff" * 16) + "==")})[0].iv == b"\xff" * 16
    assert read({"file": file(key=file()["key"] | {"k": "A" * 43 + "="})})[0].key == bytes(32)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain", ""])
def test_what_is_no_event_has_none(content_type: str) -> None:
    """Whatever its bytes look like."""
    assert attachments_of(content_type, json.dumps({"content": {"file": file()}}).encode()) == []


def test_messages_without_any_are_not_parsed() -> None:
    """Not even where they are no JSON."""
    assert attachments_of(JSON, b"{nonsense") == []


def test_an_escaped_uri_is_one() -> None:
    """The letters may be written as JSON escapes."""
    content = json.dumps({"content": {"file": file()}}).replace("mxc", "\\u006dx\\u0063").encode()
    assert len(attachments_of(JSON, content)) == 1


BROKEN: list[Any] = [
    1, "mxc://", [], {}, file(v=None), file(v=2), file(url=None), file(url=""), file(url="mxc" * 1000),
    file(url="mxc\ud800"), file(key=None), file(key={}), file(key=file()["key"] | {"kty": "RSA"}),
    file(key=file()["key"] | {"alg": "A256GCM"}), file(key=file()["key"] | {"k": "A" * 42}),
    file(key=file()["key"] | {"k": 7}), file(key=file()["key"] | {"key_ops": ["encrypt"]}), file(iv="A"),
    file(iv=text(b"8" * 8)), file(iv="é" * 22), file(hashes=[]), file(hashes={"sha256": text(b"1" * 31)}),
    file(hashes={"sha512": text(b"1" * 64)}), file(iv="A" * 1_000),
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_encrypted_file_is_malformed(broken: Any) -> None:
    """It is an attachment that can't be used, and never an error."""
    expected = UnusableAttachment(attachment_id="file", kind=AttachmentKind.FILE, reason=AttachmentGap.MALFORMED)
    assert read({"body": "mxc", "file": broken}) == [expected]


@pytest.mark.parametrize("version", ["v0", "v1", "v3", ""])
def test_other_versions_are_not_supported(version: str) -> None:
    """Their counters work otherwise."""
    assert read({"file": file(v=version)})[0].reason is AttachmentGap.UNSUPPORTED_VERSION


def test_content_that_is_too_much() -> None:
    """Too long, too deep, no JSON: one attachment that can't be used."""
    for content, reason in (
        (b"mxc" + b" " * MAX_CONTENT_BYTES, AttachmentGap.TOO_LARGE),
        (b'{"mxc":' + b"[" * 100_000, AttachmentGap.MALFORMED),
        (b'{"mxc":\xff}', AttachmentGap.MALFORMED),
        (b'{"mxc":' + b"1" * 10_000 + b"}", AttachmentGap.MALFORMED),
    ):
        assert [found.reason for found in attachments_of(JSON, content) if isinstance(found, UnusableAttachment)] == [
            reason
        ]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["file", "info", "thumbnail_file", "m.new_content", "v", "key", "url"]), inner
        )
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_whatever_a_client_writes(content: Any) -> None:
    """Never more than four, never an error."""
    found = attachments_of(JSON, json.dumps({"mxc": 1, "content": content}).encode())
    assert len(found) <= 4
    assert len({one.attachment_id for one in found}) == len(found)
