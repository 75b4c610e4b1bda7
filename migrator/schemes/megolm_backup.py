"""Server-side key backup: from what a user keeps, a recovery key or a passphrase, to the sessions of the backup.

Source: Matrix client-server specification 1.13, "Server-side key backups" (`m.megolm_backup.v1.curve25519-aes-sha2`),
"Secret storage" (`m.secret_storage.v1.aes-hmac-sha2`) and appendix "Cryptographic key representation".

1. A recovery key is base58 of 8B 01 ‖ 32 bytes ‖ parity. It is the backup's own private key, or that of secret storage;
   both look alike, so it is tried as the one, then as the other.
2. Secret storage: key or passphrase → HKDF for the secret's name → HMAC first, then AES-CTR → the backup's private key.
3. Whichever way it came, a private key counts only if its public half is the one that the backup names.
4. The backup's MAC covers the empty string (a fault of libolm's that became the standard): its ciphertexts are not
   authenticated, and whoever writes to the server's database can put sessions there. So each must have the id that it
   is filed under (`core/megolm`), and none says more of a sender than any export's does.
"""

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from vodozemac import Curve25519SecretKey, Message, PkDecryption

from migrator.core.encoding import b64_decode, b64_encode, strict_json
from migrator.core.key_backup import BackedUpSession, BackupVersion, KeyBackup
from migrator.core.limits import LIMITS

ALGORITHM: Final = "m.megolm_backup.v1.curve25519-aes-sha2"
SECRET_NAME: Final = "m.megolm_backup.v1"  # noqa: S105 - the name of one, as the specification has it
DEFAULT_KEY: Final = "m.secret_storage.default_key"
KEY_DESCRIPTION: Final = "m.secret_storage.key."
STORAGE_ALGORITHM: Final = "m.secret_storage.v1.aes-hmac-sha2"
PBKDF2: Final = "m.pbkdf2"

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIX: Final = b"\x8b\x01"
_RECOVERY_BYTES: Final = len(_PREFIX) + 32 + 1
_MAX_RECOVERY_CHARS: Final = 256
_MAX_SESSION_CHARS: Final = LIMITS.key_line_bytes
_MOST_DEFAULT_BITS: Final = 512

Derive = Callable[[bytes, bytes, int, int], bytes]
"""PBKDF2-HMAC-SHA512: passphrase, salt, rounds, length."""


@dataclass(frozen=True, slots=True)
class BackupKey:
    """The private key of one backup that the source has."""

    _backup: KeyBackup
    _version: int
    _key: PkDecryption = field(repr=False)

    def sessions(self) -> Iterator[tuple[str, str, Mapping[str, object]]]:
        """Room id, session id and entry of each session that opens; what does not is passed over."""
        for stored in self._backup.sessions(self._version):
            session = _open(self._key, stored)
            if session is not None:
                yield stored.room_id, stored.session_id, session


def by_recovery_key(text: str, backup: KeyBackup | None) -> BackupKey:
    """The backup that a recovery key opens, by itself or by way of secret storage; `ValueError` where there is none."""
    key = read_recovery_key(text)
    backup = _required(backup)
    found = _backup_of(key, backup)
    return found if found is not None else _stored(_storage_key_of(key, backup), backup)


def by_passphrase(passphrase: bytes, backup: KeyBackup | None, derive: Derive) -> BackupKey:
    """The backup that a passphrase of secret storage leads to; `ValueError` where there is none."""
    backup = _required(backup)
    key_id = _text(_account_data(backup, DEFAULT_KEY), "key")
    given = _object(_account_data(backup, KEY_DESCRIPTION + key_id).get("passphrase"))
    if given.get("algorithm") != PBKDF2:
        raise ValueError("secret storage has no passphrase, or one of another kind")
    bits = given.get("bits", 256)
    rounds = given.get("iterations")
    if type(bits) is not int or type(rounds) is not int or bits % 8 or not 128 <= bits <= _MOST_DEFAULT_BITS:
        raise ValueError("the passphrase of secret storage has odd parameters")
    key = derive(passphrase, _text(given, "salt").encode(), rounds, bits // 8)
    return _stored(_storage_key_of(key, backup), backup)


def read_recovery_key(text: str) -> bytes:
    """The 32 bytes of a recovery key; spaces are passed over. `ValueError` for a wrong letter, length, or parity."""
    bare = "".join(text.split())
    if not bare or len(bare) > _MAX_RECOVERY_CHARS:
        raise ValueError("not a recovery key")
    number = 0
    for letter in bare:
        digit = _BASE58.find(letter)
        if digit < 0:
            raise ValueError("a recovery key has a letter that is not of base58")
        number = number * 58 + digit
    parity = 0
    if number.bit_length() > 8 * _RECOVERY_BYTES:
        raise ValueError("a recovery key has another length")
    data = number.to_bytes(_RECOVERY_BYTES)
    for byte in data:
        parity ^= byte
    if not data.startswith(_PREFIX) or parity:
        raise ValueError("a recovery key is mistyped: its parity or beginning is wrong")
    return data[len(_PREFIX) : -1]


def _required(backup: KeyBackup | None) -> KeyBackup:
    if backup is None:
        raise ValueError("the source keeps no key backups")
    return backup


def _backup_of(private_key: bytes, backup: KeyBackup) -> BackupKey | None:
    """The newest backup whose public key is that of a private key."""
    if len(private_key) != 32:
        return None
    decryption = PkDecryption.from_key(Curve25519SecretKey.from_bytes(private_key))
    public_key = decryption.public_key.to_base64().rstrip("=")
    for version in backup.versions():
        if version.algorithm == ALGORITHM and _public_key(version) == public_key:
            return BackupKey(backup, version.version, decryption)
    return None


def _public_key(version: BackupVersion) -> str | None:
    try:
        return b64_encode(b64_decode(_text(_parsed(version.auth_data), "public_key")))
    except ValueError:
        return None


# --- secret storage ---


def _storage_key_of(key: bytes, backup: KeyBackup) -> tuple[str, bytes]:
    """The id of the storage key that a key is, proved by its description; `ValueError` where it is none."""
    key_id = _text(_account_data(backup, DEFAULT_KEY), "key")
    description = _account_data(backup, KEY_DESCRIPTION + key_id)
    if description.get("algorithm") != STORAGE_ALGORITHM:
        raise ValueError("secret storage has a key of another algorithm")
    aes, mac = _keys(key, "")
    iv, expected = b64_decode(_text(description, "iv")), b64_decode(_text(description, "mac"))
    if not hmac.compare_digest(hmac.digest(mac, _aes_ctr(aes, iv, bytes(32)), "sha256"), expected):
        raise ValueError("the key opens neither a backup nor secret storage")
    return key_id, key


def _stored(storage_key: tuple[str, bytes], backup: KeyBackup) -> BackupKey:
    """The backup whose private key lies in secret storage."""
    key_id, key = storage_key
    secret = _object(_object(_account_data(backup, SECRET_NAME).get("encrypted")).get(key_id))
    aes, mac = _keys(key, SECRET_NAME)
    ciphertext = b64_decode(_text(secret, "ciphertext"))
    if not hmac.compare_digest(hmac.digest(mac, ciphertext, "sha256"), b64_decode(_text(secret, "mac"))):
        raise ValueError("the backup's key in secret storage was altered")
    found = _backup_of(b64_decode(_aes_ctr(aes, b64_decode(_text(secret, "iv")), ciphertext).decode()), backup)
    if found is None:
        raise ValueError("the key in secret storage is of no backup that is there")
    return found


def _keys(key: bytes, name: str) -> tuple[bytes, bytes]:
    """AES and HMAC key of a secret: HKDF-SHA256 with a salt of zeros and the secret's name."""
    derived = HKDF(algorithm=SHA256(), length=64, salt=bytes(32), info=name.encode()).derive(key)
    return derived[:32], derived[32:]


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    if len(iv) != 16:
        raise ValueError("an IV does not have 16 bytes")
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


# --- form ---


def _open(key: PkDecryption, stored: BackedUpSession) -> Mapping[str, object] | None:
    try:
        data = _parsed(stored.session_data)
        parts = (b64_decode(_text(data, name)) for name in ("ciphertext", "mac", "ephemeral"))
        return _object(strict_json(key.decrypt(Message(*parts)), max_depth=LIMITS.json_depth))
    except ValueError:
        return None


def _account_data(backup: KeyBackup, name: str) -> Mapping[str, object]:
    text = backup.secret(name)
    if text is None:
        raise ValueError(f"the account has no {name.rpartition('.')[0] if name.startswith(KEY_DESCRIPTION) else name}")
    return _parsed(text)


def _parsed(text: str) -> Mapping[str, object]:
    if len(text) > _MAX_SESSION_CHARS:
        raise ValueError("too long")
    return _object(strict_json(text, max_depth=LIMITS.json_depth))


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError("something is no object")  # noqa: TRY004 - one kind of error for one kind of fault
    return value


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")  # noqa: TRY004 - one kind of error for one kind of fault
    return value
