"""Sealing to a recipient key, of both kinds."""

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from migrator.client.sealing import Recipient
from tests.client.recipients import KEMS, RecipientPair


@pytest.mark.parametrize("kem", KEMS)
def test_what_is_sealed_opens(kem: str) -> None:
    """The holder of the private key opens it with the same info, and with no other."""
    pair = RecipientPair(kem)
    sealed = pair.recipient.seal(b"content", b"info")
    assert pair.open(sealed, b"info") == b"content"
    with pytest.raises(InvalidTag):
        pair.open(sealed, b"other info")


@pytest.mark.parametrize("kem", KEMS)
def test_overhead_is_exact(kem: str) -> None:
    """The encapsulated key and the tag are all that sealing adds."""
    recipient = RecipientPair(kem).recipient
    assert len(recipient.seal(bytes(1000), b"")) == 1000 + recipient.overhead


@pytest.mark.parametrize(("kem", "size"), [("X25519", 32), ("MLKEM768_X25519", 1184 + 32)])
def test_raw_public_key_has_its_size(kem: str, size: int) -> None:
    """The raw public keys are as long as the format says, and one byte less is refused."""
    recipient = RecipientPair(kem).recipient
    assert len(recipient.public_key) == size
    shorter = Recipient(recipient_key_id="rk", kem=kem, public_key=recipient.public_key[:-1])
    with pytest.raises(ValueError, match=r"public key"):
        shorter.seal(b"", b"")


def test_unknown_kem_is_refused() -> None:
    """A kind of key that this client does not know is an error, not a guess."""
    with pytest.raises(ValueError, match="does not know"):
        Recipient(recipient_key_id="rk", kem="P256", public_key=bytes(32)).seal(b"", b"")


def test_kems_are_those_of_the_format() -> None:
    """The suites are those that the format names, by their numbers in the registries."""
    assert set(KEMS) == {"X25519", "MLKEM768_X25519"}
    assert hpke.KEM.X25519.enc_length() == 32
    assert hpke.KEM.MLKEM768_X25519.enc_length() == 1088 + 32
