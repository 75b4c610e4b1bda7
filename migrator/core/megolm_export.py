"""Key export files of Matrix clients: reading one, opening it with its passphrase, and its sessions one by one.

Source: Matrix client-server specification 1.13, "Key export format". Between two marker lines stands base64, in one
line or wrapped, padded or not, of 0x01 ‖ salt (16) ‖ IV (16) ‖ rounds (4, big-endian) ‖ AES-256-CTR ciphertext ‖
HMAC-SHA256 of all before (32). PBKDF2-HMAC-SHA512 of the passphrase gives the AES key and the HMAC key.

1. What is no such file is a `ValueError` before any key is derived.
2. Rounds are whatever the file says: over the limit it is a `TooManyRoundsError`, and nothing is computed.
3. The HMAC is checked first. A wrong passphrase and an altered file look alike, here and in the error.
4. The sessions are read one at a time, so that a hostile file takes no more memory than its size.
"""

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from migrator.core.encoding import b64_decode, strict_json_items
from migrator.core.limits import LIMITS

HEADER: Final = "-----BEGIN MEGOLM SESSION DATA-----"
FOOTER: Final = "-----END MEGOLM SESSION DATA-----"
_VERSION: Final = 1
_SALT_BYTES: Final = 16
_IV_BYTES: Final = 16
_MAC_BYTES: Final = 32
_KEY_BYTES: Final = 32
_BEFORE_CIPHERTEXT: Final = 1 + _SALT_BYTES + _IV_BYTES + 4
_SPACE: Final = re.compile(r"[ \t\r\n]+")


class TooManyRoundsError(ValueError):
    """A file or a secret asks for more PBKDF2 rounds than anybody honest does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKeyExport:
    """A key export whose form is right and that nobody has opened."""

    salt: bytes
    iv: bytes
    rounds: int
    ciphertext: bytes = field(repr=False)
    authenticated: bytes = field(repr=False)
    mac: bytes

    def derive(self, passphrase: bytes) -> bytes:
        """The keys of the file, 64 bytes: a second or more of work for the rounds that clients write."""
        return pbkdf2(passphrase, self.salt, self.rounds, 2 * _KEY_BYTES)

    def open(self, keys: bytes) -> str:
        """The JSON text inside; `ValueError` for a wrong passphrase and an altered file alike."""
        mac = hmac.digest(keys[_KEY_BYTES:], self.authenticated, "sha256")
        if not hmac.compare_digest(mac, self.mac):
            raise ValueError("the key export does not open with its passphrase, or was altered")
        decryptor = Cipher(AES(keys[:_KEY_BYTES]), CTR(self.iv)).decryptor()
        try:
            return (decryptor.update(self.ciphertext) + decryptor.finalize()).decode()
        except UnicodeDecodeError:
            raise ValueError("the key export holds no text") from None


def read_key_export(text: str) -> SealedKeyExport:
    """Take a file apart without opening it; `ValueError` where it is none, `TooManyRoundsError` over the limit."""
    body = text.strip(" \t\r\n")
    if not body.startswith(HEADER) or not body.endswith(FOOTER) or len(body) < len(HEADER) + len(FOOTER):
        raise ValueError("not a Matrix key export: its first or last line is another one")
    data = b64_decode(_SPACE.sub("", body[len(HEADER) : -len(FOOTER)]))
    if len(data) < _BEFORE_CIPHERTEXT + _MAC_BYTES or data[0] != _VERSION:
        raise ValueError("not a Matrix key export: too short, or of another version")
    rounds = int.from_bytes(data[_BEFORE_CIPHERTEXT - 4 : _BEFORE_CIPHERTEXT])
    check_rounds(rounds)
    return SealedKeyExport(
        salt=data[1 : 1 + _SALT_BYTES],
        iv=data[1 + _SALT_BYTES : 1 + _SALT_BYTES + _IV_BYTES],
        rounds=rounds,
        ciphertext=data[_BEFORE_CIPHERTEXT:-_MAC_BYTES],
        authenticated=data[:-_MAC_BYTES],
        mac=data[-_MAC_BYTES:],
    )


def check_rounds(rounds: int) -> None:
    """Raise unless a number of PBKDF2 rounds is one that honest clients write."""
    if rounds < 1:
        raise ValueError("a passphrase without PBKDF2 rounds")
    if rounds > LIMITS.pbkdf2_rounds:
        raise TooManyRoundsError(f"more than {LIMITS.pbkdf2_rounds} PBKDF2 rounds")


def pbkdf2(passphrase: bytes, salt: bytes, rounds: int, length: int) -> bytes:
    """PBKDF2-HMAC-SHA512 (RFC 8018, section 5.2), under the limit on rounds."""
    check_rounds(rounds)
    return PBKDF2HMAC(algorithm=SHA512(), length=length, salt=salt, iterations=rounds).derive(passphrase)


def exported_entries(text: str) -> Iterator[object]:
    """What an opened key export lists, an item at a time; `ValueError` where it is no JSON array."""
    return strict_json_items(text, max_depth=LIMITS.json_depth, max_chars=LIMITS.key_line_bytes)
