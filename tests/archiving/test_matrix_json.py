"""The JSON archive of a room: what Matrix's people expect, with each payload exactly as its sender sealed it."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from migrator.archiving import matrix_json
from migrator.archiving.folder import new_folder
from migrator.archiving.interface import Form, NoAttachments
from tests.archiving.rooms import BEGAN, ROOM, Attached, Room, attachment, gap, raw, said

ODD = [
    b'{"type":"m.room.message","content":{"body":"a","body":"dup"},"room_id":"!r:s"}',
    b'{"type":"m.room.message","content":{"n":1.50,"big":123456789012345678901234567890,"e":1E400},"room_id":"!r:s"}',
    b' {"content":{"body":"\\ud800 lone, \\u0000 nul"},\r\n "type":"m.room.message" }\n',
    '{"type":"m.room.message","content":{"body":"\u202e \U0001f600 \u2028"}}'.encode(),
    b'{"type":"x"}',
]
NONE = [
    b"not json",
    b"[1,2]",
    b'{"type":"m","x":NaN}',
    b"\xff\xfe",
    b'{"type":"m","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
]


def document(room: Room, **about: Any) -> bytes:
    """The whole archive."""
    return b"".join(matrix_json.pieces(room, room.about(**about), NoAttachments(), None))


def test_every_payload_stands_in_it_byte_for_byte() -> None:
    """Of each event the bytes behind `payload` are the sender's, as many as it says, with that digest."""
    payloads = [*ODD, *NONE]
    text = document(Room(raw(f"$e{n}", payload) for n, payload in enumerate(payloads)))
    assert len(json.loads(text)["messages"]) == len(payloads)
    for payload in ODD:
        digest = hashlib.sha256(payload).hexdigest()
        found = re.search(rf'"payload_sha256":"{digest}","payload_size":(\d+),"payload":'.encode(), text)
        assert found is not None
        assert text[found.end() : found.end() + int(found[1])] == payload


def test_what_is_no_json_is_there_as_base64() -> None:
    """Constants that JSON does not have, other encodings, nesting without end: nothing of it breaks the document."""
    events = json.loads(document(Room(raw(f"$e{n}", payload) for n, payload in enumerate(NONE))))["messages"]
    assert [base64.b64decode(event["payload_base64"]) for event in events] == NONE
    assert all("payload" not in event and "content" not in event for event in events)


def test_members_are_those_of_a_client_export() -> None:
    """Room, members, counts, and events with the fields that every reader of Matrix events looks for."""
    room = Room([said("$a", "one"), gap("$b", "redacted"), said("$c", "two", sender="@bob:example.org")])
    found = json.loads(document(room, clear_text=7))
    assert (found["schema"], found["room_id"], found["members"]) == (matrix_json.SCHEMA, ROOM, ["@alice:example.org"])
    assert (found["message_count"], found["gap_count"], found["clear_text_count"]) == (2, 1, 7)
    first, missing, last = found["messages"]
    assert {name: first[name] for name in ("event_id", "sender", "type", "origin_server_ts", "room_id")} == {
        "event_id": "$a", "sender": "@alice:example.org", "type": "m.room.message", "origin_server_ts": BEGAN,
        "room_id": ROOM,
    }  # fmt: skip
    assert first["content"] == {"msgtype": "m.text", "body": "one"} == first["payload"]["content"]
    assert missing["type"] == "m.room.encrypted"
    assert missing["unsigned"] == {"migrator.gap": "redacted"}
    assert last["sender"] == "@bob:example.org"


def test_what_stands_beside_the_ciphertext_is_told() -> None:
    """The relation in the clear, verbatim; where it is none that can stand in a document there is none."""
    thread = '{"rel_type":"m.thread","event_id":"$x","n":1.50}'
    given = {"$a": thread, "$b": "null", "$c": '{"x":NaN}', "$d": "}", "$e": None}
    text = document(Room(replace(said(event_id), relation=relation) for event_id, relation in given.items()))
    found = {event["event_id"]: event.get("cleartext_relation", "?") for event in json.loads(text)["messages"]}
    assert found == {"$a": json.loads(thread), "$b": None, "$c": None, "$d": None, "$e": "?"}
    assert b'"n":1.50}' in text


def test_ids_can_not_break_it() -> None:
    """Quotes, line breaks and markup in ids are data."""
    evil = '$"},\n{"event_id":"x'
    events = json.loads(document(Room([said(evil, sender=evil), gap(evil)], evil)))["messages"]
    assert [event["event_id"] for event in events] == [evil, evil]


def test_empty_room_is_a_document() -> None:
    """No events, and still whole."""
    assert json.loads(document(Room([])))["messages"] == []


def test_other_content_is_told_as_such() -> None:
    """What a client handed in as history may be of any kind: it is not dressed up as an event."""
    (event,) = json.loads(document(Room([raw("$a", b'{"type":"m"}', kind='text/"x')])))["messages"]
    assert (event["content_type"], event["payload_base64"]) == ('text/"x', "eyJ0eXBlIjoibSJ9")
    assert "type" not in event


def test_attachments_are_named(tmp_path: Path) -> None:
    """An event says which files were saved for it, and why one was not."""
    room = Room([said("$a")])
    attached = Attached(a=[attachment(b"abc", name="../../x.png"), attachment(name="y", gap="missing")])
    with new_folder(tmp_path / "out", Form.MATRIX_JSON, room.about()) as folder:
        folder.save("events.json", matrix_json.pieces(room, room.about(), attached, folder), {})
    event = json.loads((tmp_path / "out" / "events.json").read_bytes())["messages"][0]
    first, second = event["unsigned"]["migrator.attachments"]
    assert first["file"] == "attachments/000001-x.png"
    assert (tmp_path / "out" / first["file"]).read_bytes() == b"abc"
    assert (second["file"], second["gap"]) == (None, "missing")
