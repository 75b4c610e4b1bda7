"""Attachments for tests: a media folder, and messages of both kinds that have them."""

import base64
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from migrator import history
from migrator.attachments import attachments_at, open_attachment
from migrator.campaign import Campaign
from migrator.core.envelope import DataKey
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.schemes.encrypted_file import attachments_of
from migrator.schemes.interface import KeyRing, Opened
from migrator.schemes.labyrinth import LabyrinthScheme
from tests.execution.bench import Bench

EVENT_TYPE = "application/json;type=m.room.message"


class EventScheme(LabyrinthScheme):
    """Labyrinth messages whose content is a Matrix event, with encrypted attachments in it."""

    def open_messages(
        self, units: Sequence[tuple[Conversation, KeyRing, Sequence[MessageRow]]]
    ) -> list[list[Opened | GapReason]]:
        """As Labyrinth, with the content type of an event."""
        return [
            [(EVENT_TYPE, result[1]) if isinstance(result, tuple) else result for result in results]
            for results in super().open_messages(units)
        ]

    def attachments_of(self, content_type: str, content: bytes) -> Any:
        """As the Matrix scheme reads them."""
        return attachments_of(content_type, content)


def bytes_of(seed: int, size: int) -> bytes:
    """Content that looks like nothing, and is always the same."""
    return random.Random(seed).randbytes(size)


def encrypted_file(media: Path, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
    """Put an encrypted attachment into a media folder; the `EncryptedFile` that a client would send of it."""
    seed = hashlib.sha512(name.encode()).digest()
    key, iv = seed[:32], seed[32:40] + bytes(8)
    ciphertext = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(content)
    (media / f"mxc-{name}").write_bytes(ciphertext)
    return {
        "v": "v2",
        "url": f"mxc-{name}",
        "key": {
            "kty": "oct",
            "alg": "A256CTR",
            "ext": True,
            "k": base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
            "key_ops": ["encrypt", "decrypt"],
        },
        "iv": base64.b64encode(iv).rstrip(b"=").decode(),
        "hashes": {"sha256": base64.b64encode(hashlib.sha256(ciphertext).digest()).rstrip(b"=").decode()},
        **changes,
    }


def event(file: Mapping[str, Any] | None, thumbnail: Mapping[str, Any] | None = None, **info: Any) -> bytes:
    """The opened event of a message with an attachment."""
    if thumbnail is not None:
        info["thumbnail_file"] = thumbnail
    content = {"msgtype": "m.image", "body": "x", "info": info, "file": file}
    return json.dumps({"type": "m.room.message", "room_id": "r", "content": content}).encode()


def attachment_row(bench: Bench, conversation_id: str, message_id: str, name: str, content: bytes) -> None:
    """Put a Labyrinth attachment into store and media folder."""
    inbox, _, thread = conversation_id.partition("/")
    path = bench.folder / "media" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    row = (inbox, f"a-{name}", thread, message_id, name, len(content), hashlib.sha256(content).digest())
    bench.source("INSERT INTO attachment VALUES (?, ?, ?, ?, ?, ?, ?)", [row])


def shown(campaign: Campaign) -> dict[tuple[str, str, str], bytes | str]:
    """What readers get of every attachment: content, or why it is a gap, by conversation, message and id."""
    found: dict[tuple[str, str, str], bytes | str] = {}
    with campaign.database.read() as connection:
        visible = sa.select(tables.conversation).where(tables.conversation.c.mode == "server")
        for row in connection.execute(visible).all():
            number, name = row.conversation_no, row.conversation_id
            key = history.unwrap(campaign, history.living_keys(connection, [number])[number])[0]
            assert isinstance(key, DataKey)
            messages = history.messages_of(connection, [number])[number]
            listed = attachments_at(connection, number, [(m[0], m[1]) for m in messages])
            for message in messages:
                for stored in listed.get((message[0], message[1]), ()):
                    content = stored.reason or b"".join(open_attachment(campaign, key, name, message[2], stored))
                    found[name, message[1], stored.attachment_id] = content
    return found
