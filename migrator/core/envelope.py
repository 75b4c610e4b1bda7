"""The server-side envelope: Google Tink's AEAD wire format under one data key a conversation (formats, section 5).

A ciphertext is 0x01 ‖ key id (4, big-endian) ‖ IV (12) ‖ AES-256-GCM ciphertext ‖ tag (16). Its associated data
binds it to its conversation, id, sender, time and type, so that it opens nowhere else (G9). A data key is stored as a
serialized Tink `Keyset` with that one key, encrypted by a key service, so that any Tink reads it (G12).

Random 96-bit IVs: a data key seals the messages of one conversation, and NIST SP 800-38D allows 2^32 per key.
"""

import os
import secrets
from typing import final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from tink.proto import aes_gcm_pb2, tink_pb2

from migrator.core.encoding import canonical_json, pieces
from migrator.core.errors import IntegrityError

IV_BYTES = 12
OVERHEAD = 1 + 4 + IV_BYTES + 16
"""Bytes that a sealed message has more than its content."""

_TYPE_URL = "type.googleapis.com/google.crypto.tink.AesGcmKey"


@final
class DataKey:
    """The AES-256-GCM key of one conversation, with Tink's id for it; never shown, never pickled."""

    __slots__ = ("_secret", "aead", "key_id", "prefix")

    def __init__(self, key_id: int, secret: bytes) -> None:
        if not 0 < key_id < 2**32 or len(secret) != 32:
            raise IntegrityError("not a data key of migrator's")
        self.key_id = key_id
        self._secret = secret
        self.aead = AESGCM(secret)
        self.prefix = b"\x01" + key_id.to_bytes(4, "big")

    @classmethod
    def generate(cls) -> "DataKey":
        """A fresh key with a random id, from the system's generator."""
        return cls(secrets.randbelow(2**32 - 1) + 1, AESGCM.generate_key(256))

    def to_keyset(self) -> bytes:
        """Serialized Tink `Keyset` holding only this key: what a key service wraps."""
        key = aes_gcm_pb2.AesGcmKey(version=0, key_value=self._secret)
        data = tink_pb2.KeyData(
            type_url=_TYPE_URL, value=key.SerializeToString(), key_material_type=tink_pb2.KeyData.SYMMETRIC
        )
        entry = tink_pb2.Keyset.Key(
            key_data=data, status=tink_pb2.ENABLED, key_id=self.key_id, output_prefix_type=tink_pb2.TINK
        )
        serialized: bytes = tink_pb2.Keyset(primary_key_id=self.key_id, key=[entry]).SerializeToString()
        return serialized

    @classmethod
    def from_keyset(cls, serialized: bytes, key_id: int) -> "DataKey":
        """The inverse of `to_keyset`; `IntegrityError` unless it holds exactly the key that is asked for."""
        try:
            keyset = tink_pb2.Keyset.FromString(serialized)
            if len(keyset.key) != 1 or keyset.primary_key_id != key_id or keyset.key[0].key_id != key_id:
                raise IntegrityError("the wrapped keyset does not hold the key that the row names")
            entry = keyset.key[0]
            if entry.key_data.type_url != _TYPE_URL or entry.output_prefix_type != tink_pb2.TINK:
                raise IntegrityError("the wrapped keyset is not one AES-GCM key with the TINK prefix")
            key = aes_gcm_pb2.AesGcmKey.FromString(entry.key_data.value)
            if entry.status != tink_pb2.ENABLED or key.version != 0:
                raise IntegrityError("the key in the wrapped keyset is disabled, or of a version to come")
        except DecodeError:
            raise IntegrityError("the wrapped keyset is not a Tink keyset") from None
        return cls(key_id, key.key_value)

    def __repr__(self) -> str:
        return f"DataKey({self.key_id})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a data key does not leave its process")


def key_context(campaign: str, conversation_ref: str, key_id: int) -> bytes:
    """What a data key's wrapping is bound to (RFC 8785 JSON); the reference is keyed, as key services log it."""
    return canonical_json({"campaign": campaign, "conversation": conversation_ref, "key_id": str(key_id)})


def associated_data(conversation_id: str, message_id: str, sender_id: str, sent_at: int, content_type: str) -> bytes:
    """What a message's ciphertext is bound to; ids with NUL are refused before they get here."""
    return f"migrator/1\0{conversation_id}\0{message_id}\0{sender_id}\0{sent_at}\0{content_type}".encode()


def random_ivs(count: int) -> list[bytes]:
    """IVs for a page of messages, drawn in one system call."""
    return pieces(os.urandom(IV_BYTES * count), IV_BYTES)


def seal_message(key: DataKey, iv: bytes, content: bytes, bound_to: bytes) -> bytes:
    """Seal one message under its conversation's data key."""
    return key.prefix + iv + key.aead.encrypt(iv, content, bound_to)


def open_message(key: DataKey, ciphertext: bytes, bound_to: bytes) -> bytes:
    """Open one; `IntegrityError` if it was altered or belongs elsewhere."""
    if len(ciphertext) < OVERHEAD or ciphertext[:5] != key.prefix:
        raise IntegrityError("a stored message is not under its conversation's data key")
    try:
        return key.aead.decrypt(ciphertext[5 : 5 + IV_BYTES], ciphertext[5 + IV_BYTES :], bound_to)
    except InvalidTag:
        raise IntegrityError("a stored message was altered or is not where it was written") from None
