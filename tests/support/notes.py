"""Signed notes as tests make them: by a private key, whatever stands in them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.core import notes


def signed(body: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """A note with one signature."""
    return notes.sign_note(body, notes.verifier(name, key.public_key()), key.sign)
