"""Makes signed authorisation records for tests, with joserfc as a client would, and spoils them on request."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey

from migrator.core.encoding import b64url_encode

TYP = "migrator-authorization+jws"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RECORD_ID = "6f1f1c0e-7c39-4d4e-9c0a-0d5c1f0b7a01"


def key(seed: int) -> Ed25519PrivateKey:
    """A private key that is always the same for a seed."""
    return Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))


def public(private: Ed25519PrivateKey) -> bytes:
    """Its raw public half."""
    return private.public_key().public_bytes_raw()


def payload(**changes: Any) -> dict[str, Any]:
    """The payload of a valid grant by `alice` for all her conversations, with members changed."""
    return {
        "schema": "migrator.authorization/1",
        "record_id": RECORD_ID,
        "campaign": "test",
        "account_id": "alice",
        "device_id": "alice-phone",
        "actor": {"kind": "self"},
        "decision": "grant",
        "scope": {"conversations": "all"},
        "purposes": ["history_storage"],
        "decided_at": "2026-03-01T11:00:00Z",
        "valid_until": "2026-12-31T00:00:00Z",
        "notice": {"notice_id": "cutover", "version": "3", "locale": "de", "sha256": "ab" * 32},
        "recipient_key_id": "key-1",
        "nonce": b64url_encode(bytes(range(16))),
        **changes,
    }


def sign(members: object, private: Ed25519PrivateKey, *, kid: str = "alice-phone", alg: str = "Ed25519") -> str:
    """A compact JWS as joserfc makes it."""
    header = {"alg": alg, "kid": kid, "typ": TYP}
    return jws.serialize_compact(header, json.dumps(members), OKPKey.import_key(private), algorithms=["Ed25519"])


def sign_raw(header: bytes, body: bytes, private: Ed25519PrivateKey) -> str:
    """A token over any bytes at all, correctly signed: for what no honest library would write."""
    signed = f"{b64url_encode(header)}.{b64url_encode(body)}"
    return f"{signed}.{b64url_encode(private.sign(signed.encode()))}"


def header(**changes: Any) -> bytes:
    """The header of alice's phone, with members changed."""
    return json.dumps({"alg": "Ed25519", "kid": "alice-phone", "typ": TYP, **changes}).encode()


def without(member: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What takes a member out of a payload."""
    return lambda members: {name: value for name, value in members.items() if name != member}
