"""Signed tokens from clients: JWS compact serialisation (RFC 7515) with Ed25519 (RFC 8037, RFC 9864), and who may sign.

Shared by authorisations and export manifests (formats, sections 3 and 4). The rules, in order:

1. A token has exactly three parts of canonical base64url and at most so many characters.
2. Its header is exactly `alg`, `kid` and `typ`, all strings; `alg` is `Ed25519` or the older name `EdDSA`.
3. `kid` is the id of the signing device, or `issuer:<name>`; an issuer must be configured, a device must exist and
   belong to the account that signs.
4. The signature holds under that signer's key. A key of small order is no key: it verifies what nobody signed.
5. A device must have been added by the time of the deed, and not be revoked then nor now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeGuard

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey

from migrator.core.encoding import b64url_decode, strict_json
from migrator.core.limits import LIMITS
from migrator.core.model import Device
from migrator.core.outcomes import RefusalReason, Refused

ALGORITHMS: Final = frozenset({"Ed25519", "EdDSA"})
ISSUER_PREFIX: Final = "issuer:"
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ"})
_HEADER_DEPTH: Final = 2
_SIGN_BIT: Final = 1 << 255
_P: Final = 2**255 - 19
# Y coordinates of the points of order 1, 2, 4 and 8, also as p and p + 1 (the list that libsodium keeps in
# `ge25519_has_small_order`). A device row of 32 zero bytes is one of them.
_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        _P,
        _P + 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedToken:
    """A token whose form is right and whose signature nobody has looked at yet."""

    text: str
    kid: str
    payload: bytes

    @property
    def issuer(self) -> str | None:
        """The consent service that claims to have signed; None for a device."""
        return self.kid.removeprefix(ISSUER_PREFIX) if self.kid.startswith(ISSUER_PREFIX) else None


class _Registry(jws.JWSRegistry):
    """joserfc's registry without its limits (ours are checked first), and with `EdDSA` as another name for Ed25519."""

    max_header_length = max_payload_length = max_signature_length = 2 * LIMITS.manifest_bytes
    algorithms = dict.fromkeys(ALGORITHMS, jws.JWSRegistry.algorithms["Ed25519"])


_REGISTRY: Final = _Registry(algorithms=ALGORITHMS)


def read_token(text: str, *, typ: str, max_chars: int) -> SignedToken:
    """Take a token apart without believing it; `Refused` as too large or malformed."""
    if len(text) > max_chars:
        raise Refused(RefusalReason.TOO_LARGE)
    parts = text.split(".")
    if len(parts) != 3:
        raise Refused(RefusalReason.MALFORMED, "not a compact JWS of three parts")
    try:
        header, payload, _ = (b64url_decode(part) for part in parts)
        members = strict_json(header, max_depth=_HEADER_DEPTH)
    except ValueError as error:
        raise Refused(RefusalReason.MALFORMED, f"compact JWS: {error}") from None
    if not isinstance(members, dict) or members.keys() != _HEADER_MEMBERS:
        raise Refused(RefusalReason.MALFORMED, "the header's members are not exactly alg, kid and typ")
    kid = members["kid"]
    if not is_identifier(kid):
        raise Refused(RefusalReason.MALFORMED, "kid is not an identifier")
    if not isinstance(members["alg"], str) or members["alg"] not in ALGORITHMS:
        raise Refused(RefusalReason.MALFORMED, "alg is not Ed25519")
    if members["typ"] != typ:
        raise Refused(RefusalReason.MALFORMED, f"typ is not {typ}")
    return SignedToken(text=text, kid=kid, payload=payload)


def verify(token: SignedToken, public_key: bytes) -> bool:
    """Whether the token was signed with the private half of an Ed25519 public key (32 bytes)."""
    if len(public_key) != 32 or int.from_bytes(public_key, "little") % _SIGN_BIT in _SMALL_ORDER_Y:
        return False
    key = OKPKey.import_key(Ed25519PublicKey.from_public_bytes(public_key))
    try:
        jws.deserialize_compact(token.text, key, registry=_REGISTRY)
    except BadSignatureError:
        return False
    return True


def check_signer(
    token: SignedToken,
    *,
    account_id: str,
    device: Device | None,
    issuers: Mapping[str, bytes],
    made_at: datetime,
    now: datetime,
) -> None:
    """Check that a token was signed by a device of `account_id`, or by a configured issuer; `Refused` otherwise.

    `device` is the one whose id is `kid`, None if there is none. `made_at` is when the signer says it was done.
    """
    if token.issuer is not None:
        key = issuers.get(token.issuer)
        if key is None:
            raise Refused(RefusalReason.UNKNOWN_ISSUER)
        if not verify(token, key):
            raise Refused(RefusalReason.BAD_SIGNATURE)
        return
    if device is None or device.device_id != token.kid or device.account_id != account_id:
        raise Refused(RefusalReason.UNKNOWN_DEVICE)
    if not verify(token, device.signing_key):
        raise Refused(RefusalReason.BAD_SIGNATURE)
    if device.added_at > made_at:
        raise Refused(RefusalReason.UNKNOWN_DEVICE, "it was added later")
    if device.revoked_at is not None and device.revoked_at <= max(made_at, now):
        raise Refused(RefusalReason.REVOKED_DEVICE)


def is_identifier(value: object) -> TypeGuard[str]:
    """Whether a value can name something: text without NUL, not empty, at most `LIMITS.identifier_bytes` of UTF-8."""
    return isinstance(value, str) and 0 < len(value.encode()) <= LIMITS.identifier_bytes and "\0" not in value
