"""Tokens from clients: only the one form, the one algorithm, the right signer."""

import dataclasses
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.encoding import b64url_decode, b64url_encode
from migrator.core.limits import LIMITS
from migrator.core.model import Device
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.signatures import SignedToken, check_signer, read_token, verify
from tests.core.records import NOW, TYP, header, key, payload, public, sign, sign_raw

PHONE = key(1)
TOKEN = sign(payload(), PHONE)
DEVICE = Device(
    device_id="alice-phone", account_id="alice", signing_key=public(PHONE), added_at=NOW - timedelta(days=100)
)
MADE_AT = NOW - timedelta(hours=1)
MAX = LIMITS.authorization_chars


def read(text: str) -> SignedToken:
    return read_token(text, typ=TYP, max_chars=MAX)


def refusal(text: str) -> RefusalReason:
    with pytest.raises(Refused) as caught:
        read(text)
    return caught.value.reason


def signer_refusal(
    token: str = TOKEN,
    device: Device | None = DEVICE,
    *,
    issuers: Mapping[str, bytes] | None = None,
    made_at: datetime = MADE_AT,
) -> RefusalReason | None:
    try:
        check_signer(read(token), account_id="alice", device=device, issuers=issuers or {}, made_at=made_at, now=NOW)
    except Refused as refused:
        return refused.reason
    return None


def test_reads_without_believing() -> None:
    """Reading gives kid and payload; only `verify` says whether the signature holds."""
    forged = sign(payload(), key(2))
    assert read(forged).kid == "alice-phone"
    assert read(forged).issuer is None
    assert not verify(read(forged), public(PHONE))
    assert verify(read(TOKEN), public(PHONE))


def test_older_name_of_the_algorithm() -> None:
    """`EdDSA` (RFC 8037) is Ed25519 under its older name, taken without a warning."""
    token = sign_raw(header(alg="EdDSA"), b"{}", PHONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verify(read(token), public(PHONE))


@pytest.mark.parametrize(
    "raw_header",
    [
        header(alg="none"),
        header(alg="HS256"),
        header(alg="ES256"),
        header(alg="Ed448"),
        header(alg="ed25519"),
        header(alg=["Ed25519"]),
        header(alg=None),
        header(kid=""),
        header(kid=7),
        header(kid="a\0b"),
        header(kid="x" * 1025),
        header(typ="JWT"),
        header(typ="migrator-export+jws"),
        header(typ=None),
        header(crit=["b64"], b64=False),
        header(b64=True),
        header(jwk={"kty": "OKP"}),
        header(x5u="https://example.org"),
        b'{"alg":"Ed25519","kid":"alice-phone"}',
        b'{"alg":"none","alg":"Ed25519","kid":"alice-phone","typ":"migrator-authorization+jws"}',
        b'{"alg":"Ed25519","kid":"\\ud800","typ":"migrator-authorization+jws"}',
        b'["Ed25519"]',
        b"null",
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + header(),
        b"[" * 100_00,
    ],
)
def test_header_has_one_form(raw_header: bytes) -> None:
    """Other algorithms, other members, repeated members and other types are malformed, whatever the signature says."""
    assert refusal(sign_raw(raw_header, b"{}", PHONE)) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        TOKEN + ".",
        TOKEN + "=",
        " " + TOKEN,
        TOKEN + "\n",
        TOKEN.replace(".", ",", 1),
        TOKEN.replace("e", "é", 1),
        TOKEN.partition(".")[2],
        "\ufeff" + TOKEN,
    ],
)
def test_three_parts_of_base64url(text: str) -> None:
    """Padding, spaces, other characters and another number of parts are malformed."""
    assert refusal(text) is RefusalReason.MALFORMED


def test_base64url_must_be_canonical() -> None:
    """A last character with stray bits would make a second text of the same record."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = TOKEN[:-1] + alphabet[alphabet.index(TOKEN[-1]) ^ 1]
    assert refusal(twin) is RefusalReason.MALFORMED


def test_size_is_looked_at_first() -> None:
    """One character over the limit is too large, however malformed; at the limit it is read."""
    assert refusal("x" * (MAX + 1)) is RefusalReason.TOO_LARGE
    assert refusal("x" * MAX) is RefusalReason.MALFORMED


def test_a_manifest_of_the_full_size_verifies() -> None:
    """joserfc's own limits (512 bytes of header, 128 kB of payload) do not cut ours short."""
    token = sign_raw(header(kid="k" * 1024), b" " * 200_000, PHONE)
    assert verify(read_token(token, typ=TYP, max_chars=LIMITS.manifest_bytes), public(PHONE))


@given(st.integers(min_value=0), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: int, bit: int) -> None:
    """No bit of header, payload or signature can change unseen: what still reads does not verify."""
    parts = [bytearray(b64url_decode(part)) for part in TOKEN.split(".")]
    index = position % sum(map(len, parts))
    for part in parts:
        if index < len(part):
            part[index] ^= 1 << bit
            break
        index -= len(part)
    text = ".".join(b64url_encode(bytes(part)) for part in parts)
    try:
        token = read(text)
    except Refused:
        assert refusal(text) is RefusalReason.MALFORMED
    else:
        assert not verify(token, public(PHONE))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text at all raises anything but a refusal."""
    assert refusal(text) is RefusalReason.MALFORMED


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_another_length_does_not_verify(length: int) -> None:
    """A truncated or padded signature is a wrong one."""
    head, body, signature = TOKEN.split(".")
    raw = (b64url_decode(signature) + b"\0")[:length]
    assert not verify(read(f"{head}.{body}.{b64url_encode(raw)}"), public(PHONE))


def test_scalar_that_was_not_reduced_does_not_verify() -> None:
    """Adding the group's order to S gives no second signature of the same text (RFC 8032, section 5.1.7)."""
    head, body, signature = TOKEN.split(".")
    raw = b64url_decode(signature)
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(raw[32:], "little") + order
    assert not verify(read(f"{head}.{body}.{b64url_encode(raw[:32] + scalar.to_bytes(32, 'little'))}"), public(PHONE))


def test_key_of_small_order_is_no_key() -> None:
    """The identity as a public key verifies R = identity, S = 0 over any text; here it verifies nothing."""
    identity = b"\x01" + bytes(31)
    head, body, _ = TOKEN.split(".")
    forged = identity + bytes(32)
    Ed25519PublicKey.from_public_bytes(identity).verify(forged, f"{head}.{body}".encode())  # it does without the rule
    assert not verify(read(f"{head}.{body}.{b64url_encode(forged)}"), identity)


@pytest.mark.parametrize(
    "encoded",
    [
        "00" * 32,
        "00" * 31 + "80",
        "01" + "00" * 30 + "80",
        "ec" + "ff" * 30 + "7f",
        "ec" + "ff" * 31,
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ],
)
def test_no_point_of_small_order_verifies(encoded: str) -> None:
    """Each encoding of a point of order 1, 2, 4 or 8 is refused where the bare library accepts a forgery."""
    point = bytes.fromhex(encoded)
    bare = Ed25519PublicKey.from_public_bytes(point)
    forged = b"\x01" + bytes(31) + bytes(32)
    accepted = 0
    for number in range(64):
        token = sign_raw(header(), b"%d" % number, PHONE).rpartition(".")[0]
        try:
            bare.verify(forged, token.encode())
        except InvalidSignature:
            continue
        accepted += 1
        assert not verify(read(f"{token}.{b64url_encode(forged)}"), point)
    assert accepted > 0, "this encoding is harmless, so it does not belong on the list"


@pytest.mark.parametrize("bad_key", [b"", b"\x01" * 31, b"\x01" * 33, b"\xff" * 32, public(key(2))])
def test_other_keys_do_not_verify(bad_key: bytes) -> None:
    """Bytes that are no key, or another one, verify nothing and raise nothing."""
    assert not verify(read(TOKEN), bad_key)


# --- who may sign ---


def test_device_of_the_account_may_sign() -> None:
    """A device that was there at the time and is not revoked."""
    assert signer_refusal() is None


def test_no_device_and_others_devices_are_unknown() -> None:
    """A device that does not exist, or belongs to another account, is unknown before its signature is looked at."""
    others = dataclasses.replace(DEVICE, account_id="mallory", signing_key=public(key(2)))
    assert signer_refusal(device=None) is RefusalReason.UNKNOWN_DEVICE
    assert signer_refusal(device=others) is RefusalReason.UNKNOWN_DEVICE
    renamed = dataclasses.replace(DEVICE, device_id="another")
    assert signer_refusal(device=renamed) is RefusalReason.UNKNOWN_DEVICE


def test_device_must_have_been_added_by_then() -> None:
    """Added at the very moment is in time; a moment later is an unknown device."""
    moment = timedelta(microseconds=1)
    assert signer_refusal(device=dataclasses.replace(DEVICE, added_at=MADE_AT)) is None
    later = dataclasses.replace(DEVICE, added_at=MADE_AT + moment)
    assert signer_refusal(device=later) is RefusalReason.UNKNOWN_DEVICE


def test_device_must_not_be_revoked_then_nor_now() -> None:
    """Revoked before the deed, or between the deed and its import: a stolen phone can't back-date."""
    for revoked_at in (MADE_AT - timedelta(days=1), MADE_AT, NOW - timedelta(minutes=1), NOW):
        device = dataclasses.replace(DEVICE, revoked_at=revoked_at)
        assert signer_refusal(device=device) is RefusalReason.REVOKED_DEVICE
    assert signer_refusal(device=dataclasses.replace(DEVICE, revoked_at=NOW + timedelta(seconds=1))) is None
    soon = dataclasses.replace(DEVICE, revoked_at=NOW + timedelta(minutes=1))
    assert signer_refusal(device=soon, made_at=NOW + timedelta(minutes=2)) is RefusalReason.REVOKED_DEVICE


def test_forged_signature_comes_before_the_devices_times() -> None:
    """Who did not sign learns nothing about the device's state."""
    forged = sign(payload(), key(2))
    revoked = dataclasses.replace(DEVICE, revoked_at=MADE_AT, added_at=NOW)
    assert signer_refusal(forged, revoked) is RefusalReason.BAD_SIGNATURE


def test_issuer_signs_only_where_configured() -> None:
    """An issuer's token needs its key in the settings; no device can take its place."""
    token = sign(payload(), key(9), kid="issuer:consent")
    assert read(token).issuer == "consent"
    assert signer_refusal(token) is RefusalReason.UNKNOWN_ISSUER
    assert signer_refusal(token, issuers={"other": public(key(9))}) is RefusalReason.UNKNOWN_ISSUER
    assert signer_refusal(token, issuers={"consent": public(key(8))}) is RefusalReason.BAD_SIGNATURE
    assert signer_refusal(token, device=None, issuers={"consent": public(key(9))}) is None
    posing = dataclasses.replace(DEVICE, device_id="issuer:consent", signing_key=public(key(9)))
    assert signer_refusal(token, posing) is RefusalReason.UNKNOWN_ISSUER


def test_issuers_key_is_for_issuers_tokens() -> None:
    """A device's token that an issuer signed is a forgery."""
    token = sign(payload(), key(9))
    assert signer_refusal(token, issuers={"alice-phone": public(key(9))}) is RefusalReason.BAD_SIGNATURE
