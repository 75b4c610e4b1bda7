"""The recipient key: what clients seal to, and who can unseal."""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from migrator import recipient_key, setup
from migrator.campaign import Campaign, open_campaign
from migrator.core.errors import ConfigError, IntegrityError, KeyServiceError
from migrator.database import tables
from migrator.keyservices.local import LocalKeyService
from migrator.recipient_key import MLKEM768_X25519, X25519, RecipientPrivateKey
from tests.campaign_spec import NOW, campaign_spec

KEMS = (X25519, MLKEM768_X25519)


@pytest.fixture(params=KEMS)
def campaign(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Campaign]:
    """An open campaign, once with each kind of recipient key."""
    spec = campaign_spec(tmp_path, keys={"recipient_kem": request.param})
    setup.initialise(spec)
    with open_campaign(spec) as campaign:
        yield campaign


def _seal(kem: str, public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """A client's own way to seal, from the raw public key and the suite that the formats name."""
    if kem == X25519:
        suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        return suite.encrypt(plaintext, X25519PublicKey.from_public_bytes(public_key), info)
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    hybrid = hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_key[:1184]), X25519PublicKey.from_public_bytes(public_key[1184:])
    )
    return suite.encrypt(plaintext, hybrid, info)


def _unwrap(campaign: Campaign) -> tuple[recipient_key.RecipientKey, RecipientPrivateKey]:
    with campaign.database.read() as connection:
        key = recipient_key.current(connection)
        return key, recipient_key.unwrap(campaign, connection, key.recipient_key_id)


def _update(campaign: Campaign, **values: object) -> None:
    with campaign.database.write("test") as connection:
        connection.execute(tables.recipient_key.update().values(values))


def test_opens_what_a_client_seals(campaign: Campaign) -> None:
    """Sealed with the raw public key by the named suite, it opens with the same info."""
    key, private = _unwrap(campaign)
    assert len(key.public_key) == {X25519: 32, MLKEM768_X25519: 1184 + 32}[key.kem]
    sealed = _seal(key.kem, key.public_key, b"keys\n", b"migrator.export/1\0e\x000")
    assert private.open(sealed, b"migrator.export/1\0e\x000") == b"keys\n"


def test_info_is_bound(campaign: Campaign) -> None:
    """A part does not open as another part or another export."""
    key, private = _unwrap(campaign)
    sealed = _seal(key.kem, key.public_key, b"keys\n", b"migrator.export/1\0e\x000")
    for info in (b"migrator.export/1\0e\x001", b"migrator.export/1\0f\x000", b""):
        with pytest.raises(ValueError, match="does not unseal"):
            private.open(sealed, info)


def test_any_length_is_a_value_error(campaign: Campaign) -> None:
    """Empty, short, cut at any place around the encapsulated key, foreign: `ValueError`, never another."""
    key, private = _unwrap(campaign)
    sealed = _seal(key.kem, key.public_key, b"x", b"i")
    cuts = [0, 1, 15, 16, 31, 32, 33, 1087, 1088, 1119, 1120, 1121, len(sealed) - 17, len(sealed) - 1]
    for broken in [sealed[:cut] for cut in cuts if cut < len(sealed)] + [bytes(len(sealed)), b"\xff" * len(sealed)]:
        with pytest.raises(ValueError, match="does not unseal"):
            private.open(broken, b"i")


def test_id_can_be_checked_by_a_client(campaign: Campaign) -> None:
    """The id is the first 16 bytes of SHA-256(kem, NUL, public key)."""
    key, _ = _unwrap(campaign)
    digest = hashlib.sha256(key.kem.encode() + b"\0" + key.public_key).hexdigest()
    assert key.recipient_key_id == digest[:32]


def test_wrapped_under_its_context(campaign: Campaign) -> None:
    """The row names the service and the exact context, and holds nothing in the clear."""
    _, private = _unwrap(campaign)
    with campaign.database.read() as connection:
        row = connection.execute(sa.select(tables.recipient_key)).one()
    assert row.context == (
        f'{{"campaign":"c","purpose":"recipient-key","recipient_key_id":"{private.recipient_key_id}"}}'
    )
    service = campaign.key_services.named(row.key_service)
    raw = service.unwrap([(row.wrapped_private_key, row.context.encode())])[0]
    assert isinstance(raw, bytes)
    assert len(raw) == {X25519: 32, MLKEM768_X25519: 64 + 32}[row.kem]
    everything = b"".join(path.read_bytes() for path in campaign.spec.directory.iterdir() if path.is_file())
    assert raw[:32] not in everything
    assert raw[-32:] not in everything


def test_never_shown(campaign: Campaign) -> None:
    """G5: not by `repr`, not by pickle."""
    _, private = _unwrap(campaign)
    assert repr(private) == f"RecipientPrivateKey({private.recipient_key_id})"
    with pytest.raises(TypeError):
        pickle.dumps(private)


def test_destroyed(campaign: Campaign) -> None:
    """A destroyed key is no longer offered and never unwraps, but is still known by its id."""
    key, _ = _unwrap(campaign)
    _update(campaign, wrapped_private_key=None, destroyed_at="2026-09-01T00:00:00.000000Z")
    with campaign.database.read() as connection:
        known = recipient_key.get(connection, key.recipient_key_id)
        assert known is not None
        assert known.destroyed
        assert recipient_key.newest(connection) == known
        with pytest.raises(ConfigError, match="destroyed"):
            recipient_key.current(connection)
        with pytest.raises(IntegrityError, match="destroyed"):
            recipient_key.unwrap(campaign, connection, key.recipient_key_id)


def test_unknown_id(campaign: Campaign) -> None:
    """An id that this campaign never had."""
    with campaign.database.read() as connection:
        assert recipient_key.get(connection, "00" * 16) is None
        with pytest.raises(IntegrityError, match="no recipient key"):
            recipient_key.unwrap(campaign, connection, "00" * 16)


def test_altered_public_half_is_noticed(campaign: Campaign) -> None:
    """A thief of the database who swaps the public key, to have clients seal to him, is found out by the id."""
    key, _ = _unwrap(campaign)
    _update(campaign, public_key=bytes(len(key.public_key)))
    with campaign.database.read() as connection, pytest.raises(IntegrityError, match="altered"):
        recipient_key.unwrap(campaign, connection, key.recipient_key_id)


def test_altered_wrapping_is_refused(campaign: Campaign) -> None:
    """Bytes that the key service did not wrap for this key, and a service that is not configured."""
    key, _ = _unwrap(campaign)
    for change in ({"wrapped_private_key": bytes(80)}, {"key_service": "local:elsewhere#k"}):
        _update(campaign, **change)
        with campaign.database.read() as connection, pytest.raises(KeyServiceError):
            recipient_key.unwrap(campaign, connection, key.recipient_key_id)


def test_raw_key_of_another_length_is_refused() -> None:
    """What a key service hands back must be of the kind that the row names."""
    for kem, raw in ((X25519, bytes(96)), (MLKEM768_X25519, bytes(32)), (X25519, b""), ("P521", bytes(32))):
        with pytest.raises(IntegrityError):
            RecipientPrivateKey("id", kem, raw)


def test_unknown_kem_is_a_configuration_error(tmp_path: Path) -> None:
    """No key of an unknown kind is made."""
    LocalKeyService.create("keys", directory=tmp_path)
    with pytest.raises(ConfigError):
        recipient_key.create("c", LocalKeyService.open("keys", directory=tmp_path), "RSA", NOW)


@pytest.fixture(scope="module", params=KEMS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, bytes, RecipientPrivateKey]:
    """One key pair of each kind for the property below."""
    directory = tmp_path_factory.mktemp("pair")
    LocalKeyService.create("keys", directory=directory)
    service = LocalKeyService.open("keys", directory=directory)
    row = recipient_key.create("c", service, request.param, NOW)
    raw = service.unwrap([(row["wrapped_private_key"], row["context"].encode())])[0]
    assert isinstance(raw, bytes)
    return row["kem"], row["public_key"], RecipientPrivateKey(row["recipient_key_id"], row["kem"], raw)


@given(plaintext=st.binary(max_size=200), data=st.data())
def test_any_altered_bit_is_refused(
    pair: tuple[str, bytes, RecipientPrivateKey], plaintext: bytes, data: st.DataObject
) -> None:
    """One flipped bit of the encapsulated key, ciphertext or tag, and nothing unseals.

    The top bit of X25519's u-coordinate is masked in the agreement (RFC 7748, section 5) but not in HPKE's key
    schedule, which takes the encapsulated key as it is.
    """
    kem, public_key, private = pair
    sealed = bytearray(_seal(kem, public_key, plaintext, b"info"))
    assert private.open(bytes(sealed), b"info") == plaintext
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="does not unseal"):
        private.open(bytes(sealed), b"info")
