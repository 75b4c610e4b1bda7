"""The local key service: `local:DIR#NAME`, a Tink AES256_GCM keyset in `DIR/NAME.json` (formats, section 5).

For rehearsals and small installations: whoever reads the disk reads the keys. The context is the associated data.
A keyset that Tink's own tools have rotated works too: the primary key wraps, every enabled key unwraps. Each call looks
whether the file has changed, so that a rotation takes effect at once, also in a run that is at work.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import tink
from tink import KeysetHandle, aead, json_proto_keyset_format, secret_key_access
from tink.proto import tink_pb2

from migrator.core.encoding import strict_json
from migrator.core.errors import KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices.interface import KeyRefusal, RefusalKind, rewrap_in_memory
from migrator.private_files import PrivateFileError, create_private, read_private, require_private_folder

MAX_KEYSET_BYTES: Final = 64 * 1024
_DEFAULT_NAME: Final = "migrator"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_TYPE_URL: Final = "type.googleapis.com/google.crypto.tink.AesGcmKey"
_JSON_DEPTH: Final = 8
_MISSING: Final = (
    "check keys.service; `migrator init` makes the key of a new campaign, a lost key comes back from a backup only"
)


@final
class LocalKeyService:
    """Wraps under a keyset that this process has read from a private file."""

    __slots__ = ("_aead", "_name", "_path", "_seen", "_versions")

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._read()

    def _read(self) -> None:
        """Take the keyset from its file; `KeyServiceError` if it can't be used."""
        self._seen = _look_of(self._path)
        try:
            require_private_folder(self._path.parent)
            serialized = read_private(self._path, max_bytes=MAX_KEYSET_BYTES)
        except PrivateFileError as error:
            hint = _MISSING if error.missing else error.hint
            problem = KeyProblem.UNKNOWN_KEY if error.missing else KeyProblem.MISCONFIGURED
            raise KeyServiceError(f"the local key can't be used: {error.message}", problem=problem, hint=hint) from None
        handle = _keyset(serialized, self._path)
        self._aead = handle.primitive(aead.Aead)
        self._versions = {
            b"\x01" + key.key_id.to_bytes(4, "big"): str(key.key_id)
            for key in handle.keyset_info().key_info
            if key.output_prefix_type == tink_pb2.TINK
        }

    @property
    def name(self) -> str:
        """`local:DIR#NAME`, DIR as it is configured: moving the whole campaign folder orphans nothing."""
        return self._name

    def answers_to(self, name: str) -> bool:
        """To its own name."""
        return name == self.name

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "LocalKeyService":
        """Read the keyset; `KeyServiceError` if it is missing, open to others, or not an AES-GCM keyset of Tink's."""
        folder, name = _parse(address)
        return cls(f"local:{folder}#{name}", directory / folder / f"{name}.json")

    @classmethod
    def create(cls, address: str, *, directory: Path) -> bool:
        """Make folder (mode 0700) and keyset (0600); False if the keyset is there. Never overwrites."""
        folder, name = _parse(address)
        path = directory / folder / f"{name}.json"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KeyServiceError(f"the folder {path.parent} can't be made: {error.strerror}") from None
        try:
            require_private_folder(path.parent)
            return create_private(path, _new_keyset())
        except PrivateFileError as error:
            raise KeyServiceError(f"the local key can't be made: {error.message}", hint=error.hint) from None

    def wrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Wrap (secret, context) pairs."""
        self._refresh()
        return [self._aead.encrypt(secret, context) for secret, context in items]

    def unwrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap (wrapped, context) pairs."""
        self._refresh()
        return [self._unwrap_one(wrapped, context) for wrapped, context in items]

    def rewrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Bring (wrapped, context) pairs under the primary key."""
        return rewrap_in_memory(self, items)

    def version(self, wrapped: bytes) -> str:
        """The id of the key in the keyset, from the prefix of Tink's wire format."""
        return self._versions.get(wrapped[:5], "")

    def _refresh(self) -> None:
        """Read the file again if it has changed; one that can't be read may be in the middle of being written."""
        if _look_of(self._path) != self._seen:
            try:
                self._read()
            except KeyServiceError as error:
                self._seen = None
                raise KeyServiceUnavailableError(error.message, hint=error.hint) from None

    def _unwrap_one(self, wrapped: bytes, context: bytes) -> bytes | KeyRefusal:
        try:
            secret: bytes = self._aead.decrypt(wrapped, context)
        except tink.TinkError:
            return KeyRefusal(
                RefusalKind.NOT_OPENED, "it was wrapped by another key, for another purpose, or was altered since"
            )
        return secret

    def __repr__(self) -> str:
        return f"LocalKeyService({self._name})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key service does not leave its process")


def _parse(address: str) -> tuple[str, str]:
    """Folder (normalised, relative or absolute) and name of an address."""
    folder, separator, name = address.rpartition("#") if "#" in address else (address, "", _DEFAULT_NAME)
    if not folder or "\0" in folder:
        raise KeyServiceError("a local key service needs a folder", hint="for example local:keys#migrator")
    if not _NAME.match(name) or (separator and not name):
        raise KeyServiceError(
            f"local:{address} has no usable key name",
            hint="a name has 1 to 100 of letters, digits, '.', '_' and '-', and begins with a letter or digit",
        )
    return str(Path(folder)), name


def _look_of(path: Path) -> tuple[int, ...] | None:
    """What changes whenever a file is written or replaced; None where it can't be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _new_keyset() -> bytes:
    aead.register()
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    serialized: str = json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    return serialized.encode()


def _keyset(serialized: bytes, path: Path) -> KeysetHandle:
    """Tink's own reading of the file; its messages are dropped, for they may quote what they could not parse."""
    aead.register()
    try:
        strict_json(serialized, max_depth=_JSON_DEPTH)
        handle = json_proto_keyset_format.parse(serialized.decode(), secret_key_access.TOKEN)
        if all(key.type_url == _TYPE_URL for key in handle.keyset_info().key_info):
            handle.primitive(aead.Aead)  # a keyset without an enabled key has none
            return handle
    except (tink.TinkError, ValueError):
        pass
    raise KeyServiceError(
        f"{path} is not an AES-GCM keyset in Tink's JSON format",
        hint="it is damaged or not a key of migrator's; restore it from a backup",
    )
