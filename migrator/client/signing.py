"""Signing on a device: JWS compact serialisation (RFC 7515) with Ed25519 (RFC 8037, RFC 9864).

A device signs with the key that the platform knows it by, a consent service with the key that the campaign's
configuration names. The header is exactly `alg`, `kid` and `typ`: other members are refused at import.
"""

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey

from migrator.core.encoding import canonical_json
from migrator.core.limits import LIMITS
from migrator.core.signatures import ISSUER_PREFIX

_ALGORITHM: Final = "Ed25519"


class _Registry(jws.JWSRegistry):
    """joserfc's registry with room for an export's manifest."""

    max_payload_length = LIMITS.manifest_bytes
    max_header_length = 2 * LIMITS.identifier_bytes


_REGISTRY: Final = _Registry(algorithms=[_ALGORITHM])


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signs, and the private key; the `repr` leaves the key out."""

    kid: str
    key: OKPKey = field(repr=False)

    @classmethod
    def device(cls, device_id: str, private_key: Ed25519PrivateKey) -> "Signer":
        """A device of the account, or of the guardian who speaks for it."""
        return cls(kid=device_id, key=OKPKey.import_key(private_key))

    @classmethod
    def issuer(cls, name: str, private_key: Ed25519PrivateKey) -> "Signer":
        """A consent service of the platform, for clients that can't sign; off unless the campaign configures it."""
        return cls(kid=f"{ISSUER_PREFIX}{name}", key=OKPKey.import_key(private_key))

    @property
    def device_id(self) -> str | None:
        """The device; None where a consent service signs."""
        return None if self.kid.startswith(ISSUER_PREFIX) else self.kid

    @property
    def issuer_name(self) -> str | None:
        """The consent service; None where a device signs."""
        return self.kid.removeprefix(ISSUER_PREFIX) if self.kid.startswith(ISSUER_PREFIX) else None

    def sign(self, payload: object, *, typ: str) -> str:
        """The compact token over the payload's canonical JSON. Ed25519 is deterministic: same payload, same token."""
        header = {"alg": _ALGORITHM, "kid": self.kid, "typ": typ}
        return jws.serialize_compact(header, canonical_json(payload), self.key, registry=_REGISTRY)
