"""Manifests and the lines of parts."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.export import (
    MAX_COUNT,
    MAX_SENT_AT,
    ExportKind,
    HistoryEntry,
    claimed_id,
    parse_manifest,
    part_info,
    part_lines,
    part_name,
    read_history_entry,
)
from migrator.core.outcomes import RefusalReason, Refused

EXPORT_ID = "0b4c2f1e-1c56-4f0e-9f7b-0123456789ab"


def read_coverage(element: object) -> None:
    """A scheme's reader that knows one element only."""
    if element != {"epoch_id": "e1", "versions": [4]}:
        raise ValueError("coverage")


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest that is right, with some members changed; `...` takes one away."""
    members: dict[str, Any] = {
        "schema": "migrator.export/1",
        "export_id": EXPORT_ID,
        "campaign": "c",
        "account_id": "alice",
        "device_id": "phone",
        "kind": "keys",
        "scheme": "labyrinth",
        "created_at": "2026-05-01T00:00:00Z",
        "recipient_key_id": "k",
        "conversations": [
            {
                "id": "in/t",
                "coverage": [{"epoch_id": "e1", "versions": [4]}],
                "messages": 3,
                "omissions": [{"reason": "no_key", "count": 1}],
            }
        ],
        "parts": [{"sha256": "AB" * 32, "size": 100}],
    }
    return {name: value for name, value in (members | changes).items() if value is not ...}


def parse(members: object, kid: str = "phone") -> Any:
    """Parse, as the import does."""
    return parse_manifest(canonical_json(members), kid=kid, scheme="labyrinth", read_coverage=read_coverage)


def reason_of(call: Callable[[], object]) -> RefusalReason:
    """Why something is refused."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.reason


def conversation(**changes: Any) -> dict[str, Any]:
    """A listed conversation, with some members changed."""
    return {
        name: value
        for name, value in ({"id": "in/t", "coverage": [], "messages": 1, "omissions": []} | changes).items()
        if value is not ...
    }


def test_a_manifest_is_read_as_it_is_written() -> None:
    """Every member arrives, the digest in lower case."""
    read = parse(manifest())
    assert (read.export_id, read.account_id, read.device_id, read.kind) == (
        EXPORT_ID, "alice", "phone", ExportKind.KEYS,
    )  # fmt: skip
    assert read.created_at.isoformat() == "2026-05-01T00:00:00+00:00"
    listed = read.conversations[0]
    assert (listed.conversation_id, listed.messages, dict(listed.omissions)) == ("in/t", 3, {"no_key": 1})
    assert listed.coverage == ({"epoch_id": "e1", "versions": [4]},)
    assert (read.parts[0].sha256, read.parts[0].size) == ("ab" * 32, 100)


def test_a_history_manifest_needs_no_coverage() -> None:
    """Keys cover slots; history is its own coverage."""
    listed = [conversation(coverage=...)]
    assert parse(manifest(kind="history", conversations=listed)).conversations[0].coverage == ()
    assert reason_of(lambda: parse(manifest(conversations=listed))) is RefusalReason.MALFORMED


@pytest.mark.parametrize("device", [..., None, "laptop"])
def test_a_consent_service_may_leave_the_device_out(device: object) -> None:
    """Where an issuer signed, nobody can check the device; where a device signed, it is the one that is named."""
    members = manifest(device_id=device)
    assert parse(members, kid="issuer:consent").device_id == (None if device is ... else device)
    assert reason_of(lambda: parse(members)) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "migrator.export/2"},
        {"export_id": "not-a-uuid"},
        {"export_id": EXPORT_ID + "\n"},
        {"account_id": ""},
        {"account_id": "a\0b"},
        {"account_id": "a" * 1025},
        {"account_id": 7},
        {"campaign": ...},
        {"extra": 1},
        {"kind": "both"},
        {"kind": ["keys"]},
        {"scheme": "megolm"},
        {"created_at": "2026-05-01"},
        {"created_at": 1777593600},
        {"conversations": {}},
        {"conversations": [conversation(), conversation()]},
        {"conversations": [conversation(id="x\0")]},
        {"conversations": [conversation(messages=-1)]},
        {"conversations": [conversation(messages=True)]},
        {"conversations": [conversation(messages=MAX_COUNT + 1)]},
        {"conversations": [conversation(messages="3")]},
        {"conversations": [conversation(messages=...)]},
        {"conversations": [conversation(coverage=[{"epoch_id": "e1"}])]},
        {"conversations": [conversation(coverage="all")]},
        {"conversations": [conversation(omissions=[{"reason": "no_key", "count": 1}] * 2)]},
        {"conversations": [conversation(omissions=[{"reason": "<script>", "count": 1}])]},
        {"conversations": [conversation(more=1)]},
        {"conversations": ["in/t"]},
        {"parts": [{"sha256": "ab" * 31, "size": 1}]},
        {"parts": [{"sha256": "ab" * 32, "size": -1}]},
        {"parts": [{"sha256": "ab" * 32}]},
        {"parts": [[]]},
    ],
)
def test_a_misshapen_manifest_is_malformed(changes: dict[str, Any]) -> None:
    """Exactly the members of the format, each of its type."""
    assert reason_of(lambda: parse(manifest(**changes))) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"conversations": [0] * 100_001},
        {"parts": [{"sha256": "ab" * 32, "size": 1}] * 10_001},
        {"parts": [{"sha256": "ab" * 32, "size": 8 * 1024 * 1024 + 1}]},
    ],
)
def test_a_manifest_over_a_limit_is_too_large(changes: dict[str, Any]) -> None:
    """Numbers are looked at before entries are."""
    assert reason_of(lambda: parse(manifest(**changes))) is RefusalReason.TOO_LARGE


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{", b'{"a":1.5}', b'{"a":1,"a":2}', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}"],
)
def test_what_is_no_strict_json_is_malformed(payload: bytes) -> None:
    """Deep, repeated, fractional, endless: a reason, never a traceback."""
    with pytest.raises(Refused, match="malformed"):
        parse_manifest(payload, kid="d", scheme="labyrinth", read_coverage=read_coverage)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(payload: bytes) -> None:
    """No other exception leaves the parser."""
    with pytest.raises(Refused):
        parse_manifest(payload, kid="d", scheme="labyrinth", read_coverage=read_coverage)


@given(st.text(max_size=100))
def test_a_claimed_id_is_found_or_none(text: str) -> None:
    """What a refused archive calls itself is a UUID or nothing, whatever stands there."""
    assert claimed_id(text) is None
    payload = b64url_encode(canonical_json({"export_id": EXPORT_ID, "more": text}))
    assert claimed_id(f"x.{payload}.y") == EXPORT_ID
    assert claimed_id(f"x.{b64url_encode(canonical_json({'export_id': text}))}.y") is None


def test_names_and_info_of_parts() -> None:
    """Names have five digits, the sealing's info the number as it is."""
    assert (part_name(0), part_name(12_345)) == ("part-00000.hpke", "part-12345.hpke")
    assert part_info("id", 0) == b"migrator.export/1\x00id\x000"
    assert part_info("id", 10) == b"migrator.export/1\x00id\x0010"


# --- lines ---


def lines(plaintext: bytes, limit: int = 64) -> list[object]:
    """The lines of a part, faults as `None`."""
    return [None if isinstance(line, ValueError) else line for line in part_lines(plaintext, limit)]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=3), max_size=10))
def test_lines_come_back_as_they_were_written(objects: list[dict[str, Any]]) -> None:
    """JSON escapes line ends, so one object is one line, with or without a last line end."""
    text = b"\n".join(canonical_json(o) for o in objects)
    assert lines(text, 10_000) == objects
    assert lines(text + b"\r\n\n", 10_000) == objects


@pytest.mark.parametrize(
    "line",
    [b"[]", b"7", b"{", b'{"a":1.0}', b"\xff", b"{}{}", b"\xef\xbb\xbf{}", b'{"a":"' + b"x" * 60 + b'"}',
     b'{"a":' + b"[" * 17 + b"]" * 17 + b"}", b'{"a":"\\ud800"}'],
)  # fmt: skip
def test_a_bad_line_is_a_fault_and_the_others_are_not(line: bytes) -> None:
    """Faults stand in their place; they hold nothing of the line."""
    assert lines(b'{"a":1}\n' + line + b'\n{"b":2}') == [{"a": 1}, None, {"b": 2}]
    fault = next(part_lines(line, 64))
    assert isinstance(fault, ValueError)
    assert not isinstance(fault, UnicodeDecodeError)


def entry(**changes: Any) -> dict[str, Any]:
    """A history entry that is right, with some members changed."""
    members = {
        "conversation_id": "c", "message_id": "m", "sender_id": "s", "sent_at": 1, "content_type": "text/plain",
        "content": "hallo ☺",
    }  # fmt: skip
    return {name: value for name, value in (members | changes).items() if value is not ...}


def test_a_history_entry_is_read() -> None:
    """Content is the UTF-8 of its string; an empty one is content too."""
    assert read_history_entry(entry()) == HistoryEntry("c", "m", "s", 1, "text/plain", "hallo ☺".encode())
    assert read_history_entry(entry(content="", sent_at=MAX_SENT_AT)).content == b""


def test_a_history_entry_does_not_show_itself() -> None:
    """What is printed by accident holds no content."""
    assert "hallo" not in repr(read_history_entry(entry()))


@pytest.mark.parametrize(
    "changes",
    [{"content": None}, {"content": 1}, {"sent_at": -1}, {"sent_at": MAX_SENT_AT + 1}, {"sent_at": True},
     {"sent_at": "1"}, {"message_id": ""}, {"message_id": "\0"}, {"sender_id": ...}, {"more": 1},
     {"content_type": ""}, {"conversation_id": ["c"]}],
)  # fmt: skip
def test_a_misshapen_history_entry_is_an_error(changes: dict[str, Any]) -> None:
    """Exactly the members of the format, each of its type; the error holds no content."""
    with pytest.raises(ValueError, match=r"^[a-z_ ]+$"):
        read_history_entry(json.loads(json.dumps(entry(**changes))))
