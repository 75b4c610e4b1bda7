"""Blobs in an object store that fsspec knows: attachments of a source, or sealed ones.

An address is an fsspec URL with a prefix, `s3://bucket/prefix`; credentials and endpoints are those of the store's own
client (for S3: environment, configuration files, instance role). Blobs are read and uploaded in blocks of 8 MiB; an
object appears when its upload is complete, and an upload that fails is taken back.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from migrator.blobs.interface import BLOB_NAME, BlobRefusal, parts_of
from migrator.core.attachments import AttachmentGap
from migrator.core.errors import BlobsUnavailableError, ConfigError
from migrator.core.streams import Readable, Writable

T = TypeVar("T")

BLOCK: Final = 8 * 1024 * 1024
"""Bytes that are buffered and sent at once; S3 admits 10,000 parts, so 78 GiB an object."""
_AT_ONCE: Final = 1000
"""Objects that are listed or removed with one request."""


class _Bucket:
    """A prefix in an object store. Errors of the client become ours here; they may hold credentials."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files, self._prefix = _file_system(self.address)

    def guarded(self, what: str, action: Callable[[], T]) -> T:
        """What `action` returns; `FileNotFoundError` is let through."""
        kind = ""
        try:
            return action()
        except (FileNotFoundError, BlobRefusal):
            raise
        except Exception as error:  # noqa: BLE001 - each client has errors of its own, and some keep the request
            kind = type(error).__name__
        raise BlobsUnavailableError(
            f"{self.address} can't be {what} ({kind})", hint="check the address, its credentials and the service"
        )

    def reading(self, key: str) -> "_Reader":
        """An object as a stream."""
        opened = self.guarded("read", lambda: self._files.open(f"{self._prefix}/{key}", "rb", block_size=BLOCK))
        return _Reader(self, opened)

    @contextmanager
    def writing(self, key: str) -> Iterator[Writable]:
        """A stream whose object appears when the block ends."""
        path = f"{self._prefix}/{key}"
        file = self.guarded("written", lambda: self._files.open(path, "wb", block_size=BLOCK))
        try:
            yield _Writer(self, file)
            self.guarded("written", file.close)
        except FileNotFoundError:
            _discard(file)
            raise self.gone() from None
        except BaseException:
            _discard(file)
            raise

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone are no error."""
        for start in range(0, len(keys), _AT_ONCE):
            paths = [f"{self._prefix}/{key}" for key in keys[start : start + _AT_ONCE]]
            try:
                self.guarded("written", lambda paths=paths: self._files.rm(paths))  # type: ignore[misc] # bound early
            except FileNotFoundError:
                self._one_by_one(paths)

    def folder(self, key: str) -> list[str]:
        """The names right below a prefix, in order."""
        path = f"{self._prefix}/{key}".rstrip("/")
        try:
            found = self.guarded("listed", lambda: self._files.ls(path, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def require(self) -> None:
        """Raise unless the store answers."""
        try:
            self.guarded("listed", lambda: self._files.ls(self._prefix.partition("/")[0], refresh=True))
        except FileNotFoundError:
            raise self.gone() from None

    def gone(self) -> BlobsUnavailableError:
        """There is no such bucket."""
        return BlobsUnavailableError(f"there is no {self.address}", hint="check the name of the bucket")

    def delete_one(self, key: str) -> None:
        """Remove one object whose key is somebody else's: a key with `*` in it is no pattern here."""
        self._one_by_one([f"{self._prefix}/{key}"])

    def _one_by_one(self, paths: Sequence[str]) -> None:
        for path in paths:
            try:
                self.guarded("written", lambda path=path: self._files.rm_file(path))  # type: ignore[misc] # bound early
            except FileNotFoundError:
                continue


class ObjectSource:
    """Attachments of a source below a URL. A location is relative to it, or the whole URL."""

    def __init__(self, bucket: _Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "ObjectSource":  # noqa: ARG003 - a URL is relative to nothing
        """Open by URL; `BlobsUnavailableError` where nothing answers."""
        bucket = _Bucket(address)
        bucket.require()
        return cls(bucket)

    @contextmanager
    def reading(self, location: str) -> Iterator[Readable]:
        """A blob as a stream."""
        key = self._key(location)
        try:
            file = self._bucket.reading(key)
        except FileNotFoundError:
            self._bucket.require()
            raise BlobRefusal(AttachmentGap.MISSING) from None
        try:
            yield file
        finally:
            file.close()

    def delete(self, location: str) -> None:
        """Remove a blob for good."""
        try:
            key = self._key(location)
        except BlobRefusal:
            return
        self._bucket.delete_one(key)

    def close(self) -> None:
        """The client closes itself."""

    def _key(self, location: str) -> str:
        """Clients of HTTP decode `%2e` before they follow `..`: what climbs once it is decoded climbs."""
        key = location.removeprefix(f"{self._bucket.address}/")
        if ".." in unquote(key).split("/"):
            raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
        return "/".join(parts_of(key))


class ObjectStore:
    """Sealed blobs below a URL: `ab/abcd…`, so that listing them takes few requests and little memory."""

    def __init__(self, bucket: _Bucket) -> None:
        self._bucket = bucket

    @property
    def name(self) -> str:
        """The address."""
        return self._bucket.address

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "ObjectStore":  # noqa: ARG003 - a URL is relative to nothing
        """Open by URL; whether anything answers shows with the first blob."""
        return cls(_Bucket(address))

    @contextmanager
    def writing(self, name: str) -> Iterator[Writable]:
        """A stream to write a blob to."""
        with self._bucket.writing(_key(name)) as file:
            yield file

    @contextmanager
    def reading(self, name: str) -> Iterator[Readable]:
        """A blob as a stream."""
        try:
            file = self._bucket.reading(_key(name))
        except FileNotFoundError:
            self._bucket.require()
            raise BlobRefusal(AttachmentGap.MISSING) from None
        try:
            yield file
        finally:
            file.close()

    def delete(self, names: Sequence[str]) -> None:
        """Remove blobs."""
        self._bucket.delete([_key(name) for name in names])

    def names(self) -> Iterator[str]:
        """The names of all blobs: memory holds those of one folder."""
        for outer in self._bucket.folder(""):
            for name in self._bucket.folder(outer) if len(outer) == 2 else ():
                if BLOB_NAME.match(name) and name.startswith(outer):
                    yield name

    def close(self) -> None:
        """The client closes itself."""


class _Reader:
    """A file of the client's whose errors become ours."""

    def __init__(self, bucket: _Bucket, file: Any) -> None:
        self._bucket = bucket
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._bucket.guarded("read", lambda: self._file.read(size))
        return data

    def close(self) -> None:
        self._file.close()


class _Writer:
    """The same for writing."""

    def __init__(self, bucket: _Bucket, file: Any) -> None:
        self._bucket = bucket
        self._file = file

    def write(self, data: bytes, /) -> int:
        return self._bucket.guarded("written", lambda: int(self._file.write(data)))


def _key(name: str) -> str:
    if not BLOB_NAME.match(name):
        raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
    return f"{name[:2]}/{name}"


def _discard(file: Any) -> None:
    """Take an upload back. Closing, also by the garbage collector, would complete it."""
    try:
        file.discard()
    except Exception:  # noqa: BLE001, S110 - what can't be taken back is a stray; why it began to fail is raised
        pass
    finally:
        file.forced = file.closed = True


def _file_system(address: str) -> tuple[Any, str]:
    """The client for a URL and the URL without its scheme."""
    try:
        import fsspec

        files, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError:
        raise ConfigError(
            f"attachments at {address.partition('://')[0]}:// need a package that is not installed",
            hint="pip install 'migrator[s3]' for s3://; other stores have packages of their own (fsspec)",
        ) from None
    except ValueError:
        raise ConfigError(
            f"fsspec knows no {address.partition('://')[0]}://", hint="file:FOLDER, s3://bucket/prefix"
        ) from None
    return files, str(path).rstrip("/")
