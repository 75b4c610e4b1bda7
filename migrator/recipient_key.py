"""The campaign's recipient key: what clients seal their exports to (formats, section 4).

HPKE base mode (RFC 9180) with HKDF-SHA256 and AES-256-GCM; KEM: DHKEM(X25519, HKDF-SHA256), or MLKEM768-X25519 as
`cryptography` has it. Raw keys: X25519 32 bytes each; hybrid private the ML-KEM seed (64) ‖ X25519 (32), public ML-KEM
(1,184) ‖ X25519 (32). `recipient_key_id` is the first 16 bytes of SHA-256(kem ‖ 0x00 ‖ raw public key) in hex, so that
a client can check the id against the key that it was given.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.errors import ConfigError, IntegrityError, KeyServiceError
from migrator.database import tables
from migrator.key_routing import PatientKeyService
from migrator.keyservices.interface import KeyRefusal, KeyService

X25519: Final = "X25519"
MLKEM768_X25519: Final = "MLKEM768_X25519"
_MLKEM_SEED_BYTES: Final = 64
_X25519_BYTES: Final = 32
_PRIVATE_BYTES: Final = {X25519: _X25519_BYTES, MLKEM768_X25519: _MLKEM_SEED_BYTES + _X25519_BYTES}
_SUITES: Final = {
    X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    MLKEM768_X25519: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientKey:
    """The public half, as clients get it (`public_key` is raw), and what became of the private one."""

    recipient_key_id: str
    kem: str
    public_key: bytes
    key_service: str
    destroyed: bool = False


@final
class RecipientPrivateKey:
    """The private half, in this process's memory only; never shown, never pickled."""

    __slots__ = ("_private_key", "_suite", "recipient_key_id")

    def __init__(self, recipient_key_id: str, kem: str, raw: bytes) -> None:
        if len(raw) != _PRIVATE_BYTES.get(kem):
            raise IntegrityError("the unwrapped recipient key is not of the kind that its row names")
        self.recipient_key_id = recipient_key_id
        self._suite = _SUITES[kem]
        self._private_key = _hpke_key(kem, raw)

    def open(self, enc_and_ciphertext: bytes, info: bytes) -> bytes:
        """Unseal `enc ‖ ciphertext`; `ValueError` if it is sealed to another key, with another info, or altered."""
        try:
            return self._suite.decrypt(enc_and_ciphertext, self._private_key, info)
        except InvalidTag:
            raise ValueError("does not unseal with the recipient key") from None

    def __repr__(self) -> str:
        return f"RecipientPrivateKey({self.recipient_key_id})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a recipient key does not leave its process")


def create(campaign_name: str, key_service: KeyService | PatientKeyService, kem: str, now: datetime) -> dict[str, Any]:
    """A fresh key pair as a row of `migrator_recipient_key`, its private half wrapped by the key service."""
    if kem not in _SUITES:
        raise ConfigError(f"keys.recipient_kem {kem!r} is not known", hint=f"it is {X25519} or {MLKEM768_X25519}")
    raw, public_key = _generate(kem)
    recipient_key_id = key_id(kem, public_key)
    context = wrapping_context(campaign_name, recipient_key_id)
    wrapped = key_service.wrap([(raw, context)])[0]
    if isinstance(wrapped, KeyRefusal):
        raise KeyServiceError(f"{key_service.name} does not wrap the recipient key: {wrapped.detail}")
    return {
        "recipient_key_id": recipient_key_id,
        "kem": kem,
        "public_key": public_key,
        "key_service": key_service.name,
        "wrapped_private_key": wrapped,
        "context": context.decode(),
        "created_at": format_time(now),
        "destroyed_at": None,
    }


def key_id(kem: str, public_key: bytes) -> str:
    """The id of a public key: 32 hex digits."""
    return hashlib.sha256(kem.encode() + b"\0" + public_key).hexdigest()[:32]


def wrapping_context(campaign_name: str, recipient_key_id: str) -> bytes:
    """What the wrapped private half is bound to (RFC 8785 JSON, as in formats, section 5)."""
    return canonical_json({"campaign": campaign_name, "purpose": "recipient-key", "recipient_key_id": recipient_key_id})


def newest(connection: sa.Connection) -> RecipientKey:
    """The recipient key that was made last, even if it is destroyed."""
    table = tables.recipient_key
    query = sa.select(table).order_by(table.c.created_at.desc(), table.c.recipient_key_id).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ConfigError("the campaign has no recipient key", hint="`migrator init` makes one")
    return _value(row)


def current(connection: sa.Connection) -> RecipientKey:
    """What clients seal to now; `ConfigError` once it is destroyed."""
    key = newest(connection)
    if key.destroyed:
        raise ConfigError(
            f"the recipient key {key.recipient_key_id} is destroyed", hint="the campaign is final: it takes no exports"
        )
    return key


def get(connection: sa.Connection, recipient_key_id: str) -> RecipientKey | None:
    """The key of that id, also one that was destroyed; None if this campaign never had it."""
    table = tables.recipient_key
    row = connection.execute(sa.select(table).where(table.c.recipient_key_id == recipient_key_id)).one_or_none()
    return None if row is None else _value(row)


def _value(row: sa.Row[Any]) -> RecipientKey:
    return RecipientKey(
        recipient_key_id=row.recipient_key_id,
        kem=row.kem,
        public_key=bytes(row.public_key),
        key_service=row.key_service,
        destroyed=row.wrapped_private_key is None,
    )


def unwrap(campaign: Campaign, connection: sa.Connection, recipient_key_id: str) -> RecipientPrivateKey:
    """Fetch the private half from the key service: one call; keep the result for as long as it is needed.

    `IntegrityError` if it was destroyed or its row was altered, `KeyServiceError` if the key service refuses.
    """
    table = tables.recipient_key
    row = connection.execute(
        sa.select(table.c.kem, table.c.public_key, table.c.key_service, table.c.wrapped_private_key).where(
            table.c.recipient_key_id == recipient_key_id
        )
    ).one_or_none()
    if row is None:
        raise IntegrityError(f"the campaign has no recipient key {recipient_key_id}")
    kem, public_key, key_service, wrapped = row
    if wrapped is None:
        raise IntegrityError(f"the recipient key {recipient_key_id} was destroyed: what is sealed to it stays sealed")
    if key_id(kem, bytes(public_key)) != recipient_key_id:
        raise IntegrityError(f"the row of recipient key {recipient_key_id} was altered")
    context = wrapping_context(campaign.name, recipient_key_id)
    raw = campaign.key_services.named(key_service).unwrap([(bytes(wrapped), context)])[0]
    if isinstance(raw, KeyRefusal):
        raise KeyServiceError(f"{key_service} does not unwrap the recipient key: {raw.detail}")
    return RecipientPrivateKey(recipient_key_id, kem, raw)


def _generate(kem: str) -> tuple[bytes, bytes]:
    """Raw private and public half of a new key pair."""
    x25519 = X25519PrivateKey.generate()
    private, public = x25519.private_bytes_raw(), x25519.public_key().public_bytes_raw()
    if kem == X25519:
        return private, public
    mlkem = MLKEM768PrivateKey.generate()
    return mlkem.private_bytes_raw() + private, mlkem.public_key().public_bytes_raw() + public


def _hpke_key(kem: str, raw: bytes) -> X25519PrivateKey | hpke.MLKEM768X25519PrivateKey:
    if kem == X25519:
        return X25519PrivateKey.from_private_bytes(raw)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_BYTES])
    return hpke.MLKEM768X25519PrivateKey(mlkem, X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED_BYTES:]))
