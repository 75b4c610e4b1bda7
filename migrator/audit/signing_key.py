"""The audit log's Ed25519 key, named by `audit.signing_key`: in a file, or where a key service signs with it.

`file:PATH` is a file of mode 0600 in PEM (PKCS #8, RFC 8410). Anything else is the address of a key in a key service
that offers signers; such a key is made by those who run the service, never here.
"""

import os
from pathlib import Path
from typing import Final, final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from migrator import plugins
from migrator.core.errors import ConfigError
from migrator.keyservices.interface import Signer
from migrator.private_files import PrivateFileError, create_private
from migrator.secrets import resolve

_FILE: Final = "file:"


@final
class FileSigner:
    """A signer whose key is in this process."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> bytes:
        """The raw public key."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature over a message."""
        return self._key.sign(message)


def name(reference: str, directory: Path) -> str:
    """The key as people are told about it: a path, or the address in the key service."""
    return str(_path(reference, directory)) if reference.startswith(_FILE) else reference


def missing(reference: str, directory: Path) -> bool:
    """Whether it is a file and nothing has that name, usable or not. What a service holds is asked for by `load`."""
    return reference.startswith(_FILE) and not os.path.lexists(_path(reference, directory))


def create(reference: str, directory: Path) -> bool:
    """Make a fresh key in a file; False, and nothing done, if the file is there or a service holds the key."""
    if not reference.startswith(_FILE):
        return False
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        return create_private(_path(reference, directory), pem)
    except PrivateFileError as error:
        raise ConfigError(f"audit.signing_key: {error.message}", hint=error.hint) from None


def load(reference: str, directory: Path) -> Signer:
    """The key, ready to sign. `ConfigError` if a file is missing, open to others or no such key.

    A key service raises `KeyServiceError` and `KeyServiceUnavailableError`.
    """
    if not reference.startswith(_FILE):
        return plugins.open_signer(reference, directory)
    path = _path(reference, directory)
    try:
        key = load_pem_private_key(resolve(reference, directory).reveal(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"audit.signing_key: {path} is not an Ed25519 private key in PEM (PKCS #8, without a password)",
            hint="restore it from a backup, or name another file for a new campaign",
        )
    return FileSigner(key)


def _path(reference: str, directory: Path) -> Path:
    path = reference.removeprefix(_FILE)
    if not path:
        raise ConfigError("audit.signing_key does not name a file", hint='for example "file:audit.key"')
    return directory / path
