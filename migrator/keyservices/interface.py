"""The port to a key service (KMS)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """The service answered, and the answer for this one blob is no: wrong context, altered, disabled key."""

    detail: str


class KeyService(Protocol):
    """Wraps small secrets under a key that never leaves it, bound to a context (associated data).

    Batches, so that a service may overlap or combine its calls. Raises `KeyServiceUnavailableError` where another try
    may help and `KeyServiceError` where none will; a refusal of one item is a `KeyRefusal` in its place.
    """

    @property
    def name(self) -> str:
        """The key in full (ARN, mount and key, folder and name), recorded beside each wrapped key."""
        ...

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "KeyService":
        """Open by what follows `kind:` in its address; relative paths are below `directory`. Creates nothing."""
        ...

    @classmethod
    def create(cls, address: str, *, directory: Path) -> bool:
        """Make the key that the address names, for `migrator init`; False if it was there, or can't be made here."""
        ...

    def wrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Wrap (secret, context) pairs."""
        ...

    def unwrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap (wrapped, context) pairs."""
        ...
