"""HashiCorp Vault's and OpenBao's transit engine: `vault:<address>/<mount>/<key>` (tested on OpenBao).

Options of an address, after `?` and separated by `&`: `token` (a reference; default `env:VAULT_TOKEN`), `namespace`,
`ca` (a PEM file), and for a signing key `version` (default 1). The key's versions are the server's; the newest one
wraps.

The key must be `derived`: the context of a data key goes into the derivation, and unlike associated data it is kept by
the server's own `rewrap`. A key that is not derived ignores the context without a word, so it is refused at opening.
Opening reads the key first, so that nothing is ever sent that would make one (`encrypt` with the capability `create`).

Measured on 2 busy cores, OpenBao 2.7.2 on loopback: 30,600 wraps a second in batches of 249, 324 one at a time; with
TLS, raft and an audit file 7,700 and 239.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

from migrator.core.errors import KeyProblem, KeyServiceError
from migrator.keyservices.interface import KeyRefusal, RefusalKind
from migrator.keyservices.vault_server import VaultAddress, VaultServer, soft_deleted

MAX_BATCH: Final = 249
"""Items in one request: the server takes 1,000 strings (`max_request_json_strings`), 249 items of two fields."""
MAX_SECRET_BYTES: Final = 64 * 1024
_BLOB: Final = re.compile(rb"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}\Z")
_NOT_OPENED: Final = KeyRefusal(
    RefusalKind.NOT_OPENED, "it was wrapped by another key, for another purpose, or was altered since"
)


@final
class VaultKeyService:
    """Wraps under a derived transit key, a batch at a time."""

    __slots__ = ("_address", "_server")

    def __init__(self, address: VaultAddress, server: VaultServer) -> None:
        self._address = address
        self._server = server

    @property
    def name(self) -> str:
        """`vault:<address>/<mount>/<key>`, and the namespace where there is one."""
        return self._address.name

    def answers_to(self, name: str) -> bool:
        """To its own name."""
        return name == self.name

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "VaultKeyService":
        """Look at the key; `KeyServiceError` if it is missing or not a derived key that encrypts."""
        parsed = VaultAddress.parse(address)
        server = VaultServer(parsed, directory)
        facts = server.get(f"keys/{parsed.key}")
        if facts.get("soft_deleted") is True:
            raise soft_deleted(parsed.name)
        if facts.get("derived") is not True or facts.get("supports_encryption") is not True:
            raise KeyServiceError(
                f"{parsed.name}: this is not a derived key for encryption: it would not bind data keys to their place",
                hint=f"bao write {parsed.mount}/keys/{parsed.key} type=aes256-gcm96 derived=true makes one that does",
            )
        return cls(parsed, server)

    @classmethod
    def create(cls, address: str, *, directory: Path) -> bool:  # noqa: ARG003 - the port's
        """False: a key on a server is made by those who run it."""
        VaultAddress.parse(address)
        return False

    @classmethod
    def open_signer(cls, address: str, *, directory: Path) -> "VaultSigner":
        """An Ed25519 key of the engine, as one version of it signs."""
        return VaultSigner.open(VaultAddress.parse(address), directory)

    def wrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Wrap (secret, context) pairs under the key's newest version."""
        fits = [(secret, context) if len(secret) <= MAX_SECRET_BYTES and context else None for secret, context in items]
        refusal = KeyRefusal(RefusalKind.TOO_LARGE, f"it has more than {MAX_SECRET_BYTES} bytes, or no context")
        return self._batched("encrypt", "plaintext", "ciphertext", fits, refusal)

    def unwrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap (wrapped, context) pairs."""
        answers = self._batched("decrypt", "ciphertext", "plaintext", _blobs(items), _NOT_OPENED)
        return [answer if isinstance(answer, KeyRefusal) else self._decoded(answer) for answer in answers]

    def rewrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Bring (wrapped, context) pairs under the newest version; nothing leaves the server."""
        return self._batched("rewrap", "ciphertext", "ciphertext", _blobs(items), _NOT_OPENED)

    def version(self, wrapped: bytes) -> str:
        """The number of the key's version, from the blob's prefix."""
        match = _BLOB.match(wrapped)
        return "" if match is None else match[1].decode()

    def _batched(
        self,
        operation: str,
        given: str,
        wanted: str,
        items: Sequence[tuple[bytes, bytes] | None],
        unsent: KeyRefusal,
    ) -> list[bytes | KeyRefusal]:
        """`items` that are None are not sent: `unsent` stands in their place."""
        results: list[bytes | KeyRefusal] = [unsent] * len(items)
        for chunk in _chunks([(index, item) for index, item in enumerate(items) if item is not None]):
            batch = [
                {given: value.decode() if given == "ciphertext" else _base64(value), "context": _base64(context)}
                for _, (value, context) in chunk
            ]
            data = self._server.post(f"{operation}/{self._address.key}", {"batch_input": batch})
            answers = data.get("batch_results")
            if not isinstance(answers, list) or len(answers) != len(chunk):
                raise self._no_answer(operation)
            for (index, _), answer in zip(chunk, answers, strict=True):
                results[index] = self._result(operation, answer, wanted)
        return results

    def _result(self, operation: str, answer: object, wanted: str) -> bytes | KeyRefusal:
        if isinstance(answer, dict):
            said, value = answer.get("error"), answer.get(wanted)
            if said and "soft-deleted" in str(said):
                raise soft_deleted(self.name)
            if said:
                return _refusal(str(said))
            if isinstance(value, str) and value.isascii() and (wanted == "plaintext" or _BLOB.match(value.encode())):
                return value.encode()
        raise self._no_answer(operation)

    def _decoded(self, answer: bytes) -> bytes:
        with suppress(binascii.Error):
            return base64.b64decode(answer, validate=True)
        raise self._no_answer("decrypt")

    def _no_answer(self, operation: str) -> KeyServiceError:
        return KeyServiceError(f"{self.name}: the server's answer to {operation} is none", hint="check its version")

    def __repr__(self) -> str:
        return f"VaultKeyService({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key service does not leave its process")


@final
class VaultSigner:
    """One version of an Ed25519 transit key. A log keeps its key for life, so rotating the key changes nothing here."""

    __slots__ = ("_address", "_public_key", "_server", "_version")

    def __init__(self, address: VaultAddress, server: VaultServer, version: int, public_key: bytes) -> None:
        self._address = address
        self._server = server
        self._version = version
        self._public_key = public_key

    @classmethod
    def open(cls, address: VaultAddress, directory: Path) -> "VaultSigner":
        """Read the public key; `KeyServiceError` if it is missing, derived, or no Ed25519 key."""
        server = VaultServer(address, directory)
        facts = server.get(f"keys/{address.key}")
        version = address.version or 1
        versions = facts.get("keys")
        held: Any = versions.get(str(version)) if isinstance(versions, dict) else None
        text = held.get("public_key") if isinstance(held, dict) else None
        if facts.get("type") != "ed25519" or facts.get("derived") is True or not isinstance(text, str):
            raise KeyServiceError(
                f"{address.name}: this is no Ed25519 key that signs as version {version}",
                problem=KeyProblem.UNKNOWN_KEY if facts.get("type") == "ed25519" else KeyProblem.MISCONFIGURED,
                hint=f"bao write {address.mount}/keys/{address.key} type=ed25519 makes one; ?version=N names another",
            )
        return cls(address, server, version, _unbase64(text, 32, address))

    @property
    def public_key(self) -> bytes:
        """The raw public key of that version."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The signature over a message."""
        body = {"input": _base64(message), "key_version": self._version}
        signature = str(self._server.post(f"sign/{self._address.key}", body).get("signature"))
        return _unbase64(signature.removeprefix(f"vault:v{self._version}:"), 64, self._address)

    def __repr__(self) -> str:
        return f"VaultSigner({self._address.name}, version {self._version})"


def _blobs(items: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes] | None]:
    """Without those that no transit engine made: one of them would make the server refuse the whole request."""
    return [(wrapped, context) if context and _BLOB.match(wrapped) else None for wrapped, context in items]


def _chunks(items: list[tuple[int, tuple[bytes, bytes]]]) -> Iterator[list[tuple[int, tuple[bytes, bytes]]]]:
    for start in range(0, len(items), MAX_BATCH):
        yield items[start : start + MAX_BATCH]


def _refusal(said: str) -> KeyRefusal:
    """What the server says of one item, in the port's words; its own are not repeated."""
    if "disallowed by policy" in said:
        return KeyRefusal(RefusalKind.DISABLED, "the key's version that wrapped it is below min_decryption_version")
    if "version is too new" in said or "not found" in said or "no key" in said:
        return KeyRefusal(RefusalKind.UNKNOWN_KEY, "the key has no such version")
    return _NOT_OPENED


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(text: str, length: int, address: VaultAddress) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length:
        raise KeyServiceError(f"{address.name}: the server's answer is not that of an Ed25519 key")
    return data
