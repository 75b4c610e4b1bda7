"""Server-side key backups: recovery keys, secret storage, and what a hostile server puts there."""

import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from vodozemac import Curve25519SecretKey, PkEncryption

from migrator.core.encoding import b64_decode, b64_encode
from migrator.core.key_backup import BackedUpSession, BackupVersion
from migrator.core.limits import LIMITS
from migrator.core.megolm_export import pbkdf2
from migrator.schemes.interface import KeyEntry
from migrator.schemes.megolm import MegolmScheme
from migrator.schemes.megolm_backup import (
    ALGORITHM,
    DEFAULT_KEY,
    KEY_DESCRIPTION,
    PBKDF2,
    SECRET_NAME,
    STORAGE_ALGORITHM,
    read_recovery_key,
)  # fmt: skip
from tests.support.megolm import Alone, Sending

_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def recovery_key(key: bytes, *, prefix: bytes = b"\x8b\x01", parity: int | None = None) -> str:
    """A key as a client shows it: base58, in groups of four."""
    data = prefix + key
    xor = 0
    for byte in data:
        xor ^= byte
    number = int.from_bytes(data + bytes([xor if parity is None else parity]))
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _LETTERS[digit] + text
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


class Backup:
    """A backup in memory, every piece of which a test may spoil."""

    def __init__(self, *sendings: Sending) -> None:
        self.secret_key = Curve25519SecretKey.from_bytes(b"\x11" * 32)
        self.public_key = self.secret_key.public_key()
        self.given = [
            BackupVersion(2, ALGORITHM, json.dumps({"public_key": self.public_key.to_base64(), "signatures": {}}))
        ]
        self.rows = [BackedUpSession(s.room_id, s.session_id, self.sealed(s.entry())) for s in sendings]
        self.account_data: dict[str, str] = {}

    def sealed(self, entry: Mapping[str, Any] | bytes) -> str:
        """A session's data, encrypted to the backup: anybody can do that."""
        text = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
        message = PkEncryption.from_key(self.public_key).encrypt(text)
        named = {"ciphertext": message.ciphertext, "mac": message.mac, "ephemeral": message.ephemeral_key}
        return json.dumps({name: b64_encode(bytes(value)) for name, value in named.items()})

    def store_secret(self, key: bytes, secret: str | None = None, **passphrase: Any) -> None:
        """Put the backup's key into secret storage under a storage key."""
        iv = bytes(16)
        described = _secret(key, "", iv, bytes(32))
        description: dict[str, Any] = {"algorithm": STORAGE_ALGORITHM, "iv": b64_encode(iv), "mac": described["mac"]}
        if passphrase:
            description["passphrase"] = passphrase
        self.account_data[DEFAULT_KEY] = json.dumps({"key": "k1"})
        self.account_data[KEY_DESCRIPTION + "k1"] = json.dumps(description)
        text = b64_encode(self.secret_key.to_bytes()) if secret is None else secret
        self.account_data[SECRET_NAME] = json.dumps({"encrypted": {"k1": _secret(key, SECRET_NAME, iv, text.encode())}})

    def versions(self) -> Sequence[BackupVersion]:
        """The port."""
        return self.given

    def secret(self, name: str) -> str | None:
        """The port."""
        return self.account_data.get(name)

    def sessions(self, version: int) -> Iterator[BackedUpSession]:
        """The port."""
        assert version == 2
        return iter(self.rows)


def _secret(key: bytes, name: str, iv: bytes, text: bytes) -> dict[str, str]:
    derived = HKDF(algorithm=SHA256(), length=64, salt=bytes(32), info=name.encode()).derive(key)
    cipher = Cipher(AES(derived[:32]), CTR(iv)).encryptor()
    ciphertext = cipher.update(text) + cipher.finalize()
    mac = hmac.digest(derived[32:], ciphertext, "sha256")
    return {"iv": b64_encode(iv), "ciphertext": b64_encode(ciphertext), "mac": b64_encode(mac)}


def read(backup: Backup | None, line: Mapping[str, str] | None = None) -> list[KeyEntry]:
    """What a line gives of a backup, by default the recovery key's."""
    given = line or {"backup_recovery_key": recovery_key(b"\x11" * 32)}
    return list(MegolmScheme().read_key_entries(given, Alone(backup)))


def test_sessions_come_under_their_room_and_id() -> None:
    """As the server files them."""
    sendings = [Sending(), Sending("!b:lab")]
    assert [(e.conversation_id, e.slot) for e in read(Backup(*sendings))] == [
        (s.room_id, s.session_id) for s in sendings
    ]


def test_a_recovery_key_is_read_with_its_parity() -> None:
    """Spaces mean nothing; any mistyped letter is noticed, but for one in 256."""
    key = bytes(range(32))
    text = recovery_key(key)
    assert read_recovery_key(text) == read_recovery_key(text.replace(" ", "") + "\n") == key


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "0OIl", "E" * 48, recovery_key(bytes(32), parity=1), recovery_key(bytes(32), prefix=b"\x8b\x02"),
        recovery_key(bytes(31)), recovery_key(bytes(33)), "z" * 257, "\u00e9" * 48,
    ],
)  # fmt: skip
def test_what_is_no_recovery_key(text: str) -> None:
    """Letters, length, prefix, parity."""
    with pytest.raises(ValueError, match="recovery key"):
        read_recovery_key(text)


def test_the_newest_backup_of_the_key_counts() -> None:
    """Others, of another algorithm or key or that can't be read, are passed over."""
    backup = Backup(Sending())
    right = backup.given[0]
    other = json.dumps({"public_key": Curve25519SecretKey().public_key().to_base64()})
    backup.given = [
        BackupVersion(9, "m.other", right.auth_data), BackupVersion(8, ALGORITHM, other),
        BackupVersion(7, ALGORITHM, "no json"), BackupVersion(6, ALGORITHM, "{}"), right,
    ]  # fmt: skip
    assert len(read(backup)) == 1
    backup.given = backup.given[:-1]
    with pytest.raises(ValueError, match=r"\w"):
        read(backup)


def test_a_source_without_backups() -> None:
    """Is a source without this one."""
    with pytest.raises(ValueError, match="backups"):
        read(None)


def test_what_a_server_puts_into_a_backup() -> None:
    """Its MAC proves nothing: sessions under another's id, of other algorithms, broken ones, cost themselves."""
    good, other = Sending(), Sending()
    backup = Backup(good)
    foreign = backup.sealed(other.entry())
    message = json.loads(backup.sealed(good.entry()))
    backup.rows += [
        BackedUpSession(good.room_id, good.session_id, foreign),
        BackedUpSession(good.room_id, other.session_id, backup.sealed(b"not json")),
        BackedUpSession(good.room_id, other.session_id, backup.sealed(b"[]")),
        BackedUpSession(good.room_id, other.session_id, backup.sealed({**other.entry(), "algorithm": "m.x"})),
        BackedUpSession(good.room_id, good.session_id, "no json"),
        BackedUpSession(good.room_id, good.session_id, "{}"),
        BackedUpSession(good.room_id, good.session_id, json.dumps(message | {"mac": "AAAA"})),
        BackedUpSession(good.room_id, good.session_id, json.dumps(message | {"ephemeral": "AAAA"})),
        BackedUpSession(good.room_id, good.session_id, json.dumps(message | {"ciphertext": 7})),
        BackedUpSession(good.room_id, good.session_id, "x" * (LIMITS.key_line_bytes + 1)),
        BackedUpSession("", good.session_id, backup.sealed(good.entry())),
    ]
    assert [(e.conversation_id, e.slot) for e in read(backup)] == [(good.room_id, good.session_id)]


def test_by_way_of_secret_storage() -> None:
    """With its own recovery key, or the passphrase that gives it."""
    backup = Backup(Sending())
    backup.store_secret(b"\x22" * 32)
    assert len(read(backup, {"backup_recovery_key": recovery_key(b"\x22" * 32)})) == 1
    key = pbkdf2(b"phrase", b"salt", 3, 32)
    backup.store_secret(key, algorithm=PBKDF2, salt="salt", iterations=3)
    assert len(read(backup, {"secret_storage_passphrase": "phrase"})) == 1
    for line in ({"secret_storage_passphrase": "other"}, {"backup_recovery_key": recovery_key(b"\x33" * 32)}):
        with pytest.raises(ValueError, match="neither a backup nor"):
            read(backup, line)


@pytest.mark.parametrize(
    "passphrase",
    [
        {"algorithm": "m.scrypt", "salt": "s", "iterations": 3}, {"algorithm": PBKDF2, "salt": "s"},
        {"algorithm": PBKDF2, "iterations": 3}, {"algorithm": PBKDF2, "salt": "s", "iterations": 2**31},
        {"algorithm": PBKDF2, "salt": "s", "iterations": 0}, {"algorithm": PBKDF2, "salt": "s", "iterations": "3"},
        {"algorithm": PBKDF2, "salt": "s", "iterations": 3, "bits": 2**30}, {"algorithm": PBKDF2, "salt": 3}, {},
        {"algorithm": PBKDF2, "salt": "s", "iterations": 3, "bits": 255},
    ],
)  # fmt: skip
def test_odd_parameters_of_a_passphrase_are_refused(passphrase: dict[str, Any]) -> None:
    """The server says how it is stretched: nothing is computed that no client asks for."""
    backup = Backup(Sending())
    backup.store_secret(b"\x22" * 32, **passphrase)
    with pytest.raises(ValueError, match=r"\w"):
        read(backup, {"secret_storage_passphrase": "phrase"})


def test_secret_storage_out_of_form() -> None:
    """Missing, broken, altered, of another backup: no key, and no traceback."""
    line = {"backup_recovery_key": recovery_key(b"\x22" * 32)}
    for name in (DEFAULT_KEY, KEY_DESCRIPTION + "k1", SECRET_NAME):
        for text in (None, "", "[]", "{}", '{"key": 7}', '{"encrypted": []}', "x" * 100_000):
            backup = Backup(Sending())
            backup.store_secret(b"\x22" * 32)
            if text is None:
                del backup.account_data[name]
            else:
                backup.account_data[name] = text
            with pytest.raises(ValueError, match=r"\w"):
                read(backup, line)
    for secret in ("", "short", b64_encode(b"\x44" * 32), b64_encode(bytes(31))):
        backup.store_secret(b"\x22" * 32, secret)
        with pytest.raises(ValueError, match=r"\w"):
            read(backup, line)
    backup.store_secret(b"\x22" * 32)
    altered = json.loads(backup.account_data[SECRET_NAME])
    data = bytearray(b64_decode(altered["encrypted"]["k1"]["ciphertext"]))
    data[0] ^= 1
    altered["encrypted"]["k1"]["ciphertext"] = b64_encode(bytes(data))
    backup.account_data[SECRET_NAME] = json.dumps(altered)
    with pytest.raises(ValueError, match="altered"):
        read(backup, line)
