"""An in-house key service in one class, as somebody outside migrator's repository writes it.

Its package names it under the entry points `migrator.key_services`; `keys.service = "inhouse:FILE"` then uses it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from migrator.core.errors import KeyProblem, KeyServiceError
from migrator.keyservices.interface import KeyRefusal, RefusalKind, rewrap_in_memory


class InHouseKeyService:
    """AES-GCM under a key in a file, with the context as associated data."""

    def __init__(self, name: str, key: bytes) -> None:
        self._name = name
        self._aead = AESGCM(key)

    @property
    def name(self) -> str:
        """`inhouse:FILE`."""
        return self._name

    def answers_to(self, name: str) -> bool:
        """To its own name."""
        return name == self.name

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "InHouseKeyService":
        """Read the key."""
        try:
            key = (directory / address).read_bytes()
        except OSError:
            key = None
        if key is None:
            raise KeyServiceError(
                f"inhouse:{address}: there is no such key", problem=KeyProblem.UNKNOWN_KEY, hint="ask the key team"
            )
        return cls(f"inhouse:{address}", key)

    @classmethod
    def create(cls, address: str, *, directory: Path) -> bool:  # noqa: ARG003 - the port's
        """The key team makes keys."""
        return False

    def wrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Wrap."""
        nonces = [os.urandom(12) for _ in items]
        return [n + self._aead.encrypt(n, secret, context) for n, (secret, context) in zip(nonces, items, strict=True)]

    def unwrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap."""
        return [self._unwrap_one(wrapped, context) for wrapped, context in items]

    def rewrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap and wrap."""
        return rewrap_in_memory(self, items)

    def version(self, wrapped: bytes) -> str:
        """There is one."""
        return ""

    def _unwrap_one(self, wrapped: bytes, context: bytes) -> bytes | KeyRefusal:
        try:
            return self._aead.decrypt(wrapped[:12], wrapped[12:], context)
        except (InvalidTag, ValueError):
            return KeyRefusal(RefusalKind.NOT_OPENED, "another key or context, or altered")

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key service does not leave its process")
