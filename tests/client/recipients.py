"""Recipient key pairs for tests: the campaign's side of sealing, from `cryptography` alone."""

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from migrator.client.sealing import Recipient

KEMS = ("X25519", "MLKEM768_X25519")


class RecipientPair:
    """A key pair, always the same one of its kind."""

    def __init__(self, kem: str) -> None:
        x25519 = X25519PrivateKey.from_private_bytes(b"\x05" * 32)
        public_key = x25519.public_key().public_bytes_raw()
        self._private: X25519PrivateKey | hpke.MLKEM768X25519PrivateKey = x25519
        suite_kem = hpke.KEM.X25519
        if kem == "MLKEM768_X25519":
            mlkem = MLKEM768PrivateKey.from_seed_bytes(b"\x06" * 64)
            self._private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            public_key = mlkem.public_key().public_bytes_raw() + public_key
            suite_kem = hpke.KEM.MLKEM768_X25519
        self._suite = hpke.Suite(suite_kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        self.recipient = Recipient(recipient_key_id="rk", kem=kem, public_key=public_key)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Unseal, or raise `InvalidTag`."""
        return self._suite.decrypt(sealed, self._private, info)
