"""Files for their owner only: read only if nobody else can, written so that a crash leaves all of one or nothing.

`create_private` never overwrites, `replace_private` does. The folder's lock serialises makers, so that what a killed
one left behind can be cleared away by the next.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class PrivateFileError(Exception):
    """Why a private file can't be used, and what to do; callers turn it into an error of their own."""

    def __init__(self, message: str, *, hint: str = "", missing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.missing = missing


def read_private(path: Path, *, max_bytes: int, follow_links: bool = False) -> bytes:
    """The whole of a regular file that only its owner (this user or root) can use; `PrivateFileError` otherwise."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as file:
            _refuse_unless_private(os.fstat(file.fileno()), path)
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if len(data) > max_bytes:
        raise PrivateFileError(f"{path} is too large: over {max_bytes} bytes")
    return data


def require_private_folder(folder: Path) -> None:
    """Raise `PrivateFileError` unless only its owner (this user or root) can use the folder."""
    try:
        status = folder.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    if not stat.S_ISDIR(status.st_mode):
        raise PrivateFileError(f"{folder} is not a folder")
    _refuse_others(status, folder, "700")


def create_private(path: Path, data: bytes) -> bool:
    """Make a file of mode 0600 in an existing folder, whole and durable; False, and nothing done, if it is there."""
    try:
        with _locked(path.parent) as folder:
            unfinished = path.with_name(f".{path.name}.new")
            unfinished.unlink(missing_ok=True)  # of a maker that was killed, also after its last step but one
            if os.path.lexists(path):
                return False
            _write_and_link(path, data, unfinished)
            os.fsync(folder)
    except (OSError, ValueError) as error:
        raise PrivateFileError(
            f"{path} can't be written: {_reason(error)}", hint="check the folder's permissions and free space"
        ) from None
    return True


def _write_and_link(path: Path, data: bytes, unfinished: Path) -> None:
    """A temporary name first; `link` puts it in place, and unlike `rename` never over something else."""
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_unless_private(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PrivateFileError(f"{path} is not a regular file")
    _refuse_others(status, path, "600")


def _refuse_others(status: os.stat_result, path: Path, mode: str) -> None:
    if status.st_mode & _OTHERS:
        raise PrivateFileError(f"{path} is open to other users of this machine", hint=f"chmod {mode} {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise PrivateFileError(f"{path} belongs to another user", hint="run as its owner, or give it to this user")


def _unreadable(path: Path, error: OSError | ValueError) -> PrivateFileError:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return PrivateFileError(f"{path} is a symbolic link", hint="name the file itself")
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return PrivateFileError(f"{path} can't be read: {_reason(error)}", missing=missing)


def _reason(error: OSError | ValueError) -> str:
    """What the system says; a `ValueError` is a path with a NUL in it."""
    return error.strerror or "an error of the system" if isinstance(error, OSError) else "not a path"


def replace_private(path: Path, data: bytes) -> None:
    """Write a file readable by its owner only; its folder is made (mode 0700) where it is missing.

    The bytes reach the disk under a temporary name in the same folder, then take the name. Raises `OSError`; the
    temporary file is removed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest folder above that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
