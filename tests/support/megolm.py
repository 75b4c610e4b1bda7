"""Megolm sessions, events and key exports, made with vodozemac's own sending side."""

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from vodozemac import GroupSession, InboundGroupSession

from migrator.core.encoding import b64_decode, b64_encode
from migrator.core.megolm import ALGORITHM
from migrator.core.megolm_export import FOOTER, HEADER, pbkdf2
from migrator.core.model import Conversation, MessageRow

ROOM = "!room:lab"
ALICE, MALLORY = "@alice:lab", "@mallory:lab"
ALICES_KEY = b64_encode(b"\x01" * 32)
MALLORYS_KEY = b64_encode(b"\x02" * 32)
NOBODYS_KEY = b64_encode(b"\x03" * 32)
PASSPHRASE = "pass"
OWNERS = {ALICES_KEY: ALICE, MALLORYS_KEY: MALLORY}


def room(room_id: str = ROOM, messages: int = 0, members: Sequence[str] = (ALICE, MALLORY)) -> Conversation:
    """A shared room."""
    return Conversation(room_id, None, room_id, tuple(members), messages)


class Sending:
    """A session as its creator has it, in one room."""

    def __init__(self, room_id: str = ROOM, sender_key: str | None = ALICES_KEY) -> None:
        self.room_id = room_id
        self.sender_key = sender_key
        self._outbound = GroupSession()
        self._first = self._outbound.session_key

    @property
    def session_id(self) -> str:
        """Its id."""
        return self._outbound.session_id

    def send(self, body: str = "hello", **payload: Any) -> bytes:
        """The next message's ciphertext, as an event has it; `payload` changes the inner event."""
        inner = {"type": "m.room.message", "room_id": self.room_id, "content": {"body": body}} | payload
        return self.send_raw(json.dumps({name: value for name, value in inner.items() if value is not ...}).encode())

    def send_raw(self, payload: bytes) -> bytes:
        """The same for any bytes."""
        return self._outbound.encrypt(payload).to_base64().encode()

    def entry(self, index: int = 0, **changes: Any) -> dict[str, Any]:
        """An entry of a key export that knows the session from an index on."""
        exported = InboundGroupSession(self._first).export_at(index)
        assert exported is not None
        made = {
            "algorithm": ALGORITHM,
            "forwarding_curve25519_key_chain": [],
            "room_id": self.room_id,
            "sender_claimed_keys": {"ed25519": b64_encode(b"\x09" * 32)},
            "sender_key": self.sender_key,
            "session_id": self.session_id,
            "session_key": exported.to_base64(),
        }
        return {name: value for name, value in (made | changes).items() if value is not None}

    def forged(self, index: int = 0) -> dict[str, Any]:
        """An entry under this session's id whose ratchet somebody made up."""
        own = b64_decode(Sending().entry(index)["session_key"])
        public = b64_decode(self.session_id)
        return self.entry(0, session_key=b64_encode(own[:133] + public))

    def row(self, number: int, ciphertext: bytes | None, /, **changes: Any) -> MessageRow:
        """An event of Alice's as the store gives it."""
        columns = {
            "sent_at": number,
            "message_id": f"${number}",
            "sender_id": ALICE,
            "ciphertext": ciphertext,
            "algorithm": ALGORITHM,
            "session_id": self.session_id,
            "sender_key": self.sender_key,
            "redacted": False,
            "owners": OWNERS,
            "admit_unknown": True,
        }
        assert changes.keys() <= columns.keys()
        return tuple((columns | changes).values())


def key_file(
    entries: Sequence[Mapping[str, Any]] | bytes, passphrase: str = PASSPHRASE, rounds: int = 3, wrap: int = 96
) -> str:
    """A key export file; few rounds, as computing them is not what is tested. `wrap` 0: one line."""
    salt, iv = bytes(range(16)), bytes(range(16, 32))
    plaintext = entries if isinstance(entries, bytes) else json.dumps(list(entries)).encode()
    keys = pbkdf2(passphrase.encode(), salt, rounds, 64)
    cipher = Cipher(AES(keys[:32]), CTR(iv)).encryptor()
    body = b"\x01" + salt + iv + rounds.to_bytes(4) + cipher.update(plaintext) + cipher.finalize()
    text = base64.b64encode(body + hmac.digest(keys[32:], body, "sha256")).decode()
    lines = [text[at : at + wrap] for at in range(0, len(text), wrap)] if wrap else [text]
    return "\n".join([HEADER, *lines, FOOTER]) + "\n"
