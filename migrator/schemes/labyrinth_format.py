"""The bytes of a Labyrinth message: message keys, PADMÉ, and sealing as a client does it.

Source: *The Labyrinth Encrypted Message Storage Protocol* (Meta, version 1, December 2023), sections "Saving Messages"
and "Cryptographic Primitives"; PADMÉ is from "Reducing Metadata Leakage from Encrypted Files and Communication with
PURBs" (Nikitin et al., PoPETs 2019). Opening stands in `labyrinth`, which is the hot path; what stands here is for
clients, fixtures and tests.
"""

from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from migrator.schemes.hchacha20 import subkeys

KEY_BYTES = 32
NONCE_BYTES = 28
"""16 bytes for HChaCha20, then 12 for AES-GCM."""
HCHACHA_NONCE_BYTES = 16
TAG_BYTES = 16
LENGTH_BYTES = 4
SHORTEST_PADDED = 10
SHORTEST_SEALED = NONCE_BYTES + SHORTEST_PADDED + TAG_BYTES
VERSIONS = frozenset({0, 2, 3, 4})
"""Cipher versions that can be opened; version 1 and unknown ones can't, by anyone."""


def thread_of(conversation_id: str) -> str:
    """The thread id in a conversation id: all that follows the first `/`."""
    return conversation_id.partition("/")[2]


def associated_data(thread_id: str) -> bytes:
    """What a message's ciphertext is bound to."""
    return b"message_thread_" + thread_id.encode()


def message_key(epoch_root_key: bytes, epoch_sequence: int, version: int, thread_id: str) -> bytes:
    """The 32-byte key of one (epoch, thread, version), from the epoch's root key; `ValueError` for other versions."""
    salt = None
    info = f"message_key_in_epoch_{epoch_sequence}"
    if version == 0:
        salt = thread_id.encode()
    elif version == 2:
        salt = thread_id.encode()
        info += "_cipher_version_2"
    elif version in (3, 4):
        info += f"_cipher_version_{version}_thread_{thread_id}"
    else:
        raise ValueError("no key is defined for this cipher version")
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info.encode()).derive(epoch_root_key)


def padme(length: int) -> int:
    """The length that PADMÉ pads `length` to (at least 1): at most 12 % more, in O(log log) different sizes."""
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << max(low_bits, 0)) - 1
    return (length + mask) & ~mask


def pad(content: bytes) -> bytes:
    """Length (4 bytes, big-endian) ‖ content ‖ zeros up to max(10, PADMÉ)."""
    framed = len(content).to_bytes(LENGTH_BYTES, "big") + content
    return framed.ljust(max(SHORTEST_PADDED, padme(len(framed))), b"\0")


def seal(key: bytes, nonce: bytes, thread_id: str, content: bytes) -> bytes:
    """Seal one message under its message key: nonce (28) ‖ ciphertext ‖ tag (16)."""
    return seal_many([key], [nonce], [thread_id], [content])[0]


def seal_many(
    keys: Sequence[bytes], nonces: Sequence[bytes], thread_ids: Sequence[str], contents: Sequence[bytes]
) -> list[bytes]:
    """Seal many messages with one pass of HChaCha20; all sequences are of one length, nonces have 28 bytes."""
    if any(len(nonce) != NONCE_BYTES for nonce in nonces):
        raise ValueError("a Labyrinth nonce has 28 bytes")
    derived = subkeys(b"".join(keys), b"".join([nonce[:HCHACHA_NONCE_BYTES] for nonce in nonces]))
    each = [derived[at : at + KEY_BYTES] for at in range(0, len(derived), KEY_BYTES)]
    return [
        nonce + AESGCM(subkey).encrypt(nonce[HCHACHA_NONCE_BYTES:], pad(content), associated_data(thread_id))
        for subkey, nonce, thread_id, content in zip(each, nonces, thread_ids, contents, strict=True)
    ]
