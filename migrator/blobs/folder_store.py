"""Sealed blobs in a folder: `ab/cd/abcd…`, readable by its owner only.

A blob is written under a temporary name, reaches the disk, and then takes its name; so it is there whole or not at all.
Temporary files of writers that were killed lie in `partial/`, and are cleared away by whoever lists the store.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from migrator.blobs.interface import BLOB_NAME, BlobRefusal
from migrator.core.attachments import AttachmentGap
from migrator.core.errors import BlobsUnavailableError
from migrator.core.streams import Readable, Writable
from migrator.private_files import sync_folder

_PARTIAL: Final = "partial"
_ABANDONED_SECONDS: Final = 24 * 3600.0
"""A temporary file that nothing was written to for so long has no writer any more."""


class FolderStore:
    """A folder of sealed blobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: set[Path] = set()
        """Folders that are known to be there: 65,536 at most."""

    @property
    def name(self) -> str:
        """The address."""
        return f"file:{self._folder}"

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "FolderStore":
        """`file:folder`; it is made, for its owner only, when the first blob is written."""
        return cls(directory / address.removeprefix("file:"))

    @contextmanager
    def writing(self, name: str) -> Iterator[Writable]:
        """A stream to write a blob to."""
        path = self._path(name)
        temporary = self._folder / _PARTIAL / f"{name}.{secrets.token_hex(4)}"
        try:
            self._make(temporary.parent)
            self._make(path.parent)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        except OSError as error:
            raise self._unavailable(error) from None

    @contextmanager
    def reading(self, name: str) -> Iterator[Readable]:
        """A blob as a stream."""
        try:
            file = self._path(name).open("rb", buffering=0)
        except FileNotFoundError:
            if not self._folder.is_dir():
                raise BlobsUnavailableError(
                    f"there is no folder {self._folder}", hint="is it mounted? check attachments.target"
                ) from None
            raise BlobRefusal(AttachmentGap.MISSING) from None
        except OSError as error:
            raise self._unavailable(error) from None
        with file:
            yield file

    def delete(self, names: Sequence[str]) -> None:
        """Remove blobs."""
        folders = set()
        for name in names:
            path = self._path(name)
            try:
                path.unlink()
                folders.add(path.parent)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._unavailable(error) from None
        for folder in folders:
            sync_folder(folder)

    def names(self) -> Iterator[str]:
        """The names of all blobs: memory holds those of one folder."""
        self._clear_abandoned()
        for outer in self._listed(self._folder):
            for inner in self._listed(self._folder / outer) if len(outer) == 2 else ():
                for name in self._listed(self._folder / outer / inner):
                    if BLOB_NAME.match(name) and name.startswith(outer + inner):
                        yield name

    def close(self) -> None:
        """Nothing is held."""

    def _make(self, folder: Path) -> None:
        """A folder of the store, for its owner only, with those that lead to it; each is durable before it is used."""
        if folder in self._made:
            return
        if folder != self._folder:
            self._make(folder.parent)
        try:
            folder.mkdir(mode=0o700, parents=folder == self._folder)
        except FileExistsError:
            if not folder.is_dir():
                raise
        sync_folder(folder.parent)
        self._made.add(folder)

    def _path(self, name: str) -> Path:
        if not BLOB_NAME.match(name):
            raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
        return self._folder / name[:2] / name[2:4] / name

    def _listed(self, folder: Path) -> list[str]:
        try:
            return sorted(path.name for path in folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unavailable(error) from None

    def _clear_abandoned(self) -> None:
        for name in self._listed(self._folder / _PARTIAL):
            path = self._folder / _PARTIAL / name
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
            except OSError:
                continue  # its writer was there after all, or somebody else cleared it away

    def _unavailable(self, error: OSError) -> BlobsUnavailableError:
        return BlobsUnavailableError(
            f"the sealed attachments in {self._folder} can't be read or written: {error.strerror}",
            hint="check attachments.target: permissions, free space; then go on",
        )
