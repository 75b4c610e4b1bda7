"""Standard Webhooks signatures (standardwebhooks.com, specification 1.0.0): `v1` HMAC-SHA256, `v1a` Ed25519.

What is signed is `id.timestamp.body`. A secret is `whsec_` or `whsk_` and base64; several, divided by blanks, make one
signature each, so that a receiver can change over from one to the next.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.core.errors import ConfigError
from migrator.core.secret import Secret

_HMAC: Final = "whsec_"
_ED25519: Final = "whsk_"
_HMAC_BYTES: Final = range(24, 65)
"""The specification's bounds."""

Sign = Callable[[bytes], str]


def signers(secret: Secret) -> list[Sign]:
    """One for each of the secret's keys. Raises `ConfigError`, never repeating one."""
    try:
        words = secret.reveal().decode("ascii").split()
        found = [_signer(word) for word in words]
    except ValueError:  # also for what is not ASCII
        found = []
    if not found:
        raise ConfigError(
            "the webhook's secret is none of Standard Webhooks",
            hint="whsec_ and 24 to 64 bytes, or whsk_ and an Ed25519 private key, in base64",
        )
    return found


def signature(sign: Sequence[Sign], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(one(signed) for one in sign)


def _signer(word: str) -> Sign:
    if word.startswith(_HMAC):
        key = _decoded(word.removeprefix(_HMAC))
        if len(key) not in _HMAC_BYTES:
            raise ValueError("length of the key")
        return lambda signed: f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
    if word.startswith(_ED25519):
        seed = _decoded(word.removeprefix(_ED25519))
        private = Ed25519PrivateKey.from_private_bytes(seed[:32])
        if len(seed) == 64 and private.public_key().public_bytes_raw() != seed[32:]:
            raise ValueError("halves of different keys")  # some libraries write seed and public key together
        if len(seed) not in (32, 64):
            raise ValueError("length of the key")
        return lambda signed: f"v1a,{base64.b64encode(private.sign(signed)).decode()}"
    raise ValueError("prefix of the key")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
