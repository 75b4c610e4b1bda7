"""The envelope of an attachment: Google Tink's streaming AEAD under a keyset of its own, wrapped by the data key.

Each blob has a fresh AES256_GCM_HKDF_1MB keyset, so sealing the same attachment again never repeats a nonce. The keyset
is stored as Tink's `EncryptedKeyset`, encrypted with the conversation's data key: no call of a key service more, any
Tink reads it (G12), and what destroys the data key destroys it too. Keyset and stream are bound to the same place (G9).

Streams are read and written in pieces; memory holds about a megabyte, Tink's segment. Tink reports a failing file as a
failing cipher, so errors of the files themselves are kept here, and raised as what they were.
"""

import hashlib
import io
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO, Final, Protocol, cast

import tink
from tink import aead, streaming_aead
from tink.core import TinkError

from migrator.core.envelope import DataKey, open_message, random_ivs, seal_message
from migrator.core.errors import IntegrityError

CHUNK: Final = 1024 * 1024
"""Bytes that are read at once; Tink's segment is as long."""


class Readable(Protocol):
    """Whatever bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many; none at the end."""
        ...


class Writable(Protocol):
    """Whatever bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """All of it."""
        ...


class StreamKey:
    """The streaming keyset of one blob; never shown, never pickled."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    def generate(cls) -> "StreamKey":
        """A fresh one."""
        _register()
        return cls(tink.new_keyset_handle(streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB))

    @classmethod
    def unwrap(cls, wrapped: bytes, key: DataKey, bound_to: bytes) -> "StreamKey":
        """The inverse of `wrap`; `IntegrityError` where it was altered or belongs elsewhere."""
        _register()
        try:
            return cls(tink.proto_keyset_format.parse_encrypted(wrapped, _TinkAead(key), bound_to))
        except TinkError:
            raise IntegrityError("an attachment's keyset was altered or is not where it was written") from None

    def wrap(self, key: DataKey, bound_to: bytes) -> bytes:
        """Tink's serialized `EncryptedKeyset`, under a conversation's data key."""
        wrapped: bytes = tink.proto_keyset_format.serialize_encrypted(self._handle, _TinkAead(key), bound_to)
        return wrapped

    def sealing(self, sink: "Sink", bound_to: bytes) -> BinaryIO:
        """A stream to write content to; closing it ends the ciphertext."""
        return cast(BinaryIO, self._primitive().new_encrypting_stream(sink, bound_to))

    def opened(self, sealed: Readable, bound_to: bytes) -> Iterator[bytes]:
        """The content, piece by piece, from a blob; `IntegrityError` where it was cut, altered or belongs elsewhere.

        An empty blob is one that was cut. Errors of reading the blob are raised as they are.
        """
        source = _Source(sealed)
        try:
            stream = self._primitive().new_decrypting_stream(source, bound_to)
            while piece := stream.read(CHUNK):
                yield piece
        except TinkError:
            if source.error is not None:
                raise source.error from None
            raise IntegrityError("a stored attachment was cut, altered or is not where it was written") from None

    def _primitive(self) -> streaming_aead.StreamingAead:
        return self._handle.primitive(streaming_aead.StreamingAead)

    def __repr__(self) -> str:
        return "StreamKey(…)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a stream's key does not leave its process")


class Sink(io.RawIOBase):
    """Where sealed bytes go: counts and hashes them on their way. Closing it leaves the file behind it open."""

    def __init__(self, file: Writable) -> None:
        super().__init__()
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """Let nothing through any more: a stream that nobody closes ends its ciphertext when it is collected."""
        self._abandoned = True

    def writable(self) -> bool:
        """It is for nothing else."""
        return True

    def write(self, data: Any) -> int:
        """All of it, or an error that is kept."""
        if self._abandoned:
            return len(data)
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def sha256(self) -> bytes:
        """Of all that was written."""
        return self._digest.digest()


class Hashed:
    """A blob whose bytes are counted and hashed as they are read."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or fewer."""
        data = self._file.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        """Read what is left."""
        while self.read(CHUNK):
            pass

    def sha256(self) -> bytes:
        """Of all that was read."""
        return self._digest.digest()


class _Source(io.RawIOBase):
    """A file that is read, whose error Tink does not swallow."""

    def __init__(self, file: Readable) -> None:
        super().__init__()
        self._file = file
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:
            self.error = error
            raise


class _TinkAead(aead.Aead):  # type: ignore[misc] # Tink ships no types
    """A data key as the AEAD that Tink wraps keysets with: the same bytes as a sealed message's."""

    def __init__(self, key: DataKey) -> None:
        self._key = key

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        return seal_message(self._key, random_ivs(1)[0], plaintext, associated_data)

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        try:
            return open_message(self._key, ciphertext, associated_data)
        except IntegrityError:
            raise TinkError("not under this data key") from None


@cache
def _register() -> None:
    """Once a process: Tink knows its key types only after that."""
    streaming_aead.register()
