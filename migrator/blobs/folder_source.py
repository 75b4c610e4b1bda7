"""Attachments of a source in a folder: a media store as its homeserver or platform keeps it.

A location is followed from the folder down, one open folder at a time and through no symbolic link that leads out of
it. What lies at its end must be a regular file: a pipe or a device would be read for ever.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from migrator.blobs.interface import BlobRefusal, parts_of
from migrator.core.attachments import AttachmentGap
from migrator.core.errors import BlobsUnavailableError
from migrator.core.streams import Readable

_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)
_ELSEWHERE: Final = (errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EXDEV)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class FolderSource:
    """A folder that is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._require_folder()

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "FolderSource":
        """`folder` or `file:folder`; `BlobsUnavailableError` where there is none."""
        return cls(directory / address.removeprefix("file:"))

    @contextmanager
    def reading(self, location: str) -> Iterator[Readable]:
        """A blob as a stream."""
        parts = parts_of(location)
        try:
            descriptor = self._open(parts)
        except OSError as error:
            raise self._refusal(error) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield _Reader(self, file)

    def delete(self, location: str) -> None:
        """Remove a blob for good, and the folders that are empty without it."""
        try:
            parts = parts_of(location)
            real = self._real(parts)
            if not stat.S_ISREG(os.lstat(self._root().joinpath(*real)).st_mode):
                return
            folder = self._descend(real[:-1])
        except BlobRefusal:
            return
        except OSError as error:
            if error.errno in (*_ABSENT, *_ELSEWHERE):
                return
            raise self.unavailable(error) from None
        try:
            os.unlink(real[-1], dir_fd=folder)
            os.fsync(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.unavailable(error) from None
        finally:
            os.close(folder)
        with suppress(OSError):
            for depth in range(len(real) - 1, 0, -1):
                self._root().joinpath(*real[:depth]).rmdir()

    def close(self) -> None:
        """Nothing is held."""

    def _open(self, parts: tuple[str, ...]) -> int:
        real = self._real(parts)
        folder = self._descend(real[:-1])
        try:
            return os.open(real[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)

    def _root(self) -> Path:
        return Path(os.path.realpath(self._folder))

    def _real(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """The same below the folder once links inside of it are followed; a link that leads out is refused."""
        root = self._root()
        real = Path(os.path.realpath(root.joinpath(*parts), strict=True))
        if not real.is_relative_to(root) or real == root:
            raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
        return real.relative_to(root).parts

    def _descend(self, folders: tuple[str, ...]) -> int:
        """An open descriptor of the innermost folder; links that were put in meanwhile are not followed."""
        folder = os.open(self._root(), _FOLDER)
        for name in folders:
            try:
                inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            finally:
                os.close(folder)
            folder = inner
        return folder

    def _refusal(self, error: OSError) -> Exception:
        if error.errno in _ELSEWHERE:
            return BlobRefusal(AttachmentGap.UNSAFE_PATH)
        if error.errno not in _ABSENT:
            return self.unavailable(error)
        self._require_folder()  # a media store that is not mounted has lost nothing
        return BlobRefusal(AttachmentGap.MISSING)

    def _require_folder(self) -> None:
        try:
            with os.scandir(self._folder) as entries:
                empty = next(entries, None) is None
        except OSError as error:
            raise self.unavailable(error) from None
        if empty:
            raise BlobsUnavailableError(
                f"the folder of the source's attachments, {self._folder}, is empty",
                hint="is it mounted? check source.media",
            )

    def unavailable(self, error: OSError) -> BlobsUnavailableError:
        """What the system says of the folder as a whole, or of a file that it can't read."""
        return BlobsUnavailableError(
            f"the source's attachments in {self._folder} can't be read: {error.strerror}",
            hint="check source.media and its permissions; then go on",
        )


class _Reader:
    """A file whose errors say that it is the source's."""

    def __init__(self, source: FolderSource, file: Any) -> None:
        self._source = source
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        try:
            return bytes(self._file.read(size))
        except OSError as error:
            raise self._source.unavailable(error) from None
