"""What has to become of every event of a homeserver, worked out without migrator's code.

From the truth that the clients wrote down, the homeserver's redactions and memberships, and what the exports of those
who granted hold: an export is opened here by hand (client-server API, "Key exports"), a backup's index stands in the
database.
"""

import base64
import hashlib
import json
import sqlite3
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.matrix.campaign import Consent

EDGES: Final = {
    "edge-replay": "replay",
    "edge-replay-other-sender": "replay",
    "edge-wrong-room": "no_key",
    "edge-corrupt-ciphertext": "corrupt",
    "edge-not-base64": "malformed",
    "edge-unknown-session": "no_key",
    "edge-unknown-algorithm": "unsupported_version",
    "edge-missing-fields": "malformed",
    "edge-empty-content": "malformed",
    "edge-inner-not-json": "corrupt",
    "edge-inner-not-object": "corrupt",
    "edge-inner-room-mismatch": "corrupt",
    "edge-inner-no-room-id": "corrupt",
    "edge-encrypted-state-event": "malformed",
}
"""What was made bad on purpose, and why it must not be opened."""
Slot = tuple[str, str]
"""Room and session."""
Expected = Mapping[str, str | bytes]
"""By event: the payload's bytes, or the reason of its gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysOf:
    """One account's keys: the first index of each session."""

    user_id: str
    first: Mapping[Slot, int]


def keys_of_export(path: Path, user_id: str, passphrase: str) -> KeysOf:
    """What a key export file holds."""
    body = "".join(path.read_text(encoding="utf-8").strip().splitlines()[1:-1])
    data = base64.b64decode(body + "=" * (-len(body) % 4))
    salt, iv, rounds = data[1:17], data[17:33], struct.unpack(">I", data[33:37])[0]
    keys = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, rounds, 64)
    opened = Cipher(algorithms.AES(keys[:32]), modes.CTR(iv)).decryptor().update(data[37:-32])
    first = {
        (entry["room_id"], entry["session_id"]): _first_index(entry["session_key"]) for entry in json.loads(opened)
    }
    return KeysOf(user_id=user_id, first=first)


def _first_index(session_key: str) -> int:
    """A session export is a version byte, the index in four bytes, the ratchet, the key."""
    index: int = struct.unpack(">I", base64.b64decode(session_key[:8])[1:5])[0]
    return index


def keys_of_backup(database: Path, user_id: str) -> KeysOf:
    """What a server-side key backup holds."""
    query = "SELECT room_id, session_id, first_message_index FROM e2e_room_keys WHERE user_id = ?"
    return KeysOf(user_id=user_id, first={(r, s): n for r, s, n in ask(database, query, user_id)})


def ask(database: Path, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Rows of the homeserver's database."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query, parameters).fetchall()
    finally:
        connection.close()


class Oracle:
    """A homeserver's events and what must become of them."""

    def __init__(self, lab: Path, keys: Sequence[KeysOf], consents: Sequence[Consent]) -> None:
        self._database = lab / "homeserver.db"
        lines = (lab / "truth.jsonl").read_text(encoding="utf-8").splitlines()
        self._truth = {line["event_id"]: line for line in map(json.loads, lines)}
        self._keys = keys
        self._granted = {c.user_id: c.rooms for c in consents if c.granted}

    def members(self) -> dict[str, set[str]]:
        """Who was ever in each encrypted room."""
        query = """SELECT DISTINCT room_id, user_id FROM room_memberships WHERE membership = 'join' AND room_id IN
                   (SELECT room_id FROM events WHERE type = 'm.room.encrypted')"""
        found: dict[str, set[str]] = {}
        for room_id, user_id in ask(self._database, query):
            found.setdefault(room_id, set()).add(user_id)
        return found

    def rooms(self, quorum: str) -> set[str]:
        """The rooms that may be opened: everybody in them granted and can still act; or one who brought keys did."""
        locked = {name for (name,) in ask(self._database, "SELECT name FROM users WHERE deactivated = 1")}
        able = {user_id for user_id in self._granted if user_id not in locked}
        brought = {keys.user_id for keys in self._keys}
        if quorum == "every_participant":
            return {r for r, people in self.members().items() if all(u in able and self._covers(u, r) for u in people)}
        return {
            r for r, people in self.members().items() if any(u in able & brought and self._covers(u, r) for u in people)
        }

    def _covers(self, user_id: str, room_id: str) -> bool:
        rooms = self._granted[user_id]
        return rooms is None or room_id in rooms

    def expected(self, room_id: str) -> Expected:
        """By event of one room."""
        first: dict[Slot, int] = {}
        members = self.members()[room_id]
        for keys in self._keys:
            if keys.user_id in members and keys.user_id in self._granted and self._covers(keys.user_id, room_id):
                for slot, index in keys.first.items():
                    first[slot] = min(index, first.get(slot, index))
        query = """SELECT event_id, EXISTS (SELECT 1 FROM redactions WHERE redacts = e.event_id) FROM events e
                   WHERE type = 'm.room.encrypted' AND room_id = ?"""
        return {
            event_id: "redacted" if redacted else self._of(self._truth[event_id], first)
            for event_id, redacted in ask(self._database, query, room_id)
        }

    def attachments(self, room_id: str) -> dict[tuple[str, str], str]:
        """SHA-256 of what was attached to each message of a room that opens, by event and kind."""
        found = {}
        for event_id, what in self.expected(room_id).items():
            for kind, name in (("file", "attachment_sha256"), ("thumbnail", "thumbnail_sha256")):
                if isinstance(what, bytes) and name in self._truth[event_id]:
                    found[event_id, kind] = str(self._truth[event_id][name])
        return found

    def _of(self, sent: Mapping[str, Any], first: Mapping[Slot, int]) -> str | bytes:
        if "payload" not in sent and sent["case"] in EDGES and "session_id" not in sent:
            return EDGES[sent["case"]]
        start = first.get((sent["room_id"], sent["session_id"]))
        if start is None:
            return "no_key"
        if sent["message_index"] < start:
            return "key_gap_before_index"
        if sent.get("case") in EDGES:
            return EDGES[sent["case"]]
        if "raw_plaintext" in sent:
            return str(sent["raw_plaintext"]).encode()
        return json.dumps(sent["plaintext"], separators=(",", ":")).encode()
