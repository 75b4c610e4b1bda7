"""The audit log's Ed25519 key: a file of mode 0600 in PEM (PKCS #8, RFC 8410), named by `audit.signing_key`."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from migrator.core.errors import ConfigError
from migrator.private_files import PrivateFileError, create_private
from migrator.secrets import resolve


def path_of(reference: str, directory: Path) -> Path:
    """Where `file:PATH` lies; `ConfigError` for any other kind of reference."""
    kind, _, rest = reference.partition(":")
    if kind != "file" or not rest:
        raise ConfigError("audit.signing_key does not name a file", hint='for example "file:audit.key"')
    return directory / rest


def exists(reference: str, directory: Path) -> bool:
    """Whether something has that name, usable or not."""
    return os.path.lexists(path_of(reference, directory))


def create(reference: str, directory: Path) -> bool:
    """Make a fresh key; False, and nothing done, if the file is there."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        return create_private(path_of(reference, directory), pem)
    except PrivateFileError as error:
        raise ConfigError(f"audit.signing_key: {error.message}", hint=error.hint) from None


def load(reference: str, directory: Path) -> Ed25519PrivateKey:
    """Read the key; `ConfigError` if it is missing, open to others or no such key."""
    path = path_of(reference, directory)
    try:
        key = load_pem_private_key(resolve(reference, directory).reveal(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"audit.signing_key: {path} is not an Ed25519 private key in PEM (PKCS #8, without a password)",
            hint="restore it from a backup, or name another file for a new campaign",
        )
    return key
