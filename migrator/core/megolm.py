"""Megolm sessions as Matrix clients hand them on: one entry of a key export, of a key backup, or of our own lines.

Source: Matrix client-server specification 1.13, "Key exports" (`ExportedSessionData`) and "Server-side key backups"
(`BackedUpSessionData`); the exported session key is libolm's: version 1 ‖ index (4 bytes, big-endian) ‖ ratchet (128) ‖
Ed25519 public key (32), base64. Nothing in an entry is signed: whoever exports can claim any sender key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from migrator.core.encoding import b64_decode, b64_encode

ALGORITHM: Final = "m.megolm.v1.aes-sha2"
SESSION_KEY_BYTES: Final = 165
KEY_BYTES: Final = 32
_SESSION_KEY_VERSION: Final = 1
_MOST_FORWARDS: Final = 1_000
_MAX_CHARS: Final = 4 * SESSION_KEY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class MegolmSession:
    """A session from an index on. `sender_key` is the claimed creator's Curve25519 identity key; None: not named.

    `forwarded`: the exporting device had it from another one, not from the creator.
    """

    session_id: str
    first_index: int
    session_key: bytes = field(repr=False)
    sender_key: bytes | None
    forwarded: bool


def read_session(entry: Mapping[str, object], session_id: object) -> MegolmSession:
    """Read an entry that is filed under a session id; `ValueError` (without content) where it is misshapen.

    The id must be the session's own, its Ed25519 public key. Members that are not known are passed over: clients add
    some, such as `org.matrix.msc3061.shared_history`. What `sender_claimed_keys` holds is as little vouched for as the
    sender key, and names no account: it is not looked at.
    """
    if entry.get("algorithm") != ALGORITHM:
        raise ValueError("a session is of another algorithm")
    session_key = _bytes(entry.get("session_key"), SESSION_KEY_BYTES, "session_key")
    if session_key[0] != _SESSION_KEY_VERSION:
        raise ValueError("a session key is of another version")
    if b64_encode(session_key[-KEY_BYTES:]) != session_id:
        raise ValueError("a session is filed under an id that is not its own")
    sender_key = entry.get("sender_key")
    chain = entry.get("forwarding_curve25519_key_chain") or []
    if not isinstance(chain, list) or len(chain) > _MOST_FORWARDS:
        raise ValueError("forwarding_curve25519_key_chain is not a short list")
    return MegolmSession(
        session_id=session_id,
        first_index=int.from_bytes(session_key[1:5]),
        session_key=session_key,
        sender_key=None if sender_key is None else _bytes(sender_key, KEY_BYTES, "sender_key"),
        forwarded=bool(chain),
    )


def _bytes(value: object, length: int, name: str) -> bytes:
    if not isinstance(value, str) or len(value) > _MAX_CHARS:
        raise ValueError(f"{name} is not text of its length")
    data = b64_decode(value)
    if len(data) != length:
        raise ValueError(f"{name} does not have {length} bytes")
    return data
