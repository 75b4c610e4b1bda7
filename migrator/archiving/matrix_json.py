"""`matrix-json`: one JSON document for a room.

The members are those of the export that Element makes (`messages` is a list of events), so that its readers take it.
Each event ends with `payload`: exactly the bytes that the sender's client sealed, of which `payload_size` says how many
there are and `payload_sha256` which. `type` and `content` are the payload's, again without a byte changed. Where it is
not JSON that may stand in a document, `payload_base64` has the bytes instead, and `content_type` their kind.
`cleartext_relation` is what the source has as `m.relates_to` beside the ciphertext. A gap is an event of type
`m.room.encrypted` without content, and `migrator.gap` says why it is none.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from migrator.archiving.interface import About, AttachmentOpener, Files, History
from migrator.archiving.matrix_event import clear_relation, is_json, parse
from migrator.archiving.paging import with_attachments
from migrator.archiving.saved_files import save_all
from migrator.reading import ReadGap, ReadMessage

SCHEMA: Final = "migrator.matrix_archive/1"
SUFFIX: Final = ".json"


def pieces(history: History, about: About, attachments: AttachmentOpener, files: Files | None) -> Iterator[bytes]:
    """The document, piece by piece."""
    yield _head(about)
    first = True
    for entry, found in with_attachments(history.entries(), attachments):
        yield b"\n" if first else b",\n"
        first = False
        if isinstance(entry, ReadGap):
            yield _gap(about.conversation_id, entry)
        else:
            saved = [] if files is None else save_all(files, entry, found)
            yield from _event(about.conversation_id, entry, saved)
    yield b"\n]}\n"


def _head(about: About) -> bytes:
    members = {
        "schema": SCHEMA,
        "room_id": about.conversation_id,
        "room_name": about.conversation_id,
        "export_date": about.created_at,
        "exported_by": f"migrator {about.tool_version}",
        "campaign": about.campaign,
        "message_count": about.messages,
        "gap_count": about.gaps,
        "clear_text_count": about.clear_text,
        "members": about.members,
    }
    return _json(members)[:-1] + b',"messages":['


def _gap(room_id: str, gap: ReadGap) -> bytes:
    return _json(
        {
            "event_id": gap.message_id,
            "room_id": room_id,
            "origin_server_ts": gap.sent_at,
            "type": "m.room.encrypted",
            "content": {},
            "unsigned": {"migrator.gap": gap.reason},
        }
    )


def _event(room_id: str, message: ReadMessage, saved: list[dict[str, Any]]) -> Iterator[bytes]:
    payload = message.content
    event = parse(payload) if is_json(message.content_type) else None
    members: dict[str, Any] = {
        "event_id": message.message_id,
        "room_id": room_id,
        "sender": message.sender_id,
        "origin_server_ts": message.sent_at,
    }
    if saved:
        members["unsigned"] = {"migrator.attachments": saved}
    yield _json(members)[:-1]
    if (relation := clear_relation(message)) is not None:
        yield f',"cleartext_relation":{relation}'.encode()
    if event is not None:
        yield f',"type":{event.exact["type"]},"content":{event.exact.get("content", "{}")}'.encode()
    digest = hashlib.sha256(payload).hexdigest()
    yield f',"payload_sha256":"{digest}","payload_size":{len(payload)}'.encode()
    if event is None:
        yield b',"content_type":' + _json(message.content_type)
        yield b',"payload_base64":"' + base64.b64encode(payload) + b'"}'
    else:
        yield b',"payload":' + payload + b"}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
