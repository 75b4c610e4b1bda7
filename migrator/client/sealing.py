"""Sealing to the campaign's recipient key: HPKE base mode (RFC 9180) with HKDF-SHA256 and AES-256-GCM.

The KEM is DHKEM(X25519, HKDF-SHA256), or MLKEM768-X25519 where the campaign wants what is sealed today to stay sealed
before the quantum computers of tomorrow.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

_KEMS: Final = {"X25519": hpke.KEM.X25519, "MLKEM768_X25519": hpke.KEM.MLKEM768_X25519}
_MLKEM_PUBLIC_BYTES: Final = 1184
_X25519_PUBLIC_BYTES: Final = 32
_TAG_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """The campaign's public key as `migrator recipient-key` prints it. `public_key` is raw.

    32 bytes for `X25519`, 1,184 + 32 bytes for `MLKEM768_X25519`; `ValueError` on use for anything else.
    """

    recipient_key_id: str
    kem: str
    public_key: bytes

    @property
    def overhead(self) -> int:
        """How many bytes sealing adds: the encapsulated key and the tag."""
        return _kem(self.kem).enc_length() + _TAG_BYTES

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """`enc ‖ ciphertext`, bound to `info`. Fresh randomness from the operating system each time."""
        suite = hpke.Suite(_kem(self.kem), hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        return suite.encrypt(plaintext, _public_key(self.kem, self.public_key), info)


def _kem(name: str) -> hpke.KEM:
    if name not in _KEMS:
        raise ValueError("a kind of recipient key that this client does not know")
    return _KEMS[name]


def _public_key(kem: str, raw: bytes) -> X25519PublicKey | hpke.MLKEM768X25519PublicKey:
    if kem == "X25519":
        return X25519PublicKey.from_public_bytes(raw)
    if len(raw) != _MLKEM_PUBLIC_BYTES + _X25519_PUBLIC_BYTES:
        raise ValueError("not a public key of MLKEM768_X25519")
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
    )
