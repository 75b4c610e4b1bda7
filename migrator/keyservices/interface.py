"""The port to a key service (KMS): wraps data keys, and may sign as well."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable


class RefusalKind(StrEnum):
    """Why a service refuses one blob while it serves others (closed)."""

    NOT_OPENED = "not_opened"
    """Another context, another key, or altered since: services don't tell these apart."""
    TOO_LARGE = "too_large"
    UNKNOWN_KEY = "unknown_key"
    """The key, or the version of it, that wrapped this blob is gone."""
    DISABLED = "disabled"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """The service answered, and the answer for this one blob is no. `detail` is for people and holds no secret."""

    kind: RefusalKind
    detail: str


class KeyService(Protocol):
    """Wraps small secrets under a key that never leaves it, bound to a context (associated data).

    Batches, so that a service may overlap or combine its calls; answers stand where their items stood. Every call
    raises `KeyServiceUnavailableError` where another try may help later and `KeyServiceError` where none will, both
    saying which; a refusal that concerns one item is a `KeyRefusal` in its place.
    """

    @property
    def name(self) -> str:
        """The key in full (ARN, mount and key, folder and name), recorded beside each wrapped key."""
        ...

    def answers_to(self, name: str) -> bool:
        """Whether it unwraps what the service of that name wrapped: its own name, or that of a replica of its key."""
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
        """Wrap (secret, context) pairs under the newest version of the key."""
        ...

    def unwrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap (wrapped, context) pairs, under whichever version of the key."""
        ...

    def rewrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Bring (wrapped, context) pairs under the newest version of the key, inside the service where it can.

        The result unwraps to the same secret under the same context. What is under the newest version already may come
        back as it was.
        """
        ...

    def version(self, wrapped: bytes) -> str:
        """Which version of the key wrapped a blob, as far as the blob tells; empty where it does not. Asks nobody."""
        ...


class Signer(Protocol):
    """An Ed25519 key that signs where it lies. Raises like `KeyService`; what it signs is public."""

    @property
    def public_key(self) -> bytes:
        """The raw public key (32 bytes, RFC 8032)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature (64 bytes) over a message, not over a digest of it."""
        ...


@runtime_checkable
class OffersSigners(Protocol):
    """What a key service's class has besides if its keys can sign the audit log."""

    def open_signer(self, address: str, *, directory: Path) -> Signer:
        """Open a signing key by what follows `kind:` in its address, a class method like `KeyService.open`."""
        ...


def rewrap_in_memory(service: KeyService, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
    """`KeyService.rewrap` for services that can't do it inside: unwraps and wraps again in this process."""
    answers = service.unwrap(items)
    opened = [
        (index, secret, items[index][1]) for index, secret in enumerate(answers) if not isinstance(secret, KeyRefusal)
    ]
    wrapped = service.wrap([(secret, context) for _, secret, context in opened])
    for (index, _, _), answer in zip(opened, wrapped, strict=True):
        answers[index] = answer
    return answers
